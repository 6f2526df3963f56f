"""Tables and lists that samples are looked up in: `--metadata`, `--ids`, `--exclude_ids`.

Each row is read as its key, which is compared with the samples' ids, and its values by column.
Many rows travel between workers as one value (`pack_rows`).
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import pickle
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, cast

import pyarrow as pa
import pyarrow.types as pat

from beam_export.errors import InputError, RunError
from beam_export.metadata.arrow_types import is_text
from beam_export.packing import pack, unpack
from beam_export.sources.decompress import (
    CompressionError,
    Stream,
    compression_of_file,
    decompress,
)
from beam_export.sources.entries import Source
from beam_export.sources.input_format import choose
from beam_export.sources.listing import list_images, refuse_special_file
from beam_export.sources.patterns import parse_inputs
from beam_export.sources.tables.rows import (
    BadRow,
    ParquetTable,
    TableError,
    TableTypes,
    is_parquet,
    read_rows,
    read_types,
)
from beam_export.storage.local_file import check_unchanged
from beam_export.storage.registry import ReplacedError, storage_of
from beam_export.storage.retry import is_permanent
from beam_export.storage.uris import is_local, unpin
from beam_export.text import printable

__all__ = [
    "Row",
    "TableFile",
    "TablePart",
    "check_key",
    "count_of",
    "keyed_rows",
    "list_tables",
    "open_table_file",
    "pack_rows",
    "read_ids",
    "read_part",
    "unpack_rows",
]

#: Ids that travel together.
_IDS = 10_000
#: Bytes of the number of rows, before packed rows.
_COUNT = 8
#: Names of the column of ids in a Parquet file; else it is its first column of text.
_ID_COLUMNS = ("image_id", "id", "key")


class Row(NamedTuple):
    """A row of a table, or an id alone.

    Attributes:
        key: as the table has it.
        values: column name to value, pickled; of an id alone, empty.
        typed: names of the columns whose types the table declares.
    """

    key: str
    values: bytes = b""
    typed: tuple[str, ...] = ()


def pack_rows(rows: Sequence[Row]) -> bytes:
    """Returns rows as one value, for a shuffle."""
    return len(rows).to_bytes(_COUNT, "big") + pack([tuple(row) for row in rows])


def count_of(packed: bytes) -> int:
    """Returns the number of rows that `pack_rows` packed, without unpacking them."""
    return int.from_bytes(packed[:_COUNT], "big")


def unpack_rows(packed: bytes) -> list[Row]:
    """Returns the rows that `pack_rows` packed."""
    return [Row(*row) for row in unpack(memoryview(packed)[_COUNT:])]


# Tables of `--metadata`.


def list_tables(path: str) -> list[str]:
    """Returns the files of a table: itself, or those in a directory or behind a pattern.

    Raises:
        InputError: if there is none.
    """
    found: list[str] = []
    for pattern in parse_inputs(path):
        refuse_special_file("--metadata", pattern.path)
        # A missing file is reported below, under the flag that named it.
        with contextlib.suppress(InputError):
            items = choose(list_images(pattern, ""), "table")
            found.extend(item.uri for item in items if isinstance(item, Source))
    if not found:
        raise InputError(
            f"--metadata={path} names no table: give a .parquet, .csv or .jsonl file that is "
            "there, or a directory or pattern of such files."
        )
    return found


class TablePart(NamedTuple):
    """A piece of a table that is read at one go: a Parquet file's row group, else a whole file."""

    uri: str
    group: int


class TableFile(NamedTuple):
    """A file of a table, as far as it is known before its rows are read.

    Attributes:
        parts: its pieces.
        schema: of Parquet, its columns without the key; None for text.
        types: of text, the types that the values of its columns fit; None for Parquet.
    """

    parts: list[TablePart]
    schema: pa.Schema | None
    types: TableTypes | None


