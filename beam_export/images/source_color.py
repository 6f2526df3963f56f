"""Finds the colours that an image of any format declares, as an ICC profile.

A profile comes first. Else a PNG has chunks (`png_color`), a HEIF the codes of ITU-T H.273, and a
JPEG 2000 a box with a profile, which Pillow does not read, or with the number of a colour space.

The curves of video (BT.709 and its like) stand in many HEIFs that are shown as sRGB everywhere:
they are read as sRGB's, and only their primaries count.

Source: ISO/IEC 23008-12, 6.5.5; ITU-T H.273 (07/2024), tables 2 and 3; ISO/IEC 15444-1, I.5.3.3,
and 15444-2, M.11.7.3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from PIL import Image

from beam_export.errors import SampleError
from beam_export.images.heif import color_codes
from beam_export.images.png_color import PngColors, coded_colors, png_colors

__all__ = ["read_colors"]

_UNSPECIFIED, _BT709, _SRGB = 2, 1, 13
_LIKE_SRGB = (_UNSPECIFIED, 1, 6, 14, 15)
#: Numbers of colour spaces: those whose pixels Pillow gives as they are meant, and those of RGB
#: that is not sRGB. All others (CIE L*a*b*, kinds of YCbCr) it would take for RGB.
_SHOWN, _OTHER_RGB = (12, 16, 17, 18), (20, 21)
_MOST_BOXES = 1000


def read_colors(im: Image.Image, data: bytes) -> PngColors:
    """Returns the colours of an opened image of any format.

    Args:
        im: opened.
        data: the bytes it was opened from.

    Raises:
        SampleError: if its pixels would be taken for what they are not.
    """
    profile: bytes | None = im.info.get("icc_profile")
    if im.format == "PNG":
        return png_colors(data, profile)
    if im.format == "JPEG2000":
        return _of_jpeg_2000(data)
    if im.format == "HEIF" and not profile and (codes := color_codes(im)) is not None:
        return _of_heif(*codes)
    return PngColors(profile)


def _of_heif(primaries: int, transfer: int) -> PngColors:
    return coded_colors(
        _BT709 if primaries == _UNSPECIFIED else primaries,
        _SRGB if transfer in _LIKE_SRGB else transfer,
    )


def _of_jpeg_2000(data: bytes) -> PngColors:
    """Returns the colours by the first colour box, which counts (I.5.3.3)."""
    for box in _color_boxes(data):
        if box[0] in (2, 3):
            return PngColors(box[3:])
        if box[0] != 1:
            continue
        (space,) = struct.unpack_from(">I", box, 3)
        if space in _SHOWN:
            return PngColors(None)
        if space in _OTHER_RGB:
            return PngColors(None, is_other=True)
        raise SampleError(
            "decode",
            "ValueError",
            f"its pixels are of colour space {space} of JPEG 2000, which is not read here: convert "
            "it to sRGB",
        )
    return PngColors(None)


def _color_boxes(data: bytes) -> Iterator[bytes]:
    """Yields the contents of the colour boxes in a file's header box; none of a bare codestream."""
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"jp2h":
            for inner, begin, stop in _boxes(data, start, end):
                if inner == b"colr" and stop - begin >= 7:
                    yield data[begin:stop]


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields (type, start, end) of the contents of boxes (I.4)."""
    for _ in range(_MOST_BOXES):
        if at + 8 > end:
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1 and at + 16 <= end:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        stop = end if length == 0 else min(end, at + length)
        if stop < start:
            return
        yield kind, start, stop
        at = stop
