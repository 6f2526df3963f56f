"""ChooseSamples: joins tables, measures or probes images, and filters samples, before the plan."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsSingleton, DoOutputsTuple, PCollection, TaggedOutput

from beam_export.options import ExportOptions
from beam_export.pipeline.beam_utils import MergeAll, MergeBundle
from beam_export.pipeline.buckets import (
    blocks_of,
    count_buckets,
    count_refs,
    deal,
    pack_refs,
    refs_in,
)
from beam_export.pipeline.decide_members import PrepareMembers
from beam_export.pipeline.find_columns import ChooseColumns, FindColumns, FoundColumns, choose_types
from beam_export.pipeline.find_splits import FindSplits, add_split_column
from beam_export.pipeline.join_folders import FolderTables, JoinFolders
from beam_export.pipeline.label_samples import FindClasses, LabelSamples, label_types
from beam_export.pipeline.measure_images import MeasureImages
from beam_export.pipeline.plan_shards import ResolveDuplicateIds
from beam_export.pipeline.probe_images import ProbeImages
from beam_export.pipeline.read_lookups import ReadIds, ReadTable
from beam_export.planning.blocks import PackedRef, open_block, pack_block
from beam_export.planning.duplicates import open_decisions
from beam_export.planning.join import (
    Tally,
    check_tally,
    join_bucket,
)
from beam_export.planning.join_keys import bucket_of, bucket_of_key, new_names
from beam_export.planning.labels import declared_with_classes, with_class_feature
from beam_export.planning.select import SampleFilter, choose_columns
from beam_export.planning.spill_files import load, spill
from beam_export.samples import Failure
from beam_export.sources.patterns import names_in
from beam_export.sources.tables.lookup import LookupRow, count_of, pack_rows, unpack_rows

__all__ = ["ChooseSamples", "Chosen", "JoinTables", "Joined", "SelectSamples", "Selected"]


#: Before the number of a table, where samples and rows meet.
_ROWS = "rows"


class Joined(NamedTuple):
    """Blocks of samples with all that is known of them.

    Attributes:
        blocks: packed refs.
        columns: (serialized Arrow schema, where it is from) of the columns whose types are
            declared, those of the samples and those of the table.
        tallies: what matched what; none without tables.
        names: packed decisions on equal ids, whose new names have matched too; None without.
    """

    blocks: PCollection[bytes]
    columns: tuple[PCollection[tuple[bytes, str]], ...]
    tallies: tuple[PCollection[Tally], ...]
    names: PCollection[bytes] | None = None


class Selected(NamedTuple):
    """Blocks of the samples that are left, and what was counted on the way."""

    blocks: PCollection[bytes]
    tallies: tuple[PCollection[Tally], ...]


class Chosen(NamedTuple):
    """The samples that are planned.

    Attributes:
        blocks: packed refs.
        columns: metadata columns of all samples as a serialized Arrow schema, of one element.
        source_failures: samples of tables that have no image.
        probe_failures: samples that failed under `--probe`.
        tallies: what matched and what was left out.
        classes: names of the classes of `--labels`, of one element; None without.
        splits: packed `Splits`, of one element; None without.
        names: as `Joined.names`.
    """

    blocks: PCollection[bytes]
    columns: PCollection[bytes]
    source_failures: tuple[PCollection[Failure], ...]
    probe_failures: tuple[PCollection[Failure], ...]
    tallies: tuple[PCollection[Tally], ...]
    classes: PCollection[list[str]] | None = None
    splits: PCollection[bytes] | None = None
    names: PCollection[bytes] | None = None


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
        measured: whether the sizes of all images are known.
        folders: the tables of image folders, joined before any other; None for none.
    """

    options: ExportOptions
    threads: int
    schema: pa.Schema | None
    columns: tuple[PCollection[tuple[bytes, str]], ...] = ()
    measured: bool = False
    folders: FolderTables | None = None

    def expand(self, blocks: PCollection[bytes]) -> Chosen:
        # blocks, everywhere below: packed refs; columns: one serialized Arrow schema
        columns, choice = self.columns, self.options.columns
        tallies: tuple[PCollection[Tally], ...] = ()
        if any(choice):
            blocks, named = blocks | "ChooseColumns" >> ChooseColumns(choice, choose_columns)
            tallies = (named,)
            columns = tuple(
                one | f"ChooseTypes{number}" >> choose_types(choice)
                for number, one in enumerate(columns)
            )
        if self.folders is not None:
            found = blocks | "JoinFolders" >> JoinFolders(self.folders)
            blocks, columns = found.blocks, (*columns, found.columns)
            tallies = (*tallies, found.tally)
        joined = blocks | "JoinTables" >> JoinTables(self.options, columns)
        chosen = self._select(blocks, joined, tallies)
        return chosen._replace(names=joined.names)

    def _select(
        self, blocks: PCollection[bytes], joined: Joined, tallies: tuple[PCollection[Tally], ...]
    ) -> Chosen:
        """Returns the samples that are left once all tables are joined.

        Args:
            blocks: all samples.
            joined: those that `--ids` has left.
            tallies: what was counted before tables were joined.
        """
        classes = None
        if self.options.labels == "folder":
            # Of all samples, those that `--ids` leaves out too.
            classes = blocks | "FindClasses" >> FindClasses(bool(self.columns))
            joined = self._label(joined, classes)
        columns, notes = self._find_columns(joined, classes)
        blocks, lost = joined.blocks, ()
        if self.options.asks_sizes:
            blocks, lost = self._measure(blocks)
        probed = blocks | "ProbeImages" >> ProbeImages(self.options, self.threads)
        selected = probed.blocks | "SelectSamples" >> SelectSamples(
            self.options, columns, (*tallies, *joined.tallies, *notes)
        )
        blocks = selected.blocks
        if not self.options.asks_sizes:
            blocks, lost = self._measure(blocks)
        splits = None
        if self.options.split_rule is not None:
            # Of the samples that are left; a filter knows an input's column by its own name yet.
            splits = blocks | "FindSplits" >> FindSplits(self.options.split_rule, columns)
            columns = columns | "SplitColumn" >> add_split_column(self.schema is not None)
        blocks = blocks | "PrepareMembers" >> PrepareMembers(self.options, columns, splits)
        return Chosen(
            blocks=blocks,
            columns=columns,
            source_failures=lost,
            probe_failures=probed.failures,
            tallies=selected.tallies,
            classes=classes,
            splits=splits,
        )

    def _label(self, joined: Joined, classes: PCollection[list[str]]) -> Joined:
        """Returns the samples with their classes."""
        blocks = joined.blocks | "LabelSamples" >> LabelSamples(classes, bool(self.columns))
        columns = tuple(
            one | f"LabelTypes{number}" >> label_types()
            for number, one in enumerate(joined.columns)
        )
        return joined._replace(blocks=blocks, columns=columns)

    def _find_columns(self, joined: Joined, classes: PCollection[list[str]] | None) -> FoundColumns:
        schema = self.schema
        if schema is not None and classes is not None:
            schema = declared_with_classes(schema)
        found = joined.blocks | "FindColumns" >> FindColumns(schema, joined.columns)
        if classes is None:
            return found
        named = found.schema | "NameClasses" >> beam.Map(
            with_class_feature, AsSingleton(classes)
        ).with_output_types(bytes)
        return found._replace(schema=named)

    def _measure(
        self, blocks: PCollection[bytes]
    ) -> tuple[PCollection[bytes], tuple[PCollection[Failure], ...]]:
        if self.measured:
            return blocks, ()
        # blocks: packed refs; failures: Failure
        measured = blocks | "MeasureImages" >> MeasureImages()
        return measured.blocks, measured.failures


