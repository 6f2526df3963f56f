"""Any pixel mode to 8-bit gray or RGB: 16 bits scaled, alpha composited on white.

What has no colour stays one component. Alpha is set apart first, so that a colour profile is
applied to colours alone and the white below is sRGB's.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, TiffImagePlugin

__all__ = ["on_white", "scale_16_bit", "split_alpha"]

_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
_WHITE_IS_ZERO = 0
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


def split_alpha(im: Image.Image, data: bytes) -> tuple[Image.Image, Image.Image | None]:
    """Returns a decoded image as (`L`, `RGB` or `CMYK`, its alpha as `L` or None).

    Args:
        im: decoded (`load` was called).
        data: the bytes it was opened from: a PNG's true type and depth are in no attribute.

    Raises:
        ValueError: for 32-bit and float pixels, which have no white that is known.
    """
    if im.mode.startswith("I;16") or im.mode == "I":
        return _split_16_bit(im)
    if im.mode == "F":
        raise ValueError(
            "its pixels are floats (mode F), and which value is white is not known; "
            "convert it to 8 or 16 bit first"
        )
    if im.format == "PNG":
        _mend_png_key(im, *data[24:26])
    if im.mode in ("1", "L"):
        gray = im.convert("L")
        key = im.info.get("transparency")
        return gray, _key_mask(gray, key) if isinstance(key, int) else None
    if im.mode in ("LA", "La"):
        gray, alpha = im.convert("LA").split()
        return gray, alpha
    if im.has_transparency_data and im.mode in (*_ALPHA, "P", "RGB"):
        *colors, alpha = im.convert("RGBA").split()
        if im.format == "PNG" and data[25] == 4:
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


def _split_16_bit(im: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    values = np.asarray(im)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65_535:
        raise ValueError(
            f"its pixels are 32-bit numbers of {low} to {high}, and which one is white is not "
            "known; convert it to 8 or 16 bit first"
        )
    full = 65_535
    tags = im.tag_v2 if isinstance(im, TiffImagePlugin.TiffImageFile) else {}
    if tags.get(_BITS_PER_SAMPLE) == (12,):
        full = 4_095
    gray = scale_16_bit(values, full)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        # Pillow inverts 8 bits, not 16.
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
