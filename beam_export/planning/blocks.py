"""Blocks: many packed refs as one `bytes` value, in columns.

A runner shuffles and holds a block without knowing what is inside, at a tenth of the cost of one
element per ref. Most steps look at one or two columns, and the refs' own content stays packed until
the writer needs it.
"""

from __future__ import annotations

import hashlib
import heapq
import pickle
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from beam_export.metadata import canonical
from beam_export.packing import pack, unpack
from beam_export.planning.spill_files import load, spill
from beam_export.samples import UNMEASURED, Earlier, Member, Probed, SampleRef, Stored
from beam_export.shards.tar import padded

__all__ = [
    "REFS_PER_BLOCK",
    "Block",
    "PackedRef",
    "is_measured",
    "merged",
    "metadata_of",
    "open_block",
    "open_group",
    "pack_block",
    "pack_group",
    "pack_ref",
    "pack_sorted",
    "sample_digest",
    "unpack_ref",
    "untyped_metadata",
    "with_change",
    "with_probed",
]

#: Before the packed columns, or their place in a file (`spill_files`): whether all sizes are known,
#: the length of the first order key, and that key.
_HEAD = struct.Struct(">?I")
#: Refs per block, where a step makes new ones: what a worker takes at a time.
REFS_PER_BLOCK = 1000


class PackedRef(NamedTuple):
    """A ref whose content is packed; what planning needs stands outside."""

    order: bytes
    digest: bytes
    id: str
    body: bytes
    #: Bytes that its members take in a tar, as far as they are known before anything is encoded;
    #: negative if the image's are not known yet.
    weight: int


class Block(NamedTuple):
    """The columns of a block, each with one item per ref."""

    orders: tuple[bytes, ...]
    digests: tuple[bytes, ...]
    ids: tuple[str, ...]
    bodies: tuple[bytes, ...]
    weights: tuple[int, ...]

    def refs(self) -> Iterator[PackedRef]:
        """Yields the refs one by one."""
        return map(PackedRef, *self)


def sample_digest(ref: SampleRef) -> bytes:
    """Returns the SHA-256 of all of a sample that can change its shard's bytes.

    These are its order key, id, sizes, the names of its members and its metadata; never a path,
    so that the same samples have the same digests wherever they lie.
    """
    ident = ref.id.encode("utf-8", "surrogatepass")
    # Lengths before what may hold anything; extensions and numbers hold no slash. Written out, as
    # this is done for every sample and `canonical` would take five times as long.
    members = "".join([f"/{one.ext}/{one.size}{_made_of(one)}" for one in ref.fields])
    head = f"{len(ref.order)}/{len(ident)}/{ref.size}/{ref.image.ext}{members}/"
    metadata = canonical.encode(ref.metadata) if ref.metadata else b""
    if ref.earlier is not None:
        # It goes into the new Parquet. So does `original_path`, but no digest holds a path.
        metadata += b"/earlier/" + (ref.earlier.source_sha256 or "").encode()
    return hashlib.sha256(b"".join((head.encode(), ref.order, ident, metadata))).digest()


def _made_of(member: Member) -> str:
    # Text made here, a caption say, can change and keep its size; of files the size must do, as
    # planning does not read them.
    return "" if member.data is None else f"/{hashlib.sha256(member.data).hexdigest()}"


def pack_ref(ref: SampleRef) -> PackedRef:
    """Returns a packed ref; `unpack_ref` brings the whole back.

    What is appended to its order key afterwards keeps equal ids apart, and is no part of its
    digest.
    """
    key = len(ref.order)
    return PackedRef(ref.order, _digest(ref, key), ref.id, _body(ref, key), _weight(ref))


def _digest(ref: SampleRef, key: int) -> bytes:
    """Returns the digest of a ref, none as long as its size is not known."""
    if ref.size == UNMEASURED:
        return b""
    return sample_digest(ref if key == len(ref.order) else ref._replace(order=ref.order[:key]))


def _body(ref: SampleRef, key: int) -> bytes:
    # Plain tuples: a NamedTuple would bring the name of its class into every body.
    fields = tuple([tuple(field) for field in ref.fields])
    stored = tuple(ref.stored) if ref.stored else None
    probed = tuple(ref.probed) if ref.probed else None
    earlier = tuple(ref.earlier) if ref.earlier else None
    # The names in `typed` and `joined` are those of `metadata`: pickled once, as they are the same
    # objects.
    facts = (stored, probed, ref.typed, earlier, ref.joined)
    body = (key, ref.path, tuple(ref.image), fields, ref.metadata, ref.size, *facts)
    return pickle.dumps(body, protocol=5)


def _weight(ref: SampleRef) -> int:
    if ref.size == UNMEASURED:
        return UNMEASURED
    weight = padded(ref.image.size)
    for field in ref.fields:
        weight += padded(field.size)
    return weight


