"""Decodes an image with Pillow: upright, in 8-bit gray or sRGB, large ones a tile at a time.

Three kinds of images Pillow would decode to wrong pixels without an error, and all are caught:

* a JPEG that has lost data, for which Pillow gives gray or what was there before (`jpeg.loss` finds
  it): a failure, or with `damaged="keep"` decoded as far as it goes;
* a JPEG 2000 that is cut before its first pixels: always a failure;
* a TIFF of a layout that Pillow misreads: always a failure. Found by reading files of every layout
  that could be made (planes, depths, compressions, predictors, tiles, byte orders, colours, extra
  samples) and comparing their pixels.

Source: TIFF 6.0, sections 8 (planes), 14 (predictor), 21 (YCbCr), 23 (CIE L*a*b*); libtiff 4.7,
tif_predict.c, for the codecs that have a predictor.
"""

from __future__ import annotations

import contextlib
import io
import types
from typing import Any, NamedTuple, TypeVar

from PIL import Image, ImageFile, JpegImagePlugin, TiffImagePlugin

from beam_export.errors import SampleError
from beam_export.images import codecs, color, header, limits, source_color, tiles, watch
from beam_export.images.encoder import EncodeSpec
from beam_export.images.geometry import exif_block, read_orientation
from beam_export.images.jpeg.decoder import decode_sound
from beam_export.images.jpeg.loss import lost_data
from beam_export.images.memory_budget import budget
from beam_export.images.memory_need import need_of
from beam_export.images.resize import Reduced, reduced_by, reduction
from beam_export.images.truncation import has_end_of_codestream
from beam_export.images.uniform import RGB, SRGB
from beam_export.samples import DAMAGED_IMAGE

__all__ = ["DAMAGED", "Decoded", "DecodedImage", "decode", "decode_stored"]

#: Remark on a damaged JPEG that was kept.
DAMAGED = "damaged"

_Jpeg = TypeVar("_Jpeg", bound=JpegImagePlugin.JpegImageFile)

_END = b"\xff\xd9"

_BITS, _COMPRESSION, _PHOTOMETRIC, _PLANAR = 258, 259, 262, 284
_FILL_ORDER, _PREDICTOR = 266, 317
_YCBCR, _CIELAB = 6, 8
_IN_PLANES = 2
#: libtiff undoes no predictor of PackBits, which other programs write with one.
_NONE, _PACKBITS = 1, 32773


class Decoded(NamedTuple):
    """An image ready to be encoded.

    Attributes:
        picture: upright, `L` or `RGB`.
        profile: ICC profile for its JPEG; None for sRGB.
        remarks: words that the summary counts, such as `damaged`.
        reduced: what it was reduced from; None for a picture of all pixels.
    """

    picture: Image.Image
    profile: bytes | None = None
    remarks: tuple[str, ...] = ()
    reduced: Reduced | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Pixels (width, height) of the upright image, before any reduction."""
        return self.picture.size if self.reduced is None else self.reduced.size


def decode(data: bytes, spec: EncodeSpec, held: contextlib.ExitStack) -> Decoded:
    """Returns an image decoded, upright, in 8-bit gray or sRGB.

    Args:
        data: the encoded image.
        spec: limits, and whether damaged JPEGs are kept.
        held: takes a hold of the memory of a large image, for which other threads and processes
            wait; closed by the caller when it is done with the image.

    Raises:
        SampleError: if it is over a limit, or damaged and not to be kept.
        Exception: what Pillow raises for what it cannot read; see `header.failure`.
    """
    header.check_bytes(data, spec)
    with header.open_image(data, spec) as opened:
        _take(held=held, im=opened, data=data, spec=spec)
        whole, scale = opened.size, _scale(opened, spec)
        im, source, canvas, orientation, remarks = decode_stored(
            im=opened, data=data, spec=spec, scale=scale
        )
        # A frame of a GIF, AVIF or HEIC may turn out larger than its header said.
        header.check_pixels(source.width * source.height, spec)
        facts = color.facts_of(im, data)
        colors_found = source_color.read_colors(im, data)
        profile, kept = colors_found.profile, None

        def convert(part: Image.Image) -> Image.Image:
            nonlocal kept
            colors, alpha = color.split_alpha(part, facts)
            converted, kept = color.to_srgb(colors, profile)
            made = color.on_white(converted, alpha)
            return made.convert("RGB") if RGB in spec.ensure and made.mode == "L" else made

        picture = tiles.converted_upright(
            source=source, canvas=canvas, convert=convert, orientation=orientation
        )
        _check_ensured(kept, is_other=colors_found.is_other, spec=spec)
        reduced = reduction(whole, scale, orientation) if scale > 1 else None
        remarks += colors_found.remarks + codecs.codec_remarks(im.format)
        return Decoded(picture=picture, profile=kept, remarks=remarks, reduced=reduced)


def _check_ensured(kept: bytes | None, is_other: bool, spec: EncodeSpec) -> None:
    """Raises SampleError if an image cannot be made what `spec.ensure` names.

    Args:
        kept: its ICC profile, if that could not be applied.
        is_other: whether it declares colours that are not converted.
        spec: options.
    """
    # A profile of gray would be one of other pixels once they are RGB.
    gray = kept is not None and kept[16:20] == b"GRAY" and RGB in spec.ensure
    if gray or (SRGB in spec.ensure and (kept is not None or is_other)):
        what = "colour profile" if kept is not None else "colours"
        raise SampleError(
            "decode",
            "ValueError",
            f"its {what} cannot be converted, as --ensure={','.join(spec.ensure)} asks: make it "
            "sRGB first",
        )


def _take(
    held: contextlib.ExitStack, im: ImageFile.ImageFile, data: bytes, spec: EncodeSpec
) -> None:
    """Waits for the memory that a large image takes, and sets its time limit."""
    need = need_of(im, data, spec)
    if need:
        watch.set_limit(limits.cpu_seconds(limits.declared_size(data, spec)))
        with watch.waiting():
            held.enter_context(budget().taken(need))


def _scale(im: ImageFile.ImageFile, spec: EncodeSpec) -> int:
    """Returns by what an image's sides are divided as it is decoded."""
    if not isinstance(im, JpegImagePlugin.JpegImageFile):
        return 1
    turned = read_orientation(exif_block(im)) >= 5
    return reduced_by(im.size[::-1] if turned else im.size, spec)


