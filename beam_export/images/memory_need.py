"""Estimates the peak of memory that an image takes, from decoding to its JPEG, by its header.

What decoders hold beside the pixels was measured: libwebp two frames, and Pillow one more, since it
reads any WebP as an animation; libavif and its codec their planes; libjpeg all coefficients of an
image of several scans; libtiff a strip or a tile; libheif its planes, and RGB made of them;
OpenJPEG 4 bytes per sample, and the samples; a reader of unusual PPMs the samples twice.
"""

from __future__ import annotations

from PIL import Image, ImageFile, JpegImagePlugin, TiffImagePlugin

from beam_export.images.encoder import EncodeSpec
from beam_export.images.geometry import plan_resize
from beam_export.images.jpeg import segments as jpeg_segments
from beam_export.images.tiles import SIDE, bytes_per_pixel, is_large
from beam_export.images.uniform import RGB

__all__ = ["need_of"]

#: Pixels of an image that takes too little memory to be counted.
_FEW = 1 << 22
#: Bytes that tiles and codecs take for any image.
_ALWAYS = 64 << 20
#: Copies of an image that is processed as a whole: its channels split and merged, converted,
#: white, and composited on white.
_MANY_COPIES = 5
#: Bytes per pixel that a decoder holds beside the pixels, by Pillow's name of the format; those of
#: JPEG and TIFF depend on the file. `PPM` is of those that are not read as they lie there.
_BESIDE_PIXELS = {
    "PNG": 0,
    "GIF": 0,
    "BMP": 2,
    "DIB": 2,
    "WEBP": 12,
    "AVIF": 16,
    "HEIF": 7,
    "PPM": 12,
}
#: Likewise, per sample of a pixel.
_BESIDE_SAMPLES = {"JPEG2000": 6}
#: Most bytes of a JPEG per pixel, and per byte of its source.
_JPEG, _GROWTH = 1.5, 4
_ROWS_PER_STRIP, _TILE_WIDTH, _TILE_LENGTH = 278, 322, 323
_SAMPLES, _BITS = 277, 258


def need_of(im: ImageFile.ImageFile, data: bytes, spec: EncodeSpec) -> int:
    """Returns the bytes that an image takes at most, beside its file; 0 for a small one.

    Args:
        im: opened, not decoded.
        data: the file.
        spec: options; a resized image takes memory too.
    """
    pixels = im.width * im.height
    if pixels <= _FEW:
        return 0
    stored = bytes_per_pixel(im.mode)
    gray = im.mode in ("1", "L", "LA", "La", "I") or im.mode.startswith("I;16")
    made = 1 if gray and RGB not in spec.ensure else 4
    if is_large(im):
        # If both take 4 bytes per pixel, one shrinks as the other grows.
        work = pixels * (stored if stored == 4 and made == 4 else stored + made)
        # Tiles that are turned: a row of them is held.
        work += stored * SIDE * max(im.size)
    else:
        work = pixels * (stored + made * _copies(im))
    jpeg = min(int(pixels * _JPEG), _GROWTH * len(data))
    decoding = pixels * stored + _of_decoder(im, data)
    return _ALWAYS + max(decoding, work + jpeg, pixels * made + _of_resizing(im, spec) + jpeg)


def _copies(im: Image.Image) -> int:
    """Returns the number of copies that are made of an image processed as a whole."""
    if im.mode not in ("L", "RGB") or "transparency" in im.info:
        return _MANY_COPIES
    return ("icc_profile" in im.info) + ("exif" in im.info or im.format in ("PNG", "TIFF"))


def _of_decoder(im: ImageFile.ImageFile, data: bytes) -> int:
    pixels = im.width * im.height
    if isinstance(im, JpegImagePlugin.JpegImageFile):
        return _coefficients(im, data)
    if isinstance(im, TiffImagePlugin.TiffImageFile):
        return _strip(im)
    name = im.format or ""
    if name == "PPM" and all(tile.codec_name == "raw" for tile in im.tile):
        return 0
    samples = _BESIDE_SAMPLES.get(name, 0) * len(im.getbands())
    return (_BESIDE_PIXELS.get(name, 0) + samples) * pixels


def _coefficients(im: JpegImagePlugin.JpegImageFile, data: bytes) -> int:
    """Returns the bytes that libjpeg holds of an image of several scans: 2 per coefficient."""
    if not jpeg_segments.has_scans(data):
        return 0
    across = max((layer[1] for layer in im.layer), default=1)
    down = max((layer[2] for layer in im.layer), default=1)
    samples = sum(layer[1] * layer[2] for layer in im.layer)
    return 2 * im.width * im.height * samples // max(1, across * down)


def _strip(im: TiffImagePlugin.TiffImageFile) -> int:
    """Returns the bytes of a strip or a tile, which libtiff decompresses as a whole."""
    if not im.use_load_libtiff:
        return 0
    width, height = im._tile_size
    tags = im.tag_v2
    try:
        bits = max(tags.get(_BITS, (1,))) * int(tags.get(_SAMPLES, 1))
        across = int(tags.get(_TILE_WIDTH, width))
        down = min(int(tags.get(_TILE_LENGTH, tags.get(_ROWS_PER_STRIP, height))), height)
    except (TypeError, ValueError):
        return 0
    strip: int = across * down * bits // 8
    return min(strip, 8 * width * height)


def _of_resizing(im: Image.Image, spec: EncodeSpec) -> int:
    """Returns the bytes of the resized image, for the worse of upright and turned."""
    if spec.resize is None or not spec.resizes:
        return 0
    most = 0
    for width, height in (im.size, im.size[::-1]):
        plan = plan_resize(width=width, height=height, size=spec.resize, mode=spec.resize_mode)
        scaled = plan.scaled_width * (plan.scaled_height + height)
        most = max(most, 4 * min(scaled + plan.width * plan.height, 3 * spec.max_pixels))
    return most
