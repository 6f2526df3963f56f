"""Turns the colour chunks of a PNG without a profile (gAMA, cHRM, sRGB, cICP) into an ICC profile.

The profile has three primaries, a white and one curve, and is applied like any other
(`color.to_srgb`). Precedence: cICP, an embedded profile, sRGB, gAMA and cHRM. What has no such
profile (PQ and HLG, which would need a choice of tone mapping; unknown codes) is left as it is, and
reported by a remark.

Source: PNG, third edition, 4.3 and 11.3.2; ITU-T H.273 (07/2024), tables 2 and 3; ICC.1:2022, 7
(header), 9.2 (tags), 10.18 (parametric curves), E.3 (Bradford adaptation); IEC 61966-2-1 (sRGB);
ITU-R BT.709-6, 1.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

__all__ = [
    "OTHER_COLORS",
    "Curve",
    "PngColors",
    "coded_colors",
    "matrix_profile",
    "png_colors",
]

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
#: Numbers of a profile are below this (s15Fixed16).
_MOST = 32_767.0


class Curve(NamedTuple):
    """Transfer curve: light is (a * level + b) ** gamma from level `d` on, c * level below."""

    gamma: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0


LINEAR = Curve(1.0)
SRGB_CURVE = Curve(gamma=2.4, a=1 / 1.055, b=0.055 / 1.055, c=1 / 12.92, d=0.04045)
REC709 = Curve(gamma=1 / 0.45, a=1 / 1.099, b=0.099 / 1.099, c=1 / 4.5, d=0.081)

#: Remark on a PNG whose colours are declared in a way that is not converted.
OTHER_COLORS = "other_colors"

_SIGNATURE = 8
_MOST_CHUNKS = 10_000
#: Numbers in the chunks are hundred thousandths.
_SCALE = 100_000
_SRGB_GAMMA = 45_455
#: A gamma this near to sRGB's stands for sRGB's curve, which gAMA cannot express.
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
    """The colours of an image.

    Attributes:
        profile: ICC profile; None for sRGB.
        is_other: whether they are declared, but not in a way that can be converted.
    """

    profile: bytes | None
    is_other: bool = False

    @property
    def remarks(self) -> tuple[str, ...]:
        """Words that the summary counts."""
        return (OTHER_COLORS,) if self.is_other else ()


def png_colors(data: bytes, profile: bytes | None) -> PngColors:
    """Returns the colours of a PNG by its chunks.

    Args:
        data: the file.
        profile: ICC profile embedded in it.
    """
    chunks = dict(_chunks(data))
    if len(chunks.get(b"cICP", b"")) == 4:
        by_codes = _of_codes(*chunks[b"cICP"])
        # A reader that does not know the codes goes by the profile (PNG, 4.3).
        return PngColors(profile) if by_codes.is_other and profile else by_codes
    if profile:
        return PngColors(profile)
    if len(chunks.get(b"sRGB", b"")) == 1:
        return PngColors(None)
    return _of_numbers(_numbers(chunks, b"gAMA", 1), _numbers(chunks, b"cHRM", 8))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields (type, content) of the colour chunks before the pixels."""
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
    if matrix or full_range != 1:
        return PngColors(None, is_other=True)
    return coded_colors(primaries, transfer)


def coded_colors(primaries: int, transfer: int) -> PngColors:
    """Returns the colours of RGB in full range by their codes (ITU-T H.273)."""
    if primaries not in _PRIMARIES or transfer not in _TRANSFERS:
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
    """Returns colours by (x, y) of white and primaries, in hundred thousandths, and a curve."""
    pairs = zip(places, _SRGB, strict=True)
    if curve == SRGB_CURVE and all(abs(a - b) <= _NEAR_CHROMATICITY for a, b in pairs):
        return PngColors(None)
    try:
        return PngColors(matrix_profile([place / _SCALE for place in places], curve))
    except ValueError:
        return PngColors(None, is_other=True)


def matrix_profile(places: Sequence[float], curve: Curve) -> bytes:
    """Returns an ICC profile, version 4, of primaries and a curve.

    Args:
        places: chromaticities: x and y of white, red, green and blue.
        curve: transfer curve of each component.

    Raises:
        ValueError: if no colours have these chromaticities.
    """
    primaries = _primaries(places)
    trc = b"para" + struct.pack(">IHH", 0, 3, 0) + b"".join(map(_fixed, curve))
    text = _text("told by a PNG")
    tags = [
        (b"desc", text),
        (b"cprt", text),
        (b"wtpt", _xyz(_D50)),
        *zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(_xyz, primaries.T), strict=True),
        *((name, trc) for name in (b"rTRC", b"gTRC", b"bTRC")),
    ]
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags:
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    size = start + len(body)
    head = struct.pack(">I4xI4s4s4s", size, 0x04300000, b"mntr", b"RGB ", b"XYZ ")
    head = head.ljust(36, b"\0") + b"acsp"
    illuminant = b"".join(map(_fixed, _D50))
    return head.ljust(68, b"\0") + illuminant.ljust(60, b"\0") + table + body


def _primaries(places: Sequence[float]) -> np.ndarray:
    """Returns red, green and blue as columns of X, Y, Z, adapted to D50."""
    if min(places[1::2]) <= 0:
        raise ValueError("a primary, or white, has no brightness")
    white, *colors = (
        np.array([x / y, 1.0, (1 - x - y) / y])
        for x, y in zip(places[::2], places[1::2], strict=True)
    )
    matrix = np.stack(colors, 1)
    if abs(np.linalg.det(matrix)) < 1e-6:
        raise ValueError("the primaries lie on a line")
    matrix = matrix * np.linalg.solve(matrix, white)
    there = _BRADFORD @ white
    if not (there > 0).all():
        raise ValueError("white is no colour that is seen")
    adapted: np.ndarray = (
        np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _D50 / there) @ _BRADFORD @ matrix
    )
    if not np.isfinite(adapted).all() or np.abs(adapted).max() > _MOST:
        raise ValueError("the primaries are out of range")
    return adapted


def _fixed(number: float) -> bytes:
    if not abs(number) < _MOST:
        raise ValueError("a number is out of range")
    return struct.pack(">i", round(number * 65_536))


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))


def _text(words: str) -> bytes:
    encoded = words.encode("utf-16-be")
    return (
        b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded
    )
