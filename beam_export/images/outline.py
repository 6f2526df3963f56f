"""How many pixels an encoded image has, read from its header by code of this package alone.

No codec is asked, so that it can be known before one is trusted with the image. What is told is
what the header says: a decoder may find something else, or nothing.

Sources: ITU-T T.81 B.2.2; PNG (third edition) 11.2.1; RFC 9649, 2.5 to 2.7; GIF89a, 18 and 20;
TIFF 6.0, 2, and BigTIFF; ISO/IEC 23008-12 6.5.3 (`ispe`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from beam_export.images.header import sniff
from beam_export.images.jpeg import segments as jpeg_segments

__all__ = ["Outline", "read_outline"]

#: Entries of a TIFF's directory, and blocks before a GIF's first image, that are looked at.
_MOST_ENTRIES = 4096
_IMAGE_WIDTH, _IMAGE_LENGTH = 256, 257


class Outline(NamedTuple):
    """What a header says of an image.

    Attributes:
        pixels: width times height, at least 1.
        scans: passes that a decoder makes over them, at least 1.
    """

    pixels: int
    scans: int = 1


def read_outline(data: bytes) -> Outline | None:
    """Returns what an image's header says; None for what is no image, or has no such header."""
    read = _READERS.get(sniff(data) or "")
    try:
        size = read(data) if read else None
    except (struct.error, LookupError, ValueError, OverflowError):
        size = None
    if size is None or min(size) < 1:
        return None
    return Outline(size[0] * size[1], _scans(data))


def _scans(data: bytes) -> int:
    """Returns the scans of a JPEG, at most as many as are decoded."""
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


def _of_avif(data: bytes) -> _Size | None:
    """Returns the largest size that a property tells: of the whole, if it is made of parts."""
    sizes: list[_Size] = []
    at = data.find(b"ispe")
    while at >= 0 and len(sizes) < _MOST_ENTRIES:
        if at + 16 <= len(data):
            sizes.append(struct.unpack_from(">II", data, at + 8))
        at = data.find(b"ispe", at + 4, 1 << 20)
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


_READERS: dict[str, Callable[[bytes], _Size | None]] = {
    "jpg": jpeg_segments.read_size,
    "png": _of_png,
    "webp": _of_webp,
    "gif": _of_gif,
    "bmp": _of_bmp,
    "tiff": _of_tiff,
    "avif": _of_avif,
}
