"""The colours of a PNG that has no profile: what its gAMA, cHRM, sRGB and cICP chunks say.

They become a profile, which is applied like any other (`icc.to_srgb`). A cICP chunk counts before
all else, then a profile, then an sRGB chunk, then gAMA and cHRM. What cannot be put into a profile
(the brightness of PQ and HLG, which a choice of tone mapping would have to bring down; codes that
are not known) is left as it is, and told.

Source: PNG, third edition, 4.3 and 11.3.2; ITU-T H.273 (07/2024), tables 2 and 3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from PIL import Image

from beam_export.images.icc_matrix import LINEAR, REC709, SRGB_CURVE, Curve, matrix_profile

__all__ = ["OTHER_COLORS", "PngColors", "colors_of", "told"]

#: The remark of a PNG whose colours are told in a way that is not converted.
OTHER_COLORS = "other_colors"

_SIGNATURE = 8
_MOST_CHUNKS = 10_000
#: In the chunks, numbers are hundred thousandths.
_SCALE = 100_000
_SRGB_GAMMA = 45_455
#: A gamma this near to sRGB's stands for its curve, as it has no other way to be told.
_NEAR_GAMMA = 500
#: Likewise chromaticities, which are rounded to two digits here and there.
_NEAR_CHROMATICITY = 600

#: (x, y) of white, red, green and blue.
_SRGB = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
_D65, _C = (31_270, 32_900), (31_000, 31_600)
_PRIMARIES = {
    1: _SRGB,
    4: (*_C, 67_000, 33_000, 21_000, 71_000, 14_000, 8_000),
    5: (*_D65, 64_000, 33_000, 29_000, 60_000, 15_000, 6_000),
    6: (*_D65, 63_000, 34_000, 31_000, 59_500, 15_500, 7_000),
    7: (*_D65, 63_000, 34_000, 31_000, 59_500, 15_500, 7_000),
    9: (*_D65, 70_800, 29_200, 17_000, 79_700, 13_100, 4_600),
    11: (31_400, 35_100, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000),
    12: (*_D65, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000),
    22: (*_D65, 63_000, 34_000, 29_500, 60_500, 15_500, 7_700),
}
_TRANSFERS = {
    1: REC709,
    4: Curve(2.2),
    5: Curve(2.8),
    6: REC709,
    8: LINEAR,
    13: SRGB_CURVE,
    14: REC709,
    15: REC709,
}


class PngColors(NamedTuple):
    """What the colours of a PNG are.

    Attributes:
        profile: an ICC profile of them, None for sRGB.
        is_other: whether they are told, and there is no profile for them.
    """

    profile: bytes | None
    is_other: bool = False

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is told of it at the end, in a word each."""
        return (OTHER_COLORS,) if self.is_other else ()


def told(im: Image.Image, data: bytes) -> PngColors:
    """Returns what is told of the colours of any opened image: by its profile, or as a PNG."""
    profile = im.info.get("icc_profile")
    return colors_of(data, profile) if im.format == "PNG" else PngColors(profile)


def colors_of(data: bytes, profile: bytes | None) -> PngColors:
    """Returns what the colours of a PNG are.

    Args:
        data: the file.
        profile: that it brings.
    """
    chunks = dict(_chunks(data))
    if len(chunks.get(b"cICP", b"")) == 4:
        by_codes = _of_codes(*chunks[b"cICP"])
        # Whoever does not know the codes goes by the profile (PNG, 4.3).
        return PngColors(profile) if by_codes.is_other and profile else by_codes
    if profile:
        return PngColors(profile)
    if len(chunks.get(b"sRGB", b"")) == 1:
        return PngColors(None)
    return _of_numbers(_numbers(chunks, b"gAMA", 1), _numbers(chunks, b"cHRM", 8))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields (type, content) of what stands before the pixels."""
    at = _SIGNATURE
    for _ in range(_MOST_CHUNKS):
        if at + 12 > len(data):
            return
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if kind in (b"IDAT", b"IEND"):
            return
        if kind in (b"cICP", b"sRGB", b"gAMA", b"cHRM"):
            yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


def _numbers(chunks: Mapping[bytes, bytes], kind: bytes, count: int) -> tuple[int, ...] | None:
    content = chunks.get(kind, b"")
    return struct.unpack(f">{count}I", content) if len(content) == 4 * count else None


def _of_codes(primaries: int, transfer: int, matrix: int, full_range: int) -> PngColors:
    if primaries not in _PRIMARIES or transfer not in _TRANSFERS or matrix or full_range != 1:
        return PngColors(None, is_other=True)
    return _made(_PRIMARIES[primaries], _TRANSFERS[transfer])


def _of_numbers(gamma: tuple[int, ...] | None, places: tuple[int, ...] | None) -> PngColors:
    curve = SRGB_CURVE
    if gamma is not None and abs(gamma[0] - _SRGB_GAMMA) > _NEAR_GAMMA:
        if gamma[0] == 0:
            return PngColors(None, is_other=True)
        curve = Curve(_SCALE / gamma[0])
    return _made(places or _SRGB, curve)


def _made(places: tuple[int, ...], curve: Curve) -> PngColors:
    """Returns the colours of such primaries and such a curve."""
    pairs = zip(places, _SRGB, strict=True)
    if curve == SRGB_CURVE and all(abs(a - b) <= _NEAR_CHROMATICITY for a, b in pairs):
        return PngColors(None)
    try:
        return PngColors(matrix_profile([place / _SCALE for place in places], curve))
    except ValueError:
        return PngColors(None, is_other=True)
