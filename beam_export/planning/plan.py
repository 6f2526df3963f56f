"""The plan: shard boundaries and exact ranks, from order keys alone.

Inside each bucket of `order` keys are sorted; the counts of the buckets before give every key its
exact rank.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import hashlib
import json
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from beam_export.planning.blocks import PackedRef, open_block
from beam_export.planning.duplicates import open_decisions
from beam_export.planning.order import open_sample
from beam_export.planning.spill_files import load, spill
from beam_export.planning.splits import split_of

__all__ = [
    "Plan",
    "Segment",
    "bucket_keys",
    "count_samples",
    "digest_sum",
    "make_plan",
    "open_plan",
    "pack_keys",
    "segments",
    "shard_finder",
    "unpack_bucket",
]

_MOD_256 = 1 << 256
#: Enough to notice another sample; the plan goes to every worker and should stay small.
_MOD_64 = 1 << 64


def digest_sum(digests: Iterable[bytes], start: int = 0) -> int:
    """Returns the sum of digests mod 2^256: the same in whatever order they come.

    A sum and not XOR, so that equal digests do not cancel.
    """
    for digest in digests:
        start += int.from_bytes(digest, "big")
    return start % _MOD_256


class Segment(NamedTuple):
    """Consecutive samples of one shard: all of them, or those of one bucket.

    Attributes:
        shard: number within the split.
        first, last: order keys.
        samples: how many.
        digest: the sum of their digests.
        split: number of the split; 0 without splits.
    """

    shard: int
    first: bytes
    last: bytes
    samples: int
    digest: int
    split: int = 0


def segments(
    keyed: Iterable[tuple[bytes, bytes]], offset: int, per_shard: int, limit: int | None
) -> list[Segment]:
    """Returns the segments of a bucket: its part of each shard.

    >>> pairs = [(b"a", b""), (b"b", b""), (b"c", b""), (b"d", b"")]
    >>> for part in segments(pairs, offset=3, per_shard=5, limit=None):
    ...     print(part.shard, part.first, part.last, part.samples)
    0 b'a' b'b' 2
    1 b'c' b'd' 2

    Args:
        keyed: the bucket's (order key, digest) pairs, in any order.
        offset: rank of the bucket's first key.
        per_shard: samples per shard.
        limit: ranks from here on are left out.
    """
    ordered = sorted(keyed)
    if limit is not None:
        ordered = ordered[: max(0, limit - offset)]
    found, start = [], 0
    while start < len(ordered):
        shard = (offset + start) // per_shard
        stop = min(len(ordered), (shard + 1) * per_shard - offset)
        part = ordered[start:stop]
        total = digest_sum(digest for _, digest in part)
        found.append(
            Segment(
                shard=shard, first=part[0][0], last=part[-1][0], samples=len(part), digest=total
            )
        )
        start = stop
    return found


def bucket_keys(
    block: bytes,
    sample: bytes,
    decisions: bytes,
    splits: bytes | None = None,
    weighed: bool = False,
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yields (bucket, (order key, digest, ...)) per sample.

    Behind the digest come its bytes in the tar if `weighed`, and the number of its split if there
    are splits.
    """
    cuts = open_sample(sample)[2]
    dropped = open_decisions(decisions).dropped
    opened = open_block(block)
    columns: list[Iterable[Any]] = [opened.orders, opened.digests]
    if weighed:
        columns.append(opened.weights)
    if splits is not None:
        columns.append(map(split_of(splits), opened.refs()))
    for item in zip(*columns, strict=True):
        # Before ranking: what is dropped later would move the ranks of all behind it.
        if item[0] not in dropped:
            # On the right: a splitter is the first key of its own bucket.
            yield bisect.bisect_right(cuts, item[0]), item


def pack_keys(items: list[tuple[Any, ...]]) -> Iterator[bytes]:
    """Yields tuples of `bucket_keys` as one value; `unpack_bucket` brings them back."""
    yield spill(pickle.dumps(items, protocol=5))


def unpack_bucket(packed: Iterable[bytes]) -> Iterator[Any]:
    """Yields the tuples of a bucket, as `bucket_keys` gave them."""
    for items in packed:
        yield from pickle.loads(load(items))


