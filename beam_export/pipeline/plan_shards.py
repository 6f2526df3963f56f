"""From refs to the plan: only keys move, and each ref is looked at where it is.

Every step reads blocks (`blocks.pack_block`): a bundle's keys travel together, one value for each
bucket that they fall into.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsIter, AsSingleton, PCollection

from beam_export.metadata import canonical
from beam_export.options import ExportOptions
from beam_export.pipeline import progress
from beam_export.pipeline.beam_utils import MergeAll
from beam_export.planning import cut_by_size
from beam_export.planning.duplicates import clashes_in, duplicate_ids, name_rows, pack_decisions
from beam_export.planning.empty_plan import nothing_to_plan
from beam_export.planning.order import KeySample, assign_keys, bucket_offsets
from beam_export.planning.plan import (
    Plan,
    Segment,
    bucket_keys,
    count_samples,
    make_plan,
    segments,
    unpack,
)
from beam_export.samples import Failure, SampleRef
from beam_export.shards.leftovers import settle_leftovers
from beam_export.shards.output import Output
from beam_export.shards.tar import END_SIZE

__all__ = ["AssignKeys", "CutShards", "OnPlan", "PlanShards", "Planned"]

#: A bucket and what fell into it, packed.
_Group = tuple[int, Iterable[bytes]]


@dataclasses.dataclass
class AssignKeys(beam.PTransform):
    """Gives every ref its order key and packs the refs into blocks.

    Refs come with the place that they have in their source as `order`; under `--order=shuffled` it
    only tells equal ids apart, and is no part of what the dataset's hash is made of.
    """

    order: str
    seed: int

    def expand(self, refs: tuple[PCollection[list[SampleRef]], ...]) -> PCollection[bytes]:
        pack = beam.Map(assign_keys, order=self.order, seed=self.seed).with_output_types(bytes)
        packed = [one | f"PackBlocks{number}" >> pack for number, one in enumerate(refs)]
        return packed | "Blocks" >> beam.Flatten()


class Planned(NamedTuple):
    """What planning has found out; each of one element.

    Attributes:
        plan: packed `Plan`.
        decisions: packed `Decisions` on equal ids.
        sample_counts: (samples that came, samples that were ranked).
    """

    plan: PCollection[bytes]
    decisions: PCollection[bytes]
    sample_counts: PCollection[tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class OnPlan:
    """What is done with a finished plan, before anything is written."""

    output: Output | None
    progress_address: str | None
    clean: bool = False

    def __call__(self, plan: Plan) -> None:
        if self.output is not None:
            settle_leftovers(self.output, plan.hash, len(plan.firsts), clean=self.clean)
        facts = {"planned": plan.total, "planned_shards": len(plan.firsts)}
        progress.report(self.progress_address, facts)


@dataclasses.dataclass
class PlanShards(beam.PTransform):
    """Lays the dataset out: resolves duplicate ids, ranks the keys, finds each shard's first key.

    Attributes:
        options: of the export.
        name: names the files instead of the content's hash, if given.
        on_plan: called with the finished plan before anything is written.
        schema: the metadata columns, if they are declared.
        failures: samples that are lost already: told of if no other is left.
    """

    options: ExportOptions
    name: str | None
    on_plan: OnPlan
    schema: pa.Schema | None = None
    failures: PCollection[Failure] | None = None

    def expand(self, blocks: PCollection[bytes]) -> Planned:
        sample = blocks | "SampleKeys" >> beam.CombineGlobally(
            MergeAll(KeySample, KeySample.add_block, KeySample.pack)
        )
        decisions = blocks | "ResolveDuplicateIds" >> _ResolveDuplicateIds(
            self.options.duplicates, sample
        )
        ranked = (
            blocks
            | "BucketKeys"
            >> beam.FlatMap(
                bucket_keys,
                AsSingleton(sample),
                AsSingleton(decisions),
                self.options.max_tar_bytes is not None,
            ).with_output_types(tuple[int, bytes])
            | "GroupKeys" >> beam.GroupByKey()
        )  # (bucket, [packed tuples of order key, digest and maybe bytes])
        counts = (
            ranked
            | "CountKeys" >> beam.MapTuple(_count_keys).with_output_types(tuple[int, int])
            | "Counts" >> beam.combiners.ToDict()
        )
        plan = (
            ranked
            | "CutShards"
            >> CutShards(
                counts,
                self.options.images_per_tar,
                self.options.limit,
                self.options.max_tar_bytes,
            )
            | "Segments" >> beam.combiners.ToList()
            | "MakePlan"
            >> beam.Map(
                _make_plan,
                self._digest(),
                self.name,
                self.on_plan,
                self.options.selects,
                () if self.failures is None else AsIter(self.failures),
            )
        )
        sample_counts = counts | "SampleCounts" >> beam.Map(count_samples, AsSingleton(sample))
        return Planned(plan, decisions, sample_counts)

    def _digest(self) -> bytes:
        """Returns a digest of all that is asked for, as far as it shapes the output."""
        asked = self.options.digest()
        if self.schema is None:
            return asked
        columns = [[field.name, str(field.type), field.nullable] for field in self.schema]
        return hashlib.sha256(asked + canonical.encode(columns)).digest()


@dataclasses.dataclass
class _ResolveDuplicateIds(beam.PTransform):
    """Finds ids that come more than once, and decides what becomes of them."""

    policy: str
    sample: PCollection[bytes]

    def expand(self, blocks: PCollection[bytes]) -> PCollection[bytes]:
        clashes = (
            blocks
            | "NameRows"
            >> beam.FlatMap(name_rows, AsSingleton(self.sample)).with_output_types(
                tuple[int, bytes]
            )
            | "GroupNames" >> beam.GroupByKey()
            | "FindClashes" >> beam.FlatMapTuple(clashes_in).with_output_types(bytes)
            | "Clashes" >> beam.combiners.ToList()
        )
        return (
            blocks
            | "DuplicateIds" >> beam.FlatMap(duplicate_ids, AsSingleton(clashes), self.policy)
            | "AllDuplicateIds" >> beam.combiners.ToList()
            | "Decide" >> beam.Map(pack_decisions, self.policy).with_output_types(bytes)
        )


def _count_keys(bucket: int, packed: Iterable[bytes]) -> tuple[int, int]:
    return bucket, sum(1 for _ in unpack(packed))


def _make_plan(
    parts: list[Segment],
    digest: bytes,
    name: str | None,
    on_plan: OnPlan,
    selects: bool,
    failures: Iterable[Failure],
) -> bytes:
    plan = make_plan(parts, digest, name)
    if not parts:
        raise nothing_to_plan(failures, selects, on_plan.output, plan.hash)
    Metrics.counter("beam_export", "planned-samples").inc(plan.total)
    on_plan(plan)
    return plan.pack()


@dataclasses.dataclass
class CutShards(beam.PTransform):
    """Cuts buckets into segments; each bucket where it is.

    Attributes:
        counts: samples of each bucket, of one element.
        images_per_tar: samples a shard.
        limit: samples in all.
        max_tar_bytes: bytes of a shard's tar.
    """

    counts: PCollection[dict[int, int]]
    images_per_tar: int
    limit: int | None
    max_tar_bytes: int | None

    def expand(self, ranked: PCollection[_Group]) -> PCollection[Segment]:
        counts = AsSingleton(self.counts)
        if self.max_tar_bytes is None:
            return ranked | "CutSegments" >> beam.FlatMap(
                _cut_by_count, counts, self.images_per_tar, self.limit
            )
        most, room = self.images_per_tar, self.max_tar_bytes - END_SIZE
        entries = (
            ranked
            | "Summarise" >> beam.FlatMap(_summarise, counts, most, room, self.limit)
            | "Summaries" >> beam.combiners.ToList()
            | "Compose" >> beam.Map(cut_by_size.compose, most, room)
        )
        return ranked | "CutBySize" >> beam.FlatMap(
            _cut_by_size, counts, AsSingleton(entries), most, room, self.limit
        )


def _cut_by_count(
    group: _Group, counts: dict[int, int], per_shard: int, limit: int | None
) -> list[Segment]:
    bucket, packed = group
    offset = bucket_offsets(counts)[bucket]
    return segments(unpack(packed), offset, per_shard, limit)


def _within(group: _Group, counts: dict[int, int], limit: int | None) -> list[cut_by_size.Weighed]:
    """Returns a bucket's samples in order, those beyond the limit left out."""
    bucket, packed = group
    ordered = sorted(unpack(packed))
    if limit is None:
        return ordered
    return ordered[: max(0, limit - bucket_offsets(counts)[bucket])]


def _summarise(
    group: _Group, counts: dict[int, int], most: int, room: int, limit: int | None
) -> Iterator[cut_by_size.Summary]:
    ordered = _within(group, counts, limit)
    if ordered:
        yield cut_by_size.summarise(group[0], [size for _, _, size in ordered], most, room)


def _cut_by_size(
    group: _Group,
    counts: dict[int, int],
    entries: dict[int, cut_by_size.Entry],
    most: int,
    room: int,
    limit: int | None,
) -> list[Segment]:
    ordered = _within(group, counts, limit)
    return cut_by_size.cut(ordered, entries[group[0]], most, room) if ordered else []
