"""ChooseSamples: joins tables, measures or probes images, and filters samples, before the plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsSingleton, PCollection, TaggedOutput

from beam_export.options import ExportOptions
from beam_export.pipeline.beam_utils import GroupInBundle, MergeAll
from beam_export.pipeline.find_columns import FindColumns
from beam_export.pipeline.measure_images import MeasureImages
from beam_export.pipeline.probe_images import ProbeImages
from beam_export.pipeline.read_lookups import ReadIds, ReadTable
from beam_export.planning.blocks import REFS_PER_BLOCK, PackedRef, open_block, pack_block
from beam_export.planning.join import (
    Tally,
    bucket_count,
    bucket_of,
    check_tally,
    join_bucket,
)
from beam_export.planning.select import SampleFilter
from beam_export.samples import Failure
from beam_export.sources.tables.lookup import Row, count_of, pack_rows, unpack_rows

__all__ = ["ChooseSamples", "Chosen", "JoinTables", "Joined", "SelectSamples", "Selected"]


class Joined(NamedTuple):
    """Blocks of samples with all that is known of them.

    Attributes:
        blocks: packed refs.
        columns: (serialized Arrow schema, where it is from) of the columns whose types are
            declared, those of the samples and those of the table.
        tally: what matched what, of one element.
    """

    blocks: PCollection[bytes]
    columns: PCollection[tuple[bytes, str]] | None
    tally: PCollection[Tally]


class Selected(NamedTuple):
    """Blocks of the samples that are left, and what was counted on the way, of one element."""

    blocks: PCollection[bytes]
    tally: PCollection[Tally]


class Chosen(NamedTuple):
    """The samples that are planned.

    Attributes:
        blocks: packed refs.
        columns: metadata columns of all samples as a serialized Arrow schema, of one element.
        source_failures: samples of tables that have no image.
        probe_failures: samples that failed under `--probe`.
        tally: what matched and what was left out, of one element.
    """

    blocks: PCollection[bytes]
    columns: PCollection[bytes]
    source_failures: PCollection[Failure]
    probe_failures: PCollection[Failure]
    tally: PCollection[Tally]


@dataclasses.dataclass
class ChooseSamples(beam.PTransform):
    """Joins tables, measures or probes images and filters samples, each if it is asked for.

    In this order: no image is read that `--ids` leaves out, and a filter knows all columns,
    with the types that they have over the whole of the input. Images of tables are measured after
    the filter, unless it or a probe asks for that.

    Attributes:
        options: of the export.
        threads: images in work at the same time in each worker process.
        schema: the metadata columns, if they are declared.
        columns: (serialized Arrow schema, where it is from) of the samples' own columns.
    """

    options: ExportOptions
    threads: int
    schema: pa.Schema | None
    columns: PCollection[tuple[bytes, str]] | None

    def expand(self, blocks: PCollection[bytes]) -> Chosen:
        # PCollection[bytes] throughout: packed blocks of refs.
        joined = blocks | "JoinTables" >> JoinTables(self.options, self.columns)
        columns = joined.blocks | "FindColumns" >> FindColumns(self.schema, joined.columns)
        measure, blocks = MeasureImages(), joined.blocks
        if self.options.asks_sizes:
            blocks, lost = blocks | "MeasureImages" >> measure
        probed = blocks | "ProbeImages" >> ProbeImages(self.options, self.threads)
        selected = probed.blocks | "SelectSamples" >> SelectSamples(
            self.options, columns, joined.tally
        )
        blocks = selected.blocks
        if not self.options.asks_sizes:
            blocks, lost = blocks | "MeasureImages" >> measure
        return Chosen(
            blocks=blocks,
            columns=columns,
            source_failures=lost,
            probe_failures=probed.failures,
            tally=selected.tally,
        )


@dataclasses.dataclass
class JoinTables(beam.PTransform):
    """Looks samples up in `--metadata`, `--ids` and `--exclude_ids`; without those, does nothing.

    Attributes:
        options: of the export.
        columns: (serialized Arrow schema, where it is from) of the samples' own columns.
    """

    options: ExportOptions
    columns: PCollection[tuple[bytes, str]] | None

    def expand(self, blocks: PCollection[bytes]) -> Joined:
        given = self.options.lookups
        if not given:
            nothing = blocks.pipeline | "NothingJoined" >> beam.Create([Tally()], reshuffle=False)
            return Joined(blocks, self.columns, nothing)
        tables, columns = self._read(blocks.pipeline, given)
        counted = {
            "refs": blocks | "CountRefs" >> beam.Map(lambda block: len(open_block(block).ids)),
            **{name: rows | f"Count_{name}" >> beam.Map(count_of) for name, rows in tables.items()},
        }
        # PCollection[int], of one element each: samples, and rows of each table.
        sums = [
            counts | f"Sum_{name}" >> beam.CombineGlobally(sum) for name, counts in counted.items()
        ]
        # PCollection[int], of one element: number of buckets.
        buckets = (
            sums
            | "Sums" >> beam.Flatten()
            | "AllSums" >> beam.combiners.ToList()
            | "Buckets" >> beam.Map(bucket_count)
        )
        # PCollection[tuple[int, bytes]] each: bucket, packed refs or rows.
        deal = beam.ParDo(GroupInBundle(_deal_refs, _pack_refs), AsSingleton(buckets))
        dealt = {"refs": blocks | "DealRefs" >> deal.with_output_types(tuple[int, bytes])}
        deal = beam.ParDo(GroupInBundle(_deal_rows, _pack_rows), AsSingleton(buckets))
        for name, rows in tables.items():
            labelled = f"DealRows_{name}" >> deal.with_output_types(tuple[int, bytes])
            dealt[name] = rows | labelled
        # blocks: PCollection[bytes], packed refs; tally: PCollection[Tally], one per bucket.
        joined = (
            dealt
            | "Meet" >> beam.CoGroupByKey()
            | "JoinBucket" >> beam.FlatMapTuple(_join).with_outputs("tally", main="blocks")
        )
        # PCollection[Tally], of one element.
        tally = (
            joined.tally
            | "AllTallies" >> beam.CombineGlobally(MergeAll(Tally))
            | "CheckTally" >> beam.Map(check_tally, given)
        )
        # No sample goes on before it is known that the tables are in order.
        checked = joined.blocks | "Checked" >> beam.Map(
            lambda block, _: block, AsSingleton(tally)
        ).with_output_types(bytes)
        return Joined(checked, columns, tally)

    def _read(
        self, pipeline: beam.Pipeline, given: Mapping[str, str]
    ) -> tuple[dict[str, PCollection[bytes]], PCollection[tuple[bytes, str]] | None]:
        found: dict[str, PCollection[bytes]] = {}
        columns = self.columns
        if "metadata" in given:
            read = ReadTable(given["metadata"], self.options.metadata_key)
            table = pipeline | "ReadTable" >> read
            found["rows"] = table.rows
            kinds = [table.columns, *([] if columns is None else [columns])]
            columns = kinds | "TypedColumns" >> beam.Flatten()
        for name in ("ids", "exclude_ids"):
            if name in given:
                found[name] = pipeline | f"Read_{name}" >> ReadIds(f"--{name}", given[name])
        return found, columns


def _deal_refs(block: bytes, buckets: int) -> Iterator[tuple[int, PackedRef]]:
    for ref in open_block(block).refs():
        yield bucket_of(ref.id, buckets), ref


def _deal_rows(packed: bytes, buckets: int) -> Iterator[tuple[int, Row]]:
    for row in unpack_rows(packed):
        yield bucket_of(row.key, buckets), row


def _pack_refs(refs: list[PackedRef]) -> Iterator[bytes]:
    yield pack_block(refs)


def _pack_rows(rows: list[Row]) -> Iterator[bytes]:
    yield pack_rows(rows)


def _join(bucket: int, met: Mapping[str, Iterable[bytes]]) -> Iterator[Any]:
    refs = [ref for block in met["refs"] for ref in open_block(block).refs()]
    given = {
        name: [row for packed in packs for row in unpack_rows(packed)]
        for name, packs in met.items()
        if name != "refs"
    }
    kept, tally = join_bucket(refs, **given)
    yield TaggedOutput("tally", tally)
    for start in range(0, len(kept), REFS_PER_BLOCK):
        yield pack_block(kept[start : start + REFS_PER_BLOCK])


@dataclasses.dataclass
class SelectSamples(beam.PTransform):
    """Keeps what `--filter` keeps, and makes captions of `--caption_column`.

    Attributes:
        options: of the export.
        columns: metadata columns as a serialized Arrow schema, of one element.
        tally: what was counted before, of one element.
    """

    options: ExportOptions
    columns: PCollection[bytes]
    tally: PCollection[Tally]

    def expand(self, blocks: PCollection[bytes]) -> Selected:
        if self.options.filter is None and self.options.caption_column is None:
            return Selected(blocks, self.tally)
        filter_samples = _FilterSamples(self.options.filter, self.options.caption_column)
        # blocks: PCollection[bytes], packed refs; tally: PCollection[Tally], one per block.
        filtered = blocks | "FilterSamples" >> beam.ParDo(
            filter_samples, AsSingleton(self.columns)
        ).with_outputs("tally", main="blocks")
        # PCollection[Tally], of one element.
        tally = (
            (self.tally, filtered.tally)
            | "Tallies" >> beam.Flatten()
            | "AllTallies" >> beam.CombineGlobally(MergeAll(Tally))
        )
        return Selected(filtered.blocks, tally)


class _FilterSamples(beam.DoFn):
    """Yields what is left of each block."""

    def __init__(self, filter: str | None, caption: str | None) -> None:
        self._filter, self._caption = filter, caption
        self._sample_filter: tuple[bytes, SampleFilter] | None = None

    def process(self, block: bytes, columns: bytes) -> Iterator[Any]:
        if self._sample_filter is None or self._sample_filter[0] != columns:
            schema = pa.ipc.read_schema(pa.py_buffer(columns))
            self._sample_filter = columns, SampleFilter(schema, self._filter, self._caption)
        refs = list(open_block(block).refs())
        kept = self._sample_filter[1].apply(refs)
        tally = Tally()
        tally.add("filter_seen", len(refs))
        tally.add("filter_dropped", len(refs) - len(kept))
        yield TaggedOutput("tally", tally)
        if kept:
            yield pack_block(kept)
