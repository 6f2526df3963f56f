"""GroupIntoShards: brings the refs of each shard together, the step that moves every ref once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, PCollection
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner, SwitchingDirectRunner

from beam_export.pipeline.beam_utils import GroupInBundle
from beam_export.pipeline.resources import spreads
from beam_export.planning.blocks import (
    PackedRef,
    open_block,
    open_group,
    pack_group,
    pack_sorted,
)
from beam_export.planning.duplicates import open_decisions
from beam_export.planning.plan import open_plan, shard_finder

__all__ = ["GroupIntoShards"]

#: Beam's own local runner, and the older one that it falls back to.
_DIRECT = (SwitchingDirectRunner, BundleBasedDirectRunner)


@dataclasses.dataclass
class GroupIntoShards(beam.PTransform):
    """Brings the refs of each shard together.

    A key's batch size is the size of a shard, so each shard comes as one whole batch: of blocks,
    since a block that one bundle has for a shard holds one ref at least.

    Attributes:
        plan: packed `Plan`, of one element.
        decisions: packed `Decisions`, of one element.
        images_per_tar: samples per shard.
        splits: packed `Splits`, of one element; None without splits.
    """

    plan: PCollection[bytes]
    decisions: PCollection[bytes]
    images_per_tar: int
    splits: PCollection[bytes] | None = None

    def expand(self, blocks: PCollection[bytes]) -> PCollection[tuple[int, list[bytes]]]:
        sides = (self.plan, self.decisions, self.splits)
        # (shard, packed refs of one bundle)
        assigned = blocks | "AssignShards" >> beam.ParDo(
            GroupInBundle(_assign_shards, pack_sorted),
            *(AsSingleton(one) for one in sides if one is not None),
            # The key of a stateful step needs a deterministic coder: an int has one.
        ).with_output_types(tuple[int, bytes])
        if isinstance(blocks.pipeline.runner, _DIRECT):
            # It lets the watermark of a step pass before the step's timers fire, so whatever a
            # batch that is not full flows into takes it for late, and fails.
            grouped = assigned | "GroupByShard" >> beam.GroupByKey()
        else:
            grouped = assigned | "GroupIntoBatches" >> beam.GroupIntoBatches(self.images_per_tar)
        # (shard, [packed refs, ...]), all of a shard
        # A stage with state runs on one worker of the local runner, and all that is fused to it;
        # this lets the shards spread again.
        return grouped | "SpreadShards" >> _Spread() if spreads(blocks.pipeline) else grouped


class _Spread(beam.PTransform):
    """Deals shards out to all workers, the blocks of each as one value."""

    def expand(
        self, grouped: PCollection[tuple[int, list[bytes]]]
    ) -> PCollection[tuple[int, list[bytes]]]:
        # (shard, all its blocks as one value), then as they came
        return (
            grouped
            | "Pack" >> beam.MapTuple(pack_group).with_output_types(tuple[int, bytes])
            | "Reshuffle" >> beam.Reshuffle()
            | "Open" >> beam.MapTuple(open_group).with_output_types(tuple[int, list[bytes]])
        )


def _assign_shards(
    block: bytes, plan: bytes, decisions: bytes, splits: bytes | None = None
) -> Iterator[tuple[int, PackedRef]]:
    """Yields (shard, ref) for the refs of a block that are planned."""
    shard_of = shard_finder(open_plan(plan), splits)
    dropped = open_decisions(decisions).dropped
    for packed in open_block(block).refs():
        shard = None if packed.order in dropped else shard_of(packed)
        if shard is not None:
            yield shard, packed
