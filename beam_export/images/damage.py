"""What Pillow would decode without a word: a JPEG that has lost data, a TIFF that it misreads.

The first is a failure, or kept as far as it goes: for what is lost Pillow gives gray, or what was
there before, and `loss` says what libjpeg has kept to itself. The second is always a failure.
"""

from __future__ import annotations

import io
import types
from typing import Any, NamedTuple

from PIL import Image, ImageFile, JpegImagePlugin, TiffImagePlugin

from beam_export.errors import SampleError
from beam_export.images import tiles
from beam_export.images.encoder import EncodeSpec
from beam_export.images.jpeg.loss import lost_data
from beam_export.images.tiff_layout import check_layout
from beam_export.samples import DAMAGED_IMAGE

__all__ = ["DAMAGED", "Loaded", "load"]

#: The remark of an image that was kept.
DAMAGED = "damaged"

_END = b"\xff\xd9"


class Loaded(NamedTuple):
    """An image that was decoded, as `tiles.load` gives it.

    Attributes:
        im: as it was opened.
        source: its pixels as stored.
        canvas: their memory, or None.
        orientation: EXIF's, 1 to 8.
        remarks: what is told of it at the end, in a word each.
    """

    im: ImageFile.ImageFile
    source: Image.Image
    canvas: tiles.Canvas | None
    orientation: int
    remarks: tuple[str, ...] = ()


def load(im: ImageFile.ImageFile, data: bytes, spec: EncodeSpec) -> Loaded:
    """Decodes an image.

    Args:
        im: opened, and within the limits.
        data: what it was opened from.
        spec: says what becomes of damage.

    Raises:
        SampleError: if it has lost data and may not.
        Exception: what Pillow raises for what it cannot decode; see `header.failure`.
    """
    if isinstance(im, TiffImagePlugin.TiffImageFile):
        check_layout(im)
    if not isinstance(im, JpegImagePlugin.JpegImageFile):
        return Loaded(im, *tiles.load(im))
    lost = lost_data(data)
    if spec.damaged == "fail":
        if lost is None:
            return Loaded(im, *tiles.load(im))
        raise SampleError(
            "decode",
            DAMAGED_IMAGE,
            f"the JPEG has lost data ({lost}); --damaged=keep takes what is left",
        )
    if lost is None:
        try:
            return Loaded(im, *tiles.load(im))
        except OSError:
            pass  # libjpeg has given up in the middle: that is damage too
    kept = _Kept(io.BytesIO(data))
    return Loaded(kept, *tiles.load(kept), (DAMAGED,))


class _Kept(JpegImagePlugin.JpegImageFile):
    """A JPEG that is decoded as far as it goes.

    As Pillow's own does under `ImageFile.LOAD_TRUNCATED_IMAGES`, which holds for all threads of a
    process and is not ours to set.
    """

    _ended = False

    def load_read(self, read_bytes: int) -> bytes:
        """Returns more of the file, and behind it an end marker, so that libjpeg comes to one."""
        assert self.fp is not None
        data = self.fp.read(read_bytes)
        if not data and not self._ended:
            self._ended = True
            return _END
        return data


def _under_the_flag(method: Any) -> Any:
    """Returns a method of Pillow's as it is where the flag is set."""
    names = {**method.__globals__, "LOAD_TRUNCATED_IMAGES": True}
    return types.FunctionType(
        method.__code__, names, method.__name__, method.__defaults__, method.__closure__
    )


_Kept.load = _under_the_flag(ImageFile.ImageFile.load)  # type: ignore[method-assign]
