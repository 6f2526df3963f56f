"""ICC profiles: to sRGB, or kept.

JPEG without a profile means sRGB to whoever reads it. So an image with another profile is
converted to sRGB. Where that cannot be done, the profile goes into the JPEG unchanged if it can
be meant for its pixels. It is dropped in two cases: its bytes are no profile at all, or it is for
pixels of another kind (a CMYK profile on RGB), where it says nothing about them.

Source: ICC.1:2022, 7.2 (profile header).
"""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image, ImageChops, ImageCms

__all__ = ["changes_nothing", "to_srgb"]

_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}

# Levels of 255 by which a profile may differ from sRGB and be taken for it. Many are sRGB in
# other words (tables for the curve, rounded primaries), and a conversion would cost a rounding.
_SAME = 2

# JPEG carries a profile in at most 255 segments (ICC.1:2022, B.4).
_MOST_BYTES = 255 * 65_519

_CMS_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError, SyntaxError, ImportError)


def to_srgb(im: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None]:
    """Returns the image in sRGB, and the profile that its JPEG is to carry, if any.

    Args:
        im: mode `L`, `RGB` or `CMYK`.
        profile: as it came with the image.

    Returns:
        An image of mode `L` if `im` is, else `RGB`; and None, or the profile unchanged where
        pixels could not be converted.
    """
    source = _MODES.get(profile[16:20]) if profile else None
    if profile and source == "RGB" and im.mode in ("L", "CMYK"):
        # Its numbers are taken as the colours that any reader without color management makes.
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
    """Tells if `to_srgb` gives an image of mode `L` or `RGB` back as it is, with no profile."""
    source = _MODES.get(profile[16:20]) if profile else None
    if not profile or (source != mode and (source != "RGB" or mode != "L")):
        return True
    try:
        return _transform(profile, source) is None
    except _CMS_ERRORS:
        return False


def _plain(im: Image.Image, mode: str) -> Image.Image:
    """Returns the image without color management: `L` for what was gray, else `RGB`."""
    wanted = "L" if mode == "L" else "RGB"
    return im if im.mode == wanted else im.convert(wanted)


def _is_profile(profile: bytes) -> bool:
    return 128 < len(profile) <= _MOST_BYTES and profile[36:40] == b"acsp"


@functools.lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Returns what converts `mode` to sRGB; None if the profile is sRGB to the eye.

    Kept, because thousands of images of one source carry the same few profiles. LittleCMS lets
    threads share a transform.
    """
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    target = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(source, target, mode, "RGB")
    if mode == "CMYK":
        return transform
    # Judged by what it does: names lie ("sRGB-elle-V2-g10" is linear).
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