class DecodedImage(NamedTuple):
    """A decoded image, as `tiles.decode_on_canvas` returns it, with remarks.

    Attributes:
        im: as it was opened.
        source: its pixels as stored.
        canvas: their memory, or None.
        orientation: EXIF's, 1 to 8.
        remarks: as of `Decoded`.
    """

    im: ImageFile.ImageFile
    source: Image.Image
    canvas: tiles.Canvas | None
    orientation: int
    remarks: tuple[str, ...] = ()


def decode_stored(
    im: ImageFile.ImageFile, data: bytes, spec: EncodeSpec, scale: int = 1
) -> DecodedImage:
    """Returns an image decoded as stored; refuses what Pillow would decode wrongly.

    Args:
        im: opened, and within the limits.
        data: the bytes it was opened from.
        spec: whether damaged JPEGs are kept.
        scale: by what the sides of a JPEG are divided; 1 for all other images.

    Raises:
        SampleError: if it has lost data, and `spec.damaged` is `fail`.
        Exception: what Pillow raises for what it cannot decode; see `header.failure`.
    """
    if isinstance(im, TiffImagePlugin.TiffImageFile):
        _check_layout(im)
    if im.format == "JPEG2000" and not has_end_of_codestream(data):
        raise OSError("image file is truncated")
    if not isinstance(im, JpegImagePlugin.JpegImageFile):
        return DecodedImage(im, *tiles.decode_on_canvas(im))
    # Large ones are decoded into memory that is given back a tile at a time.
    if scale > 1 or not tiles.is_large(im):
        pixels = decode_sound(im, data, scale)
        if pixels is not None:
            return DecodedImage(im, pixels, None, read_orientation(exif_block(im)))
    lost = lost_data(data)
    if lost is not None and spec.damaged == "fail":
        raise SampleError(
            "decode",
            DAMAGED_IMAGE,
            f"the JPEG has lost data ({lost}); --damaged=keep takes what is left",
        )
    if lost is None:
        try:
            return DecodedImage(im, *tiles.decode_on_canvas(_reduced(im, scale)))
        except OSError:
            if spec.damaged == "fail":
                raise
            # libjpeg gave up in the middle: that is damage too.
    kept = _reduced(_Kept(io.BytesIO(data)), scale)
    return DecodedImage(kept, *tiles.decode_on_canvas(kept), (DAMAGED,))


def _reduced(im: _Jpeg, scale: int) -> _Jpeg:
    """Returns a JPEG that Pillow is to decode with both sides divided, and rounded up."""
    if scale > 1:
        im.draft(None, (im.width // scale, im.height // scale))
    return im


class _Kept(JpegImagePlugin.JpegImageFile):
    """A JPEG that is decoded as far as it goes.

    As Pillow's own is under `ImageFile.LOAD_TRUNCATED_IMAGES`, a flag of the whole process that
    other threads would see.
    """

    _ended = False

    def load_read(self, read_bytes: int) -> bytes:
        """Returns more of the file, and after its end an end-of-image marker for libjpeg."""
        assert self.fp is not None
        data = self.fp.read(read_bytes)
        if not data and not self._ended:
            self._ended = True
            return _END
        return data


def _allowing_truncated(method: Any) -> Any:
    """Returns a method of Pillow's that sees the flag set, and nobody else does."""
    names = {**method.__globals__, "LOAD_TRUNCATED_IMAGES": True}
    return types.FunctionType(
        method.__code__, names, method.__name__, method.__defaults__, method.__closure__
    )


_Kept.load = _allowing_truncated(ImageFile.ImageFile.load)  # type: ignore[method-assign]


def _check_layout(im: TiffImagePlugin.TiffImageFile) -> None:
    """Raises SampleError if Pillow would give other pixels than a TIFF has.

    Args:
        im: opened, and not loaded.
    """
    if (why := _misread(im)) is not None:
        reason = f"{why}, which is not read here: convert it to a TIFF of another layout"
        raise SampleError("decode", "ValueError", reason)


def _misread(im: TiffImagePlugin.TiffImageFile) -> str | None:
    tags = im.tag_v2
    bits = tuple(tags.get(_BITS, (1,)))
    compression = tags.get(_COMPRESSION, _NONE)
    photometric = tags.get(_PHOTOMETRIC, 0)
    plain = compression == _NONE
    if tags.get(_PLANAR, 1) == _IN_PLANES and len(bits) > 1:
        if plain and max(bits) > 8:
            return f"it has planes of {max(bits)} bits without compression"
        if plain and tags.get(_FILL_ORDER, 1) != 1:
            return "it has planes without compression whose bits are in reverse"
        if im.mode in ("LA", "PA") and not plain:
            return "it has compressed planes of gray and alpha"
        if photometric == _CIELAB:
            return "it has planes of CIE L*a*b*"
    if photometric == _YCBCR and plain and len(bits) > 1:
        return "its pixels are YCbCr without compression"
    if tags.get(_PREDICTOR, 1) != 1 and compression == _PACKBITS:
        return "it has a predictor, which its compression (PackBits) does not know"
    return None
