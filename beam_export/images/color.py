"""Converts pixels of any mode to 8-bit gray or sRGB.

16 bits are scaled, alpha is composited on white, ICC profiles are applied. Gray stays one
component. Alpha is split off first, so that a profile is applied to colours alone and the white
below is sRGB's.

A JPEG without a profile is read as sRGB, so an image with another profile is converted. Where that
fails, the profile goes into the JPEG unchanged if it can be meant for its pixels. It is dropped if
its bytes are no profile, or if it is for pixels of another kind (a CMYK profile on RGB).

Source: ICC.1:2022, 7.2 (profile header); PNG, third edition, 11.3.1.1; TIFF 6.0, section 19.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageCms, TiffImagePlugin

from beam_export.errors import SampleError

__all__ = [
    "Facts",
    "changes_nothing",
    "facts_of",
    "on_white",
    "scale_16_bit",
    "split_alpha",
    "to_srgb",
]

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_SIGNED = 2
_WHITE_IS_ZERO = 0
_16_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


class Facts(NamedTuple):
    """Facts of a decoded image that its pixels and Pillow's mode do not show.

    Attributes:
        format: Pillow's name of it.
        png_type: colour type of a PNG; 4 is gray with alpha.
        full: value of white in 16-bit gray.
        inverted: whether white is 0 in 16-bit gray.
    """

    format: str | None
    png_type: int = 0
    full: int = 65_535
    inverted: bool = False


def facts_of(im: Image.Image, data: bytes) -> Facts:
    """Returns the facts of an image that `split_alpha` needs; scales its transparent colour.

    Args:
        im: as it was opened, and decoded (`load` was called).
        data: the bytes it was opened from: a PNG's true type and depth are in no attribute.

    Raises:
        SampleError: for 32-bit and float pixels, whose white is not known, and without a palette.
    """
    if im.mode == "F":
        raise SampleError(
            "decode",
            "ValueError",
            "its pixels are floats (mode F), and which value is white is not known; "
            "convert it to 8 or 16 bit first",
        )
    if im.mode == "I":
        low, high = map(int, np.ravel(im.getextrema()))
        if low < 0 or high > 65_535:
            raise SampleError(
                "decode",
                "ValueError",
                f"its pixels are 32-bit numbers of {low} to {high}, and which one is white is not "
                "known; convert it to 8 or 16 bit first",
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
    if im.mode == "P" and im.palette is None:
        raise SampleError(
            "decode",
            "ValueError",
            "its pixels are numbers of a palette, and the PNG has no palette (no PLTE)",
        )
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
    """Returns (colours of mode `L`, `RGB` or `CMYK`; alpha or None) of a decoded image or tile.

    Args:
        im: with the `info` of the whole image, transparent colour included.
        facts: of the whole image.
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

    >>> scale_16_bit(np.array([0, 128, 129, 65_535])).tolist()
    [0, 0, 1, 255]
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
    elif isinstance(key, bytes):
        # More than a palette can have are of no colour.
        im.info["transparency"] = key[:256]


_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}

# Levels of 255 by which a profile may differ from sRGB and still count as sRGB: many differ in form
# alone (a table for the curve, rounded primaries), and a conversion would cost a rounding.
_SAME = 2

# JPEG carries a profile in at most 255 segments (ICC.1:2022, B.4).
_MOST_BYTES = 255 * 65_519

_CMS_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError, SyntaxError, ImportError)


def to_srgb(im: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None]:
    """Returns an image converted to sRGB, and the profile for its JPEG if it could not be.

    Args:
        im: mode `L`, `RGB` or `CMYK`.
        profile: ICC profile of the image.

    Returns:
        An image of mode `L` if `im` is, else `RGB`; and None, or the profile unchanged where
        pixels could not be converted.
    """
    source = _MODES.get(profile[16:20]) if profile else None
    if profile and source == "RGB" and im.mode in ("L", "CMYK"):
        # The profile is applied to the colours that a reader without colour management shows.
        converted, kept = to_srgb(im.convert("RGB"), profile)
        return _plain(converted, im.mode), None if im.mode == "L" else kept
    if not profile or source != im.mode:
        return _plain(im, im.mode), None
    try:
        transform = _transform(profile, source)
        converted = transform.apply(im) if transform else im
    except _CMS_ERRORS:
        plain = _plain(im, im.mode)
        return plain, profile if source == plain.mode and _is_profile(profile) else None
    return _plain(converted, im.mode), None


def changes_nothing(mode: str, profile: bytes | None) -> bool:
    """Returns whether `to_srgb` leaves an image of mode `L` or `RGB` as it is, without profile."""
    source = _MODES.get(profile[16:20]) if profile else None
    if not profile or (source != mode and (source != "RGB" or mode != "L")):
        return True
    try:
        return _transform(profile, source) is None
    except _CMS_ERRORS:
        return False


def _plain(im: Image.Image, mode: str) -> Image.Image:
    """Returns the image without colour management: `L` if `mode` is gray, else `RGB`."""
    wanted = "L" if mode == "L" else "RGB"
    return im if im.mode == wanted else im.convert(wanted)


def _is_profile(profile: bytes) -> bool:
    return 128 < len(profile) <= _MOST_BYTES and profile[36:40] == b"acsp"


@functools.lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Returns the transform of `mode` to sRGB; None if the profile is as good as sRGB.

    Cached, because thousands of images of one source carry the same few profiles. LittleCMS lets
    threads share a transform.
    """
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    target = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(source, target, mode, "RGB")
    if mode == "CMYK":
        return transform
    # Judged by its effect: names mislead ("sRGB-elle-V2-g10" is linear).
    probe = _probe(mode)
    change = ImageChops.difference(probe.convert("RGB"), transform.apply(probe))
    return None if np.asarray(change).max() <= _SAME else transform


def _probe(mode: str) -> Image.Image:
    """Returns all grays, and for RGB a cube of 9 x 9 x 9 colours too, as one row of pixels."""
    grays = bytes(range(256))
    if mode == "L":
        return Image.frombytes("L", (256, 1), grays)
    steps = [round(level * 255 / 8) for level in range(9)]
    cube = bytes(v for r in steps for g in steps for b in steps for v in (r, g, b))
    pixels = bytes(v for v in grays for _ in range(3)) + cube
    return Image.frombytes("RGB", (len(pixels) // 3, 1), pixels)
