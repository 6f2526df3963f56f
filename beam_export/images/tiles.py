"""Converts large images a tile at a time, so that two images fit into the memory of one.

Each operation of Pillow returns a new image of the same size. So a large image is converted tile by
tile, and the memory of rows that are done is given back to the system while the result grows.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image, ImageFile, TiffImagePlugin

from beam_export.images.geometry import exif_block, read_orientation, upright, upright_corner

__all__ = [
    "Canvas",
    "bytes_per_pixel",
    "converted_upright",
    "core_over",
    "decode_on_canvas",
    "is_large",
    "tiles",
]

#: Pillow's own constructors of images, which are not public.
_core: Any = vars(Image)["core"]

#: Most pixels of an image that is converted as a whole, as most photographs are: of an image that
#: needs no conversion of its mode, and of any other, of which several copies are made.
PLAIN = 1 << 25
MOST_AT_ONCE = 1 << 22
#: Pixels of a tile, and the side of one that is turned: a side fills a page of memory, so that
#: different tiles of a row lie in different pages.
TILE = 1 << 20
SIDE = 1 << 10

_ORIENTATION = 0x0112
#: Modes whose pixels take less than four bytes.
_NARROW = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}


class Canvas:
    """Memory for the pixels of one image that can be given back row by row.

    Attributes:
        core: Pillow's own image object of the pixels, which are zero at first.
    """

    def __init__(self, mode: str, size: tuple[int, int], by_column: bool = False) -> None:
        """Reserves the memory; the system provides a page when it is first written to.

        Args:
            mode, size: of the image.
            by_column: whether it will be written column by column.

        Raises:
            MemoryError: if there is not enough.
        """
        self._stride = size[0] * bytes_per_pixel(mode)
        try:
            self._memory = mmap.mmap(-1, self._stride * size[1], flags=mmap.MAP_PRIVATE)
        except OSError as error:
            raise MemoryError from error
        # Large pages come a lot faster, but each would be shared by several tiles of a row.
        pages = "MADV_NOHUGEPAGE" if by_column else "MADV_HUGEPAGE"
        self._advise(pages, 0, len(self._memory))
        self._given = 0
        self.core = core_over(self._memory, mode, size)

    def give_back(self, rows: int) -> None:
        """Gives back the memory of the first rows; they read as zero from then on."""
        end = rows * self._stride // mmap.PAGESIZE * mmap.PAGESIZE
        if end > self._given:
            self._advise("MADV_DONTNEED", self._given, end - self._given)
            self._given = end

    def _advise(self, what: str, start: int, length: int) -> None:
        # Where the system does not know the advice, only memory is lost.
        with contextlib.suppress(AttributeError, OSError):
            self._memory.madvise(getattr(mmap, what), start, length)


def decode_on_canvas(im: ImageFile.ImageFile) -> tuple[Image.Image, Canvas | None, int]:
    """Decodes an image; returns (pixels as stored, their canvas, EXIF orientation).

    The canvas is None for an image that is converted as a whole, or whose decoder has its own
    memory.

    Raises:
        Exception: what Pillow raises for what it cannot decode.
    """
    canvas, turned = None, 1
    size = im.size
    if isinstance(im, TiffImagePlugin.TiffImageFile):
        # Else Pillow would turn a TIFF while it loads it, as a whole.
        size = im._tile_size
        im.load_end = lambda: None  # type: ignore[method-assign]
        turned = _tiff_orientation(im)
    # An image without data must fail as it does without a canvas.
    if is_large(im) and bytes_per_pixel(im.mode) == 4 and (im.tile or hasattr(im, "_decoder")):
        canvas = Canvas(im.mode, size)
        im.im = canvas.core
    im.load()
    # Pillow composes the frames of an animation in memory of its own.
    canvas = canvas if canvas is not None and im.im is canvas.core else None
    if isinstance(im, TiffImagePlugin.TiffImageFile):
        return im._new(im.im), canvas, turned
    _let_decoder_go(im)
    return im, canvas, read_orientation(exif_block(im))


def core_over(memory: Any, mode: str, size: tuple[int, int]) -> Any:
    """Returns Pillow's own image object over pixels that lie in memory; it keeps the memory.

    Args:
        memory: a writable buffer without gaps, `bytes_per_pixel` for each pixel, row by row.
        mode, size: of the image.
    """
    return _core.map_buffer(memory, size, "raw", 0, (mode, size[0] * bytes_per_pixel(mode), 1))


def bytes_per_pixel(mode: str) -> int:
    """Returns the bytes that a pixel of a mode takes in Pillow's memory."""
    return _NARROW.get(mode, 4)


def is_large(im: Image.Image) -> bool:
    """Returns whether an image is converted a tile at a time."""
    plain = im.mode in ("L", "RGB") and "transparency" not in im.info
    return im.width * im.height > (PLAIN if plain else MOST_AT_ONCE)


def _tiff_orientation(im: TiffImagePlugin.TiffImageFile) -> int:
    """Returns the orientation by which Pillow would turn a TIFF."""
    value = im.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) else 1


def _let_decoder_go(im: Image.Image) -> None:
    """Frees what a decoder of WebP or AVIF keeps for further frames."""
    if hasattr(im, "_decoder"):
        im._decoder = None


def converted_upright(
    source: Image.Image,
    canvas: Canvas | None,
    convert: Callable[[Image.Image], Image.Image],
    orientation: int,
) -> Image.Image:
    """Returns an image converted and upright; a large one is converted tile by tile.

    Args:
        source: decoded.
        canvas: memory of `source`, which is given back; None if it has another owner.
        convert: returns an image of the same size, each pixel of which depends on that pixel alone.
        orientation: EXIF's, 1 to 8.
    """
    if not is_large(source):
        return upright(convert(source), orientation)
    target: Image.Image | None = None
    for box in tiles(source.size, orientation):
        tile = source.crop(box)
        made = convert(tile)
        if target is None:
            if made is tile and orientation == 1:
                return source
            turned = source.size[::-1] if orientation >= 5 else source.size
            target = source._new(Canvas(made.mode, turned, orientation >= 5).core)
        target.paste(upright(made, orientation), upright_corner(box, source.size, orientation))
        if canvas is not None and box[2] == source.width:
            canvas.give_back(box[3])
    assert target is not None
    return target


def tiles(size: tuple[int, int], orientation: int) -> Iterator[tuple[int, int, int, int]]:
    """Yields boxes (left, top, right, bottom) that cover an image, row by row, left to right.

    >>> list(tiles((4_000, 600), orientation=1))  # of about a million pixels, whole rows
    [(0, 0, 4000, 262), (0, 262, 4000, 524), (0, 524, 4000, 600)]
    >>> list(tiles((4_000, 600), orientation=6))  # to be turned: not all of a row at once
    [(0, 0, 1747, 600), (1747, 0, 3494, 600), (3494, 0, 4000, 600)]
    """
    width, height = size
    across, down = width, max(1, TILE // width)
    if orientation >= 5:
        across, down = min(width, max(SIDE, TILE // height)), min(height, SIDE)
    for top in range(0, height, down):
        for left in range(0, width, across):
            yield left, top, min(left + across, width), min(top + down, height)
