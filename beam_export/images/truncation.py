"""Finds that an encoded image ends before its own lengths say: it was cut short.

`is_cut` is for the words of a failure alone: an image of which only the end mark is missing is
decoded like others. A length that is damaged looks the same as bytes that are missing.

Source: PNG (third edition), 5.3; GIF89a, 12 to 27; RFC 9649 (WebP), 2.4; TIFF 6.0, section 2, and
BigTIFF; ISO/IEC 14496-12, 4.2 (boxes of AVIF, HEIC and JP2); ISO/IEC 15444-1, A.4.4 (the end of a
codestream); the manual pages of Netpbm; BITMAPINFOHEADER.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from beam_export.images.jpeg import segments

__all__ = ["has_end_of_codestream", "is_cut"]

_PNG_SIGNATURE, _CHUNK = 8, 12
_GIF_IMAGE, _GIF_EXTENSION = 0x2C, 0x21
#: Tags of a TIFF with the offsets and lengths of strips, and of tiles.
_PIECES = ((273, 279), (324, 325))
#: Bytes of a value of a TIFF, by its type.
_SIZES = {
    **dict.fromkeys((1, 2, 6, 7), 1),
    **dict.fromkeys((3, 8), 2),
    **dict.fromkeys((4, 9, 11, 13), 4),
    **dict.fromkeys((5, 10, 12, 16, 17, 18), 8),
}
#: Letters of `struct` of the types that offsets and lengths have.
_FORMATS = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
#: Pieces, boxes and blocks that are looked at: more make no other message.
_MOST = 100_000
#: Markers of JPEG 2000: the start of data, and the end of the codestream.
_SOD, _EOC = b"\xff\x93", b"\xff\xd9"
#: A number in a header of Netpbm's, behind white space and comments.
_NUMBER = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+([0-9]+)")


def is_cut(data: bytes, kind: str) -> bool:
    r"""Returns whether an image that cannot be decoded ends before it should.

    >>> is_cut(b"GIF89a", "gif"), is_cut(b"RIFF\4\0\0\0WEBP", "webp")
    (True, False)

    Args:
        data: the encoded image.
        kind: as `header.sniff` names it.
    """
    ends_early = _CHECKS.get(kind)
    try:
        return ends_early is not None and ends_early(data)
    except (struct.error, IndexError, OverflowError, ValueError):
        # Its header is not there as a whole, or points where no file goes.
        return True


def _jpeg(data: bytes) -> bool:
    try:
        for _ in segments.walk(data):
            pass
    except ValueError as error:
        return "end-of-image" in str(error) or "longer than the file" in str(error)
    return False


def _png(data: bytes) -> bool:
    at = _PNG_SIGNATURE
    for _ in range(_MOST):
        size, kind = struct.unpack_from(">I4s", data, at)
        at += _CHUNK + size
        if at > len(data):
            return True
        if kind == b"IEND":
            return False
    return False


def _webp(data: bytes) -> bool:
    (size,) = struct.unpack_from("<I", data, 4)
    return len(data) < 8 + int(size)


def _gif(data: bytes) -> bool:
    def table(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    at = 13 + table(data[10])
    for _ in range(_MOST):
        block = data[at]
        if block == _GIF_IMAGE:
            at += 11 + table(data[at + 9])
        elif block == _GIF_EXTENSION:
            at += 2
        else:
            return False
        while size := data[at]:
            at += 1 + size
        at += 1
    return False


def _bmp(data: bytes) -> bool:
    start, header = struct.unpack_from("<II", data, 10)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        packed = size = 0
    else:
        width, height, _, bits, packed, size = struct.unpack_from("<iiHHII", data, 18)
    if packed in (0, 3, 6):
        size = (abs(width) * bits + 31) // 32 * 4 * abs(height)
    return len(data) < int(start + size)


def _tiff(data: bytes) -> bool:
    order = "<" if data[:1] == b"I" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    at, entry = at + (8 if big else 2), (order + ("HHQ" if big else "HHI"))
    found: dict[int, tuple[int, ...]] = {}
    if at + min(count, _MOST) * (20 if big else 12) + (8 if big else 4) > len(data):
        return True
    for number in range(min(count, _MOST)):
        here = at + number * (20 if big else 12)
        tag, kind, values = struct.unpack_from(entry, data, here)
        place, taken = here + struct.calcsize(entry), values * _SIZES.get(kind, 0)
        if taken > (8 if big else 4):
            (place,) = struct.unpack_from(order + ("Q" if big else "I"), data, place)
            if place + taken > len(data):
                return True
        if any(tag in pair for pair in _PIECES) and kind in _FORMATS:
            form = f"{min(values, _MOST)}{_FORMATS[kind]}"
            found[tag] = struct.unpack_from(order + form, data, place)
    return any(
        start + size > len(data)
        for starts, sizes in _PIECES
        for start, size in zip(found.get(starts, ()), found.get(sizes, ()), strict=False)
    )


def _boxes(data: bytes) -> bool:
    at = 0
    for _ in range(_MOST):
        if at == len(data):
            # Between two boxes, before any pixels.
            return not any(kind in data for kind in (b"mdat", b"idat", b"jp2c"))
        size, kind = struct.unpack_from(">I4s", data, at)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
        if size == 0:
            # Up to the end, wherever that is.
            return kind == b"jp2c" and _codestream(data)
        if at + size > len(data):
            return True
        if size < 8:
            return False
        at += size
    return False


def _codestream(data: bytes) -> bool:
    return not data.endswith(_EOC)


def has_end_of_codestream(data: bytes) -> bool:
    """Returns whether a JPEG 2000 has its end marker.

    OpenJPEG gives plain gray, and no error, for one that is cut before its first pixels. What is
    coded never looks like a marker (ISO/IEC 15444-1, A.1.4), and the headers end at the first data.
    """
    return data.find(_EOC, data.find(_SOD)) >= 0


def _netpbm(data: bytes) -> bool:
    kind = data[1] - ord("0")
    plain, channels = kind < 4, 3 if kind in (3, 6) else 1
    numbers, at = [], 2
    # A bitmap has no largest value.
    for _ in range(2 if kind in (1, 4) else 3):
        found = _NUMBER.match(data, at)
        if found is None:
            return at >= len(data) or not data[at:].strip()
        numbers.append(int(found[1]))
        at = found.end()
    width, height = numbers[:2]
    if kind == 4:
        return len(data) < at + 1 + (width + 7) // 8 * height
    if kind == 1:
        return sum(map(data[at:].count, (b"0", b"1"))) < width * height
    if plain:
        return len(data[at:].split()) < width * height * channels
    return len(data) < at + 1 + width * height * channels * (1 if numbers[2] < 256 else 2)


_CHECKS: dict[str, Callable[[bytes], bool]] = {
    "jpg": _jpeg,
    "png": _png,
    "webp": _webp,
    "gif": _gif,
    "tiff": _tiff,
    "bmp": _bmp,
    **dict.fromkeys(("avif", "heic", "heif", "jp2"), _boxes),
    "j2k": _codestream,
    **dict.fromkeys(("pbm", "pgm", "ppm"), _netpbm),
}
