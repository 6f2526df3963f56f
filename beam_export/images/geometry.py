"""Sizes of resized images: arithmetic alone, so that every encoder makes the same ones.

The modes are img2dataset's. Small images are enlarged, as img2dataset does by default
(`resize_only_if_bigger=False`). Sides are rounded half up in whole numbers; no float decides one.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MODES", "ResizePlan", "plan_resize"]

MODES = ("no", "keep_ratio", "keep_ratio_largest", "center_crop", "border")


class ResizePlan(NamedTuple):
    """How an image becomes its resized self: scale it, then take a window of it.

    Attributes:
        scaled_width, scaled_height: pixels after scaling.
        left, top: where the window begins in the scaled image; negative where it begins outside.
        width, height: pixels of the window, which is the result. Outside the image it is white.
    """

    scaled_width: int
    scaled_height: int
    left: int
    top: int
    width: int
    height: int


def plan_resize(width: int, height: int, size: int, mode: str) -> ResizePlan:
    """Plans the resizing of an image, upright already.

    `no`: nothing. `keep_ratio`: the smaller side becomes `size`. `keep_ratio_largest`: the larger
    side does. `center_crop`: as `keep_ratio`, then the middle `size` x `size`. `border`: as
    `keep_ratio_largest`, then white on both sides up to `size` x `size`. The odd pixel of an
    uneven rest is cut, or added, on the right or at the bottom.

    Args:
        width, height: pixels, at least 1.
        size: pixels, at least 1.
        mode: one of `MODES`.

    Raises:
        ValueError: if an argument is out of range.
    """
    if mode not in MODES:
        raise ValueError(f"resize_mode is {mode!r}, which is none of {', '.join(MODES)}")
    if min(width, height, size) < 1:
        raise ValueError(
            f"cannot resize {width} x {height} pixels to {size}: all must be 1 or more"
        )
    if mode == "no":
        return ResizePlan(width, height, 0, 0, width, height)
    small = mode in ("keep_ratio", "center_crop")
    base = min(width, height) if small else max(width, height)
    scaled_width, scaled_height = _scale(width, size, base), _scale(height, size, base)
    if mode in ("keep_ratio", "keep_ratio_largest"):
        return ResizePlan(scaled_width, scaled_height, 0, 0, scaled_width, scaled_height)
    left, top = _middle(scaled_width, size), _middle(scaled_height, size)
    return ResizePlan(scaled_width, scaled_height, left, top, size, size)


def _scale(side: int, size: int, base: int) -> int:
    """Returns side * size / base, rounded half up, at least 1."""
    return max(1, (2 * side * size + base) // (2 * base))


def _middle(scaled: int, size: int) -> int:
    """Returns where a window of `size` begins in `scaled` pixels (negative: before them)."""
    return (scaled - size) // 2 if scaled >= size else -((size - scaled) // 2)
