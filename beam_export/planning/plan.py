"""The plan: which sample goes into which shard, from order keys alone.

Keys fall into buckets by splitters taken from a sample of them. Inside each bucket they are
sorted; the counts of the buckets before give every key its exact rank. So the sample decides how
the work is spread, and can never change the result.
"""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import pickle
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

__all__ = [
    "KeySample",
    "Plan",
    "Segment",
    "bucket_offsets",
    "digest_sum",
    "id_key",
    "make_plan",
    "segments",
    "shuffle_key",
    "source_key",
    "splitters",
]

_MOD_256 = 1 << 256
_MOD_64 = 1 << 64

#: Keys a bucket should hold, and the most buckets there are.
_BUCKET_KEYS = 50_000
_MAX_BUCKETS = 4096
#: Keys in a sample: four a bucket keep the largest of 4096 buckets near three times the mean.
_SAMPLE_KEYS = 4 * _MAX_BUCKETS


def source_key(source: int, position: int) -> bytes:
    """Returns the order key of the sample at `position` of input number `source`.

    >>> source_key(0, 255) < source_key(0, 256) < source_key(1, 0)
    True
    """
    return source.to_bytes(4, "big") + position.to_bytes(8, "big")


def shuffle_key(seed: int, ident: str) -> bytes:
    """Returns the order key of an id in the permutation that `seed` names."""
    name = ident.encode("utf-8", "surrogatepass")
    return hashlib.sha256(b"%d:%s" % (seed, name)).digest()[:16]


def id_key(ident: str) -> bytes:
    """Returns the order key that sorts by id; no id's key is the start of another's.

    So whatever is put behind a key cannot change the order of different ids. A zero byte ends the
    key, and those of the id are written in a way that sorts alike.
    """
    name = ident.encode("utf-8", "surrogatepass")
    if b"\0" in name or b"\1" in name:
        name = name.replace(b"\1", b"\1\2").replace(b"\0", b"\1\1")
    return name + b"\0"


def digest_sum(digests: Iterable[bytes], start: int = 0) -> int:
    """Returns the sum of digests mod 2^256: the same in whatever order they come.

    A sum and not XOR, so that equal digests do not cancel.
    """
    for digest in digests:
        start += int.from_bytes(digest, "big")
    return start % _MOD_256


@dataclasses.dataclass
class KeySample:
    """A count and a deterministic sample of order keys; samples merge in any order.

    The keys with the smallest digests are kept, so that who met whom first makes no difference.
    """

    count: int = 0
    kept: list[tuple[bytes, bytes]] = dataclasses.field(default_factory=list)
    #: No digest above this can be among the smallest any more.
    bound: bytes = b"\xff" * 33

    def add(self, pairs: Iterable[tuple[bytes, bytes]], count: int) -> None:
        """Adds `count` pairs of (digest, order key)."""
        self.count += count
        bound = self.bound
        self.kept.extend([pair for pair in pairs if pair[0] <= bound])
        if len(self.kept) > 2 * _SAMPLE_KEYS:
            self._trim()

    def merge(self, other: KeySample) -> None:
        """Adds what `other` holds."""
        self.add(other.kept, 0)
        self.count += other.count

    def _trim(self) -> None:
        self.kept.sort()
        del self.kept[_SAMPLE_KEYS:]
        if len(self.kept) == _SAMPLE_KEYS:
            self.bound = self.kept[-1][0]

    def buckets(self) -> int:
        """Returns how many buckets such a number of keys wants."""
        return min(_MAX_BUCKETS, max(1, -(-self.count // _BUCKET_KEYS)))

    def keys(self) -> list[bytes]:
        """Returns the sampled keys, sorted."""
        self._trim()
        return sorted(key for _, key in self.kept)


def splitters(keys: Sequence[bytes], buckets: int) -> list[bytes]:
    """Returns the first key of every bucket but the first, from a sorted sample of keys.

    >>> splitters([b"a", b"b", b"c", b"d"], 2)
    [b'c']
    """
    picked = {keys[i * len(keys) // buckets] for i in range(1, buckets)} if keys else set()
    return sorted(picked)


def bucket_offsets(counts: Mapping[int, int]) -> dict[int, int]:
    """Returns the rank of each bucket's first key.

    >>> bucket_offsets({0: 5, 2: 3, 7: 1})
    {0: 0, 2: 5, 7: 8}
    """
    offsets, total = {}, 0
    for bucket in sorted(counts):
        offsets[bucket] = total
        total += counts[bucket]
    return offsets


class Segment(NamedTuple):
    """Consecutive samples of one shard: all of them, or those of one bucket."""

    shard: int
    first: bytes
    last: bytes
    samples: int
    digest: int


def segments(
    keyed: Iterable[tuple[bytes, bytes]], offset: int, per_shard: int, limit: int | None
) -> list[Segment]:
    """Cuts a bucket into segments.

    Args:
        keyed: the bucket's (order key, digest) pairs, in any order.
        offset: rank of the bucket's first key.
        per_shard: samples a shard.
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
        found.append(Segment(shard, part[0][0], part[-1][0], len(part), total))
        start = stop
    return found


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
    """

    hash: str
    firsts: list[bytes]
    last: bytes
    starts: list[int]
    checks: list[int]
    total: int

    def shard_of(self, key: bytes) -> int | None:
        """Returns the number of the shard that a key belongs to, None beyond the last."""
        if key > self.last:
            return None
        return max(0, bisect.bisect_right(self.firsts, key) - 1)

    def count(self, shard: int) -> int:
        """Returns how many samples a shard holds."""
        stop = self.starts[shard + 1] if shard + 1 < len(self.starts) else self.total
        return stop - self.starts[shard]

    def agrees(self, shard: int, count: int, digest: int) -> bool:
        """Tells whether so many samples, with that sum of digests, are what was planned."""
        return count == self.count(shard) and digest % _MOD_64 == self.checks[shard]

    def pack(self) -> bytes:
        """Returns the plan as one value, for a side input."""
        return pickle.dumps(dataclasses.astuple(self), protocol=5)

    @classmethod
    def unpack(cls, packed: bytes) -> Plan:
        """Returns the plan that `pack` packed."""
        return cls(*pickle.loads(packed))


def make_plan(parts: Iterable[Segment], options_digest: bytes, name: str | None) -> Plan:
    """Joins the buckets' segments, in any order, into the plan.

    Args:
        parts: the segments of all buckets.
        options_digest: of the options that shape the output.
        name: the hash to use instead of the content's, if it is not to be deterministic.
    """
    shards: list[Segment] = []
    for part in sorted(parts, key=lambda part: (part.shard, part.first)):
        if shards and shards[-1].shard == part.shard:
            joined = shards.pop()
            part = Segment(
                part.shard,
                joined.first,
                part.last,
                joined.samples + part.samples,
                (joined.digest + part.digest) % _MOD_256,
            )
        shards.append(part)
    starts, total = [], 0
    for shard in shards:
        starts.append(total)
        total += shard.samples
    content = sum(shard.digest for shard in shards) % _MOD_256
    return Plan(
        hash=name or _content_hash(options_digest, total, content),
        firsts=[shard.first for shard in shards],
        last=shards[-1].last if shards else b"",
        starts=starts,
        checks=[shard.digest % _MOD_64 for shard in shards],
        total=total,
    )


def _content_hash(options_digest: bytes, total: int, content: int) -> str:
    whole = options_digest + b"%d:" % total + content.to_bytes(32, "big")
    return hashlib.sha256(whole).hexdigest()[:12]
