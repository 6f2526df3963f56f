"""What travels: samples, where they lie, and the blocks in which refs move.

A `Sample` is what a user's own pipeline hands over. Everything after the first step moves
`SampleRef`s, which say where the bytes lie, in packed blocks: a block is one `bytes` value, so a
runner shuffles and holds it without knowing what is inside, at a tenth of the cost of an element
a sample.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from beam_export import canonical
from beam_export.errors import SampleError
from beam_export.text import printable

__all__ = [
    "WHOLE",
    "EncodedImage",
    "Failure",
    "Member",
    "PackedRef",
    "Sample",
    "SampleRef",
    "Stored",
    "failure_of",
    "pack",
    "pack_block",
    "pack_ref",
    "sample_digest",
    "unpack",
    "unpack_ref",
]

#: `Member.offset` of a file that is read as a whole.
WHOLE = -1


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One image with what belongs to it, as a user's pipeline hands it to `WriteShards`.

    Attributes:
        id: the sample's name, unique in the dataset.
        image: encoded bytes (JPEG, PNG, ...), or a uint8 array of shape (H, W), (H, W, 1),
            (H, W, 3) or (H, W, 4), or None: then `path` is read.
        path: where the image came from; kept as `original_path`.
        metadata: column name to value; a typed column of the shard's Parquet each.
        fields: extension to bytes; a further member of the tar each (`{"txt": b"a cat"}`).
    """

    id: str
    image: bytes | np.ndarray | None
    path: str = ""
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fields: Mapping[str, bytes] = dataclasses.field(default_factory=dict)


class EncodedImage(NamedTuple):
    """An image as it will be stored.

    Attributes:
        data: the bytes.
        ext: extension of its member, without a dot.
        width, height: pixels as stored, before any EXIF orientation; None if not known.
        encoding: `copied` or `encoded`.
    """

    data: bytes
    ext: str
    width: int | None
    height: int | None
    encoding: str


class Member(NamedTuple):
    """Where one member of a sample lies: `size` bytes of `uri` from `offset` (or `WHOLE`)."""

    ext: str
    uri: str
    offset: int
    size: int


class Stored(NamedTuple):
    """What is known of an image whose bytes are spilled just as they will be stored."""

    ext: str
    width: int | None
    height: int | None
    encoding: str
    source_sha256: str | None


class SampleRef(NamedTuple):
    """Where a sample lies, without its bytes.

    Attributes:
        order: the order key: bytes that decide the sample's place, the same on every run.
        id: the sample's name.
        path: `original_path`.
        image: where the image's bytes lie.
        fields: the other members, by extension.
        metadata: column name to value.
        size: bytes of the image as it came; for an array, bytes of its pixels.
        stored: set if the bytes at `image` are to be stored as they are.
    """

    order: bytes
    id: str
    path: str
    image: Member
    fields: tuple[Member, ...]
    metadata: dict[str, Any]
    size: int
    stored: Stored | None = None


class Failure(NamedTuple):
    """A sample that is not in the export, and why (format.md, part 4.3)."""

    image_id: str
    original_path: str
    stage: str
    error: str
    message: str


def failure_of(ref: SampleRef, error: SampleError) -> Failure:
    """Returns the row of the failures table for a sample."""
    return Failure(printable(ref.id), printable(ref.path), error.stage, error.error, error.message)


class PackedRef(NamedTuple):
    """A ref in a block: what planning needs stands outside, the rest is one opaque value."""

    order: bytes
    digest: bytes
    id: str
    body: bytes


def sample_digest(ref: SampleRef) -> bytes:
    """Returns 32 bytes that change with whatever of a sample can change its shard's bytes.

    These are its order key, id, sizes, the names of its members and its metadata; never a path,
    so that the same samples have the same digests wherever they lie.
    """
    sizes = [ref.size, *(field.size for field in ref.fields)]
    names = [ref.image.ext, *(field.ext for field in ref.fields)]
    return hashlib.sha256(
        canonical.encode([ref.order, ref.id, sizes, names, ref.metadata])
    ).digest()


def pack(refs: Iterable[SampleRef]) -> bytes:
    """Packs refs into a block."""
    return pickle.dumps([tuple(pack_ref(ref)) for ref in refs], protocol=5)


def pack_ref(ref: SampleRef) -> PackedRef:
    """Packs one ref; planning reads the outside, `unpack_ref` brings the whole back."""
    fields = tuple(tuple(field) for field in ref.fields)
    stored = tuple(ref.stored) if ref.stored else None
    body = (ref.path, tuple(ref.image), fields, ref.metadata, ref.size, stored)
    return PackedRef(ref.order, sample_digest(ref), ref.id, pickle.dumps(body, protocol=5))


def unpack_ref(packed: PackedRef) -> SampleRef:
    """Returns the ref that `pack_ref` packed."""
    path, image, fields, metadata, size, stored = pickle.loads(packed.body)
    return SampleRef(
        packed.order,
        packed.id,
        path,
        Member(*image),
        tuple(Member(*field) for field in fields),
        metadata,
        size,
        Stored(*stored) if stored else None,
    )


def pack_block(packed: Iterable[PackedRef]) -> bytes:
    """Packs refs that are packed one by one already."""
    return pickle.dumps([tuple(one) for one in packed], protocol=5)


def unpack(block: bytes) -> list[PackedRef]:
    """Returns the packed refs of a block."""
    return [PackedRef(*one) for one in pickle.loads(block)]
