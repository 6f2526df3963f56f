"""Sniffs image formats, reads sizes, and enforces limits before anything is decoded.

Shared by all encoders and by the copy path, so that a limit means the same and a failure has the
same words everywhere.
"""

from __future__ import annotations

import io
import re
import warnings

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from beam_export.errors import SampleError
from beam_export.images.encoder import EncodeSpec
from beam_export.images.jpeg import segments as jpeg_segments

try:  # Pillow 11.3 and later
    from PIL import AvifImagePlugin
except ImportError:  # an AVIF is then a failure that says so
    AvifImagePlugin = None  # type: ignore[assignment]

__all__ = [
    "check_bytes",
    "check_pixels",
    "failure",
    "lift_guards",
    "open_image",
    "read_size",
    "silence_pillow",
    "sniff",
]


# Only these formats are parsed, and JPEG (see `open_image`): Pillow has some forty readers more,
# several of which run other programs or are hardly maintained.
_PLUGINS = (
    BmpImagePlugin.BmpImageFile,
    BmpImagePlugin.DibImageFile,
    GifImagePlugin.GifImageFile,
    PngImagePlugin.PngImageFile,
    TiffImagePlugin.TiffImageFile,
    WebPImagePlugin.WebPImageFile,
    *([AvifImagePlugin.AvifImageFile] if AvifImagePlugin else []),
)
_FORMATS = tuple(plugin.format for plugin in _PLUGINS if plugin.format in Image.OPEN)

_MAGIC = (
    (re.compile(rb"\xff\xd8\xff"), "jpg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp"),
    (re.compile(rb"GIF8[79]a"), "gif"),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), "tiff"),
    (re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL), "bmp"),
    # ISO/IEC 14496-12 4.3, AV1 Image File Format 6: a brand among the first of its file type box.
    (re.compile(rb"....ftyp(?:....){0,15}?avi[fs]", re.DOTALL), "avif"),
)

_ADDRESS = re.compile(r"<[^<>]* at 0x[0-9A-Fa-f]+>")
_PIXELS = re.compile(r"\((\d+) pixels\)")
_IMAGE_WIDTH, _IMAGE_LENGTH = 256, 257


def sniff(data: bytes) -> str | None:
    r"""Returns the extension of an image format by its first bytes; None if it is not known.

    It is `jpg`, `png`, `webp`, `gif`, `tiff`, `bmp` or `avif`.

    >>> sniff(b"\x89PNG\r\n\x1a\n"), sniff(b"II*\0"), sniff(b"<svg>")
    ('png', 'tiff', None)
    """
    for magic, ext in _MAGIC:
        if magic.match(data):
            return ext
    return None


def check_bytes(data: bytes, spec: EncodeSpec) -> None:
    """Raises SampleError (`read`) if an encoded image is empty or over `max_image_bytes`."""
    if not data:
        raise SampleError("read", "ValueError", "the image is empty: it has 0 bytes")
    if len(data) > spec.max_image_bytes:
        raise SampleError(
            "read",
            "ValueError",
            f"the image has {len(data)} bytes, more than max_image_bytes={spec.max_image_bytes}",
        )


def check_pixels(pixels: int, spec: EncodeSpec, stage: str = "decode") -> None:
    """Raises SampleError if an image has more than `max_pixels` pixels."""
    if pixels > spec.max_pixels:
        raise SampleError(
            stage,
            "ValueError",
            f"the image has {pixels} pixels, more than max_pixels={spec.max_pixels}",
        )


def lift_guards(max_pixels: int) -> None:
    """Raises Pillow's own limits, for the whole process, to what the caller allows.

    Pillow warns above `Image.MAX_IMAGE_PIXELS` (89 million) and raises above twice that, which is
    below our default. The limit is raised as far as needed and never lowered: other code of the
    process may have set it. So is the one on a PNG's inflated profile or text (1 MiB), which would
    lose good images; the one on the sum of a file's texts (64 MiB) stays.
    """
    guard = Image.MAX_IMAGE_PIXELS
    if guard is not None and guard < max_pixels:
        Image.MAX_IMAGE_PIXELS = max_pixels
    text = max(PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)
    PngImagePlugin.MAX_TEXT_CHUNK = text


def open_image(data: bytes, spec: EncodeSpec) -> ImageFile.ImageFile:
    """Returns an encoded image opened: its header is read, and checked against the limits.

    Raises:
        SampleError: if it has too many pixels or scans.
        Exception: what Pillow raises for a header that it cannot read; see `failure`.
    """
    if data[:3] == b"\xff\xd8\xff":
        size = jpeg_segments.read_size(data)
        if size is not None:
            check_pixels(size[0] * size[1], spec)
        if jpeg_segments.is_bomb(data):
            message = f"the JPEG has more than {jpeg_segments.MAX_SCANS} scans"
            raise SampleError("decode", "ValueError", message)
        # Image.open would go on to the index of a phone's further pictures (MPO), and lose the
        # first one if that is broken.
        im: ImageFile.ImageFile = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    else:
        im = _open_other(data, spec)
    check_pixels(im.width * im.height, spec)
    return im


def _open_other(data: bytes, spec: EncodeSpec) -> ImageFile.ImageFile:
    lift_guards(spec.max_pixels)
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # A warning is raised where a process turns warnings into errors.
        pixels = _PIXELS.search(str(error))
        check_pixels(int(pixels[1]) if pixels else spec.max_pixels + 1, spec)
        raise


def read_size(data: bytes, spec: EncodeSpec) -> tuple[int, int] | None:
    """Returns (width, height) as stored, or None if the header cannot be read.

    Raises:
        SampleError: if the header can be read and declares too many pixels.
    """
    if data[:3] == b"\xff\xd8\xff":
        size = jpeg_segments.read_size(data)
        if size is not None:
            check_pixels(size[0] * size[1], spec)
        return size
    try:
        with open_image(data, spec) as im:
            if isinstance(im, TiffImagePlugin.TiffImageFile):
                # Pillow's size of a TIFF is the one after its orientation.
                return int(im.tag_v2[_IMAGE_WIDTH]), int(im.tag_v2[_IMAGE_LENGTH])
            return im.size
    except (MemoryError, SampleError):
        raise
    except Exception:
        # Pillow's readers raise anything for a broken header: it cannot be read, as documented.
        return None


def failure(stage: str, error: Exception, data: bytes = b"") -> SampleError:
    """Returns an exception of an image library as a failure with a message that is reproducible.

    The addresses of objects are taken out, so that each run gives the same message.

    Args:
        stage: `read`, `decode` or `encode`.
        error: that was raised.
        data: the encoded image, if there is one.
    """
    if isinstance(error, SampleError):
        # A copy: the one that was raised holds its frames, and with them pixels.
        return SampleError(error.stage, error.error, error.message)
    if isinstance(error, UnidentifiedImageError):
        kind = sniff(data)
        text = f"the image begins as {kind}, but its header is broken or of a kind not read here"
        if kind is None:
            text = "the image does not begin as a JPEG, PNG, WebP, GIF, TIFF, BMP or AVIF"
        return SampleError(stage, "UnidentifiedImageError", text)
    text = _ADDRESS.sub("<object>", " ".join(str(error).split()))[:300]
    return SampleError(stage, type(error).__name__, text or "no reason was given")


def silence_pillow() -> None:
    """Silences Pillow's warnings, in the whole process since filters are not per thread.

    They are about damaged metadata, and about images that `check_pixels` refuses: a line for each
    of millions of images, where each is a failure already or does not matter. Where a process
    turns warnings into errors, they would be raised.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
