"""Tables that samples are looked up in (`--metadata`), and the rows that lists of ids are too.

Each row is read as its key, which is compared with the samples' ids, and its values by column.
Many rows travel between workers as one value (`pack_rows`).
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.types as pat

from beam_export.errors import InputError, RunError
from beam_export.metadata.arrow_types import is_text
from beam_export.metadata.columns import ColumnChoice
from beam_export.packing import pack, unpack
from beam_export.sources.decompress import CompressionError
from beam_export.sources.entries import Source
from beam_export.sources.input_format import choose
from beam_export.sources.listing import list_images, refuse_special_file
from beam_export.sources.patterns import parse_inputs
from beam_export.sources.tables.formats import BadRow, TableError, is_parquet
from beam_export.sources.tables.parquet import ParquetTable
from beam_export.sources.tables.rows import TableTypes, read_rows, read_types
from beam_export.storage.base import ReplacedError
from beam_export.storage.local_file import check_unchanged
from beam_export.storage.registry import storage_of
from beam_export.storage.retry import is_permanent
from beam_export.storage.uris import unpin
from beam_export.text import stored

__all__ = [
    "LookupRow",
    "TableFile",
    "TablePart",
    "check_key",
    "choose_columns_of_rows",
    "count_of",
    "keyed_rows",
    "list_tables",
    "may_be_ids",
    "open_table_file",
    "opened_lookup",
    "pack_rows",
    "read_part",
    "unpack_rows",
    "with_columns",
]

#: Bytes of the number of rows, before packed rows.
_COUNT = 8


class LookupRow(NamedTuple):
    """A row of a table, or an id alone.

    Attributes:
        key: as the table has it.
        values: column name to value, pickled; of an id alone, empty.
        typed: names of the columns whose types the table declares.
        table: path of a file that declares none, for messages.
    """

    key: str
    values: bytes = b""
    typed: tuple[str, ...] = ()
    table: str = ""


def pack_rows(rows: Sequence[LookupRow]) -> bytes:
    """Returns rows as one value, for a shuffle."""
    return len(rows).to_bytes(_COUNT, "big") + pack([tuple(row) for row in rows])


def count_of(packed: bytes) -> int:
    """Returns the number of rows that `pack_rows` packed, without unpacking them."""
    return int.from_bytes(packed[:_COUNT], "big")


def choose_columns_of_rows(packed: bytes, choice: ColumnChoice) -> tuple[bytes, frozenset[str]]:
    """Returns packed rows with the columns that are left, and the names of those they had."""
    names: set[str] = set()
    chosen = [
        row._replace(**with_columns(row.values, row.typed, choice=choice, names=names))
        for row in unpack_rows(packed)
    ]
    return pack_rows(chosen), frozenset(names)


def with_columns(
    values: bytes, typed: Sequence[str], choice: ColumnChoice, names: set[str]
) -> dict[str, Any]:
    """Returns `values` and `typed` of a row with the columns that are left.

    Args:
        values: column name to value, pickled.
        typed: names of the columns whose types the table declares.
        choice: of columns.
        names: gets those of all columns of the row.
    """
    given = pickle.loads(values)
    names.update(given)
    left = choice.of_metadata(given)
    return {
        "values": pickle.dumps(left, protocol=5),
        "typed": tuple(name for name in typed if name in left),
    }


def unpack_rows(packed: bytes | memoryview) -> list[LookupRow]:
    """Returns the rows that `pack_rows` packed."""
    return [LookupRow(*row) for row in unpack(memoryview(packed)[_COUNT:])]


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


def open_table_file(uri: str, key: str, encoding: str) -> TableFile:
    """Returns the parts of a file of `--metadata`, and what it says of its columns.

    Args:
        uri: of the file, pinned.
        key: name of the column with the ids.
        encoding: of text, if no byte-order mark says otherwise.

    Raises:
        InputError: if it cannot be read, or has no such column.
        RunError: if it was replaced after it was listed.
    """
    plain = unpin(uri)[0]
    with opened_lookup("--metadata", uri) as file:
        if is_parquet(plain):
            table = ParquetTable(file)
            check_key(table.schema, key, plain)
            kept = [field for field in table.schema if field.name != key]
            schema = pa.schema(kept, table.schema.metadata)
            parts = [TablePart(uri, group) for group in range(len(table.groups))]
            return TableFile(parts, schema, None)
        types = read_types(file, plain, encoding)
    # Ids are text, even where they look like numbers.
    types.text.add(key, "text")
    return TableFile([TablePart(uri, 0)], None, types)


def read_part(part: TablePart, types: TableTypes, key: str, encoding: str) -> Iterator[bytes]:
    """Yields packed rows of a part of a table.

    Args:
        part: what to read.
        types: of all text files of the table.
        key: name of the column with the ids.
        encoding: of text, if no byte-order mark says otherwise.

    Raises:
        InputError: if it cannot be read, or a row has no id.
        RunError: if it was replaced after it was listed.
    """
    uri, group = part
    plain = unpin(uri)[0]
    with opened_lookup("--metadata", uri) as file:
        if is_parquet(plain):
            for first, rows in ParquetTable(file).rows(group):
                yield pack_rows(keyed_rows(enumerate(rows, first), key, typed=True, uri=plain))
        else:
            for texts in read_rows(file, plain, types, encoding=encoding):
                yield pack_rows(keyed_rows(texts, key, typed=False, uri=plain))


def check_key(schema: pa.Schema, key: str, uri: str) -> None:
    """Makes sure that a Parquet file has a column of ids to join by.

    Raises:
        InputError: if it has not.
    """
    if key not in schema.names:
        raise _no_key(uri, key, schema.names)
    if not may_be_ids(schema.field(key).type):
        raise InputError(
            f"--metadata={uri} has ids of type {schema.field(key).type} in column {key!r}: give a "
            "column of text or of whole numbers as --metadata_key."
        )


def may_be_ids(kind: pa.DataType) -> bool:
    """Returns whether a column of a type may be one of ids: of text, or of whole numbers."""
    return is_text(kind) or bool(pat.is_integer(kind))


def _no_key(uri: str, key: str, names: Iterable[str]) -> InputError:
    return InputError(
        f"--metadata={uri} has no column {key!r} to find samples by, but {', '.join(names)}: name "
        "the column with the ids by --metadata_key."
    )


def keyed_rows(
    rows: Iterable[tuple[int, dict[str, Any]] | BadRow], key: str, typed: bool, uri: str
) -> list[LookupRow]:
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


def _keyed_row(
    row: tuple[int, dict[str, Any]] | BadRow, key: str, typed: bool, uri: str
) -> LookupRow:
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
    return LookupRow(
        key=stored(str(ident)),
        values=pickle.dumps(rest, protocol=5),
        typed=tuple(rest) if typed else (),
        table="" if typed else uri,
    )


@contextlib.contextmanager
def opened_lookup(flag: str, uri: str) -> Iterator[BinaryIO]:
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
