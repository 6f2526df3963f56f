"""Says of members what is no fault and matters to readers: notes on all shards together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from beam_export.shards.member_sets import describe_members
from beam_export.shards.undecodable import say_undecodable
from beam_export.text import quantity
from beam_export.verify.alike import AllMembers
from beam_export.verify.shard import CheckedShard

__all__ = ["notes_on_members"]


def notes_on_members(shards: Sequence[CheckedShard], members: AllMembers) -> Iterator[str]:
    """Yields the notes on members that differ from columns, from each other, or that few can read.

    Args:
        shards: all that were read, in any order.
        members: of them.
    """
    yield from _differing(shards)
    yield from _unread(shards)
    yield from _unequal(members)


def _differing(shards: Sequence[CheckedShard]) -> Iterator[str]:
    """Yields a note on `.json` members that differ from their columns, where that is no fault."""
    count = sum(shard.differing for shard in shards)
    if count:
        first = min(shards, key=lambda shard: (not shard.differing, shard.number))
        yield (
            f"the .json of {quantity(count, 'sample')} says otherwise than their columns (the "
            f"first, {first.example}), and nothing shows that these were made of it; --against "
            "proves both"
        )


def _unread(shards: Sequence[CheckedShard]) -> Iterator[str]:
    """Yields notes on members that loaders cannot decode, which came so and are no fault."""
    for name in sorted({name for shard in shards for name in shard.undecodable}):
        found = [(one.number, *one.undecodable[name]) for one in shards if name in one.undecodable]
        count = quantity(sum(some for _, some, _ in found), "sample")
        yield say_undecodable(name, f"{count} (the first, {min(found)[2]})")


def _unequal(members: AllMembers) -> Iterator[str]:
    """Yields a note on members that not all samples have, where that is no fault."""
    sets = members.sets
    if sets.are_unequal and not members.equal:
        yield (
            f"samples have unequal members: {describe_members(sets.counts, sets.samples)}; readers "
            "that go by the first samples drop the others'"
        )
