"""Judges whether an ICC profile is as good as sRGB, by what it does to colours and in Python alone.

An image that is copied is not decoded, and its profile, which may be anything, is given to no
library either: only profiles of curves and a matrix are read, which nearly all of RGB and of gray
are. All others count as something else than sRGB. The judgement is that of `color.changes_nothing`,
which has LittleCMS convert the same colours; it is made once per profile.

Source: ICC.1:2022, 7.2 and 7.3 (header, tags), 10.6 (curveType), 10.18 (parametricCurveType), 10.31
(XYZType), F.3 (matrix and curves); IEC 61966-2-1 for sRGB, adapted to D50 as profiles have it.
"""

from __future__ import annotations

import functools
import struct
from typing import Any

import numpy as np

__all__ = ["is_srgb"]

#: Levels of 255 by which colours may differ: those of `color`.
_SAME = 2.5
#: Columns: red, green and blue in XYZ under D50.
_SRGB = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)
#: Tags of a profile that is more than curves and a matrix.
_TABLES = frozenset({b"A2B0", b"A2B1", b"A2B2", b"D2B0", b"D2B1", b"D2B2", b"D2B3"})
#: Bounds of what is read; real profiles have some 20 tags, and curves of up to 4,096 points.
_MOST_TAGS, _MOST_POINTS = 200, 65_536
#: Numbers of parameters of a parametric curve, by its type (table 68).
_PARAMETERS = (1, 3, 4, 5, 7)

_Array = np.ndarray[Any, Any]


@functools.lru_cache(maxsize=256)
def is_srgb(profile: bytes, gray: bool) -> bool:
    """Returns whether an image of that profile looks as it would without one.

    Args:
        profile: of the image; one for other pixels (a CMYK profile on RGB) means nothing.
        gray: whether the image is gray.
    """
    space = profile[16:20]
    if space not in ((b"RGB ", b"GRAY") if gray else (b"RGB ",)):
        return True
    try:
        tags = _tags(profile)
        with np.errstate(all="ignore"):
            shown = _gray_shown(tags) if space == b"GRAY" else _rgb_shown(tags)
    except (struct.error, ValueError, KeyError, IndexError):
        return False
    given = _grays() if space == b"GRAY" else _colors()
    # Of an absurd curve the result is no number, which is not within the bound either.
    return bool(np.abs(shown - given).max() * 255 <= _SAME)


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > _MOST_TAGS:
        raise ValueError
    found = {}
    for number in range(count):
        name, start, size = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        found[name] = profile[start : start + size]
    if not _TABLES.isdisjoint(found) or profile[20:24] != b"XYZ ":
        raise ValueError
    return found


def _rgb_shown(tags: dict[bytes, bytes]) -> _Array:
    """Returns the sRGB of the colours that are tried."""
    given = _colors()
    linear = [_curve(tags[name], given[:, at]) for at, name in enumerate(_names(b"TRC"))]
    matrix = np.stack([_xyz(tags[name]) for name in _names(b"XYZ")], axis=1)
    return _encoded(np.stack(linear, axis=1) @ (_from_xyz() @ matrix).T)


def _names(kind: bytes) -> list[bytes]:
    return [color + kind for color in (b"r", b"g", b"b")]


def _gray_shown(tags: dict[bytes, bytes]) -> _Array:
    return _encoded(_curve(tags[b"kTRC"], _grays()))


def _xyz(tag: bytes) -> _Array:
    if tag[:4] != b"XYZ ":
        raise ValueError
    return np.array(struct.unpack_from(">3i", tag, 8)) / 65_536


def _curve(tag: bytes, values: _Array) -> _Array:
    """Returns linear light of values of 0 to 1."""
    if tag[:4] == b"para":
        return _parametric(tag, values)
    if tag[:4] != b"curv":
        raise ValueError
    (count,) = struct.unpack_from(">I", tag, 8)
    if count == 0:
        return values
    if count > _MOST_POINTS:
        raise ValueError
    points = np.frombuffer(tag, ">u2", count, 12).astype(float)
    if count == 1:
        return np.asarray(values ** (points[0] / 256))
    return np.interp(values, np.linspace(0, 1, count), points / 65_535)


def _parametric(tag: bytes, values: _Array) -> _Array:
    (kind,) = struct.unpack_from(">H", tag, 8)
    count = _PARAMETERS[kind]
    read = [one / 65_536 for one in struct.unpack_from(f">{count}i", tag, 12)]
    g, a, b, c, d, e, f = _filled(kind, read)
    power = np.maximum(a * values + b, 0) ** g + e
    return np.asarray(np.where(values >= d, power, c * values + f))


def _filled(kind: int, read: list[float]) -> list[float]:
    """Returns the seven parameters of the last type that make it the curve of another."""
    if kind == 0:
        return [read[0], 1, 0, 0, 0, 0, 0]
    if kind in (1, 2):
        gamma, a, b, *c = read
        if not a:
            raise ValueError
        return [gamma, a, b, 0, -b / a, *(c or [0]), *(c or [0])]
    return read if kind == 4 else [*read, 0, 0]


def _encoded(linear: _Array) -> _Array:
    """Returns sRGB's values of linear light."""
    light = np.clip(linear, 0, 1)
    curved = 1.055 * light ** (1 / 2.4) - 0.055
    return np.asarray(np.where(light <= 0.0031308, 12.92 * light, curved))


@functools.cache
def _from_xyz() -> _Array:
    return np.linalg.inv(_SRGB)


@functools.cache
def _grays() -> _Array:
    return np.arange(256) / 255


@functools.cache
def _colors() -> _Array:
    """Returns all grays, and a cube of 9 x 9 x 9 colours."""
    steps = np.round(np.arange(9) * 255 / 8) / 255
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.concatenate([np.repeat(_grays()[:, None], 3, axis=1), cube])
