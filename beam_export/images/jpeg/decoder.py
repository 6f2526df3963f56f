"""Decodes a sound JPEG, whole or at a fraction of its size, straight into memory of Pillow's kind.

libjpeg-turbo is asked through simplejpeg, which says what libjpeg has to remark while it decodes.
Pillow keeps that to itself, so that a second pass over the data would be needed to know of a loss.
The pixels are those that Pillow's own libjpeg-turbo makes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import simplejpeg
from PIL import Image, JpegImagePlugin

from beam_export.images.jpeg.loss import missing_scans

__all__ = ["decode_sound"]

#: Of Pillow's modes: simplejpeg's name of the pixels that lie in its memory, and their bytes.
_PIXELS = {"RGB": ("RGBA", 4), "L": ("GRAY", 1)}

#: Pillow's own constructors of images, which are not public.
_core: Any = vars(Image)["core"]


def decode_sound(
    im: JpegImagePlugin.JpegImageFile, data: bytes, scale: int = 1
) -> Image.Image | None:
    """Returns an image's pixels as stored; None if libjpeg has anything to remark on the way.

    Args:
        im: opened, not decoded.
        data: the bytes that it was opened from.
        scale: by what both sides are divided, rounded up: 1, 2, 4 or 8.
    """
    if im.mode not in _PIXELS:
        return None
    space, width = _PIXELS[im.mode]
    shape = -(-im.height // scale), -(-im.width // scale), width
    pixels = np.empty(shape, np.uint8)
    try:
        made = simplejpeg.decode_jpeg(
            data,
            space,
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
    arguments = (im.mode, shape[1] * width, 1)
    return im._new(_core.map_buffer(pixels, shape[1::-1], "raw", 0, arguments))
