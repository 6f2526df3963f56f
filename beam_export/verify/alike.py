"""Checks the members of all shards together: whether they are alike, and the manifest's step."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from beam_export.shards.member_sets import MemberSets
from beam_export.verify.shard import CheckedShard

__all__ = ["AllMembers"]


class AllMembers(NamedTuple):
    """The members of the samples of all shards.

    Attributes:
        sets: of those members; places begin with the shard's number (`verify.shard`).
        json: extension of the members that were made of columns; empty if none were.
        equal: whether the export was to have samples with the same members only.
    """

    sets: MemberSets
    json: str
    equal: bool

    @classmethod
    def of(cls, shards: Iterable[CheckedShard], options: Mapping[str, Any]) -> AllMembers:
        """Returns those of shards.

        Args:
            shards: all that could be read.
            options: of the export, as its manifest states them.
        """
        sets = MemberSets()
        names: collections.Counter[str] = collections.Counter()
        for shard in shards:
            names[shard.json_member] += shard.columns is not None
            if shard.members:
                sets.merge(MemberSets.unpack(shard.members))
        # The most common is taken for right, as with schemas.
        common = min(names, key=lambda name: (-names[name], name), default="")
        return cls(sets, common, options.get("ragged_fields", "keep") != "keep")

    def odd_one(self) -> tuple[int, str, str] | None:
        """Returns (shard, sample, problem) of the first that is not like the others, but should be.

        None if there is none.
        """
        if not self.equal or not self.sets.are_unequal:
            return None
        one, other = self.sets.firsts
        problem = (
            f"its members ({', '.join(other.exts)}) are not those of {one.id!r} "
            f"({', '.join(one.exts)}), and --ragged_fields makes all samples equal"
        )
        return int(other.place.partition(b"/")[0]), other.id, problem

    def step_problems(self, steps: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
        """Yields what is wrong with the manifest's step about members.

        Args:
            steps: of the manifest, by name.
        """
        step = steps.get("members")
        if step is None:
            if self.equal or self.json:
                yield "its step 'members' is missing"
            return
        if step.get("json", "") != self.json:
            yield (
                f"its step 'members' has columns in each .{step.get('json')}, and the shards have "
                f"them in .{self.json}"
            )
        sets = self.sets
        # Earlier states of this version counted those too that failed as they were written.
        older = steps.get("encode", {}).get("failed") and step.get("samples") != sets.samples
        if older or sets.crowded:
            return
        found = {"samples": sets.samples, "members": sets.counts, "unequal": sets.are_unequal}
        for name, value in found.items():
            if (stated := step.get(name)) != value:
                yield f"{name} of its step 'members' is {stated}, and the shards have {value}"
