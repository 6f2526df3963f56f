"""Rows of tables that samples are looked up in: each its key, and its values by column."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.types as pat

from beam_export.errors import InputError
from beam_export.metadata.arrow_types import is_text
from beam_export.planning.join import Row
from beam_export.sources.tables.rows import BadRow, ParquetTable
from beam_export.text import printable

__all__ = ["check_key", "keyed_rows", "parquet_ids", "text_ids"]

#: Where a Parquet file of ids has them, if not in its first column of text.
_ID_COLUMNS = ("image_id", "id", "key")


def check_key(schema: pa.Schema, key: str, uri: str) -> None:
    """Makes sure that a Parquet file has a column of ids to join by.

    Raises:
        InputError: if it has not.
    """
    if key not in schema.names:
        raise _no_key(uri, key, schema.names)
    if not _may_be_ids(schema.field(key).type):
        raise InputError(
            f"--metadata={uri} has ids of type {schema.field(key).type} in column {key!r}: give a "
            "column of text or of whole numbers as --metadata_key."
        )


def _may_be_ids(kind: pa.DataType) -> bool:
    kind = kind.value_type if pat.is_dictionary(kind) else kind
    return is_text(kind) or bool(pat.is_integer(kind))


def _no_key(uri: str, key: str, names: Iterable[str]) -> InputError:
    return InputError(
        f"--metadata={uri} has no column {key!r} to find samples by, but {', '.join(names)}: name "
        "the column with the ids by --metadata_key."
    )


def keyed_rows(
    rows: Iterable[tuple[int, dict[str, Any]] | BadRow], key: str, typed: bool, uri: str
) -> list[Row]:
    """Returns rows of a table by their key.

    Args:
        rows: number in the file, from 0, and values by column.
        key: name of the column with the ids; whole numbers are written out.
        typed: whether the file declares the types of its columns.
        uri: of the file.

    Raises:
        InputError: if a row cannot be read, or has no id.
    """
    return [_keyed_row(row, key, typed, uri) for row in rows]


def _keyed_row(row: tuple[int, dict[str, Any]] | BadRow, key: str, typed: bool, uri: str) -> Row:
    if isinstance(row, BadRow):
        raise InputError(
            f"--metadata={uri} has a row {row.number + 1} that cannot be read ({row.reason}): mend "
            "that row."
        )
    number, values = row
    if key not in values:
        raise _no_key(f"{uri} (row {number + 1})", key, values)
    ident = values[key]
    if not isinstance(ident, (str, int)) or isinstance(ident, bool):
        what = "no id" if ident is None else f"{ident!r} for an id"
        raise InputError(
            f"--metadata={uri} has {what} in column {key!r} of row {number + 1}: give text or a "
            "whole number in each row."
        )
    rest = {name: value for name, value in values.items() if name != key}
    names = tuple(rest) if typed else ()
    return Row(printable(str(ident)), pickle.dumps(rest, protocol=5), names)


def text_ids(lines: Iterable[bytes]) -> Iterator[str]:
    """Yields the ids of a text with one a line; empty lines are none."""
    for number, line in enumerate(lines):
        # Bytes that are no UTF-8 may be those of a file's name.
        text = line.decode("utf-8-sig" if number == 0 else "utf-8", "surrogateescape").strip()
        if text:
            yield printable(text)


def parquet_ids(table: ParquetTable, flag: str, path: str) -> Iterator[str]:
    """Yields the ids of a Parquet file: a column called image_id, id or key, or its first of text.

    Raises:
        InputError: if there is no such column.
        TableError: if the file is damaged.
    """
    schema = table.schema
    texts = [field.name for field in schema if is_text(field.type)]
    name = next((name for name in (*_ID_COLUMNS, *texts) if name in schema.names), None)
    if name is None or not _may_be_ids(schema.field(name).type):
        raise InputError(
            f"{flag}={path} has no column of ids, but {', '.join(schema.names)}: call one image_id."
        )
    for group in range(len(table.groups)):
        for _, batch in table.batches(group, [name]):
            for ident in batch.column(0).to_pylist():
                if ident is not None:
                    yield printable(str(ident))
