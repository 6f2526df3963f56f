"""IndexExport: makes the indexes of an export that exists, one element per shard."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection

from beam_export.exports.opening import open_catalog
from beam_export.naming import ShardNames
from beam_export.pipeline.progress import report
from beam_export.shards.index_files import index_finished_shard, known_indexes
from beam_export.shards.indexes.shard import ShardIndexes
from beam_export.shards.indexes.table import IndexedShard
from beam_export.shards.manifest import SplitShards, with_indexes
from beam_export.shards.meta_files import MetaFiles
from beam_export.shards.output import Output
from beam_export.shards.parquet import whole_table

__all__ = ["IndexExport", "StandingExport", "find_export"]


@dataclasses.dataclass(frozen=True)
class StandingExport:
    """An export that is complete.

    Attributes:
        names: of its files.
        manifest: without its digest.
        shards: rows of the table of shards, by number.
    """

    names: ShardNames
    manifest: dict[str, Any]
    shards: list[dict[str, Any]]


def find_export(directory: str) -> StandingExport:
    """Returns the export of a directory.

    Raises:
        InputError: if there is none, several, or one that is not finished.
        RunError: if its manifest or its table of shards is damaged.
    """
    catalog = open_catalog(directory)
    table = whole_table(pa.BufferReader(catalog.sidecar(catalog.names.shards)))
    return StandingExport(catalog.names, catalog.manifest, table.to_pylist())


@dataclasses.dataclass
class IndexExport(beam.PTransform):
    """Writes the indexes of an export; gives the number of files that were written.

    Attributes:
        output: the directory of the export, locked for this run.
        export: that is indexed.
        kinds: of the indexes that it is to have.
        progress_address: where workers send counts; None if nobody listens.
    """

    output: Output
    export: StandingExport
    kinds: tuple[str, ...]
    progress_address: str | None = None

    def expand(self, pbegin: beam.pvalue.PBegin) -> PCollection[int]:
        _, known = known_indexes(self.output, self.export.names)
        shards = [
            (row["shard"], row["samples"], row["bytes"], row["tar_sha256"], known.get(row["shard"]))
            for row in self.export.shards
        ]
        return (
            pbegin
            # (number, samples, bytes of the tar, its SHA-256, its entry in the table of indexes)
            | "Shards" >> beam.Create(shards)
            | "SpreadShards" >> beam.Reshuffle()
            # (0, (IndexedShard, files written))
            | "IndexShard" >> beam.ParDo(_IndexShard(self))
            # one (0, [(IndexedShard, files written), ...])
            | "AllShards" >> beam.GroupByKey()
            | "Finish" >> beam.ParDo(_Finish(self)).with_output_types(int)
        )


class _IndexShard(beam.DoFn):
    """Yields what is known of a shard for indexes, once its own are there."""

    def __init__(self, run: IndexExport) -> None:
        self._output, self._kinds = run.output, run.kinds
        self._names, self._progress_address = run.export.names, run.progress_address

    def process(self, task: tuple[Any, ...]) -> Iterator[tuple[int, tuple[IndexedShard, int]]]:
        number, samples, size, tar_sha256, known = task
        indexes, written = index_finished_shard(
            self._output,
            self._names,
            number,
            tar_sha256=tar_sha256,
            kinds=self._kinds,
            known=None if known is None else (known[0], ShardIndexes.of(known[1])),
        )
        report(self._progress_address, {"kept": samples, "bytes": size})
        shard = IndexedShard(
            number=number, samples=samples, bytes=size, tar_sha256=tar_sha256, indexes=indexes
        )
        yield 0, (shard, written)


class _Finish(beam.DoFn):
    """Yields how many files were written, once the dataset's own and the manifest are there."""

    def __init__(self, run: IndexExport) -> None:
        self._output, self._export = run.output, run.export
        self._progress_address = run.progress_address

    def process(self, group: tuple[int, Iterable[tuple[IndexedShard, int]]]) -> Iterator[int]:
        found = sorted(group[1], key=lambda one: one[0][0])
        shards = [IndexedShard(*one)._replace(indexes=ShardIndexes.of(one[4])) for one, _ in found]
        export = self._export
        splits = [SplitShards(**one) for one in export.manifest.get("splits", ())]
        files = MetaFiles(self._output, export.names)
        table, listed = files.put_indexes(shards, splits)
        manifest = with_indexes(export.manifest, export.names, table=table, indexes=listed)
        # Last: what it lists is there.
        self._output.put(export.names.manifest, manifest)
        self._output.sweep()
        written = files.written + sum(count for _, count in found)
        report(self._progress_address, {"finished": 1})
        yield written
