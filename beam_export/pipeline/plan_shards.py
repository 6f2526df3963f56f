"""From refs to the plan: only keys move, and each ref is looked at where it is.

Every step reads blocks (`blocks.pack_block`): a bundle's keys travel together, one value for each
bucket that they fall into.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import functools
import hashlib
import pickle
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsIter, AsSingleton, PCollection

from beam_export.metadata import canonical
from beam_export.options import ExportOptions
from beam_export.pipeline import progress
from beam_export.pipeline.cutting import CutShards, unpack
from beam_export.planning import duplicates
from beam_export.planning import plan as sharding
from beam_export.planning.blocks import PackedRef, open_block, pack_block, pack_ref, unpack_ref
from beam_export.planning.duplicates import Decisions, Namesake
from beam_export.planning.empty_plan import nothing_to_plan
from beam_export.samples import Failure, SampleRef
from beam_export.shards.leftovers import settle_leftovers
from beam_export.shards.output import Output

__all__ = ["Announce", "AssignKeys", "PlanShards", "Planned", "open_decisions", "open_plan"]

_ROW = 24


@functools.lru_cache(maxsize=2)
def open_plan(packed: bytes) -> sharding.Plan:
    """Returns the plan of a side input; kept, since every bundle gets the same one."""
    return sharding.Plan.unpack(packed)


@functools.lru_cache(maxsize=2)
def open_decisions(packed: bytes) -> Decisions:
    """Returns the decisions of a side input; kept like the plan."""
    decisions: Decisions = pickle.loads(packed)
    return decisions


@functools.lru_cache(maxsize=2)
def _open_sample(packed: bytes) -> tuple[int, int, list[bytes]]:
    count, buckets, keys = pickle.loads(packed)
    return count, buckets, sharding.splitters(keys, buckets)


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


def assign_keys(refs: list[SampleRef], order: str, seed: int) -> bytes:
    """Returns a block of refs with their order keys."""
    if order == "source":
        return pack_block(map(pack_ref, refs))
    return pack_block(_shuffled(ref, seed) for ref in refs)


def _shuffled(ref: SampleRef, seed: int) -> PackedRef:
    packed = pack_ref(ref._replace(order=sharding.shuffle_key(seed, ref.id)))
    return packed._replace(order=packed.order + ref.order)


class Planned(NamedTuple):
    """What planning has found out; each of one element.

    Attributes:
        plan: packed `Plan`.
        decisions: packed `Decisions` on equal ids.
        census: (samples that came, samples that were ranked).
    """

    plan: PCollection[bytes]
    decisions: PCollection[bytes]
    census: PCollection[tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Announce:
    """What is done with a finished plan, before anything is written."""

    output: Output | None
    watcher: str | None
    clean: bool = False

    def __call__(self, plan: sharding.Plan) -> None:
        if self.output is not None:
            settle_leftovers(self.output, plan.hash, len(plan.firsts), clean=self.clean)
        facts = {"planned": plan.total, "planned_shards": len(plan.firsts)}
        progress.tell(self.watcher, facts)


@dataclasses.dataclass
class PlanShards(beam.PTransform):
    """Lays the dataset out: settles equal ids, ranks the keys, finds each shard's first key.

    Attributes:
        options: of the export.
        name: names the files instead of the content's hash, if given.
        announce: called with the finished plan before anything is written.
        schema: the metadata columns, if they are declared.
        failures: samples that are lost already: told of if no other is left.
    """

    options: ExportOptions
    name: str | None
    announce: Announce
    schema: pa.Schema | None = None
    failures: PCollection[Failure] | None = None

    def expand(self, blocks: PCollection[bytes]) -> Planned:
        sample = blocks | "SampleKeys" >> beam.CombineGlobally(_SampleKeys())
        decisions = blocks | "SettleEqualIds" >> _SettleEqualIds(self.options.duplicates, sample)
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
                self.announce,
                self.options.selects,
                () if self.failures is None else AsIter(self.failures),
            )
        )
        census = counts | "Census" >> beam.Map(_census, AsSingleton(sample))
        return Planned(plan, decisions, census)

    def _digest(self) -> bytes:
        """Returns a digest of all that is asked for, as far as it shapes the output."""
        asked = self.options.digest()
        if self.schema is None:
            return asked
        columns = [[field.name, str(field.type), field.nullable] for field in self.schema]
        return hashlib.sha256(asked + canonical.encode(columns)).digest()


class _SampleKeys(beam.CombineFn):
    """Counts, and samples the order keys."""

    def create_accumulator(self) -> sharding.KeySample:
        return sharding.KeySample()

    def add_input(self, sample: sharding.KeySample, block: bytes) -> sharding.KeySample:
        opened = open_block(block)
        sample.add(zip(opened.digests, opened.orders, strict=True), len(opened.orders))
        return sample

    def merge_accumulators(self, samples: Iterable[sharding.KeySample]) -> sharding.KeySample:
        merged = sharding.KeySample()
        for sample in samples:
            merged.merge(sample)
        return merged

    def extract_output(self, sample: sharding.KeySample) -> bytes:
        return pickle.dumps((sample.count, sample.buckets(), sample.keys()), protocol=5)


@dataclasses.dataclass
class _SettleEqualIds(beam.PTransform):
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
            | "FindClashes" >> beam.FlatMapTuple(_find_clashes).with_output_types(bytes)
            | "Clashes" >> beam.combiners.ToList()
        )
        return (
            blocks
            | "Namesakes" >> beam.FlatMap(namesakes, AsSingleton(clashes), self.policy)
            | "AllNamesakes" >> beam.combiners.ToList()
            | "Decide" >> beam.Map(_decide, self.policy).with_output_types(bytes)
        )


def name_rows(block: bytes, sample: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields (bucket, rows of `duplicates.name_row`), a value a bucket."""
    buckets = _open_sample(sample)[1]
    found: dict[int, list[bytes]] = collections.defaultdict(list)
    for ident in open_block(block).ids:
        row = duplicates.name_row(ident)
        found[int.from_bytes(row[:4], "big") % buckets].append(row)
    for bucket, rows in found.items():
        yield bucket, b"".join(rows)


