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
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    features,
)

from beam_export.errors import SampleError
from beam_export.images import heif, netpbm
from beam_export.images.encoder import EncodeSpec
from beam_export.images.jpeg import segments as jpeg_segments
from beam_export.images.libtiff import silence_libtiff
from beam_export.images.truncation import is_cut
from beam_export.samples import MISSING_CODEC, TRUNCATED_IMAGE, UNDECODABLE_IMAGE

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
#: Parsers that only a file which begins as theirs reaches.
_BY_KIND = {
    **dict.fromkeys(("jp2", "j2k"), Jpeg2KImagePlugin.Jpeg2KImageFile.format),
    **dict.fromkeys(("pbm", "pgm", "ppm"), PpmImagePlugin.PpmImageFile.format),
}

_MAGIC = (
    (re.compile(rb"\xff\xd8\xff"), "jpg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp"),
    (re.compile(rb"GIF8[79]a"), "gif"),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), "tiff"),
    (re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL), "bmp"),
    # ISO/IEC 14496-12 4.3, AV1 Image File Format 6: a brand among the first of its file type box.
    (re.compile(rb"....ftyp(?:....){0,15}?avi[fs]", re.DOTALL), "avif"),
    # ISO/IEC 23008-12, B.4 and 10.2: images coded as HEVC, and of any codec.
    (re.compile(rb"....ftyp(?:....){0,15}?(?:hei[cxms]|hev[cxms])", re.DOTALL), "heic"),
    (re.compile(rb"....ftyp(?:....){0,15}?(?:mif[12]|msf1)", re.DOTALL), "heif"),
    # ISO/IEC 15444-1, I.5.1 (the signature box) and A.4 (SOC, then SIZ).
    (re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n"), "jp2"),
    (re.compile(rb"\xff\x4f\xff\x51"), "j2k"),
    # Netpbm: a number follows, after white space or comments; text may begin with P1 too.
    (re.compile(rb"P[14](?:\s|#[^\r\n]*[\r\n])+[0-9]"), "pbm"),
    (re.compile(rb"P[25](?:\s|#[^\r\n]*[\r\n])+[0-9]"), "pgm"),
    (re.compile(rb"P[36](?:\s|#[^\r\n]*[\r\n])+[0-9]"), "ppm"),
)

#: What people call the formats.
_NAMES = {
    "jpg": "JPEG",
    "webp": "WebP",
    **dict.fromkeys(("jp2", "j2k"), "JPEG 2000"),
}
_ADDRESS = re.compile(r"<[^<>]* at 0x[0-9A-Fa-f]+>")
#: What Pillow says in numbers, in words.
_WORDS = (
    (re.compile(r"decoder error -?[0-9]+"), "its compressed data is damaged"),
    (re.compile(r"image file is truncated.*"), "its data ends too early"),
)
_PIXELS = re.compile(r"\((\d+) pixels\)")
_IMAGE_WIDTH, _IMAGE_LENGTH = 256, 257


def sniff(data: bytes) -> str | None:
    r"""Returns the extension of an image format by its first bytes; None if it is not known.

    It is `jpg`, `png`, `webp`, `gif`, `tiff`, `bmp`, `avif`, `heic`, `heif`, `jp2`, `j2k`, `pbm`,
    `pgm` or `ppm`.

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
        size = jpeg_segments.frame_size(data)
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
    kind = sniff(data)
    if kind in heif.KINDS:
        return heif.open_heif(data)
    formats = (_BY_KIND[kind],) if kind in _BY_KIND else _FORMATS
    if kind in ("jp2", "j2k") and not features.check("jpg_2000"):
        raise SampleError(
            "decode",
            MISSING_CODEC,
            "the image is JPEG 2000, which this build of Pillow does not read: install Pillow's "
            "own wheel",
        )
    try:
        im = Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # A warning is raised where a process turns warnings into errors.
        pixels = _PIXELS.search(str(error))
        check_pixels(int(pixels[1]) if pixels else spec.max_pixels + 1, spec)
        raise
    if im.format == PpmImagePlugin.PpmImageFile.format:
        netpbm.use_quick_decoder(im)
    return im


def read_size(data: bytes, spec: EncodeSpec) -> tuple[int, int] | None:
    """Returns (width, height) as stored, or None if the header cannot be read.

    Raises:
        SampleError: if the header can be read and declares too many pixels.
    """
    if data[:3] == b"\xff\xd8\xff":
        size = jpeg_segments.frame_size(data)
        if size is not None:
            check_pixels(size[0] * size[1], spec)
        return size
    try:
        with open_image(data, spec) as im:
            if isinstance(im, TiffImagePlugin.TiffImageFile):
                # Pillow's size of a TIFF is the one after its orientation.
                return int(im.tag_v2[_IMAGE_WIDTH]), int(im.tag_v2[_IMAGE_LENGTH])
            return im.size
    except MemoryError:
        raise
    except SampleError as error:
        if error.error == MISSING_CODEC:
            return None
        raise
    except Exception:
        # Pillow's readers raise anything for a broken header: it cannot be read, as documented.
        return None


def failure(stage: str, error: Exception, data: bytes = b"") -> SampleError:
    """Returns an exception of an image library as a failure, whose message says in plain words why.

    Behind that stand the words of the library, without addresses of objects, so that each run gives
    the same message.

    Args:
        stage: `read`, `decode` or `encode`.
        error: that was raised.
        data: the encoded image, if there is one.
    """
    if isinstance(error, SampleError):
        # A copy: the one that was raised holds its frames, and with them pixels.
        return SampleError(error.stage, error.error, error.message)
    kind = sniff(data)
    if kind is None and isinstance(error, UnidentifiedImageError):
        text = (
            "the image does not begin as a JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF, HEIC, "
            "JPEG 2000 or PPM"
        )
        return SampleError(stage, "UnidentifiedImageError", text)
    said = _ADDRESS.sub("<object>", " ".join(str(error).split()))[:300]
    if not data or stage != "decode":
        return SampleError(stage, type(error).__name__, said or type(error).__name__)
    name = _NAMES.get(kind, kind.upper()) if kind is not None else "image"
    if kind is not None and is_cut(data, kind):
        text = f"the {name} ends before it should: it was cut short, or a length in it is damaged"
        return SampleError(stage, TRUNCATED_IMAGE, text)
    if isinstance(error, UnidentifiedImageError):
        said = "its header cannot be read"
    said = next((words for pattern, words in _WORDS if pattern.fullmatch(said)), said)
    text = f"the {name} cannot be decoded: it is damaged, or of a kind that is not read here"
    return SampleError(stage, UNDECODABLE_IMAGE, f"{text} ({said or type(error).__name__})")


def silence_pillow() -> None:
    """Silences Pillow and libtiff, in the whole process since filters are not per thread.

    They are about damaged metadata, and about images that `check_pixels` refuses: a line for each
    of millions of images, where each is a failure already or does not matter. Where a process
    turns warnings into errors, they would be raised.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    silence_libtiff()
