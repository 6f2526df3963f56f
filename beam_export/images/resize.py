"""Resizes images with Pillow as the options say; a JPEG is decoded at a fraction of its size first.

libjpeg can give an eighth, a quarter or half of both sides for a part of the work. It is asked for
at least 2.9 times the size that is wanted, and the rest is done by Pillow's Lanczos filter from the
exact box of the image: a reduced side is rounded up to whole pixels, and without the box the image
would be stretched by up to one of them. Against decoding in full, photographs differ by 50 dB or
more (PSNR). Twice the size gave 46 dB, and images of less than 1.5 megapixels, which are sharp to
the pixel, 40 dB even so: these are decoded in full, which takes little.
"""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image

from beam_export.errors import SampleError
from beam_export.images import header
from beam_export.images.encoder import EncodeSpec
from beam_export.images.geometry import ResizePlan, plan_resize, upright_corner
from beam_export.images.jpeg.inspect import MAX_SIDE

__all__ = ["SCALES", "Reduced", "planned_resize", "reduced_by", "reduction", "resize"]

#: By what libjpeg divides both sides of an image, largest first.
SCALES = (8, 4, 2)
#: Tenths of the size that is wanted: the least that an image is decoded at.
_MARGIN = 29
#: Pixels of the smallest image that is reduced.
_LEAST_PIXELS = 1_500_000


class Reduced(NamedTuple):
    """The full size of an image that was decoded at a fraction of it, and which part was decoded.

    Attributes:
        size: pixels (width, height) of the whole image, upright.
        box: (left, top, right, bottom) of the whole image in the picture.
    """

    size: tuple[int, int]
    box: tuple[float, float, float, float]


def planned_resize(size: tuple[int, int], spec: EncodeSpec) -> ResizePlan | None:
    """Returns how an upright image of a size (width, height) is resized; None if it is not.

    Raises:
        SampleError: if the result would be over a limit, or larger than a JPEG can be.
    """
    plan = None
    if spec.resize is not None:
        plan = plan_resize(*size, spec.resize, spec.resize_mode)
        # A strip of 1 x 60,000 pixels may be scaled to gigapixels.
        header.check_pixels(plan.scaled_width * plan.scaled_height, spec, "encode")
        size = (plan.width, plan.height)
    if max(size) > MAX_SIDE:
        raise SampleError(
            "encode",
            "ValueError",
            f"the image has {size[0]} x {size[1]} pixels, and a side of a JPEG has at most "
            f"{MAX_SIDE}",
        )
    return plan


def reduced_by(size: tuple[int, int], spec: EncodeSpec) -> int:
    """Returns by what both sides can be divided as an image is decoded: one of `SCALES`, or 1.

    Args:
        size: pixels (width, height) of the image, upright.
        spec: how it is resized.

    >>> spec = EncodeSpec(resize=256, resize_mode="keep_ratio")
    >>> reduced_by((4000, 3000), spec), reduced_by((4000, 1500), spec), reduced_by((800, 600), spec)
    (4, 2, 1)
    """
    if spec.resize is None or size[0] * size[1] < _LEAST_PIXELS:
        return 1
    plan = plan_resize(*size, spec.resize, spec.resize_mode)
    wanted = _MARGIN * plan.scaled_width, _MARGIN * plan.scaled_height
    fits = (k for k in SCALES if 10 * size[0] >= k * wanted[0] and 10 * size[1] >= k * wanted[1])
    return next(fits, 1)


def reduction(size: tuple[int, int], scale: int, orientation: int) -> Reduced:
    """Returns what the upright picture of a reduced image shows.

    Args:
        size: pixels (width, height) of the whole image, as stored.
        scale: by what its sides were divided, and rounded up.
        orientation: EXIF's, 1 to 8, by which the picture was turned.

    >>> reduction((101, 80), 4, 1).box  # the last column is a quarter image, the rest is padding
    (0.0, 0.0, 25.25, 20.0)
    >>> reduction((101, 80), 4, 6)  # turned to the right
    Reduced(size=(80, 101), box=(0.0, 0.0, 20.0, 25.25))
    """
    exact = size[0] / scale, size[1] / scale
    stored = -(-size[0] // scale), -(-size[1] // scale)
    left, top = upright_corner((0, 0, *exact), stored, orientation)
    if orientation >= 5:
        size, exact = size[::-1], exact[::-1]
    box = (float(left), float(top), left + exact[0], top + exact[1])
    return Reduced(size, box)


def resize(im: Image.Image, plan: ResizePlan | None, reduced: Reduced | None = None) -> Image.Image:
    """Returns an image as planned: scaled, then its window taken, white outside.

    Args:
        im: upright.
        plan: of the whole image; None to leave it as it is.
        reduced: what `im` shows, if it was reduced.
    """
    if plan is None:
        return im
    scaled = (plan.scaled_width, plan.scaled_height)
    box = None if reduced is None else reduced.box
    if box is not None or scaled != im.size:
        im = im.resize(scaled, Image.Resampling.LANCZOS, box=box)
    if (plan.left, plan.top, plan.width, plan.height) == (0, 0, *scaled):
        return im
    window = Image.new(im.mode, (plan.width, plan.height), "white")
    window.paste(im, (-plan.left, -plan.top))
    return window
