"""Limits of processor time and memory for an image, by the pixels that its header declares.

Only a codec that hangs or runs wild exceeds them, even on a machine fifty times slower than a usual
one. The header is read by code of this package alone, so that the limits are known before a codec
is trusted with the image; a decoder may find another size, or none.

Source: ITU-T T.81 B.2.2; PNG (third edition) 11.2.1; RFC 9649, 2.5 to 2.7; GIF89a, 18 and 20;
TIFF 6.0, 2, and BigTIFF; ISO/IEC 23008-12 6.5.3 (`ispe`); ISO/IEC 15444-1 A.5.1 (SIZ) and I.5.3.1
(`ihdr`); Netpbm's pages `pbm`, `pgm` and `ppm`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from beam_export.images.encoder import EncodeSpec, ImageInput
from beam_export.images.header import sniff
from beam_export.images.jpeg import segments as jpeg_segments

__all__ = ["DeclaredSize", "cpu_seconds", "declared_size", "most_memory", "read_declared_size"]

#: Seconds of a processor per image, per pixel, and per pixel of each further scan. A usual machine
#: takes 0.2 microseconds per pixel, and a hundredth of that per pixel of a scan.
SECONDS = 120
_SECONDS_PER_PIXEL = 10e-6
_SECONDS_PER_SCAN = 0.5e-6
#: Seconds between two checks of a process that encodes one image; checks in a row that find it
#: asleep before it counts as hanging, and checks where the system does not say whether it sleeps.
CHECK_EVERY = 1.0
MAX_ASLEEP = 120
MAX_UNKNOWN = 36_000
#: Bytes per image and per pixel.
_MEMORY = 512 << 20
_MEMORY_PER_PIXEL = 40

#: Entries of a TIFF's directory, and blocks before a GIF's first image, that are read at most.
_MOST_ENTRIES = 4096
_IMAGE_WIDTH, _IMAGE_LENGTH = 256, 257
#: Width and height, after white space or comments; more than 20 digits are no size.
_NETPBM = re.compile(rb"P[1-6]" + 2 * rb"(?:\s|#[^\r\n]*[\r\n])+([0-9]{1,20})")


class DeclaredSize(NamedTuple):
    """Size of an image by its header.

    Attributes:
        pixels: width times height, at least 1.
        scans: passes that a decoder makes over the pixels, at least 1.
    """

    pixels: int
    scans: int = 1


def declared_size(image: ImageInput, spec: EncodeSpec) -> DeclaredSize:
    """Returns the pixels and scans of an image; a pixel per bit if its header cannot be read."""
    if isinstance(image, np.ndarray):
        return DeclaredSize(max(1, image.size))
    data = image if isinstance(image, bytes) else b""
    pixels, scans = read_declared_size(data) or DeclaredSize(8 * len(data))
    return DeclaredSize(min(pixels, spec.max_pixels), scans)


def cpu_seconds(size: DeclaredSize) -> int:
    """Returns the seconds of processor time that an image may take.

    >>> cpu_seconds(DeclaredSize(pixels=12_000_000)), cpu_seconds(DeclaredSize(12_000_000, 11))
    (240, 300)
    """
    per_pixel = _SECONDS_PER_PIXEL + _SECONDS_PER_SCAN * (size.scans - 1)
    return SECONDS + int(size.pixels * per_pixel)


def most_memory(image: ImageInput, spec: EncodeSpec) -> int:
    """Returns the bytes that an image may take: the least if its header cannot be read."""
    odd = isinstance(image, bytes) and read_declared_size(image) is None
    return _MEMORY + (0 if odd else _MEMORY_PER_PIXEL * declared_size(image, spec).pixels)


def read_declared_size(data: bytes) -> DeclaredSize | None:
    """Returns the size that an image's header declares; None if it has no readable header."""
    read = _READERS.get(sniff(data) or "")
    try:
        size = read(data) if read else None
    except (struct.error, LookupError, ValueError, OverflowError):
        size = None
    if size is None or min(size) < 1:
        return None
    return DeclaredSize(size[0] * size[1], _scans(data))


def _scans(data: bytes) -> int:
    """Returns the scans of a JPEG, at most as many as are ever decoded."""
    if data[:2] != b"\xff\xd8" or not jpeg_segments.has_scans(data):
        return 1
    return max(1, min(data.count(b"\xff\xda"), jpeg_segments.MAX_SCANS))


_Size = tuple[int, int]


def _of_png(data: bytes) -> _Size | None:
    return struct.unpack_from(">II", data, 16) if data[12:16] == b"IHDR" else None


def _of_webp(data: bytes) -> _Size | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        return (width + 1, height + 1) if len(data) >= 30 else None
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _of_gif(data: bytes) -> _Size | None:
    """Returns the size of the screen, or of the first image where that reaches beyond."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    for _ in range(_MOST_ENTRIES):
        if data[at] == 0x2C:
            left, top, across, down = struct.unpack_from("<HHHH", data, at + 1)
            return max(width, left + across), max(height, top + down)
        if data[at] == 0x21:
            at += 2
            while data[at]:
                at += 1 + data[at]
        at += 1
    return width, height


def _of_bmp(data: bytes) -> _Size | None:
    if data[14] == 12:
        return struct.unpack_from("<HH", data, 18)
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(width), abs(height)


def _of_tiff(data: bytes) -> _Size | None:
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    start = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    count = struct.unpack_from(order + ("Q" if big else "H"), data, start)[0]
    first, step = start + (8 if big else 2), 20 if big else 12
    found: dict[int, int] = {}
    for at in range(first, first + step * min(count, _MOST_ENTRIES), step):
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag in (_IMAGE_WIDTH, _IMAGE_LENGTH):
            code = {3: "H", 4: "I", 16: "Q"}.get(kind, "I")
            found[tag] = struct.unpack_from(order + code, data, at + (12 if big else 8))[0]
    return found[_IMAGE_WIDTH], found[_IMAGE_LENGTH]


def _of_heif(data: bytes) -> _Size | None:
    """Returns the largest size among the properties: that of the whole, if it has parts."""
    sizes: list[_Size] = []
    at = data.find(b"ispe")
    while at >= 0 and len(sizes) < _MOST_ENTRIES:
        if at + 16 <= len(data):
            sizes.append(struct.unpack_from(">II", data, at + 8))
        at = data.find(b"ispe", at + 4, 1 << 20)
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _of_jpeg_2000(data: bytes) -> _Size | None:
    """Returns the larger of the sizes that the header box and the codestream declare."""
    sizes: list[_Size] = []
    if (at := data.find(b"ihdr", 0, 1 << 20)) >= 0:
        height, width = struct.unpack_from(">II", data, at + 4)
        sizes.append((width, height))
    if (at := data.find(b"\xff\x4f\xff\x51")) >= 0:
        right, bottom, left, top = struct.unpack_from(">IIII", data, at + 8)
        sizes.append((right - left, bottom - top))
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _of_netpbm(data: bytes) -> _Size | None:
    found = _NETPBM.match(data)
    return (int(found[1]), int(found[2])) if found else None


_READERS: dict[str, Callable[[bytes], _Size | None]] = {
    "jpg": jpeg_segments.frame_size,
    "png": _of_png,
    "webp": _of_webp,
    "gif": _of_gif,
    "bmp": _of_bmp,
    "tiff": _of_tiff,
    **dict.fromkeys(("avif", "heic", "heif"), _of_heif),
    **dict.fromkeys(("jp2", "j2k"), _of_jpeg_2000),
    **dict.fromkeys(("pbm", "pgm", "ppm"), _of_netpbm),
}