@dataclasses.dataclass(frozen=True)
class Plan:
    """The layout of the whole dataset.

    Attributes:
        hash: 12 hex digits that name the dataset's files.
        firsts: the first order key of every shard.
        last: the last order key of all; later ones are beyond `--limit`.
        starts: the rank of every shard's first sample.
        checks: the sum of every shard's digests mod 2^64.
        total: samples planned.
        splits: names of the splits, in the order of their shards; none without `--split`.
        split_starts: number of every split's first shard; of an empty one, of the next there is.
    """

    hash: str
    firsts: list[bytes]
    last: bytes
    starts: list[int]
    checks: list[int]
    total: int
    splits: tuple[str, ...] = ()
    split_starts: tuple[int, ...] = (0,)

    def shard_of(self, key: bytes, split: int = 0) -> int | None:
        """Returns the number of the shard that a key belongs to, None beyond the last.

        >>> plan = Plan("", [b"a", b"c"], b"d", [0, 2], [0, 0], 4)
        >>> [plan.shard_of(key) for key in (b"a", b"b", b"c", b"d", b"e")]
        [0, 0, 1, 1, None]
        >>> plan.count(0), plan.count(1)
        (2, 2)
        """
        if key > self.last:
            return None
        shards = self.shards_of(split)
        found = bisect.bisect_right(self.firsts, key, shards.start, shards.stop) - 1
        # A key before the first was not planned, nor was one of an empty split: it makes another
        # shard disagree with the plan, which is an error, where None would lose the sample
        # silently.
        return min(max(shards.start, found), len(self.firsts) - 1)

    def shards_of(self, split: int) -> range:
        """Returns the numbers of the shards of a split.

        >>> plan = Plan("", [b"b", b"d", b"a"], b"d", [0, 2, 3], [0, 0, 0], 4, ("x", "y"), (0, 2))
        >>> plan.shards_of(0), plan.shards_of(1), plan.shard_of(b"c", 1)
        (range(0, 2), range(2, 3), 2)
        """
        following = self.split_starts[split + 1 : split + 2]
        return range(self.split_starts[split], following[0] if following else len(self.firsts))

    def split_of(self, shard: int) -> str | None:
        """Returns the name of the split that a shard is of; None without splits."""
        if not self.splits:
            return None
        # On the right: of several that begin there, all but the last are empty.
        return self.splits[bisect.bisect_right(self.split_starts, shard) - 1]

    def split_sizes(self) -> list[tuple[str, int, int]]:
        """Returns (name, samples planned, shards) of each split, in the order of their shards."""
        shards = [self.shards_of(number) for number in range(len(self.splits))]
        return [
            (name, sum(map(self.count, numbers)), len(numbers))
            for name, numbers in zip(self.splits, shards, strict=True)
        ]

    def count(self, shard: int) -> int:
        """Returns how many samples a shard holds."""
        stop = self.starts[shard + 1] if shard + 1 < len(self.starts) else self.total
        return stop - self.starts[shard]

    def agrees(self, shard: int, count: int, digest: int) -> bool:
        """Returns whether samples, by their number and their sum of digests, are those planned."""
        return count == self.count(shard) and digest % _MOD_64 == self.checks[shard]

    def pack(self) -> bytes:
        """Returns the plan as one value, for a side input."""
        return pickle.dumps(dataclasses.astuple(self), protocol=5)

    @classmethod
    def unpack(cls, packed: bytes) -> Plan:
        """Returns the plan that `pack` packed."""
        return cls(*pickle.loads(packed))


def make_plan(
    parts: Iterable[Segment], options_digest: bytes, name: str | None, splits: Sequence[str] = ()
) -> Plan:
    """Returns the plan that the segments of all buckets make, in whatever order they come.

    >>> parts = [Segment(1, b"c", b"d", 2, 7), Segment(0, b"a", b"a", 1, 5),
    ...          Segment(0, b"b", b"b", 1, 6)]
    >>> plan = make_plan(parts, b"", None)
    >>> plan.firsts, plan.starts, plan.checks, plan.last, plan.total
    ([b'a', b'c'], [0, 2], [11, 7], b'd', 4)

    Args:
        parts: the segments of all buckets.
        options_digest: of the options that shape the output.
        name: the hash to use instead of the content's, if it is not to be deterministic.
        splits: names of the splits, by their numbers.
    """
    shards = _joined(parts)
    starts, total = [], 0
    for shard in shards:
        starts.append(total)
        total += shard.samples
    content = sum(shard.digest for shard in shards) % _MOD_256
    if splits:
        options_digest = _with_splits(options_digest, shards, splits)
    return Plan(
        hash=name or _content_hash(options_digest, total, content),
        firsts=[shard.first for shard in shards],
        last=max((shard.last for shard in shards), default=b""),
        starts=starts,
        checks=[shard.digest % _MOD_64 for shard in shards],
        total=total,
        splits=tuple(splits),
        split_starts=tuple(
            bisect.bisect_left(shards, number, key=lambda shard: shard.split)
            for number in range(max(1, len(splits)))
        ),
    )


def _joined(parts: Iterable[Segment]) -> list[Segment]:
    """Returns the shards in their order, their parts put together."""
    shards: list[Segment] = []
    # Parts of one shard come from several buckets, and from a runner in any order.
    for part in sorted(parts, key=lambda part: (part.split, part.shard, part.first)):
        if shards and (shards[-1].split, shards[-1].shard) == (part.split, part.shard):
            joined = shards.pop()
            part = part._replace(
                first=joined.first,
                samples=joined.samples + part.samples,
                digest=(joined.digest + part.digest) % _MOD_256,
            )
        shards.append(part)
    return shards


def _with_splits(options_digest: bytes, shards: Sequence[Segment], splits: Sequence[str]) -> bytes:
    """Returns a digest of the options, and of which samples are in which split."""
    counts, digests = [0] * len(splits), [0] * len(splits)
    for shard in shards:
        counts[shard.split] += shard.samples
        digests[shard.split] = (digests[shard.split] + shard.digest) % _MOD_256
    sums = list(zip(splits, counts, digests, strict=True))
    # As JSON: integers beyond 64 bits have no other form that is the same everywhere.
    return hashlib.sha256(options_digest + json.dumps(sums).encode()).digest()


def _content_hash(options_digest: bytes, total: int, content: int) -> str:
    whole = options_digest + b"%d:" % total + content.to_bytes(32, "big")
    return hashlib.sha256(whole).hexdigest()[:12]


@functools.lru_cache(maxsize=2)
def open_plan(packed: bytes) -> Plan:
    """Returns the plan of a side input; kept, since every bundle gets the same one."""
    return Plan.unpack(packed)


def shard_finder(plan: Plan, splits: bytes | None) -> Callable[[PackedRef], int | None]:
    """Returns the function that gives the number of a ref's shard, None beyond the last.

    Args:
        plan: the layout.
        splits: packed `Splits`; None without splits.
    """
    if splits is None:
        return lambda ref: plan.shard_of(ref.order)
    split = split_of(splits)
    return lambda ref: plan.shard_of(ref.order, split(ref))


def count_samples(counts: dict[int, int], sample: bytes) -> tuple[int, int]:
    """Returns (samples that came, samples that are ranked), of the keys in each bucket."""
    return open_sample(sample)[0], sum(counts.values())
