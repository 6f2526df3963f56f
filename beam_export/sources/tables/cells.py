"""Reads images out of columns of Parquet files, by row.

Parquet can read a column by row group only. Rows mostly come in order: a small row group is read
once and kept until others need the memory, and a large one is streamed.
"""

from __future__ import annotations

import bisect
import collections
import contextlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow as pa

from beam_export.sources.tables.formats import TableError
from beam_export.sources.tables.parquet import ParquetTable
from beam_export.sources.tables.refs import bytes_of_images
from beam_export.storage.local_file import check_unchanged

__all__ = ["Cells"]

#: Bytes of row groups that are kept; a larger one is streamed.
_KEPT_BYTES = 128 << 20
_OPEN_FILES = 4

_Key = tuple[str, str, int]
#: The number of the first row in the file, and the bytes of the rows from there.
_Run = tuple[int, pa.Array]


class Cells:
    """Reads images of rows; not for several threads."""

    def __init__(self, opened: Callable[[str], BinaryIO]) -> None:
        """Makes a reader that opens a file by its place with `opened`."""
        self._opened = opened
        self._tables: collections.OrderedDict[str, tuple[BinaryIO, ParquetTable]] = (
            collections.OrderedDict()
        )
        self._kept: collections.OrderedDict[_Key, tuple[int, list[_Run]]] = (
            collections.OrderedDict()
        )
        self._stream: tuple[_Key, Iterator[_Run], _Run] | None = None
        self._large: set[_Key] = set()

    def read(self, uri: str, column: str, row: int) -> bytes | None:
        """Returns the bytes in a row of a column, None if there are none.

        Args:
            uri: place of the Parquet file.
            column: of bytes, or of structs of `bytes` and `path`.
            row: its number in the file.

        Raises:
            TableError: if the file is damaged, or has no such row.
            OSError: if it cannot be read at present, or is not what it was when it was opened.
        """
        table = self._table(uri)
        firsts = [group.first for group in table.groups]
        group = bisect.bisect_right(firsts, row) - 1
        if group < 0 or row >= sum(table.groups[group]) or column not in table.schema.names:
            raise TableError(f"has no row {row} with a column {column!r}")
        key = (uri, column, group)
        runs = self._loaded(key, table)
        if runs is None:
            first, data = self._streamed(key, table, row)
        else:
            first, data = next(run for run in runs if row < run[0] + len(run[1]))
        value: bytes | None = data[row - first].as_py()
        return value

    def close(self) -> None:
        """Closes the files, and frees what is kept."""
        self._kept.clear()
        self._stream = None
        while self._tables:
            self._tables.popitem()[1][0].close()

    def forget(self, uri: str) -> None:
        """Closes a file, so that it is opened again: a handle that failed may fail for ever."""
        # Row groups that are kept stay: the file was checked after they were read.
        if uri in self._tables:
            with contextlib.suppress(OSError):
                self._tables.pop(uri)[0].close()
        if self._stream is not None and self._stream[0][0] == uri:
            self._stream = None

    def _table(self, uri: str) -> ParquetTable:
        if uri not in self._tables:
            while len(self._tables) >= _OPEN_FILES:
                self.forget(next(iter(self._tables)))
            file = self._opened(uri)
            try:
                self._tables[uri] = (file, ParquetTable(file))
            except BaseException:
                file.close()
                raise
        self._tables.move_to_end(uri)
        return self._tables[uri][1]

    def _loaded(self, key: _Key, table: ParquetTable) -> list[_Run] | None:
        """Returns a row group's runs, to be kept; None if they are too large for that."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][1]
        # One that turned out too large is not loaded in vain once more.
        if key in self._large or table.bytes_of(key[2], [key[1]]) > _KEPT_BYTES:
            return None
        runs, size = [], 0
        for first, data in _runs(table, key, 0):
            # Values that a dictionary repeats take more memory than the file states.
            size += data.nbytes
            if size > _KEPT_BYTES:
                self._large.add(key)
                return None
            runs.append((first, data))
        check_unchanged(self._tables[key[0]][0])
        while self._kept and size + sum(one for one, _ in self._kept.values()) > _KEPT_BYTES:
            self._kept.popitem(last=False)
        self._kept[key] = (size, runs)
        return runs

    def _streamed(self, key: _Key, table: ParquetTable, row: int) -> _Run:
        """Returns the run with a row, going on from the one before if that is possible."""
        stream = self._stream
        # A stream goes forward only: for a row before it, another begins.
        if stream is None or stream[0] != key or row < stream[2][0]:
            runs = _runs(table, key, row - table.groups[key[2]].first)
            stream = (key, runs, next(runs))
        _, runs, run = stream
        while row >= run[0] + len(run[1]):
            run = next(runs)
        check_unchanged(self._tables[key[0]][0])
        self._stream = (key, runs, run)
        return run


def _runs(table: ParquetTable, key: _Key, start: int) -> Iterator[_Run]:
    for first, batch in table.batches(key[2], [key[1]], start):
        yield first, bytes_of_images(batch.column(0))
