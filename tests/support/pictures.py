"""Small images that tests of encoders share: made, encoded, and compared with what is expected."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, features

from beam_export.errors import SampleError
from beam_export.images.encoder import EncodeSpec, ImageInput, Result
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.samples import EncodedImage

__all__ = [
    "EXACT",
    "OnDevice",
    "assert_close",
    "encode",
    "encoded",
    "exif",
    "failed",
    "flat",
    "needs_avif",
    "pixels",
    "png",
    "save",
    "smooth",
]

#: Options with which JPEG keeps a flat colour exactly.
EXACT = {"quality": 100, "subsampling": "444"}
needs_avif = pytest.mark.skipif(
    not features.check("avif"), reason="this build of Pillow has no AVIF"
)


def smooth(width: int = 48, height: int = 32) -> np.ndarray:
    """Returns pixels (H, W, 3) that JPEG keeps within a few levels and no turn leaves as is."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 4, y * 6, 40 + x * 2 + y], axis=2).astype(np.uint8)


def save(im: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    im.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[ExifTags.Base.Make] = "maker"
    block[ExifTags.Base.Orientation] = orientation
    return block


def encode(image: ImageInput, **options: Any) -> Result:
    encoder = PillowEncoder(EncodeSpec(mode="always", **options))
    encoder.open()
    (result,) = encoder.encode_batch([image])
    return result


def encoded(image: ImageInput, **options: Any) -> EncodedImage:
    result = encode(image, **options)
    assert isinstance(result, EncodedImage), result
    return result


def failed(image: ImageInput, **options: Any) -> SampleError:
    result = encode(image, **options)
    assert isinstance(result, SampleError)
    return result


def pixels(result: EncodedImage) -> np.ndarray:
    with Image.open(io.BytesIO(result.data), formats=["JPEG"]) as im:
        assert im.size == (result.width, result.height)
        return np.asarray(im)


def assert_close(one: np.ndarray, other: np.ndarray, most: int = 3) -> None:
    assert one.shape == other.shape
    assert np.abs(one.astype(int) - other.astype(int)).max() <= most


def flat(result: EncodedImage) -> tuple[int, ...] | int:
    """Returns the one colour of an image that has one."""
    array = pixels(result)
    assert (array == array[0, 0]).all()
    return tuple(map(int, array[0, 0])) if array.ndim == 3 else int(array[0, 0])


def png(
    depth: int, kind: int, rows: list[bytes], width: int, *chunks: tuple[bytes, bytes]
) -> bytes:
    """Returns a PNG made by hand: of depths and types that Pillow does not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)

    head = struct.pack(">IIBBBBB", width, len(rows), depth, kind, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    inner = b"".join(chunk(name, content) for name, content in chunks)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
    return start + inner + chunk(b"IDAT", body) + chunk(b"IEND", b"")


class OnDevice:
    """What CuPy and torch show of an array on a GPU; there is no memory behind it."""

    def __init__(self, shape: tuple[int, ...], typestr: str = "|u1", strides: Any = None) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": typestr,
            "strides": strides,
            "data": (0, False),
            "version": 3,
        }
