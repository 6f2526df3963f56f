"""AssignKeys and PlanShards: order keys, exact ranks and shard boundaries; only keys move.

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
from beam_export.planning.cut_by_size import (
    Bounds,
    Entry,
    Summary,
    Weighed,
    compose,
    cut,
    summarise,
)
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
from beam_export.shards.leftovers import remove_or_refuse
from beam_export.shards.output import Output
from beam_export.shards.tar import END_SIZE

__all__ = ["AssignKeys", "CutShards", "OnPlan", "PlanShards", "Planned"]

#: A bucket and what fell into it, packed.
_Group = tuple[int, Iterable[bytes]]


@dataclasses.dataclass
class AssignKeys(beam.PTransform):
    """Gives every ref its order key and packs the refs into blocks.

    Refs come with the place that they have in their source as `order`; under `--order=shuffled` it
    only keeps equal ids apart, and is no part of what the dataset's hash is made of.
    """

    order: str
    seed: int

    def expand(self, refs: tuple[PCollection[list[SampleRef]], ...]) -> PCollection[bytes]:
        pack = beam.Map(assign_keys, order=self.order, seed=self.seed).with_output_types(bytes)
        packed = [one | f"PackBlocks{number}" >> pack for number, one in enumerate(refs)]
        return packed | "Blocks" >> beam.Flatten()


class Planned(NamedTuple):
    """What planning gives; each PCollection has one element.

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
    """Reports a finished plan, and checks what stands in the output, before anything is written.

    Attributes:
        output: the output directory; None in a dry run.
        progress_address: where the plan is reported to; None if nobody listens.
        clean: whether leftovers of earlier runs are removed (`--clean`), not refused.
    """

    output: Output | None
    progress_address: str | None
    clean: bool = False

    def __call__(self, plan: Plan) -> None:
        if self.output is not None:
            remove_or_refuse(self.output, plan.hash, len(plan.firsts), clean=self.clean)
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
        failures: samples that failed before planning: named in the error if no other is left.
    """

    options: ExportOptions
    name: str | None
    on_plan: OnPlan
    schema: pa.Schema | None = None
    failures: PCollection[Failure] | None = None

    def expand(self, blocks: PCollection[bytes]) -> Planned:
        # PCollection[bytes], of one element: the packed sample of order keys.
        sample = blocks | "SampleKeys" >> beam.CombineGlobally(
            MergeAll(KeySample, KeySample.add_block, KeySample.pack)
        )
        decisions = blocks | "ResolveDuplicateIds" >> _ResolveDuplicateIds(
            self.options.duplicates, sample
        )
        ranked = self._rank(blocks, sample, decisions)
        # PCollection[dict[int, int]], of one element: number of keys by bucket.
        counts = (
            ranked
            | "CountKeys" >> beam.MapTuple(_count_keys).with_output_types(tuple[int, int])
            | "Counts" >> beam.combiners.ToDict()
        )
        # PCollection[Segment]: the part of a shard that lies in one bucket.
        parts = ranked | "CutShards" >> CutShards(
            counts=counts,
            images_per_tar=self.options.images_per_tar,
            limit=self.options.limit,
            max_tar_bytes=self.options.max_tar_bytes,
        )
        sample_counts = counts | "SampleCounts" >> beam.Map(count_samples, AsSingleton(sample))
        return Planned(self._plan_of(parts), decisions, sample_counts)

    def _plan_of(self, parts: PCollection[Segment]) -> PCollection[bytes]:
        """Returns one element: the packed plan, made of the parts of all shards."""
        return (
            parts
            | "Segments" >> beam.combiners.ToList()
            | "MakePlan"
            >> beam.Map(
                _make_plan,
                digest=self._digest(),
                name=self.name,
                on_plan=self.on_plan,
                selects=self.options.selects,
                failures=() if self.failures is None else AsIter(self.failures),
            )
        )

    def _rank(
        self,
        blocks: PCollection[bytes],
        sample: PCollection[bytes],
        decisions: PCollection[bytes],
    ) -> PCollection[_Group]:
        """Gives the keys of each bucket."""
        keys = beam.FlatMap(
            bucket_keys,
            sample=AsSingleton(sample),
            decisions=AsSingleton(decisions),
            weighed=self.options.max_tar_bytes is not None,
        )
        # PCollection[tuple[int, Iterable[bytes]]]: bucket, and packed lists of the tuples (order
        # key, digest, bytes in the tar) that fell into it, without bytes if none are asked for.
        return (
            blocks
            | "BucketKeys" >> keys.with_output_types(tuple[int, bytes])
            | "GroupKeys" >> beam.GroupByKey()
        )

    def _digest(self) -> bytes:
        """Returns a digest of all that is asked for, as far as it shapes the output."""
        asked = self.options.digest()
        if self.schema is None:
            return asked
        columns = [[field.name, str(field.type), field.nullable] for field in self.schema]
        return hashlib.sha256(asked + canonical.encode(columns)).digest()


@dataclasses.dataclass
class _ResolveDuplicateIds(beam.PTransform):
    """Finds ids that come more than once; gives packed `Decisions`.

    Attributes:
        policy: as `--duplicates`.
        sample: packed `KeySample`, whose number of buckets is used.
    """

    policy: str
    sample: PCollection[bytes]

    def expand(self, blocks: PCollection[bytes]) -> PCollection[bytes]:
        name_hashes = beam.FlatMap(name_rows, AsSingleton(self.sample))
        # PCollection[tuple[int, Iterable[bytes]]]: bucket, and packed rows of `name_row`.
        names = (
            blocks
            | "NameRows" >> name_hashes.with_output_types(tuple[int, bytes])
            | "GroupNames" >> beam.GroupByKey()
        )
        # PCollection[list[bytes]], of one element: hashes of keys that come more than once.
        clashes = (
            names
            | "FindClashes" >> beam.FlatMapTuple(clashes_in).with_output_types(bytes)
            | "Clashes" >> beam.combiners.ToList()
        )
        # PCollection[list[DuplicateId]], of one element.
        found = (
            blocks
            | "DuplicateIds" >> beam.FlatMap(duplicate_ids, AsSingleton(clashes), self.policy)
            | "AllDuplicateIds" >> beam.combiners.ToList()
        )
        # PCollection[bytes], of one element: the packed decisions.
        return found | "Decide" >> beam.Map(pack_decisions, self.policy).with_output_types(bytes)


def _count_keys(bucket: int, packed: Iterable[bytes]) -> tuple[int, int]:
    return bucket, sum(1 for _ in unpack(packed))


def _make_plan(
    parts: list[Segment],
    *,
    digest: bytes,
    name: str | None,
    on_plan: OnPlan,
    selects: bool,
    failures: Iterable[Failure],
) -> bytes:
    plan = make_plan(parts, digest, name)
    if not parts:
        raise nothing_to_plan(failures, selects, output=on_plan.output, hash_=plan.hash)
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
                _cut_by_count, counts=counts, per_shard=self.images_per_tar, limit=self.limit
            )
        bounds = Bounds(self.images_per_tar, self.max_tar_bytes - END_SIZE)
        # PCollection[dict[int, Entry]], of one element: how each bucket begins.
        entries = (
            ranked
            | "Summarise"
            >> beam.FlatMap(_summarise, counts=counts, bounds=bounds, limit=self.limit)
            | "Summaries" >> beam.combiners.ToList()
            | "Compose" >> beam.Map(compose, bounds)
        )
        return ranked | "CutBySize" >> beam.FlatMap(
            _cut_by_size,
            counts=counts,
            entries=AsSingleton(entries),
            bounds=bounds,
            limit=self.limit,
        )


def _cut_by_count(
    group: _Group, counts: dict[int, int], per_shard: int, limit: int | None
) -> list[Segment]:
    bucket, packed = group
    offset = bucket_offsets(counts)[bucket]
    return segments(unpack(packed), offset=offset, per_shard=per_shard, limit=limit)


def _within(group: _Group, counts: dict[int, int], limit: int | None) -> list[Weighed]:
    """Returns a bucket's samples in order, those beyond the limit left out."""
    bucket, packed = group
    ordered = sorted(unpack(packed))
    if limit is None:
        return ordered
    return ordered[: max(0, limit - bucket_offsets(counts)[bucket])]


def _summarise(
    group: _Group, counts: dict[int, int], bounds: Bounds, limit: int | None
) -> Iterator[Summary]:
    ordered = _within(group, counts, limit)
    if ordered:
        yield summarise(group[0], [size for _, _, size in ordered], bounds)


def _cut_by_size(
    group: _Group,
    *,
    counts: dict[int, int],
    entries: dict[int, Entry],
    bounds: Bounds,
    limit: int | None,
) -> list[Segment]:
    ordered = _within(group, counts, limit)
    return cut(ordered, entries[group[0]], bounds) if ordered else []
