"""Whether samples stand in the order that was planned: that of their keys, shard by shard."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from beam_export.naming import ShardNames
from beam_export.verify.faults import Fault, Faults

__all__ = ["Rank", "Span", "hold_shard", "hold_spans"]

_REMEDY = (
    "give the input as it was exported, its parts in the same order; else delete the shard's two "
    "files and run the same export again"
)


class Rank(NamedTuple):
    """Where a sample stands, and its order key.

    Attributes:
        shard, row: its place.
        key: hex, the order key that its place follows from.
        id: its id in the export.
    """

    shard: int
    row: int
    key: str
    id: str


class Span(NamedTuple):
    """The smallest and the largest order key of a shard."""

    shard: int
    first: str
    last: str


def hold_shard(ranks: Iterable[Rank], names: ShardNames) -> tuple[Span, list[Fault]]:
    """Returns the span of one shard's samples, at least one, and a fault for each out of place."""
    placed = sorted(ranks)
    faults = Faults(_REMEDY)
    ordered = sorted(placed, key=lambda rank: rank.key)
    for found, wanted in zip(placed, ordered, strict=True):
        if found.key != wanted.key:
            faults.add(
                names.parquet(found.shard), "it does not stand where the order has it", found.id
            )
    return Span(placed[0].shard, ordered[0].key, ordered[-1].key), faults.all()


def hold_spans(spans: Iterable[Span], names: ShardNames) -> list[Fault]:
    """Returns a fault for each shard that has samples of before the end of an earlier one."""
    faults = Faults(_REMEDY)
    last = ""
    for span in sorted(spans):
        if span.first <= last:
            faults.add(
                names.parquet(span.shard),
                "it has samples that come before some of an earlier shard, by the order",
            )
        last = max(last, span.last)
    return faults.all()
