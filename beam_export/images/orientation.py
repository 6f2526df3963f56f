"""EXIF orientation: which way up an image is, read from its EXIF block and applied.

Read here and not by Pillow's `exif_transpose`, so that a broken block never loses an image, and
so that XMP, which no viewer obeys, does not count.

Source: CIPA DC-008 (Exif 2.32) 4.6.2 and 4.6.5; TIFF 6.0, section 2.
"""

from __future__ import annotations

from typing import Literal

from PIL import Image

__all__ = ["exif_block", "place_of", "read_orientation", "upright"]

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
    """Returns an image's EXIF block, or nothing."""
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
    """Returns the orientation, 1 to 8, that an EXIF block gives; 1 if it gives none.

    Args:
        exif: the block, with or without the `Exif\\0\\0` before its TIFF header.
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
    """Returns the image as it is to be looked at: turned and mirrored as `orientation` says."""
    turn = _TURNS.get(orientation)
    return im if turn is None else im.transpose(turn)


def place_of(
    box: tuple[int, int, int, int], size: tuple[int, int], orientation: int
) -> tuple[int, int]:
    """Returns (left, top) that a box of an image has in the upright one.

    Args:
        box: (left, top, right, bottom) in the image as stored.
        size: (width, height) as stored.
        orientation: 1 to 8.
    """
    left, top, right, bottom = box
    across = size[0] - right if orientation in (2, 3, 7, 8) else left
    down = size[1] - bottom if orientation in (3, 4, 6, 7) else top
    return (down, across) if orientation >= 5 else (across, down)