def _find_clashes(bucket: int, packed: Iterable[bytes]) -> list[bytes]:
    rows = [part[at : at + _ROW] for part in packed for at in range(0, len(part), _ROW)]
    return duplicates.find_clashes(rows)


def namesakes(block: bytes, clashes: list[bytes], policy: str) -> Iterator[Namesake]:
    """Yields the samples of a block that clashes concern."""
    if not clashes:
        return
    concerned, renaming = frozenset(clashes), policy == "rename"
    for packed in open_block(block).refs():
        if duplicates.is_concerned(packed.id, concerned, renaming):
            yield Namesake(packed.order, packed.id, unpack_ref(packed).path)


def _decide(found: list[Namesake], policy: str) -> bytes:
    return pickle.dumps(duplicates.decide(found, policy), protocol=5)


def bucket_keys(
    block: bytes, sample: bytes, decisions: bytes, weighed: bool = False
) -> Iterator[tuple[int, bytes]]:
    """Yields (bucket, packed tuples of order key, digest and, if `weighed`, bytes in the tar)."""
    cuts = _open_sample(sample)[2]
    dropped = open_decisions(decisions).dropped
    found: dict[int, list[tuple[Any, ...]]] = collections.defaultdict(list)
    opened = open_block(block)
    columns = (opened.orders, opened.digests, *([opened.weights] if weighed else []))
    for item in zip(*columns, strict=True):
        if item[0] not in dropped:
            found[bisect.bisect_right(cuts, item[0])].append(item)
    for bucket, items in found.items():
        yield bucket, pickle.dumps(items, protocol=5)


def _count_keys(bucket: int, packed: Iterable[bytes]) -> tuple[int, int]:
    return bucket, sum(1 for _ in unpack(packed))


def _make_plan(
    parts: list[sharding.Segment],
    digest: bytes,
    name: str | None,
    announce: Announce,
    selects: bool,
    failures: Iterable[Failure],
) -> bytes:
    plan = sharding.make_plan(parts, digest, name)
    if not parts:
        raise nothing_to_plan(failures, selects, announce.output, plan.hash)
    Metrics.counter("beam_export", "planned-samples").inc(plan.total)
    announce(plan)
    return plan.pack()


def _census(counts: dict[int, int], sample: bytes) -> tuple[int, int]:
    return _open_sample(sample)[0], sum(counts.values())