def unpack_ref(packed: PackedRef) -> SampleRef:
    """Returns the ref that `pack_ref` packed."""
    _, path, image, fields, metadata, size, *facts = pickle.loads(packed.body)
    stored, probed, typed, earlier, joined = facts
    return SampleRef(
        packed.order,
        packed.id,
        path,
        Member(*image),
        tuple([Member(*field) for field in fields]),
        metadata,
        size,
        Stored(*stored) if stored else None,
        Probed(*probed) if probed else None,
        typed,
        Earlier(*earlier) if earlier else None,
        joined,
    )


def with_change(packed: PackedRef, ref: SampleRef) -> PackedRef:
    """Returns a packed ref with new content, and the digest of it; its order key and its id stay.

    Args:
        packed: the ref as it was.
        ref: as it is now.
    """
    key = pickle.loads(packed.body)[0]
    return packed._replace(digest=_digest(ref, key), body=_body(ref, key), weight=_weight(ref))


def with_probed(packed: PackedRef, probed: Probed) -> PackedRef:
    """Returns a packed ref with what was measured of its image; all else stays."""
    key = pickle.loads(packed.body)[0]
    return packed._replace(body=_body(unpack_ref(packed)._replace(probed=probed), key))


def untyped_metadata(packed: PackedRef) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields the metadata whose types no schema declares, by where they are from.

    At a third of the cost of unpacking the ref.
    """
    _, path, _, _, metadata, *_, typed, _, joined = pickle.loads(packed.body)
    if typed:
        metadata = {name: value for name, value in metadata.items() if name not in typed}
    for table, names in joined:
        yield {one: metadata.pop(one) for one in names}, f"{table}, the row of {packed.id!r}"
    if metadata:
        yield metadata, path or packed.id


def metadata_of(packed: PackedRef) -> dict[str, Any]:
    """Returns the metadata of a ref, at a third of the cost of unpacking it."""
    metadata: dict[str, Any] = pickle.loads(packed.body)[4]
    return metadata


def pack_block(refs: Iterable[PackedRef]) -> bytes:
    """Returns a block of packed refs."""
    columns = tuple(zip(*refs, strict=True)) or ((), (), (), (), ())
    first = min(columns[0], default=b"")
    measured = min(columns[4], default=0) >= 0
    return _HEAD.pack(measured, len(first)) + first + spill(pack(columns))


def pack_sorted(refs: list[PackedRef]) -> Iterator[bytes]:
    """Yields blocks of refs, sorted and small, so that `merged` holds little of them."""
    refs.sort()
    for start in range(0, len(refs), REFS_PER_BLOCK):
        yield pack_block(refs[start : start + REFS_PER_BLOCK])


def pack_group(shard: int, blocks: Iterable[bytes]) -> tuple[int, bytes]:
    """Returns a shard with its blocks as one value: a place per shard, and not per block."""
    return shard, spill(pickle.dumps(list(blocks), protocol=5))


def open_group(shard: int, packed: bytes) -> tuple[int, list[bytes]]:
    """Returns a shard with the blocks that `pack_group` packed."""
    return shard, pickle.loads(load(packed))


def is_measured(block: bytes) -> bool:
    """Returns whether the sizes of all images are known, without opening the block."""
    measured: bool = _HEAD.unpack_from(block)[0]
    return measured


def open_block(block: bytes) -> Block:
    """Returns the columns of a block."""
    _, first = _HEAD.unpack_from(block)
    return Block(*unpack(load(memoryview(block)[_HEAD.size + first :])))


def merged(blocks: Iterable[bytes]) -> Iterator[PackedRef]:
    """Yields the refs of blocks in order (a k-way merge); a block is opened when its turn comes.

    Blocks that follow one another are open one at a time, however many there are; in all, as many
    as overlap.
    """
    waiting = sorted(blocks, key=_first_order, reverse=True)
    heap: list[tuple[PackedRef, int, Iterator[PackedRef]]] = []
    while waiting or heap:
        while waiting and (not heap or _first_order(waiting[-1]) <= heap[0][0].order):
            # A block holds refs as their source lists them, which a shuffle does not sort.
            refs = iter(sorted(open_block(waiting.pop()).refs()))
            # The number is another for each block: between equal refs no iterators are compared.
            heapq.heappush(heap, (next(refs), len(waiting), refs))
        ref, number, refs = heap[0]
        yield ref
        if len(heap) == 1:
            # As long as no other block has begun there is nothing to compare.
            bound = _first_order(waiting[-1]) if waiting else None
            for ref in refs:
                if bound is not None and ref.order >= bound:
                    heap[0] = (ref, number, refs)
                    break
                yield ref
            else:
                heap.clear()
            continue
        following = next(refs, None)
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (following, number, refs))


def _first_order(block: bytes) -> bytes:
    length = _HEAD.unpack_from(block)[1]
    return block[_HEAD.size : _HEAD.size + length]
