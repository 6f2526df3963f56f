"""Every image format of the list in `header` is known wherever formats differ."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from PIL import Image, features
from support.exports import ROOT
from support.pictures import save

from beam_export.images import codecs, header, memory_need
from beam_export.images.encoder import EncodeSpec
from beam_export.images.limits import read_declared_size
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.samples import EncodedImage
from beam_export.sources.entries import IMAGE_SUFFIXES

#: Each format: Pillow's names of it, and what the encoder says of the version that decodes it.
FORMATS = {
    "jpg": (("JPEG",), "libjpeg_turbo"),
    "png": (("PNG",), "zlib"),
    "webp": (("WEBP",), "webp"),
    "gif": (("GIF",), "pillow"),
    "tiff": (("TIFF",), "libtiff"),
    "bmp": (("BMP", "DIB"), "pillow"),
    "avif": (("AVIF",), "avif"),
    "heic": (("HEIF",), "heif"),
    "heif": (("HEIF",), "heif"),
    "jp2": (("JPEG2000",), "openjpeg"),
    "j2k": (("JPEG2000",), "openjpeg"),
    "pbm": (("PPM",), "pillow"),
    "pgm": (("PPM",), "pillow"),
    "ppm": (("PPM",), "pillow"),
}
#: Formats whose decoder's memory depends on more than the pixels.
BY_FILE = {"JPEG", "TIFF"}
PAGES = ["README.md", "SECURITY.md", "docs/format.md"]


def saved(ext: str) -> bytes:
    name = FORMATS[ext][0][0]
    if name == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    options: dict[str, Any] = {"lossless": True} if name == "WEBP" else {}
    if name == "JPEG2000":
        options = {"no_jp2": ext == "j2k"}
    mode = {"pbm": "1", "pgm": "L"}.get(ext, "RGB")
    im = Image.new("RGB", (24, 10), (9, 99, 199)).convert(mode)
    return heif(im, ext) if name == "HEIF" else save(im, name, **options)


def heif(im: Image.Image, ext: str) -> bytes:
    """Returns a HEIC; as `heif`, one that names no codec among its brands."""
    library = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    library.from_pillow(im).save(buffer)
    brands = buffer.getvalue()[8:28]
    plain = brands.replace(b"heic", b"mif1").replace(b"heix", b"mif1")
    return buffer.getvalue().replace(brands, plain if ext == "heif" else brands)


def test_the_list_is_complete() -> None:
    assert list(FORMATS) == [ext for _, ext in header._MAGIC]
    parsers = {*header._FORMATS, *header._BY_KIND.values()}
    assert {name for names, _ in FORMATS.values() for name in names} >= parsers


@pytest.mark.parametrize("ext", FORMATS)
def test_its_bytes_are_recognised_and_its_size_is_read_without_decoding(ext: str) -> None:
    data = saved(ext)
    assert header.sniff(data) == ext
    assert header.read_size(data, EncodeSpec()) == (24, 10)
    found = read_declared_size(data)
    assert found is not None
    # A HEIC declares the size of its blocks, of which the image is cut.
    assert found.pixels == 240 or (ext in ("heic", "heif") and 240 < found.pixels <= 64 * 64)


@pytest.mark.parametrize("ext", FORMATS)
def test_the_version_of_its_codec_is_in_the_manifest(ext: str) -> None:
    codec = FORMATS[ext][1]
    encoder = PillowEncoder(EncodeSpec())
    # Those of rare formats stand in the manifest with the images that need them.
    (result,) = encoder.encode_batch([saved(ext)])
    assert isinstance(result, EncodedImage)
    assert {**encoder.identity(), **codecs.stated(result.remarks)}[codec]


@pytest.mark.parametrize("ext", FORMATS)
def test_the_memory_of_its_decoder_is_estimated(ext: str) -> None:
    known = {*memory_need._BESIDE_PIXELS, *memory_need._BESIDE_SAMPLES}
    assert set(FORMATS[ext][0]) <= BY_FILE | known


@pytest.mark.parametrize("ext", FORMATS)
def test_a_file_of_its_suffix_is_an_image(ext: str) -> None:
    assert ext in IMAGE_SUFFIXES


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_it(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    words = set(re.findall(r"[a-z0-9]+", text.lower()))
    assert {ext for ext in FORMATS if not {ext, FORMATS[ext][0][0].lower()} & words} == set()
