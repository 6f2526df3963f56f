"""Reads Parquet tables by row group, and only the columns that are wanted.

Columns are read as what extension types store: whether a type such as Hugging Face's `Array2D` is
known depends on what a process has imported. Those of dictionaries (categories of pandas and
polars) are read as their values.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pat

from beam_export.metadata import features
from beam_export.metadata.to_arrow import to_values
from beam_export.sources.tables.formats import TableError
from beam_export.sources.tables.pages import Chunk, bomb, chunks_of, pages_of

__all__ = ["MAX_ROWS", "Group", "ParquetTable", "plain_type"]

#: Rows and bytes of a batch: of whichever is fewer.
MAX_ROWS = 1_000
_BATCH_BYTES = 8 << 20
#: Bytes that a batch may have at most, if all its rows held the longest value of a dictionary.
_MOST_BYTES = 64 << 20
#: Encodings in which values repeat parts of others.
_REPEATING = frozenset({"DELTA_BYTE_ARRAY"})
#: What Arrow raises for what it cannot read; a name that is no UTF-8 is found by Python.
_DAMAGE = (pa.ArrowException, UnicodeDecodeError)
#: Read at a time of a column's pages; without it, Arrow reads a column of a row group as a whole.
_BUFFER = 1 << 20


class Group(NamedTuple):
    """A row group: the number of its first row in the file, and how many rows it has."""

    first: int
    rows: int


class ParquetTable:
    """A Parquet file that is read a batch of rows at a time.

    A batch is held in memory, and a few pages of each column. Pages may be large: Arrow's writer
    checks a page's size once in 1,024 values, which for images can be 100 MB.

    Attributes:
        schema: the columns, without extension types and dictionaries, with what Hugging Face
            says of them.
        groups: the row groups.
        facts: its key-value metadata.
    """

    def __init__(self, fh: BinaryIO) -> None:
        """Reads the footer.

        Raises:
            TableError: if the file is no Parquet, or two columns have one name.
        """
        self._fh = fh
        self._places: list[list[Chunk]] | None = None
        self._dictionaries: dict[tuple[int, str], int] = {}
        self._proven: set[tuple[int, frozenset[str]]] = set()
        try:
            self._file = pq.ParquetFile(fh, pre_buffer=False, buffer_size=_BUFFER)
            stored = self._file.schema_arrow
            names = stored.names
        except _DAMAGE as error:
            raise TableError(
                f"is not a Parquet file that can be read: {_first_line(error)}"
            ) from error
        except OSError as error:
            raise _own_or_damage(error) from error
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise TableError(f"has two columns that are called {twice!r}; rename one of them")
        metadata = self._file.metadata
        self.facts: dict[bytes, bytes] = metadata.metadata or {}
        self.schema = pa.schema(
            [(field.name, plain_type(field.type)) for field in stored],
            {features.HUGGINGFACE: self.facts[features.HUGGINGFACE]}
            if features.HUGGINGFACE in self.facts
            else None,
        )
        counts = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        self.groups = [Group(sum(counts[:at]), count) for at, count in enumerate(counts)]

    def batches(
        self, group: int, columns: Collection[str] | None = None, start: int = 0
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yields (number of the first row in the file, rows) of a row group, in order.

        Args:
            group: number of the row group.
            columns: to read; None for all.
            start: rows of the group to leave out.

        Raises:
            TableError: if the row group is damaged.
        """
        wanted = [name for name in self.schema.names if columns is None or name in columns]
        place, count = self.groups[group]
        if not wanted:
            # Rows without columns count all the same; a batch made of structs knows their number.
            yield place, pa.RecordBatch.from_struct_array(pa.array([{}] * count, pa.struct([])))
            return
        size = max(1, min(MAX_ROWS, _BATCH_BYTES * count // max(1, self.bytes_of(group, wanted))))
        size = max(1, min(size, _MOST_BYTES // max(1, self._repeated(group, wanted))))
        with _damage_as_table_error(group):
            for batch in self._batches(size, group, wanted):
                end = place + batch.num_rows
                if end > self.groups[group].first + start:
                    yield place, _plain_batch(batch, [self.schema.field(name) for name in wanted])
                place = end
        if place != sum(self.groups[group]):
            raise TableError(f"is damaged in row group {group}: it ends before its last row")

    def _batches(self, size: int, group: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yields so many rows of a row group at a time, read by this thread alone.

        Threads of Arrow's may still hold the file when all is read (`shards.parquet.whole_table`).
        """
        yield from self._file.iter_batches(
            size, row_groups=[group], columns=columns, use_threads=False
        )

    def leaf(self, group: int, column: str, field: str) -> Iterator[Any]:
        """Yields the values of one field of a column of structs, without reading the others.

        Raises:
            TableError: if the row group is damaged.
        """
        path = f"{column}.{field}"
        if path in self.schema.names:
            # Arrow reads both by that name: the whole column, then.
            for _, batch in self.batches(group, [column]):
                yield from pc.struct_field(batch.column(0), field).to_pylist()
            return
        size = max(1, min(MAX_ROWS, _MOST_BYTES // max(1, self._repeated(group, [path]))))
        with _damage_as_table_error(group):
            for batch in self._batches(size, group, [path]):
                found = batch.column(0)
                found = found.storage if isinstance(found, pa.ExtensionArray) else found
                yield from pc.struct_field(found, field).to_pylist()

    def rows(
        self, group: int, columns: Collection[str] | None = None
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Yields (number of the first row in the file, rows) of a row group, as `batches` does."""
        for first, batch in self.batches(group, columns):
            yield first, rows_of(batch)

    def bytes_of(self, group: int, columns: Collection[str]) -> int:
        """Returns the bytes of columns of a row group, uncompressed."""
        return sum(chunk.total_uncompressed_size for chunk in self._chunks(group, columns))

    def _chunks(self, group: int, columns: Collection[str]) -> Iterator[pq.ColumnChunkMetaData]:
        """Yields the footer's metadata of columns of a row group.

        Raises:
            TableError: if it states what cannot be.
        """
        self._prove(group, columns)
        found = self._file.metadata.row_group(group)
        schema = self._file.schema
        paths = [schema.column(number).path for number in range(len(schema))]
        with _damage_as_table_error(group):
            for number, path in enumerate(paths):
                # Of no others: they are not proven, and may be large.
                if path in columns or _top(path, columns):
                    yield found.column(number)

    def _prove(self, group: int, columns: Collection[str]) -> None:
        """Reads the first row of columns of a row group, once, to prove that the footer is right.

        A damaged footer ends the whole process where pyarrow is asked for its content (C++
        exceptions pass through), and is a Python exception where pyarrow reads rows.
        """
        asked = (group, frozenset(columns))
        if asked in self._proven:
            return
        self._check_pages(group, columns)
        with _damage_as_table_error(group):
            for _ in self._batches(1, group, list(columns)):
                break
        self._proven.add(asked)

    def _check_pages(self, group: int, columns: Collection[str]) -> None:
        """Checks the headers of all pages that are to be read, before one is unpacked.

        Raises:
            TableError: if one is wrong, or would unpack to far more than it looks.
        """
        levels = [self._file.schema.column(at) for at in range(len(self._file.schema))]
        lists = {level.path for level in levels if level.max_repetition_level}
        try:
            if self._places is None:
                self._places = chunks_of(self._fh)
            for chunk in self._places[group]:
                if chunk.path not in columns and not _top(chunk.path, columns):
                    continue
                for page in pages_of(self._fh, chunk):
                    if page.is_dictionary:
                        self._dictionaries[group, chunk.path] = page.unpacked
                    if size := bomb(page, chunk, chunk.path in lists):
                        raise TableError(
                            f"has a page of {page.packed:,} bytes in row group {group}, column "
                            f"{chunk.path!r}, that unpacks to {size:,}, which nothing that is "
                            "meant to be read does"
                        )
        except (ValueError, IndexError) as error:
            raise TableError(f"is damaged in row group {group}: {error}") from error

    def _repeated(self, group: int, columns: Collection[str]) -> int:
        """Returns the most bytes that a row group stores once and may repeat in each of its rows.

        A dictionary of one photograph and a million rows makes a small file of a terabyte.

        Raises:
            OSError: if the file cannot be read at present.
        """
        most = 0
        for chunk in self._chunks(group, columns):
            if chunk.physical_type.endswith("BYTE_ARRAY"):
                most = max(most, self._dictionaries.get((group, chunk.path_in_schema), 0))
                if not _REPEATING.isdisjoint(chunk.encodings):
                    most = max(most, chunk.total_uncompressed_size)
        return most


@contextlib.contextmanager
def _damage_as_table_error(group: int) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise TableError(f"is damaged in row group {group}: {_first_line(error)}") from error
    except OSError as error:
        raise _own_or_damage(error, f" in row group {group}") from error


def rows_of(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Returns rows as dicts of Python values.

    Raises:
        TableError: if Python has no such value.
    """
    names = batch.schema.names
    if not names:
        return [{} for _ in range(batch.num_rows)]
    columns = [_values(name, batch.column(name)) for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _values(name: str, array: pa.Array) -> list[Any]:
    try:
        return to_values(array)
    except (ValueError, OverflowError) as error:
        reason = f"has values in column {name!r} that cannot be read as {array.type}: {error}"
        raise TableError(reason) from error


def _top(path: str, columns: Collection[str]) -> bool:
    """Returns whether a leaf is in one of the columns, whose names may have dots themselves."""
    parts = path.split(".")
    return any(".".join(parts[:depth]) in columns for depth in range(1, len(parts)))


def _plain_batch(batch: pa.RecordBatch, fields: list[pa.Field]) -> pa.RecordBatch:
    arrays = [_plain_array(batch.column(field.name), field.type) for field in fields]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Returns a type with extension types and dictionaries replaced by their values', at any depth.

    >>> str(plain_type(pa.list_(pa.dictionary(pa.int32(), pa.string()))))
    'list<item: string>'
    """
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if pat.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pat.is_list(kind):
        return pa.list_(plain_type(kind.value_type))
    if pat.is_large_list(kind):
        return pa.large_list(plain_type(kind.value_type))
    if pat.is_fixed_size_list(kind):
        return pa.list_(plain_type(kind.value_type), kind.list_size)
    if pat.is_struct(kind):
        return pa.struct([(field.name, plain_type(field.type)) for field in kind])
    return kind


def _plain_array(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind:
        return array
    if isinstance(array, pa.ExtensionArray):
        return _plain_array(array.storage, kind)
    return array.cast(kind)


def _own_or_damage(error: OSError, where: str = "") -> Exception:
    """Returns a TableError for an error of Arrow's, which has no number; any other as it is."""
    if error.errno is not None:
        return error
    return TableError(f"is damaged{where}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(". ")
