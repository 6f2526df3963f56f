"""ICC profiles of three primaries, a white and one curve, made of numbers.

Source: ICC.1:2022, 7 (header), 9.2 (tags), 10.18 (parametric curves), E.3 (Bradford adaptation);
IEC 61966-2-1 (sRGB); ITU-R BT.709-6, 1.2.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["LINEAR", "REC709", "SRGB_CURVE", "Curve", "matrix_profile"]

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
#: Numbers of a profile are below this (s15Fixed16).
_MOST = 32_767.0


class Curve(NamedTuple):
    """Light of a level: (a * level + b) ** gamma from `d` on, c * level below."""

    gamma: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0


LINEAR = Curve(1.0)
SRGB_CURVE = Curve(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
REC709 = Curve(1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)


def matrix_profile(places: Sequence[float], curve: Curve) -> bytes:
    """Returns a profile, version 4.

    Args:
        places: x and y of white, red, green and blue.
        curve: of each of the three.

    Raises:
        ValueError: if there are no such colours.
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
