"""`beam_export.images.geometry`: sizes, against exact fractions; orientation, from any bytes."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.images.geometry import MODES, plan_resize, read_orientation

SIDE = st.integers(1, 65_535)


def half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


@pytest.mark.parametrize(
    ("width", "height", "size", "mode", "plan"),
    [
        (640, 480, 256, "no", (640, 480, 0, 0, 640, 480)),
        (640, 480, 256, "keep_ratio", (341, 256, 0, 0, 341, 256)),
        (480, 640, 256, "keep_ratio", (256, 341, 0, 0, 256, 341)),
        (640, 480, 256, "keep_ratio_largest", (256, 192, 0, 0, 256, 192)),
        (640, 480, 256, "center_crop", (341, 256, 42, 0, 256, 256)),
        (480, 640, 256, "center_crop", (256, 341, 0, 42, 256, 256)),
        (640, 480, 256, "border", (256, 192, 0, -32, 256, 256)),
        (200, 99, 10, "border", (10, 5, 0, -2, 10, 10)),
        (10, 8, 20, "keep_ratio", (25, 20, 0, 0, 25, 20)),
        (10, 8, 20, "keep_ratio_largest", (20, 16, 0, 0, 20, 16)),
        (20, 5, 10, "keep_ratio_largest", (10, 3, 0, 0, 10, 3)),
        (20, 7, 10, "keep_ratio_largest", (10, 4, 0, 0, 10, 4)),
        (60_000, 1, 8, "keep_ratio_largest", (8, 1, 0, 0, 8, 1)),
    ],
)
def test_examples(width: int, height: int, size: int, mode: str, plan: tuple[int, ...]) -> None:
    assert plan_resize(width, height, size, mode) == plan


@given(SIDE, SIDE, st.integers(1, 10_000), st.sampled_from(MODES))
def test_window_is_exact_and_central(width: int, height: int, size: int, mode: str) -> None:
    plan = plan_resize(width, height, size, mode)
    base = {
        "no": size,
        "keep_ratio": min(width, height),
        "center_crop": min(width, height),
        "keep_ratio_largest": max(width, height),
        "border": max(width, height),
    }[mode]
    scale = Fraction(size, base)
    assert plan.scaled_width == max(1, half_up(width * scale))
    assert plan.scaled_height == max(1, half_up(height * scale))
    if mode in ("center_crop", "border"):
        assert (plan.width, plan.height) == (size, size)
    else:
        assert (plan.width, plan.height) == (plan.scaled_width, plan.scaled_height)
    for offset, scaled, window in (
        (plan.left, plan.scaled_width, plan.width),
        (plan.top, plan.scaled_height, plan.height),
    ):
        right = scaled - window - offset
        assert abs(right) - abs(offset) in (0, 1)
        assert (offset <= 0) if mode == "border" else (offset >= 0)


@given(SIDE, SIDE, st.integers(1, 10_000), st.sampled_from(MODES))
def test_axes_are_alike(width: int, height: int, size: int, mode: str) -> None:
    a, b, left, top, c, d = plan_resize(width, height, size, mode)
    assert plan_resize(height, width, size, mode) == (b, a, top, left, d, c)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((4, 4, 2, "fit"), "resize_mode is 'fit'"),
        ((0, 4, 2, "border"), "1 or more"),
        ((4, 4, 0, "no"), "1 or more"),
    ],
)
def test_what_cannot_be_planned(arguments: tuple[int, int, int, str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        plan_resize(*arguments)


@given(st.binary(max_size=60), st.sampled_from([b"", b"Exif\0\0", b"II*\0\x08\0\0\0", b"MM\0*"]))
def test_reading_an_orientation_never_raises(junk: bytes, start: bytes) -> None:
    assert 1 <= read_orientation(start + junk) <= 8


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("code", "kind"), [("H", 3), ("I", 4)])
def test_orientation_in_both_byte_orders(order: str, code: str, kind: int) -> None:
    start = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(order + code, 7).ljust(4, b"\0")
    entries = struct.pack(order + "IHHHI", 8, 1, 0x0112, kind, 1) + value
    assert read_orientation(start + entries) == 7
