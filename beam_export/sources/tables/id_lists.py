"""Lists of ids: the files of `--ids` and `--exclude_ids`."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
from collections.abc import Iterator
from typing import cast

from beam_export.errors import InputError
from beam_export.metadata.arrow_types import is_text
from beam_export.sources.decompress import decompressed_file
from beam_export.sources.tables.encoding import UTF8, Plain, decoded, undecodable
from beam_export.sources.tables.lookup import LookupRow, may_be_ids, opened_lookup, pack_rows
from beam_export.sources.tables.parquet import ParquetTable
from beam_export.storage.uris import is_local
from beam_export.text import printable, stored

__all__ = ["read_ids"]

#: Ids that travel together.
_IDS = 10_000
#: Names of the column of ids in a Parquet file; else it is its first column of text.
_ID_COLUMNS = ("image_id", "id", "key")


def read_ids(path: str, flag: str, encoding: str = UTF8) -> Iterator[bytes]:
    """Yields packed rows that are keys alone: the ids of a text or Parquet file.

    Args:
        path: of the file, which may be compressed if it is text.
        flag: that names it, for messages.
        encoding: of text, if no byte-order mark says otherwise.

    Raises:
        InputError: if there is no such file, or it cannot be read.
        RunError: if it was replaced while it was read.
    """
    if is_local(path) and os.path.isdir(path):
        raise InputError(f"{flag}={path} is a directory: give a file of ids, one per line.")
    if path.lower().endswith(".parquet"):
        with opened_lookup(flag, path) as file:
            yield from _packed(_parquet_ids(ParquetTable(file), flag, path))
        return
    what = f"{flag}={printable(path)}"
    try:
        with _plain(flag, path) as plain:
            yield from _packed(_text_ids(plain, what, encoding))
    except UnicodeDecodeError as error:
        # A decoder does not count lines: they are counted where it is needed.
        with _plain(flag, path) as plain:
            raise undecodable(plain, what, encoding) from error


def _packed(ids: Iterator[str]) -> Iterator[bytes]:
    while piece := [LookupRow(ident) for ident in itertools.islice(ids, _IDS)]:
        yield pack_rows(piece)


@contextlib.contextmanager
def _plain(flag: str, path: str) -> Iterator[io.BufferedReader[io.RawIOBase]]:
    """Opens the content of a file, decompressed."""
    with opened_lookup(flag, path) as file:
        plain = io.BufferedReader(cast(io.RawIOBase, decompressed_file(file)))
        try:
            yield plain
        finally:
            # Else it would close the file, which is not its own.
            plain.detach()


def _text_ids(plain: Plain, what: str, asked: str) -> Iterator[str]:
    """Yields the ids of a text with one id per line; empty lines are skipped.

    Raises:
        InputError: if it is of 16 or 32 bits per character and does not say so.
        UnicodeDecodeError: if it is not in the encoding that is asked for, or that its byte-order
            mark states.
    """
    # If nobody says so, bytes that are no UTF-8 may be those of a file's name, which is stored as
    # they are.
    text = decoded(plain, what, asked, newline="\n", lenient=True)
    try:
        for line in text:
            if ident := line.strip():
                yield stored(ident)
    finally:
        text.detach()


def _parquet_ids(table: ParquetTable, flag: str, path: str) -> Iterator[str]:
    """Yields the ids of a Parquet file: a column called image_id, id or key, or its first of text.

    Raises:
        InputError: if there is no such column.
        TableError: if the file is damaged.
    """
    schema = table.schema
    texts = [field.name for field in schema if is_text(field.type)]
    name = next((name for name in (*_ID_COLUMNS, *texts) if name in schema.names), None)
    if name is None or not may_be_ids(schema.field(name).type):
        raise InputError(
            f"{flag}={path} has no column of ids, but {', '.join(schema.names)}: call one image_id."
        )
    for group in range(len(table.groups)):
        for _, batch in table.batches(group, [name]):
            for ident in batch.column(0).to_pylist():
                # 0 is an id; nothing and empty text are none, as an empty line is.
                if ident is not None and ident != "":
                    yield stored(str(ident))
