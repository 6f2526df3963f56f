"""Small images that the tests of encoders share, and arrays that pretend to be on a GPU."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["OnDevice", "exif", "save", "smooth"]


def smooth(width: int = 48, height: int = 32) -> np.ndarray:
    """Returns pixels (H, W, 3) that JPEG keeps within a few levels and no turn leaves as is."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 4, y * 6, 40 + x * 2 + y], axis=2).astype(np.uint8)


def save(im: Image.Image, kind: str, **options: Any) -> bytes:
    """Returns an image encoded by Pillow."""
    buffer = io.BytesIO()
    im.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    """Returns an EXIF block of one tag, as Pillow writes it."""
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


class OnDevice:
    """What CuPy and torch show of an array on a GPU; there is no memory behind it."""

    def __init__(self, shape: tuple[int, ...], typestr: str = "|u1", strides: Any = None) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": typestr,
            "strides": strides,
            "data": (0, False),
            "version": 3,
        }
