"""Order keys: bytes that give every sample its place, and the buckets in which they are sorted.

A key is bytes that sort as the samples do: the same on every run and every runner. Keys fall into
buckets by splitters taken from a sample of them; the sample decides how the work is spread, and can
never change the result.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import pickle
from collections.abc import Iterable, Mapping, Sequence

from beam_export.planning.blocks import PackedRef, open_block, pack_block, pack_ref
from beam_export.samples import SampleRef

__all__ = [
    "KeySample",
    "assign_keys",
    "bucket_offsets",
    "id_key",
    "open_sample",
    "shuffle_key",
    "source_key",
    "splitters",
]

#: Keys per bucket, about, and the largest number of buckets.
_BUCKET_KEYS = 50_000
_MAX_BUCKETS = 4096
#: Keys in a sample: four a bucket keep the largest of 4096 buckets near three times the mean.
_SAMPLE_KEYS = 4 * _MAX_BUCKETS


def source_key(source: int, position: int) -> bytes:
    """Returns the order key of the sample at `position` of input number `source`.

    >>> source_key(0, 255) < source_key(0, 256) < source_key(1, 0)
    True
    """
    # Big-endian and of fixed length: bytes sort as the numbers do.
    return source.to_bytes(4, "big") + position.to_bytes(8, "big")


def shuffle_key(seed: int, ident: str) -> bytes:
    """Returns the order key of an id in the permutation of a seed (`--order=shuffled`).

    >>> shuffle_key(0, "cat") == shuffle_key(0, "cat") != shuffle_key(1, "cat")
    True
    >>> len(shuffle_key(0, "cat"))
    16
    """
    name = ident.encode("utf-8", "surrogatepass")
    # The colon: seed 1 with the id "2" would else be seed 12 with an empty one.
    return hashlib.sha256(b"%d:%s" % (seed, name)).digest()[:16]


def id_key(ident: str) -> bytes:
    r"""Returns the order key that sorts by id; no id's key is the start of another's.

    So whatever is put behind a key cannot change the order of different ids. A zero byte ends the
    key, and those of the id are escaped in a way that sorts alike.

    >>> id_key("cat"), id_key("c\0t"), id_key("c\1t")
    (b'cat\x00', b'c\x01\x01t\x00', b'c\x01\x02t\x00')
    >>> sorted(["b", "a/1", "a"], key=id_key)
    ['a', 'a/1', 'b']
    """
    name = ident.encode("utf-8", "surrogatepass")
    if b"\0" in name or b"\1" in name:
        name = name.replace(b"\1", b"\1\2").replace(b"\0", b"\1\1")
    return name + b"\0"


def assign_keys(refs: list[SampleRef], order: str, seed: int) -> bytes:
    """Returns a block of refs with their order keys.

    Args:
        refs: with their place in the source as `order`.
        order: as `--order`.
        seed: of the shuffle.
    """
    if order == "source":
        return pack_block(map(pack_ref, refs))
    return pack_block(_shuffled(ref, seed) for ref in refs)


def _shuffled(ref: SampleRef, seed: int) -> PackedRef:
    packed = pack_ref(ref._replace(order=shuffle_key(seed, ref.id)))
    # The place keeps equal ids apart, whose hashes are equal. It is added once the digest is made:
    # a shuffle is the same dataset in whatever order its inputs are given.
    return packed._replace(order=packed.order + ref.order)


@dataclasses.dataclass
class KeySample:
    """A count of order keys and a deterministic sample of them, merged in any order.

    The keys with the smallest digests are kept (bottom-k sampling), so the order of merging makes
    no difference.
    """

    count: int = 0
    kept: list[tuple[bytes, bytes]] = dataclasses.field(default_factory=list)
    #: No digest above this can be among the smallest any more.
    #: At first above all: a byte longer than a SHA-256.
    bound: bytes = b"\xff" * 33

    def add(self, pairs: Iterable[tuple[bytes, bytes]], count: int) -> None:
        """Adds `count` pairs of (digest, order key)."""
        self.count += count
        bound = self.bound
        self.kept.extend([pair for pair in pairs if pair[0] <= bound])
        # Twice as many as are kept, so that sorting is seldom done.
        if len(self.kept) > 2 * _SAMPLE_KEYS:
            self._trim()

    def add_block(self, block: bytes) -> None:
        """Adds the keys of a block."""
        opened = open_block(block)
        self.add(zip(opened.digests, opened.orders, strict=True), len(opened.orders))

    def merge(self, other: KeySample) -> None:
        """Adds what `other` holds."""
        self.add(other.kept, 0)
        self.count += other.count

    def _trim(self) -> None:
        self.kept.sort()
        del self.kept[_SAMPLE_KEYS:]
        if len(self.kept) == _SAMPLE_KEYS:
            self.bound = self.kept[-1][0]

    def pack(self) -> bytes:
        """Returns (count, buckets, keys) as one value, for a side input; see `open_sample`."""
        return pickle.dumps((self.count, self.buckets(), self.keys()), protocol=5)

    def buckets(self) -> int:
        """Returns the number of buckets for so many keys.

        >>> [KeySample(count).buckets() for count in (0, 50_000, 50_001, 10**12)]
        [1, 1, 2, 4096]
        """
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
    # A set: of fewer keys than buckets some would be picked twice, for buckets without a key.
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


@functools.lru_cache(maxsize=2)
def open_sample(packed: bytes) -> tuple[int, int, list[bytes]]:
    """Returns (keys, buckets, splitters) of a packed `KeySample`; kept like a plan."""
    count, buckets, keys = pickle.loads(packed)
    return count, buckets, splitters(keys, buckets)
