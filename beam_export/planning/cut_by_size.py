"""Shards that close at a size: greedy in order, and yet worked out a bucket at a time.

A shard closes when the next sample would make it too large or too many. Where that happens in a
bucket depends on what the buckets before have left open, and on nothing else of them. So each
bucket says what it would leave open for each place of its first cut; one pass over the buckets
composes that; then each bucket knows its first cut and makes its own. The result is that of one
greedy pass over all samples, whatever the buckets are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from beam_export.planning.plan import Segment, digest_sum

__all__ = ["Entry", "Summary", "compose", "cut", "summarise"]

#: A planned sample: order key, digest, bytes that it takes in its shard.
Weighed = tuple[bytes, bytes, int]


class Summary(NamedTuple):
    """What a bucket does to the shard that is open when it begins.

    Attributes:
        bucket: its number.
        samples: how many it holds.
        total: their bytes.
        sums: bytes of its first 0, 1, ... samples: an item for each place of the first cut.
        closed: shards that begin behind that place and are whole when the bucket ends.
        opened: where the shard begins that is open when the bucket ends.
        opened_sums: bytes of the samples before that one.
    """

    bucket: int
    samples: int
    total: int
    sums: np.ndarray
    closed: np.ndarray
    opened: np.ndarray
    opened_sums: np.ndarray


class Entry(NamedTuple):
    """How a bucket begins: the number of the open shard, and how many samples still go there."""

    shard: int
    first: int


def _sums(sizes: Iterable[int]) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(np.fromiter(sizes, np.int64))))


def _stops(sums: np.ndarray, most: int, room: int) -> np.ndarray:
    """Returns, for each sample, where a shard that begins with it ends in this bucket."""
    count = len(sums) - 1
    starts = np.arange(count)
    fitting = np.searchsorted(sums, sums[:-1] + room, side="right") - 1
    return np.minimum(np.maximum(starts + 1, np.minimum(starts + most, fitting)), count)


def summarise(bucket: int, sizes: Sequence[int], most: int, room: int) -> Summary:
    """Returns what a bucket does to whatever is open when it begins.

    Args:
        bucket: its number.
        sizes: bytes of its samples, in order; at least one.
        most: samples a shard, at most.
        room: bytes a shard, at most, unless one sample alone has more.
    """
    sums = _sums(sizes)
    count = len(sizes)
    stops = _stops(sums, most, room)
    # A place at the very end: nothing of the bucket lies behind the first cut.
    closed, opened = np.zeros(count + 1, np.int64), np.full(count + 1, count)
    for start in range(count - 1, -1, -1):
        stop = stops[start]
        whole = stop < count
        closed[start] = closed[stop] + 1 if whole else 0
        opened[start] = opened[stop] if whole else start
    places = min(most, count) + 1
    kept = opened[:places]
    return Summary(bucket, count, int(sums[-1]), sums[:places], closed[:places], kept, sums[kept])


def compose(summaries: Iterable[Summary], most: int, room: int) -> dict[int, Entry]:
    """Returns how each bucket begins; the summaries may come in any order.

    Args:
        summaries: one a bucket that is not empty.
        most, room: as in `summarise`.
    """
    entries: dict[int, Entry] = {}
    shard = held = weight = 0
    for one in sorted(summaries, key=lambda one: one.bucket):
        fitting = int(np.searchsorted(one.sums, room - weight, side="right")) - 1
        first = max(int(not held), min(fitting, most - held))
        entries[one.bucket] = Entry(shard, first)
        if first == one.samples:
            held, weight = held + first, weight + one.total
            continue
        shard += 1 + int(one.closed[first])
        held = one.samples - int(one.opened[first])
        weight = one.total - int(one.opened_sums[first])
    return entries


def cut(samples: Iterable[Weighed], entry: Entry, most: int, room: int) -> list[Segment]:
    """Cuts a bucket into segments.

    Args:
        samples: the bucket's, in any order.
        entry: how it begins.
        most, room: as in `summarise`.
    """
    ordered = sorted(samples)
    stops = _stops(_sums(size for _, _, size in ordered), most, room)
    found: list[Segment] = []
    start, stop, shard = 0, entry.first, entry.shard
    while start < len(ordered):
        if stop > start:
            part = ordered[start:stop]
            digest = digest_sum(digest for _, digest, _ in part)
            found.append(Segment(shard, part[0][0], part[-1][0], len(part), digest))
        start, shard = stop, shard + 1
        stop = int(stops[start]) if start < len(ordered) else start
    return found
