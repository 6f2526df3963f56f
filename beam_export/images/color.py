"""Any pixel mode to 8-bit gray or RGB: 16 bits scaled, alpha composited on white.

What has no colour stays one component. Alpha is set apart first, so that a colour profile is
applied to colours alone and the white below is sRGB's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin

__all__ = ["Facts", "facts_of", "on_white", "scale_16_bit", "split_alpha"]

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_SIGNED = 2
_WHITE_IS_ZERO = 0
_16_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


class Facts(NamedTuple):
    """What is to be known of a decoded image beside its pixels.

    Attributes:
        format: as Pillow calls it.
        png_type: of a PNG: 4 is gray with alpha.
        full: the value of 16-bit gray that is white.
        inverted: whether 16-bit gray has white at 0.
    """

    format: str | None
    png_type: int = 0
    full: int = 65_535
    inverted: bool = False


def facts_of(im: Image.Image, data: bytes) -> Facts:
    """Returns what `split_alpha` is to know of an image, and brings its key to scale.

    Args:
        im: as it was opened, and decoded (`load` was called).
        data: the bytes it was opened from: a PNG's true type and depth are in no attribute.

    Raises:
        ValueError: for 32-bit and float pixels, which have no white that is known.
    """
    if im.mode == "F":
        raise ValueError(
            "its pixels are floats (mode F), and which value is white is not known; "
            "convert it to 8 or 16 bit first"
        )
    if im.mode == "I":
        low, high = map(int, np.ravel(im.getextrema()))
        if low < 0 or high > 65_535:
            raise ValueError(
                f"its pixels are 32-bit numbers of {low} to {high}, and which one is white is not "
                "known; convert it to 8 or 16 bit first"
            )
    if isinstance(im, TiffImagePlugin.TiffImageFile):
        tags = im.tag_v2
        return Facts(
            im.format,
            full=_white_of(tags),
            # Pillow inverts 8 bits, not 16.
            inverted=tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO,
        )
    if im.format != "PNG":
        return Facts(im.format)
    if im.mode not in _16_BIT:
        _mend_png_key(im, *data[24:26])
    return Facts(im.format, png_type=data[25])


def _white_of(tags: Mapping[int, Any]) -> int:
    """Returns the value of a TIFF's 16-bit gray that is white (TIFF 6.0, section 19)."""
    bits = {*tags.get(_BITS_PER_SAMPLE, ())}
    if bits == {12}:
        return 4_095
    return 32_767 if bits == {16} and _SIGNED in tags.get(_SAMPLE_FORMAT, ()) else 65_535


def split_alpha(im: Image.Image, facts: Facts) -> tuple[Image.Image, Image.Image | None]:
    """Returns a decoded image, or a part of one, as (`L`, `RGB` or `CMYK`, its alpha or None).

    Args:
        im: with the `info` of the whole, key and all.
        facts: of the whole.
    """
    if im.mode in _16_BIT:
        return _split_16_bit(im, facts)
    if im.mode in ("1", "L"):
        gray = im if im.mode == "L" else im.convert("L")
        key = im.info.get("transparency")
        return gray, _key_mask(gray, key) if isinstance(key, int) else None
    if im.mode in ("LA", "La"):
        gray, alpha = im.convert("LA").split()
        return gray, alpha
    if im.has_transparency_data and im.mode in (*_ALPHA, "P", "RGB"):
        *colors, alpha = im.convert("RGBA").split()
        if facts.format == "PNG" and facts.png_type == 4:
            # 16-bit gray with alpha: Pillow gives three equal channels.
            return colors[0], alpha
        return Image.merge("RGB", colors), alpha
    return (im if im.mode in ("RGB", "CMYK") else im.convert("RGB")), None


def on_white(im: Image.Image, alpha: Image.Image | None) -> Image.Image:
    """Returns `im` (`L` or `RGB`) over white: round(c * a / 255 + 255 - a) for each value."""
    if alpha is None or alpha.getextrema() == (255, 255):
        return im
    white = Image.new(im.mode, im.size, "white")
    return Image.composite(im, white, alpha)


def scale_16_bit(values: np.ndarray, full: int = 65_535) -> np.ndarray:
    """Returns round(v * 255 / full) for values of 0 to `full`, half up, as uint8.

    For 65535 it is what DALI and libpng make of 16 bits; the high byte alone would be darker.
    """
    table = ((np.arange(full + 1) * 510 + full) // (2 * full)).astype(np.uint8)
    scaled: np.ndarray = table.take(values, mode="clip")
    return scaled


def _split_16_bit(im: Image.Image, facts: Facts) -> tuple[Image.Image, Image.Image | None]:
    values = np.asarray(im)
    gray = scale_16_bit(values, facts.full)
    if facts.inverted:
        gray = 255 - gray
    key = im.info.get("transparency")
    if not isinstance(key, int):
        return Image.fromarray(gray), None
    return Image.fromarray(gray), Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))


def _key_mask(gray: Image.Image, key: int) -> Image.Image:
    """Returns alpha that is 0 where a pixel is the one transparent value."""
    return gray.point([0 if value == key else 255 for value in range(256)])


def _mend_png_key(im: Image.Image, depth: int, color_type: int) -> None:
    """Brings a PNG's transparent colour to the scale of the pixels that Pillow decoded.

    Pillow scales samples of 2 and 4 bits up and takes the high byte of 16, but leaves the colour
    as it stands in the file (PNG, third edition, 11.3.1.1).
    """
    key = im.info.get("transparency")
    if isinstance(key, int) and color_type == 0 and depth in (2, 4):
        im.info["transparency"] = key * 255 // (2**depth - 1)
    elif isinstance(key, tuple) and depth == 16:
        im.info["transparency"] = tuple(value >> 8 for value in key)
