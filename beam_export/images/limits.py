"""What an image may take of a processor and of memory, by its header: so much that only a codec
that hangs or runs wild takes more, on a machine fifty times slower than a plain one, too.
"""

from __future__ import annotations

import numpy as np

from beam_export.images.encoder import EncodeSpec, ImageInput
from beam_export.images.outline import Outline, read_outline

__all__ = ["cpu_seconds", "most_memory", "outline_of"]

#: Seconds of a processor for an image's own sake, for a pixel, and for a pixel of a further scan.
#: A plain machine takes 0.2 microseconds for a pixel, and a hundredth of that for one of a scan.
SECONDS = 120
_SECONDS_A_PIXEL = 10e-6
_SECONDS_A_SCAN = 0.5e-6
#: Seconds between two looks at an image that is tried apart, and looks in a row at one that sleeps
#: until it is one that hangs; where the system does not tell, any image is asleep.
LOOK_EVERY = 1.0
LOOKS = 120
LOOKS_IN_THE_DARK = 36_000
#: Bytes for an image's own sake and for a pixel.
_MEMORY = 512 << 20
_MEMORY_A_PIXEL = 40


def outline_of(image: ImageInput, spec: EncodeSpec) -> Outline:
    """Returns the pixels and scans of an image; where its header is odd, as if it were bits."""
    if isinstance(image, np.ndarray):
        return Outline(max(1, image.size))
    data = image if isinstance(image, bytes) else b""
    pixels, scans = read_outline(data) or Outline(8 * len(data))
    return Outline(min(pixels, spec.max_pixels), scans)


def cpu_seconds(outline: Outline) -> int:
    """Returns the seconds of a processor that an image may take."""
    a_pixel = _SECONDS_A_PIXEL + _SECONDS_A_SCAN * (outline.scans - 1)
    return SECONDS + int(outline.pixels * a_pixel)


def most_memory(image: ImageInput, spec: EncodeSpec) -> int:
    """Returns the bytes that an image may take: no more than any may, where its header is odd."""
    odd = isinstance(image, bytes) and read_outline(image) is None
    return _MEMORY + (0 if odd else _MEMORY_A_PIXEL * outline_of(image, spec).pixels)
