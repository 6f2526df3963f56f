"""Reads the shards of an export: rows by the row group, images by ranges of the tars.

Row groups that were used last are kept, as Arrow, up to 128 MiB. All of it pickles, without what is
kept, and may be used by several threads.
"""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_export.exports.ahead import map_ahead
from beam_export.exports.ids import IdIndex
from beam_export.exports.members import DamagedSampleError
from beam_export.exports.opening import Catalog, damaged, reading
from beam_export.exports.rows import Rows, sample_ends
from beam_export.samples import Sample
from beam_export.shards.parquet import PARQUET_ERRORS, ROWS_PER_GROUP
from beam_export.storage.registry import storage_of
from beam_export.storage.retry import with_retries
from beam_export.tar_blocks import BLOCK, END_SIZE

__all__ = ["ExportFiles"]

#: Bytes of row groups that are kept, of a Parquet that is read with one request, and of a tar.
_KEPT, _WHOLE, _SPAN = 128 << 20, 8 << 20, 8 << 20
#: Concurrent reads of a remote storage, by one that streams.
_LANES = 4


class ExportFiles:
    """The shards of an export, on any storage; nothing is read before it is asked for."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._storage = storage_of(catalog.place.directory)
        self._reset()

    def _reset(self) -> None:
        self._kept: collections.OrderedDict[tuple[int, int], Rows] = collections.OrderedDict()
        self._kept_bytes = 0
        self._schema: pa.Schema | None = None
        self._ids: IdIndex | None = None
        self._lock, self._indexing = threading.Lock(), threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        # Not what is kept, which a process reads faster than it unpickles; the ids took all shards.
        return {"catalog": self.catalog, "ids": self._ids}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["catalog"])  # type: ignore[misc]
        self._ids = state["ids"]

    @property
    def lanes(self) -> int:
        """How many reads are made at a time."""
        return _LANES if self._storage.remote else 1

    @property
    def schema(self) -> pa.Schema:
        """The schema of all shards' Parquet files."""
        if self._schema is None:
            with self._parquet(0) as file:
                self._schema = file.schema_arrow
        return self._schema

    def sample(self, number: int) -> Sample:
        """Returns a sample, with one read of its tar."""
        rows = self._rows(number)
        (sample,) = self._samples(rows, number - rows.first, 1)
        return sample

    def stream(self, first: int, behind: int) -> Iterator[Sample]:
        """Yields the samples from one number up to another, with few large reads of the tars."""
        spans = (
            (rows, at, count)
            for rows in self._groups(first, behind)
            for at, count in _spans(rows, max(0, first - rows.first), behind - rows.first)
        )
        for samples in map_ahead(lambda span: self._samples(*span), spans, self.lanes):
            yield from samples

    def _samples(self, rows: Rows, first: int, count: int) -> list[Sample]:
        begin = rows.table["offset"][first].as_py() - BLOCK
        size = int(rows.ends[first + count - 1]) - begin
        name = self.catalog.names.tar(rows.shard)
        try:
            return list(rows.samples(first, count, self._range(name, begin, size)))
        except DamagedSampleError as error:
            number = rows.first + first
            which = (
                f"sample {number}" if count == 1 else f"samples {number} to {number + count - 1}"
            )
            raise damaged(self.catalog.place, name, f"{which}: {error}") from error

    def _range(self, name: str, start: int, size: int) -> bytes:
        path = self.catalog.place.path(name)
        with reading(self.catalog.place, name):
            return with_retries(lambda: self._storage.read(path, start, size))

    def id_index(self) -> IdIndex:
        """Returns what finds samples by their ids; the first time, all ids are read."""
        with self._indexing:
            if self._ids is None:
                batches = self.batches(["image_id"], 0, self.catalog.samples)
                ids = (batch.column(0).to_pylist() for batch in batches)
                self._ids = IdIndex(ids, self.catalog.samples)
            return self._ids

    def id_of(self, number: int) -> str:
        """Returns the id of a sample."""
        rows = self._rows(number)
        return str(rows.table["image_id"][number - rows.first].as_py())

    def row(self, number: int) -> dict[str, Any]:
        """Returns all columns of a sample's row."""
        rows = self._rows(number)
        return rows.values(number - rows.first)

    def batches(
        self, columns: Sequence[str], first: int, behind: int, most: int = 65_536
    ) -> Iterator[pa.RecordBatch]:
        """Yields rows from one number up to another, in order, with few of them in memory.

        Args:
            columns: names, in the order of the batches' columns.
            first, behind: numbers of samples.
            most: rows of a batch.
        """
        if first >= behind:
            return
        shards = range(self.catalog.shard_of(first), self.catalog.shard_of(behind - 1) + 1)
        if self._storage.remote:
            # Whole shards, a few at a time: reading one is mostly waiting.
            tables = map_ahead(lambda shard: self._table(shard, columns), shards, self.lanes)
            found = (batch for table in tables for batch in table.to_batches(most))
        else:
            found = (batch for shard in shards for batch in self._batches_of(shard, columns, most))
        at = int(self.catalog.firsts[shards[0]])
        for batch in found:
            begin, end = max(0, first - at), min(len(batch), behind - at)
            at += len(batch)
            if begin < end:
                yield batch.slice(begin, end - begin)

    def _table(self, shard: int, columns: Sequence[str]) -> pa.Table:
        with self._parquet(shard) as file:
            return file.read(columns=list(columns), use_threads=False).select(list(columns))

    def _batches_of(
        self, shard: int, columns: Sequence[str], most: int
    ) -> Iterator[pa.RecordBatch]:
        with self._parquet(shard) as file:
            for batch in file.iter_batches(most, columns=list(columns), use_threads=False):
                yield batch.select(list(columns))

    def _rows(self, number: int) -> Rows:
        """Returns the row group that holds a sample: kept, or read now."""
        shard = self.catalog.shard_of(number)
        key = (shard, (number - int(self.catalog.firsts[shard])) // ROWS_PER_GROUP)
        with self._lock:
            rows = self._kept.get(key)
            if rows is not None and rows.first <= number < rows.behind:
                self._kept.move_to_end(key)
                return rows
        found = next(self._groups_of(shard, number, number + 1))
        with self._lock:
            # Another thread may have read it meanwhile.
            if key not in self._kept:
                self._kept_bytes += _bytes_of(found)
            self._kept[key] = found
            while len(self._kept) > 1 and self._kept_bytes > _KEPT:
                self._kept_bytes -= _bytes_of(self._kept.popitem(last=False)[1])
        return found

    def _groups(self, first: int, behind: int) -> Iterator[Rows]:
        """Yields the row groups that hold the samples from one number up to another."""
        if first >= behind:
            return
        shards = range(self.catalog.shard_of(first), self.catalog.shard_of(behind - 1) + 1)
        for shard in shards:
            yield from self._groups_of(shard, first, behind)

    def _groups_of(self, shard: int, first: int, behind: int) -> Iterator[Rows]:
        at = int(self.catalog.firsts[shard])
        with self._parquet(shard) as file:
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if at < behind and first < at + count:
                    table = file.read_row_group(group, use_threads=False)
                    end = self._end(file, shard, group)
                    offsets, sizes = (table[name].to_numpy() for name in ("offset", "size"))
                    ends = sample_ends(offsets, sizes, end)
                    yield Rows(shard=shard, first=at, table=table, ends=ends)
                at += count

    def _end(self, file: pq.ParquetFile, shard: int, group: int) -> int:
        """Returns the offset behind the last sample of a row group."""
        if group + 1 == file.num_row_groups:
            return int(self.catalog.tar_bytes[shard]) - END_SIZE
        batches = file.iter_batches(
            1, row_groups=[group + 1], columns=["offset"], use_threads=False
        )
        return int(next(batches).column(0)[0].as_py()) - BLOCK

    @contextlib.contextmanager
    def _parquet(self, shard: int) -> Iterator[pq.ParquetFile]:
        """Opens a shard's Parquet.

        Raises:
            RunError: if it is missing or damaged, or cannot be read.
        """
        place, name = self.catalog.place, self.catalog.names.parquet(shard)
        wanted = int(self.catalog.firsts[shard + 1] - self.catalog.firsts[shard])
        with reading(place, name), self._open(shard, name) as source:
            try:
                with pq.ParquetFile(source, page_checksum_verification=True) as file:
                    if file.metadata.num_rows != wanted:
                        raise ValueError(f"it has {file.metadata.num_rows} rows and not {wanted}")
                    yield file
            except PARQUET_ERRORS as error:
                if isinstance(error, OSError) and not isinstance(source, pa.BufferReader):
                    raise
                said = str(error).partition("\n")[0] or type(error).__name__
                raise damaged(place, name, said) from error

    @contextlib.contextmanager
    def _open(self, shard: int, name: str) -> Iterator[pa.BufferReader | BinaryIO]:
        place, size = self.catalog.place, int(self.catalog.parquet_bytes[shard])
        if size > _WHOLE:
            with with_retries(lambda: place.read(name)) as source:
                yield source
            return
        data = with_retries(lambda: self._storage.read_whole(place.path(name), size))
        if len(data) != size:
            raise damaged(place, name, f"it has {len(data)} bytes and not {size}")
        yield pa.BufferReader(data)


def _bytes_of(rows: Rows) -> int:
    return int(rows.table.nbytes) + int(rows.ends.nbytes)


def _spans(rows: Rows, first: int, behind: int) -> Iterator[tuple[int, int]]:
    """Yields runs of rows, as (row, count), whose samples are read from the tar together."""
    behind = min(behind, len(rows.ends))
    offsets = rows.table["offset"].to_numpy()
    while first < behind:
        most = int(offsets[first]) - BLOCK + _SPAN
        count = int(np.searchsorted(rows.ends[first:behind], most, side="right"))
        yield first, max(1, count)
        first += max(1, count)