@dataclasses.dataclass
class JoinTables(beam.PTransform):
    """Looks samples up in `--metadata`, `--ids` and `--exclude_ids`; without those, does nothing.

    Attributes:
        options: of the export.
        columns: (serialized Arrow schema, where it is from) of the samples' own columns.
    """

    options: ExportOptions
    columns: tuple[PCollection[tuple[bytes, str]], ...]

    def expand(self, blocks: PCollection[bytes]) -> Joined:
        given = self.options.lookups
        if not given:
            return Joined(blocks, self.columns, ())
        tables, columns, tallies = self._read(blocks.pipeline, given)
        counted = {
            "refs": blocks | "CountRefs" >> beam.Map(count_refs),
            **{name: rows | f"Count_{name}" >> beam.Map(count_of) for name, rows in tables.items()},
        }
        # one int: number of buckets
        buckets = blocks.pipeline | "Buckets" >> count_buckets(counted.values())
        names = self._names(blocks)
        renamed = () if names is None else (AsSingleton(names),)
        sides = (AsSingleton(buckets), *renamed)
        # (bucket, packed refs or rows) each
        dealt = {"refs": blocks | "DealRefs" >> deal(_deal_refs, pack_refs, *sides[:1])}
        for name, rows in tables.items():
            dealt[name] = rows | f"DealRows_{name}" >> deal(_deal_rows, _pack_rows, *sides)
        # blocks: packed refs; tally: Tally, one per bucket
        joined = (
            dealt
            | "Meet" >> beam.CoGroupByKey()
            | "JoinBucket"
            >> beam.FlatMapTuple(_join, *renamed).with_outputs("tally", main="blocks")
        )
        # one Tally
        check = functools.partial(check_tally, given=given)
        tally = joined.tally | "AllTallies" >> MergeAll(Tally, finish=check)
        # No sample goes on before it is known that the tables are in order.
        checked = joined.blocks | "Checked" >> beam.Map(
            lambda block, _: block, AsSingleton(tally)
        ).with_output_types(bytes)
        return Joined(checked, columns, (tally, *tallies), names)

    def _names(self, blocks: PCollection[bytes]) -> PCollection[bytes] | None:
        """Returns the packed decisions on equal ids, whose new names match too, if there are any.

        They are those over all samples: what is left out by `--ids` is not known here.
        """
        if self.options.duplicates != "rename":
            return None
        return blocks | "NewNames" >> ResolveDuplicateIds("rename")

    def _read(
        self, pipeline: beam.Pipeline, given: Mapping[str, str]
    ) -> tuple[
        dict[str, PCollection[bytes]],
        tuple[PCollection[tuple[bytes, str]], ...],
        tuple[PCollection[Tally], ...],
    ]:
        """Returns rows and ids by name, the columns whose types are declared, and counts."""
        found: dict[str, PCollection[bytes]] = {}
        columns = self.columns
        tallies: tuple[PCollection[Tally], ...] = ()
        options = self.options
        for number, path in enumerate(names_in(given.get("metadata", ""))):
            read = ReadTable(
                path=path,
                key=options.metadata_key,
                encoding=options.table_encoding,
                choice=options.columns,
            )
            table = pipeline | f"ReadTable{number}" >> read
            found[f"{_ROWS}{number}"] = table.rows
            columns = (*columns, table.columns)
            tallies = (*tallies, *table.tallies)
        for name in ("ids", "exclude_ids"):
            if name in given:
                ids = ReadIds(f"--{name}", given[name], encoding=options.table_encoding)
                found[name] = pipeline | f"Read_{name}" >> ids
        return found, columns, tallies


