"""AssignKeys and PlanShards: order keys, exact ranks and shard boundaries; only keys move.

Every step reads blocks (`blocks.pack_block`): a bundle's keys travel together, one value for each
bucket that they fall into.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsList, AsSingleton, PCollection

from beam_export.metadata import canonical
from beam_export.naming import split_key
from beam_export.options import ExportOptions
from beam_export.pipeline import progress
from beam_export.pipeline.beam_utils import CallOnce, GroupInBundle, MergeAll, elements_of, sides_of
from beam_export.pipeline.cut_shards import CutShards, RankedKeys
from beam_export.pipeline.decide_members import DecideMembers
from beam_export.planning.duplicates import (
    clashes_in,
    duplicate_ids,
    name_rows,
    open_decisions,
    pack_decisions,
    pack_kept,
    pack_name_rows,
    renamed_orders,
)
from beam_export.planning.empty_plan import nothing_to_plan
from beam_export.planning.members import decides
from beam_export.planning.memory_check import check_memory
from beam_export.planning.order import KeySample, assign_keys
from beam_export.planning.plan import (
    Plan,
    Segment,
    bucket_keys,
    make_plan,
    pack_keys,
    unpack_bucket,
)
from beam_export.planning.splits import names_of
from beam_export.samples import Failure, SampleRef
from beam_export.shards.leftovers import remove_or_refuse
from beam_export.shards.output import Output
from beam_export.text import cut

__all__ = ["AssignKeys", "OnPlan", "PlanShards", "Planned", "ResolveDuplicateIds"]

#: Splits that a report of the plan names, and letters of each.
_MOST_SHOWN, _LETTERS = 100, 60


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
        return packed[0] if len(packed) == 1 else packed | "Blocks" >> beam.Flatten()


class Planned(NamedTuple):
    """The results of planning; each PCollection but `counts` has one element.

    Attributes:
        plan: packed `Plan`.
        decisions: packed `Decisions` on equal ids.
        sample: packed `KeySample` of all samples that came.
        counts: (bucket, number of its keys), of all samples that were ranked; one per bucket.
        rules: packed `MemberRules`; None if members do not depend on those of other samples.
    """

    plan: PCollection[bytes]
    decisions: PCollection[bytes]
    sample: PCollection[bytes]
    counts: PCollection[tuple[int, int]]
    rules: PCollection[bytes] | None


@dataclasses.dataclass(frozen=True)
class OnPlan:
    """Reports a finished plan, and checks what stands in the output, before anything is written.

    Attributes:
        output: the output directory; None in a dry run.
        progress_address: where the plan is reported to; None if nobody listens.
        clean: whether leftovers of earlier runs are removed (`--clean`), not refused.
        indexes: kinds of indexes that are asked for (`--index`).
    """

    output: Output | None
    progress_address: str | None
    clean: bool = False
    indexes: tuple[str, ...] = ()

    def __call__(self, plan: Plan) -> None:
        if self.output is not None:
            shards = len(plan.firsts)
            remove_or_refuse(self.output, plan.hash, shards, clean=self.clean, indexes=self.indexes)
        facts: dict[str, Any] = {"planned": plan.total, "planned_shards": len(plan.firsts)}
        if plan.splits:
            # A datagram has no room for many long names.
            sizes = plan.split_sizes()[:_MOST_SHOWN]
            facts["splits"] = [(cut(name, _LETTERS), *counts) for name, *counts in sizes]
            facts["more_splits"] = len(plan.splits) - len(sizes)
            full = [name for name, _, shards in sizes if shards]
            facts["split_keys"] = [(cut(name, _LETTERS), split_key(name)) for name in full]
        progress.report(self.progress_address, facts, patience=progress.PATIENCE)


@dataclasses.dataclass
class PlanShards(beam.PTransform):
    """Lays the dataset out: resolves duplicate ids, ranks the keys, finds each shard's first key.

    Attributes:
        options: of the export.
        name: names the files instead of the content's hash, if given.
        on_plan: called with the finished plan before anything is written.
        schema: the metadata columns, if they are declared.
        failures: samples that failed before planning: named in the error if no other is left.
        skipped: the kind of each file that is no sample, for the same error.
        classes: names of the classes of `--labels`, of one element, if there are any.
        splits: packed `Splits`, of one element, if there are any.
        columns: metadata columns as a serialized Arrow schema, of one element; None for none.
        names: packed `Decisions` on equal ids of all samples, of one element, if there are any:
            those that are left keep the names which a table or a list of ids may have used.
    """

    options: ExportOptions
    name: str | None
    on_plan: OnPlan
    schema: pa.Schema | None = None
    failures: Sequence[PCollection[Failure]] = ()
    skipped: Sequence[PCollection[str]] = ()
    classes: PCollection[list[str]] | None = None
    splits: PCollection[bytes] | None = None
    columns: PCollection[bytes] | None = None
    names: PCollection[bytes] | None = None

    def expand(self, blocks: PCollection[bytes]) -> Planned:
        # one packed KeySample
        sample = blocks | "SampleKeys" >> _sample_keys()
        decisions = blocks | "ResolveDuplicateIds" >> ResolveDuplicateIds(
            self.options.duplicates, sample, self.names
        )
        ranked = self._rank(blocks, sample, decisions)
        # (bucket, number of keys)
        counts = ranked | "CountKeys" >> beam.MapTuple(_count_keys).with_output_types(
            tuple[int, int]
        )
        # Segment: the part of a shard that lies in one bucket
        parts = ranked | "CutShards" >> CutShards(
            counts=counts,
            images_per_tar=self.options.images_per_tar,
            limit=self.options.limit,
            max_tar_bytes=self.options.max_tar_bytes,
            by_split=self.splits is not None,
        )
        plan = self._plan_of(parts, decisions)
        rules = None
        if decides(self.options):
            # one packed MemberRules
            rules = blocks | "DecideMembers" >> DecideMembers(
                options=self.options, plan=plan, decisions=decisions, columns=self.columns
            )
        return Planned(plan=plan, decisions=decisions, sample=sample, counts=counts, rules=rules)

    def _plan_of(
        self, parts: PCollection[Segment], decisions: PCollection[bytes]
    ) -> PCollection[bytes]:
        """Returns one element: the packed plan, made of the parts of all shards."""
        return parts.pipeline | "MakePlan" >> CallOnce(
            bytes,
            _make_plan,
            AsList(parts),
            digest=self._digest(),
            name=self.name,
            on_plan=self.on_plan,
            selects=self.options.selects,
            classes=None if self.classes is None else AsSingleton(self.classes),
            splits=None if self.splits is None else AsSingleton(self.splits),
            decisions=None if self.names is None else AsSingleton(decisions),
            **sides_of("failures", self.failures),
            **sides_of("skipped", self.skipped),
        )

    def _rank(
        self,
        blocks: PCollection[bytes],
        sample: PCollection[bytes],
        decisions: PCollection[bytes],
    ) -> PCollection[RankedKeys]:
        """Gives the keys of each bucket."""
        assign = functools.partial(
            _bucket_keys,
            weighed=self.options.max_tar_bytes is not None,
            progress_address=self.on_plan.progress_address,
        )
        sides = [AsSingleton(one) for one in (sample, decisions, self.splits) if one is not None]
        keys = beam.ParDo(GroupInBundle(assign, pack_keys), *sides)
        # (bucket, [packed [(order key, digest, bytes in the tar, split), ...], ...]), without the
        # bytes if none are asked for, and the split if there are none
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


def _sample_keys() -> beam.PTransform:
    """Returns the step that gives one packed KeySample of all blocks."""
    return MergeAll(KeySample, KeySample.add_block, _finish_sample)


@dataclasses.dataclass
class ResolveDuplicateIds(beam.PTransform):
    """Finds ids that come more than once; gives packed `Decisions`.

    Attributes:
        policy: as `--duplicates`.
        sample: packed `KeySample`, whose number of buckets is used; None to make one.
        names: packed `Decisions` on all samples, of one element, whose names those that are left
            keep; None if they have none yet.
    """

    policy: str
    sample: PCollection[bytes] | None = None
    names: PCollection[bytes] | None = None

    def expand(self, blocks: PCollection[bytes]) -> PCollection[bytes]:
        sample = self.sample or blocks | "SampleKeys" >> _sample_keys()
        name_hashes = beam.ParDo(GroupInBundle(name_rows, pack_name_rows), AsSingleton(sample))
        # (bucket, [packed rows of `name_row`, ...])
        names = (
            blocks
            | "NameRows" >> name_hashes.with_output_types(tuple[int, bytes])
            | "GroupNames" >> beam.GroupByKey()
        )
        # hash of a key that comes more than once
        clashes = names | "FindClashes" >> beam.FlatMapTuple(clashes_in).with_output_types(bytes)
        # DuplicateId
        found = blocks | "DuplicateIds" >> beam.FlatMap(duplicate_ids, AsList(clashes), self.policy)
        # one packed Decisions
        if self.names is None:
            return blocks.pipeline | "Decide" >> CallOnce(
                bytes, pack_decisions, AsList(found), policy=self.policy
            )
        orders = blocks | "RenamedOrders" >> beam.FlatMap(
            renamed_orders, AsSingleton(self.names)
        ).with_output_types(bytes)
        sides = (AsList(found), AsList(orders), AsSingleton(self.names))
        return blocks.pipeline | "KeepNames" >> CallOnce(
            bytes, pack_kept, *sides, policy=self.policy
        )


def _finish_sample(sample: KeySample) -> bytes:
    check_memory(sample.count)
    return sample.pack()


def _bucket_keys(
    block: bytes,
    sample: bytes,
    decisions: bytes,
    splits: bytes | None = None,
    *,
    weighed: bool,
    progress_address: str | None,
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yields what `bucket_keys` does, and reports how many samples have come."""
    keys = bucket_keys(block, sample, decisions, splits=splits, weighed=weighed)
    count = 0
    for count, keyed in enumerate(keys, 1):  # noqa: B007
        yield keyed
    progress.report(progress_address, {"ranked": count})


def _count_keys(bucket: int, packed: Iterable[bytes]) -> tuple[int, int]:
    return bucket, sum(1 for _ in unpack_bucket(packed))


def _make_plan(
    parts: list[Segment],
    *,
    digest: bytes,
    name: str | None,
    on_plan: OnPlan,
    selects: bool,
    classes: list[str] | None,
    splits: bytes | None,
    decisions: bytes | None,
    **others: Iterable[Any],
) -> bytes:
    if classes is not None:
        # Numbers follow from all names, those of samples that are left out too.
        digest = hashlib.sha256(digest + canonical.encode(classes)).digest()
    if decisions is not None and (kept := open_decisions(decisions).kept_names()):
        # They follow from samples that are left out too.
        digest = hashlib.sha256(digest + canonical.encode(kept)).digest()
    plan = make_plan(parts, digest, name, splits=names_of(splits))
    if not parts:
        raise nothing_to_plan(
            elements_of("failures", others),
            selects,
            output=on_plan.output,
            hash_=plan.hash,
            skipped=elements_of("skipped", others),
        )
    Metrics.counter("beam_export", "planned-samples").inc(plan.total)
    on_plan(plan)
    return plan.pack()
