"""`beam_export.images.header`: what is no image, and what is over a limit."""

from __future__ import annotations

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support.exports import ROOT
from support.pictures import encode, failed, png, save, smooth

from beam_export.errors import SampleError
from beam_export.images import header
from beam_export.images.encoder import EncodeSpec
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.images.transcode import transcode_batch
from beam_export.samples import EncodedImage


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"<html>not found</html>",
        bytes(5_000),
        np.random.default_rng(3).bytes(5_000),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 3\nMAXVAL 255\nENDHDR\n" + bytes(12),
        b"8BPS\0\1" + bytes(60),
    ],
)
def test_what_is_no_image_is_a_failure(data: bytes) -> None:
    error = failed(data)
    assert (error.stage, error.error) == ("decode", "UnidentifiedImageError")
    assert error.message == (
        "the image does not begin as a JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF, HEIC, JPEG 2000 or "
        "PPM"
    )


def test_header_that_is_broken_says_so() -> None:
    error = failed(b"GIF89a")
    assert (error.stage, error.error) == ("decode", "TruncatedImage")
    assert error.message.startswith("the GIF ends before it should")


def test_addresses_are_taken_out_of_messages() -> None:
    error = header.failure("decode", OSError(f"cannot identify\n {io.BytesIO()!r} here"))
    assert error.message == "cannot identify <object> here"
    assert error.error == "OSError"


def bmp_header(width: int, height: int) -> bytes:
    head = struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def jpeg_header(width: int, height: int) -> bytes:
    data = bytearray(save(Image.new("RGB", (8, 8)), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


BOMBS = [
    png(8, 2, [b""] * 60_000, 60_000),
    jpeg_header(60_000, 60_000),
    bmp_header(60_000, 60_000),
    b"GIF89a"
    + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0)
    + b",\0\0\0\0\x60\xea\x60\xea\0\2\0;",
]


@pytest.mark.parametrize("mode", ["auto", "always", "never"])
@pytest.mark.parametrize("data", BOMBS)
def test_bombs_are_judged_by_their_header(data: bytes, mode: str) -> None:
    encoder = PillowEncoder(EncodeSpec(mode=mode))
    encoder.open()
    (error,) = transcode_batch([data], [""], encoder)
    assert isinstance(error, SampleError)
    assert (error.stage, error.error) == ("decode", "ValueError")
    assert error.message == "the image has 3600000000 pixels, more than max_pixels=250000000"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"])
def test_max_pixels_is_exact(kind: str) -> None:
    data = save(Image.fromarray(smooth(40, 25)), kind)
    assert isinstance(encode(data, max_pixels=1_000), EncodedImage)
    message = "the image has 1000 pixels, more than max_pixels=999"
    assert failed(data, max_pixels=999).message == message
    assert failed(smooth(40, 25), max_pixels=999).message == message


def test_pillow_guard_is_lifted_and_never_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    data = save(Image.fromarray(smooth(40, 25)), "PNG")
    assert isinstance(encode(data, max_pixels=1_000), EncodedImage)
    assert Image.MAX_IMAGE_PIXELS == 1_000
    assert isinstance(encode(data, max_pixels=2_000), EncodedImage)
    assert "999" in failed(data, max_pixels=999).message
    assert Image.MAX_IMAGE_PIXELS == 2_000
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert isinstance(encode(data, max_pixels=1_000), EncodedImage)
    assert Image.MAX_IMAGE_PIXELS is None


def test_nothing_is_printed_about_images_between_the_guards() -> None:
    script = (
        "from beam_export.images.encoder import EncodeSpec\n"
        "from beam_export.images.pillow_encoder import PillowEncoder\n"
        "import sys\n"
        "encoder = PillowEncoder(EncodeSpec(mode='always', max_pixels=1000))\n"
        "encoder.open()\n"
        "print(encoder.encode_batch([sys.stdin.buffer.read()])[0].message)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        input=png(8, 2, [b""] * 10_000, 10_000),
        capture_output=True,
        check=True,
        cwd=ROOT,
    )
    assert ran.stderr == b""
    assert b"100000000 pixels, more than max_pixels=1000" in ran.stdout


def test_scan_bomb_is_a_failure() -> None:
    data = save(Image.fromarray(smooth()), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    error = failed(data[:at] + data[at:-2] * 300 + data[-2:])
    assert error.message == "the JPEG has more than 256 scans"