def open_table_file(uri: str, key: str) -> TableFile:
    """Returns the parts of a file of `--metadata`, and what it says of its columns.

    Args:
        uri: of the file, pinned.
        key: name of the column with the ids.

    Raises:
        InputError: if it cannot be read, or has no such column.
        RunError: if it was replaced after it was listed.
    """
    plain = unpin(uri)[0]
    with _opened("--metadata", uri) as file:
        if is_parquet(plain):
            table = ParquetTable(file)
            check_key(table.schema, key, plain)
            schema = pa.schema([field for field in table.schema if field.name != key])
            parts = [TablePart(uri, group) for group in range(len(table.groups))]
            return TableFile(parts, schema, None)
        types = read_types(file, plain)
    # Ids are text, even where they look like numbers.
    types.text.add(key, "text")
    return TableFile([TablePart(uri, 0)], None, types)


def read_part(part: TablePart, types: TableTypes, key: str) -> Iterator[bytes]:
    """Yields packed rows of a part of a table.

    Args:
        part: what to read.
        types: of all text files of the table.
        key: name of the column with the ids.

    Raises:
        InputError: if it cannot be read, or a row has no id.
        RunError: if it was replaced after it was listed.
    """
    uri, group = part
    plain = unpin(uri)[0]
    with _opened("--metadata", uri) as file:
        if is_parquet(plain):
            for first, rows in ParquetTable(file).rows(group):
                yield pack_rows(keyed_rows(enumerate(rows, first), key, typed=True, uri=plain))
        else:
            for texts in read_rows(file, plain, types):
                yield pack_rows(keyed_rows(texts, key, typed=False, uri=plain))


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
    return [_keyed_row(row, key, typed=typed, uri=uri) for row in rows]


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


# Lists of ids.


def read_ids(path: str, flag: str) -> Iterator[bytes]:
    """Yields packed rows that are keys alone: the ids of a text or Parquet file.

    Args:
        path: of the file, which may be compressed if it is text.
        flag: that names it, for messages.

    Raises:
        InputError: if there is no such file, or it cannot be read.
        RunError: if it was replaced while it was read.
    """
    if is_local(path) and os.path.isdir(path):
        raise InputError(f"{flag}={path} is a directory: give a file of ids, one a line.")
    parquet = path.lower().endswith(".parquet")
    with _opened(flag, path) as file:
        ids = (
            _parquet_ids(ParquetTable(file), flag, path)
            if parquet
            else _text_ids(iter(_decompressed(file).readline, b""))
        )
        while piece := [Row(ident) for ident in itertools.islice(ids, _IDS)]:
            yield pack_rows(piece)


def _text_ids(lines: Iterable[bytes]) -> Iterator[str]:
    """Yields the ids of a text with one id per line; empty lines are skipped."""
    for number, line in enumerate(lines):
        # Bytes that are no UTF-8 may be those of a file's name.
        text = line.decode("utf-8-sig" if number == 0 else "utf-8", "surrogateescape").strip()
        if text:
            yield printable(text)


def _parquet_ids(table: ParquetTable, flag: str, path: str) -> Iterator[str]:
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


# Files of both kinds.


class _DecompressedFile(io.RawIOBase):
    """The content of a compressed file, as a file object."""

    def __init__(self, inner: Stream) -> None:
        super().__init__()
        self._inner = inner

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _decompressed(file: BinaryIO) -> BinaryIO:
    """Returns the content of a file, decompressed if its first bytes say so, whatever its name."""
    if kind := compression_of_file(file):
        stream = _DecompressedFile(decompress(file, kind, b""))
        return cast(BinaryIO, io.BufferedReader(stream))
    return file


@contextlib.contextmanager
def _opened(flag: str, uri: str) -> Iterator[BinaryIO]:
    """Opens a file that a flag names; damage, and errors that will last, are an InputError.

    Raises:
        RunError: if it was replaced after it was listed, or changes while it is read: other
            workers may have read other parts of it.
        InputError: if it cannot be read.
        OSError: if it cannot be read at present.
    """
    plain = unpin(uri)[0]
    try:
        with storage_of(uri).open(uri) as file:
            try:
                yield file
            finally:
                check_unchanged(file)
    except ReplacedError as error:
        raise RunError(
            f"{flag}={plain} was replaced while the run read it: wait until nobody writes to it, "
            "and run again."
        ) from error
    except (TableError, CompressionError) as error:
        raise InputError(f"{flag}={plain} {error}: give a table that is whole.") from error
    except OSError as error:
        if not is_permanent(error):
            raise
        refuse_special_file(flag, plain)
        raise InputError(f"{flag}={plain} cannot be opened: give a file that is there.") from error
