"""Shard boundaries by bytes (`--max_tar_bytes`): greedy in order, yet computed bucket by bucket.

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

__all__ = ["Bounds", "BucketStart", "Summary", "Weighed", "compose", "cut_bucket", "summarise"]

#: A planned sample: order key, digest, bytes that it takes in its shard.
Weighed = tuple[bytes, bytes, int]


class Bounds(NamedTuple):
    """The limits of a shard: samples and bytes.

    Attributes:
        samples: in number.
        bytes: of its samples in the tar; a sample that alone has more is a shard of its own.
    """

    samples: int
    bytes: int


class Summary(NamedTuple):
    """A bucket's effect on the shard that is open when it begins.

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


class BucketStart(NamedTuple):
    """The start of a bucket: the number of the open shard, and how many samples still go there."""

    shard: int
    first: int


def _sums(sizes: Iterable[int]) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(np.fromiter(sizes, np.int64))))


def _stops(sums: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Returns, for each sample, where a shard that begins with it ends in this bucket."""
    count = len(sums) - 1
    starts = np.arange(count)
    # At least one sample per shard: one that is larger than the bound has to go somewhere.
    fitting = np.searchsorted(sums, sums[:-1] + bounds.bytes, side="right") - 1
    return np.minimum(np.maximum(starts + 1, np.minimum(starts + bounds.samples, fitting)), count)


def summarise(bucket: int, sizes: Sequence[int], bounds: Bounds) -> Summary:
    """Returns what a bucket does to the shard that is open when it begins.

    >>> one = summarise(0, [4, 4, 4, 4, 4], Bounds(samples=9, bytes=10))
    >>> one.total, one.opened.tolist(), one.closed.tolist()
    (20, [4, 3, 4, 3, 4, 5], [2, 1, 1, 0, 0, 0])

    Args:
        bucket: its number.
        sizes: bytes of its samples, in order; at least one.
        bounds: of a shard.
    """
    sums = _sums(sizes)
    count = len(sizes)
    stops = _stops(sums, bounds)
    # A place at the very end: nothing of the bucket lies behind the first cut.
    closed, opened = np.zeros(count + 1, np.int64), np.full(count + 1, count)
    # From the end: the shard that follows begins further behind, and is known by then.
    for start in range(count - 1, -1, -1):
        stop = stops[start]
        whole = stop < count
        closed[start] = closed[stop] + 1 if whole else 0
        opened[start] = opened[stop] if whole else start
    # The first cut lies no further: the open shard takes at most so many samples more.
    places = min(bounds.samples, count) + 1
    kept = opened[:places]
    return Summary(
        bucket=bucket,
        samples=count,
        total=int(sums[-1]),
        sums=sums[:places],
        closed=closed[:places],
        opened=kept,
        opened_sums=sums[kept],
    )


def compose(summaries: Iterable[Summary], bounds: Bounds) -> dict[int, BucketStart]:
    """Returns how each bucket begins; the summaries may come in any order.

    >>> bounds = Bounds(samples=9, bytes=10)
    >>> compose([summarise(1, [4, 4], bounds), summarise(0, [4, 4, 4], bounds)], bounds)
    {0: BucketStart(shard=0, first=2), 1: BucketStart(shard=1, first=1)}

    Args:
        summaries: one per bucket that is not empty.
        bounds: of a shard.
    """
    entries: dict[int, BucketStart] = {}
    shard = held = weight = 0
    for one in sorted(summaries, key=lambda one: one.bucket):
        fitting = int(np.searchsorted(one.sums, bounds.bytes - weight, side="right")) - 1
        # A shard that holds nothing takes one sample whatever its size; one that is too large
        # already makes `fitting` negative, and takes none.
        first = max(int(not held), min(fitting, bounds.samples - held))
        entries[one.bucket] = BucketStart(shard, first)
        # No cut in this bucket, even if the shard is full now: the next bucket closes it.
        if first == one.samples:
            held, weight = held + first, weight + one.total
            continue
        shard += 1 + int(one.closed[first])
        held = one.samples - int(one.opened[first])
        weight = one.total - int(one.opened_sums[first])
    return entries


def cut_bucket(samples: Iterable[Weighed], entry: BucketStart, bounds: Bounds) -> list[Segment]:
    """Returns the segments of a bucket.

    >>> samples = [(b"a", b"", 4), (b"b", b"", 4), (b"c", b"", 4)]
    >>> for part in cut_bucket(samples, BucketStart(shard=3, first=1), Bounds(samples=9, bytes=8)):
    ...     print(part.shard, part.first, part.last, part.samples)
    3 b'a' b'a' 1
    4 b'b' b'c' 2

    Args:
        samples: the bucket's, in any order.
        entry: how it begins.
        bounds: of a shard.
    """
    ordered = sorted(samples)
    stops = _stops(_sums(size for _, _, size in ordered), bounds)
    found: list[Segment] = []
    start, stop, shard = 0, entry.first, entry.shard
    while start < len(ordered):
        if stop > start:
            part = ordered[start:stop]
            digest = digest_sum(digest for _, digest, _ in part)
            found.append(
                Segment(
                    shard=shard,
                    first=part[0][0],
                    last=part[-1][0],
                    samples=len(part),
                    digest=digest,
                )
            )
        start, shard = stop, shard + 1
        stop = int(stops[start]) if start < len(ordered) else start
    return found
