"""What travels: samples, where they lie, and what becomes of them.

A `Sample` is what a user's own pipeline hands over. Everything after the first step moves
`SampleRef`s, which say where the bytes lie.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from beam_export.errors import SampleError
from beam_export.text import printable

__all__ = [
    "DAMAGED_IMAGE",
    "SOURCE_CHANGED",
    "UNMEASURED",
    "WHOLE",
    "DeviceArray",
    "Earlier",
    "EncodedImage",
    "Failure",
    "Member",
    "Probed",
    "Sample",
    "SampleRef",
    "Stored",
    "failure_of",
]

#: `Member.offset` of a file that is read as a whole.
WHOLE = -1
#: `Failure.error` of a JPEG that decodes with loss of data.
DAMAGED_IMAGE = "DamagedImage"
#: `Failure.error` of a sample whose source is not what was listed.
SOURCE_CHANGED = "SourceChanged"
#: `SampleRef.size` of an image that has not been looked at.
UNMEASURED = -1


class DeviceArray(Protocol):
    """An array in the memory of a GPU (CUDA array interface, version 3)."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One image with what belongs to it, as a user's pipeline hands it to `WriteShards`.

    Attributes:
        id: the sample's name, unique in the dataset.
        image: encoded bytes (JPEG, PNG, ...), or a uint8 array of shape (H, W), (H, W, 1),
            (H, W, 3) or (H, W, 4), or None: then `path` is read. An array in the memory of a GPU
            (CuPy, torch) is taken by the DALI encoder on a GPU, without a copy.
        path: where the image came from; kept as `original_path`.
        metadata: column name to value; a typed column of the shard's Parquet each.
        fields: extension to bytes; a further member of the tar each (`{"txt": b"a cat"}`).
    """

    id: str
    image: bytes | np.ndarray | DeviceArray | None
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
        remarks: what is told of it at the end, in a word each: `damaged`,
            `other_colors`.
    """

    data: bytes
    ext: str
    width: int | None
    height: int | None
    encoding: str
    remarks: tuple[str, ...] = ()


class Member(NamedTuple):
    """Where one member of a sample lies: `size` bytes of `uri` from `offset` (or `WHOLE`).

    A small one that lies nowhere, since it was made of something else, brings its bytes as `data`.
    One in a Parquet file names its `column`; `offset` is then the number of its row, which lies in
    the row group of the number `group`. One that was spilled has the CRC-32 of its bytes as `crc`.
    """

    ext: str
    uri: str
    offset: int
    size: int
    data: bytes | None = None
    column: str | None = None
    group: int = 0
    crc: int | None = None


class Stored(NamedTuple):
    """What is known of an image whose bytes are spilled just as they will be stored."""

    ext: str
    width: int | None
    height: int | None
    encoding: str
    source_sha256: str | None
    remarks: tuple[str, ...] = ()


class Probed(NamedTuple):
    """What a look at an image has found before planning.

    Attributes:
        width, height: pixels as the image came, before any EXIF orientation.
        format: `jpg`, `png`, `webp`, `gif`, `tiff`, `bmp` or `avif`, by its first bytes.
    """

    width: int
    height: int
    format: str


class Earlier(NamedTuple):
    """What an earlier export of ours knew of an image, and what is kept of it.

    Attributes:
        source_sha256: hex, of the image's bytes as they first came; None for an array.
    """

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
        size: bytes of the image as it came; for an array, bytes of its pixels; `UNMEASURED` as
            long as nothing has asked.
        stored: set if the bytes at `image` are to be stored as they are.
        probed: set if the image was looked at before planning; shapes no byte of the output.
        typed: names of metadata whose Arrow types a schema declares (`Samples.columns`); they are
            not inferred from the values.
        earlier: set if the sample comes from an export of ours.
    """

    order: bytes
    id: str
    path: str
    image: Member
    fields: tuple[Member, ...]
    metadata: dict[str, Any]
    size: int
    stored: Stored | None = None
    probed: Probed | None = None
    typed: tuple[str, ...] = ()
    earlier: Earlier | None = None


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
