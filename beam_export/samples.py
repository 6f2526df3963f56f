"""The records that the pipeline moves: samples, references to samples, images and failures.

A `Sample` holds an image itself, and comes from a user's own pipeline. All steps after the first
move `SampleRef`s, which hold no image but say where its bytes are.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from beam_export.errors import SampleError
from beam_export.text import stored

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

__all__ = [
    "DAMAGED_IMAGE",
    "MISSING_CODEC",
    "SOURCE_CHANGED",
    "TRUNCATED_IMAGE",
    "UNDECODABLE_IMAGE",
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
#: `Failure.error` of an image whose format takes a library that is not installed.
MISSING_CODEC = "MissingCodec"
#: `Failure.error` of a sample whose source has changed since it was listed.
SOURCE_CHANGED = "SourceChanged"
#: `Failure.error` of an image that ends before it should, and of one that is damaged otherwise, or
#: of a kind that is not read.
TRUNCATED_IMAGE, UNDECODABLE_IMAGE = "TruncatedImage", "UndecodableImage"
#: `SampleRef.size` of an image whose size is not known yet.
UNMEASURED = -1


class DeviceArray(Protocol):
    """An array in the memory of a GPU (CUDA array interface, version 3)."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One image with its metadata and further files, as a user's pipeline hands it over.

    Attributes:
        id: the sample's name, unique in the dataset.
        image: encoded bytes (JPEG, PNG, ...), or an image of Pillow's, or a uint8 array of shape
            (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or None: then `path` is read. An array in the
            memory of a GPU (CuPy, torch) is taken by the DALI encoder on a GPU, without a copy.
        path: where the image came from; stored as `original_path`.
        metadata: column name to value; each becomes a typed column of the shard's Parquet.
        fields: extension to bytes, text, or a dict that is written as JSON; each becomes a further
            member of the tar (`{"txt": "a cat", "json": {"score": 0.9}}`).
    """

    id: str
    image: bytes | np.ndarray | DeviceArray | PillowImage | None
    path: str | os.PathLike[str] = ""
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fields: Mapping[str, bytes | str | dict[str, Any]] = dataclasses.field(default_factory=dict)


class EncodedImage(NamedTuple):
    """An image as it will be stored.

    Attributes:
        data: the bytes.
        ext: extension of its member, without a dot.
        width, height: pixels as stored, before any EXIF orientation; None if not known.
        encoding: `copied` or `encoded`.
        remarks: what the summary of the run counts (`damaged`, `other_colors`), and the codecs
            that few images need (`images.codecs`).
        lacks: which of `images.uniform.WORDS` it is not, as far as that is known; counted for the
            end of the run, and stored nowhere.
    """

    data: bytes
    ext: str
    width: int | None
    height: int | None
    encoding: str
    remarks: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


class Member(NamedTuple):
    """The place of the bytes of one member of a sample.

    Attributes:
        ext: extension in the tar, without a dot.
        uri: of the file that holds them.
        offset: of their first byte; `WHOLE` if the file holds nothing else; with a `column`, the
            number of the row.
        size: in bytes.
        data: the bytes themselves, of a small member that is in no file.
        column: name of the column, if the file is Parquet.
        group: number of the row group, if the file is Parquet.
        crc: CRC-32 of the bytes, if they are in a temporary file.
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
    """An image that was encoded already, whose bytes in a temporary file are stored as they are.

    Attributes:
        ext, width, height, encoding, remarks, lacks: as of `EncodedImage`.
        source_sha256: hex digest of the image's bytes before it was encoded; None for an array.
    """

    ext: str
    width: int | None
    height: int | None
    encoding: str
    source_sha256: str | None
    remarks: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


class Probed(NamedTuple):
    """Facts of an image that `--probe` has read before planning.

    Attributes:
        width, height: pixels as the image came, before any EXIF orientation.
        format: as `images.header.sniff` names it, from its first bytes.
    """

    width: int
    height: int
    format: str


class Earlier(NamedTuple):
    """Facts of an image in an earlier export by this tool, which the new export takes over.

    Attributes:
        source_sha256: hex digest of the original image's bytes; None for an array.
        json_member: extension of the member that it made of its columns (`--json_columns`).
    """

    source_sha256: str | None
    json_member: str = ""


class SampleRef(NamedTuple):
    """A reference to a sample: all that is known of it, and where its bytes are.

    Attributes:
        order: the order key: bytes that decide the sample's place, the same on every run.
        id: the sample's name, unique in the dataset.
        path: stored as `original_path`.
        image: where the image's bytes are.
        fields: the other members, by extension.
        metadata: column name to value.
        size: bytes of the image before it is encoded; of an array, bytes of its pixels;
            `UNMEASURED` if not known.
        stored: set if the image is encoded already.
        probed: set if the image was probed; changes no byte of the output.
        typed: names of metadata whose types a schema declares (`Samples.columns`), so that they are
            not inferred from the values.
        earlier: set if the sample comes from an earlier export by this tool.
        joined: (path of a table, names of the metadata that its row has added) of each table that
            declares no types, for messages.
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
    joined: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Failure(NamedTuple):
    """A sample that could not be exported, and why: a row of the table of failures."""

    image_id: str
    original_path: str
    stage: str
    error: str
    message: str


def failure_of(ref: SampleRef, error: SampleError) -> Failure:
    """Returns the failure of a sample for the table of failures."""
    return Failure(
        image_id=stored(ref.id),
        original_path=stored(ref.path),
        stage=error.stage,
        error=error.error,
        message=error.message,
    )
