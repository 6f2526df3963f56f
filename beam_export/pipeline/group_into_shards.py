"""From planned refs to groups, one a shard: the step that moves every ref once."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, PCollection
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner, SwitchingDirectRunner
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from beam_export.planning.blocks import PackedRef, open_block, pack_sorted
from beam_export.planning.duplicates import open_decisions
from beam_export.planning.plan import open_plan

__all__ = ["GroupIntoShards"]

#: Refs that a bundle holds back to let those of one shard travel together.
_HELD_REFS = 50_000
#: Beam's own local runner, and the older one that it falls back to.
_DIRECT = (SwitchingDirectRunner, BundleBasedDirectRunner)


@dataclasses.dataclass
class GroupIntoShards(beam.PTransform):
    """Brings the refs of each shard together.

    A key's batch size is the size of a shard, so each shard comes as one whole batch: of blocks,
    since a block that one bundle has for a shard holds one ref at least.
    """

    plan: PCollection[bytes]
    decisions: PCollection[bytes]
    images_per_tar: int

    def expand(self, blocks: PCollection[bytes]) -> PCollection[tuple[int, list[bytes]]]:
        assigned = blocks | "AssignShards" >> beam.ParDo(
            _AssignShards(),
            AsSingleton(self.plan),
            AsSingleton(self.decisions),
            # The key of a stateful step needs a deterministic coder: an int has one.
        ).with_output_types(tuple[int, bytes])
        if isinstance(blocks.pipeline.runner, _DIRECT):
            # It lets the watermark of a step pass before the step's timers fire, so whatever a
            # batch that is not full flows into takes it for late, and fails.
            grouped = assigned | "GroupByShard" >> beam.GroupByKey()
        else:
            grouped = assigned | "GroupIntoBatches" >> beam.GroupIntoBatches(self.images_per_tar)
        # A stage with state runs on one worker of the local runner, and all that is fused to it;
        # this lets the shards spread again.
        return grouped | "SpreadShards" >> beam.Reshuffle()  # (shard, [block, ...])


class _AssignShards(beam.DoFn):
    """Yields (shard, block); a bundle's refs of one shard leave in as few blocks as can be."""

    def start_bundle(self) -> None:
        self._held: dict[int, list[PackedRef]] = collections.defaultdict(list)
        self._count = 0

    def process(self, block: bytes, plan: bytes, decisions: bytes) -> Iterator[tuple[int, bytes]]:
        shard_of = open_plan(plan).shard_of
        dropped = open_decisions(decisions).dropped
        for packed in open_block(block).refs():
            shard = None if packed.order in dropped else shard_of(packed.order)
            if shard is not None:
                self._held[shard].append(packed)
                self._count += 1
        if self._count >= _HELD_REFS:
            yield from self._release()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for element in self._release():
            yield GlobalWindows.windowed_value(element)

    def _release(self) -> Iterator[tuple[int, bytes]]:
        held, self._held, self._count = self._held, collections.defaultdict(list), 0
        for shard, refs in held.items():
            for block in pack_sorted(refs):
                yield shard, block