def _deal_refs(block: bytes, buckets: int) -> Iterator[tuple[int, PackedRef]]:
    for ref in open_block(block).refs():
        yield bucket_of(ref.id, buckets), ref


def _deal_rows(
    packed: bytes, buckets: int, renamed: bytes = b""
) -> Iterator[tuple[int, LookupRow]]:
    names = _names_of(renamed) if renamed else frozenset()
    for row in unpack_rows(packed):
        yield bucket_of_key(row.key, buckets, names), row


@functools.lru_cache(maxsize=2)
def _names_of(renamed: bytes) -> frozenset[str]:
    return new_names(open_decisions(renamed))


def _pack_rows(rows: list[LookupRow]) -> Iterator[bytes]:
    yield spill(pack_rows(rows))


def _number(name: str) -> tuple[int, str]:
    return len(name), name


def _join(bucket: int, met: Mapping[str, Iterable[bytes]], renamed: bytes = b"") -> Iterator[Any]:
    given = {
        name: [row for packed in packs for row in unpack_rows(load(packed))]
        for name, packs in met.items()
        if name != "refs"
    }
    kept, tally = join_bucket(
        refs_in(met["refs"]),
        # By number, as their columns join in turn.
        tables=[given[name] for name in sorted(given, key=_number) if name.startswith(_ROWS)],
        ids=given.get("ids"),
        exclude_ids=given.get("exclude_ids"),
        renamed=open_decisions(renamed).renamed if renamed else {},
    )
    yield TaggedOutput("tally", tally)
    yield from blocks_of(kept)


@dataclasses.dataclass
class SelectSamples(beam.PTransform):
    """Keeps what `--filter` keeps, and makes captions of `--caption_column`.

    Attributes:
        options: of the export.
        columns: metadata columns as a serialized Arrow schema, of one element.
        tallies: what was counted before.
    """

    options: ExportOptions
    columns: PCollection[bytes]
    tallies: tuple[PCollection[Tally], ...]

    def expand(self, blocks: PCollection[bytes]) -> Selected:
        if self.options.filter is None and self.options.caption_column is None:
            return Selected(blocks, self.tallies)
        filter_samples = _FilterSamples(self.options.filter, self.options.caption_column)
        # blocks: packed refs; tally: Tally, one per block
        filtered: DoOutputsTuple = blocks | "FilterSamples" >> beam.ParDo(
            filter_samples, AsSingleton(self.columns)
        ).with_outputs("tally", main="blocks")
        merged = filtered.tally | "AllTallies" >> beam.ParDo(MergeBundle(Tally))
        return Selected(filtered.blocks, (*self.tallies, merged))


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
