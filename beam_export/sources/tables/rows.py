"""Reads tables of any format, Parquet, CSV or JSON lines, a batch of rows at a time.

    types = TableTypes()
    for each file: types.merge(read_types(fh, name))     # a CSV's types need all of its values
    for each file: for rows in read_rows(fh, name, types, columns): ...

Rows hold Python values. Those of Parquet lose their types on the way (a float32 becomes a float):
`TableTypes.schema` keeps them, for `ColumnTypes.add_schema`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import BinaryIO

import pyarrow as pa

from beam_export.sources.tables.encoding import UTF8
from beam_export.sources.tables.formats import BadRow, is_parquet
from beam_export.sources.tables.parquet import ParquetTable
from beam_export.sources.tables.text import (
    TextTypes,
    read_text,
    scan_text,
)

__all__ = [
    "NumberedRow",
    "TableTypes",
    "read_rows",
    "read_types",
]

#: A row's number in its file, from 0, and its values by column; or why it has none.
NumberedRow = tuple[int, dict[str, object]] | BadRow


class TableTypes:
    """The types of tables' columns, as far as they are known before rows are read; picklable.

    Attributes:
        schema: the columns of Parquet files, with their types.
        text: the types that the values of CSV files fit.
    """

    def __init__(self) -> None:
        self.schema: pa.Schema = pa.schema([])
        self.text = TextTypes()

    def merge(self, other: TableTypes) -> None:
        """Adds the types of another file; columns that are there already stay."""
        known = set(self.schema.names)
        new = [field for field in other.schema if field.name not in known]
        self.schema = pa.schema([*self.schema, *new])
        self.text.merge(other.text)


def read_types(fh: BinaryIO, name: str, encoding: str = UTF8) -> TableTypes:
    """Returns the types of a table's columns.

    Of Parquet the footer is read, of JSON lines nothing, since values have types; a CSV is read to
    its end.

    Args:
        fh: open for reading, at its start; it can be sought in.
        name: of the file, whose suffix is its format.
        encoding: of text, if no byte-order mark says otherwise.

    Raises:
        TableError: if it cannot be read.
        InputError: if it is text that cannot be decoded.
    """
    types = TableTypes()
    if is_parquet(name):
        types.schema = ParquetTable(fh).schema
    else:
        types.text = scan_text(fh, name, encoding)
    return types


def read_rows(
    fh: BinaryIO,
    name: str,
    types: TableTypes,
    columns: Collection[str] | None = None,
    encoding: str = UTF8,
) -> Iterator[list[NumberedRow]]:
    """Yields a table's rows in order, up to 1,000 at a time.

    Memory is bounded by those rows, and by a row group's pages.

    Args:
        fh: open for reading, at its start; it can be sought in.
        name: of the file, whose suffix is its format.
        types: of all files of the input, so that a CSV column has one type in all of them.
        columns: to read; None for all. A column that the file has not is left out.
        encoding: of text, if no byte-order mark says otherwise.

    Raises:
        TableError: if the file cannot be read to its end.
        InputError: if it is text that cannot be decoded.
    """
    if not is_parquet(name):
        yield from read_text(fh, name, types=types.text, columns=columns, encoding=encoding)
        return
    table = ParquetTable(fh)
    for group in range(len(table.groups)):
        for first, rows in table.rows(group, columns):
            yield list(enumerate(rows, first))
