"""Decodes a sound JPEG, whole or at a fraction of its size, straight into memory of Pillow's kind.

libjpeg-turbo is asked through simplejpeg, which says what libjpeg has to remark while it decodes.
Pillow keeps that to itself, so that a second pass over the data would be needed to know of a loss.
The pixels are those that Pillow's own libjpeg-turbo makes.
"""

from __future__ import annotations

import numpy as np
import simplejpeg
from PIL import Image, JpegImagePlugin

from beam_export.images.jpeg.loss import missing_scans
from beam_export.images.tiles import bytes_per_pixel, core_over

__all__ = ["decode_sound"]

#: Of Pillow's modes: simplejpeg's name of the pixels that lie in its memory.
_SPACES = {"RGB": "RGBA", "L": "GRAY"}


def decode_sound(
    im: JpegImagePlugin.JpegImageFile, data: bytes, scale: int = 1
) -> Image.Image | None:
    """Returns an image's pixels as stored; None if libjpeg has anything to remark on the way.

    Args:
        im: opened, not decoded.
        data: the bytes that it was opened from.
        scale: by what both sides are divided, rounded up: 1, 2, 4 or 8.
    """
    if im.mode not in _SPACES:
        return None
    shape = -(-im.height // scale), -(-im.width // scale), bytes_per_pixel(im.mode)
    pixels = np.empty(shape, np.uint8)
    try:
        made = simplejpeg.decode_jpeg(
            data,
            _SPACES[im.mode],
            min_height=shape[0],
            min_width=shape[1],
            buffer=pixels,
            strict=True,
        )
    except ValueError:
        return None
    if made.shape != shape or missing_scans(data) is not None:
        return None
    # The new image keeps the memory; no pixel is copied.
    return im._new(core_over(pixels, im.mode, (shape[1], shape[0])))
