"""Geometry of an image: its EXIF orientation, and the size that it is resized to.

Sizes are arithmetic alone, so that every encoder makes the same ones. The modes are img2dataset's.
Small images are enlarged, as img2dataset does by default (`resize_only_if_bigger=False`). Sides are
rounded half up in whole numbers; no float decides one.

The orientation is read here and not by Pillow's `exif_transpose`, so that a broken EXIF block never
loses an image, and so that XMP, which no viewer obeys, does not count.

Source: CIPA DC-008 (Exif 2.32) 4.6.2 and 4.6.5; TIFF 6.0, section 2.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeVar

from PIL import Image

__all__ = [
    "MODES",
    "ResizePlan",
    "exif_block",
    "plan_resize",
    "read_orientation",
    "upright",
    "upright_corner",
]

_Number = TypeVar("_Number", int, float)

MODES = ("no", "keep_ratio", "keep_ratio_largest", "center_crop", "border")


class ResizePlan(NamedTuple):
    """How an image is resized: it is scaled, then a window of it is taken.

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
    """Returns how an upright image is scaled and cut.

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

    >>> plan_resize(640, 480, 256, "keep_ratio")[4:]  # width, height
    (341, 256)
    >>> plan_resize(640, 480, 256, "center_crop")
    ResizePlan(scaled_width=341, scaled_height=256, left=42, top=0, width=256, height=256)
    >>> plan_resize(640, 480, 256, "border").top  # 32 rows of white above and below
    -32
    """
    if mode not in MODES:
        raise ValueError(f"resize_mode is {mode!r}, which is none of {', '.join(MODES)}")
    if min(width, height, size) < 1:
        raise ValueError(
            f"cannot resize {width} x {height} pixels to {size}: all must be 1 or more"
        )
    if mode == "no":
        return ResizePlan(
            scaled_width=width, scaled_height=height, left=0, top=0, width=width, height=height
        )
    small = mode in ("keep_ratio", "center_crop")
    base = min(width, height) if small else max(width, height)
    scaled_width, scaled_height = _scale(width, size, base), _scale(height, size, base)
    if mode in ("keep_ratio", "keep_ratio_largest"):
        return ResizePlan(
            scaled_width=scaled_width,
            scaled_height=scaled_height,
            left=0,
            top=0,
            width=scaled_width,
            height=scaled_height,
        )
    left, top = _middle(scaled_width, size), _middle(scaled_height, size)
    return ResizePlan(
        scaled_width=scaled_width,
        scaled_height=scaled_height,
        left=left,
        top=top,
        width=size,
        height=size,
    )


def _scale(side: int, size: int, base: int) -> int:
    """Returns side * size / base, rounded half up, at least 1."""
    return max(1, (2 * side * size + base) // (2 * base))


def _middle(scaled: int, size: int) -> int:
    """Returns where a window of `size` begins in `scaled` pixels (negative: before them)."""
    return (scaled - size) // 2 if scaled >= size else -((size - scaled) // 2)


_ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def exif_block(im: Image.Image) -> bytes:
    """Returns an image's EXIF block, b"" if it has none."""
    exif = im.info.get("exif")
    if exif is None and "Raw profile type exif" in im.info:
        # How ImageMagick writes it into a PNG: a name, a length, then lines of hex digits.
        lines = str(im.info["Raw profile type exif"]).split("\n")[3:]
        try:
            return bytes.fromhex("".join(lines))
        except ValueError:
            return b""
    return exif if isinstance(exif, bytes) else b""


def read_orientation(exif: bytes) -> int:
    r"""Returns the orientation, 1 to 8, that an EXIF block declares; 1 if it declares none.

    Args:
        exif: the block, with or without the `Exif\0\0` before its TIFF header.

    >>> entry = b"\x12\x01\x03\0\1\0\0\0\6\0\0\0"  # tag 0x0112, one SHORT, 6
    >>> read_orientation(b"II*\0\x08\0\0\0\x01\0" + entry), read_orientation(b"junk")
    (6, 1)
    """
    if exif[:6] == b"Exif\0\0":
        exif = exif[6:]
    order: Literal["little", "big"]
    if exif[:4] == b"II*\0":
        order = "little"
    elif exif[:4] == b"MM\0*":
        order = "big"
    else:
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], order)

    first = number(4, 4)
    for at in range(first + 2, first + 2 + 12 * number(first, 2), 12):
        if at + 12 > len(exif):
            break
        kind = number(at + 2, 2)
        if number(at, 2) == _ORIENTATION and kind in (_SHORT, _LONG):
            value = number(at + 8, 2 if kind == _SHORT else 4)
            return value if 1 <= value <= 8 else 1
    return 1


def upright(im: Image.Image, orientation: int) -> Image.Image:
    """Returns the image turned and mirrored as its orientation, 1 to 8, says."""
    turn = _TURNS.get(orientation)
    return im if turn is None else im.transpose(turn)


def upright_corner(
    box: tuple[_Number, _Number, _Number, _Number], size: tuple[int, int], orientation: int
) -> tuple[_Number, _Number]:
    """Returns (left, top) of a box of the stored image within the upright one.

    Args:
        box: (left, top, right, bottom) in the image as stored.
        size: (width, height) as stored.
        orientation: 1 to 8.

    >>> upright_corner((0, 0, 10, 10), (100, 50), 3)  # upside down: the first corner comes last
    (90, 40)
    >>> upright_corner((0, 0, 10, 10), (100, 50), 6)  # turned to 50 x 100
    (40, 0)
    """
    left, top, right, bottom = box
    across = size[0] - right if orientation in (2, 3, 7, 8) else left
    down = size[1] - bottom if orientation in (3, 4, 6, 7) else top
    return (down, across) if orientation >= 5 else (across, down)
