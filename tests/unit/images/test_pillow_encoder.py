"""`beam_export.images.encoder`: what an image becomes, and what becomes of a bad one."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps, features
from support.exports import PHOTOS, ROOT
from support.profiles import gray_profile, rgb_profile

from beam_export.errors import SampleError
from beam_export.images import color, header
from beam_export.images import pillow_encoder as pillow_module
from beam_export.images.encoder import EncodeSpec, ImageInput, Result
from beam_export.images.geometry import read_orientation
from beam_export.images.jpeg import inspect as jpeg
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.images.transcode import transcode_batch
from beam_export.samples import EncodedImage

#: Photographs whose sampling some readers refuse.
ODD_SAMPLING = {"peacock.s1x3", "peacock.s-weird", "peacock.s-very-weird"}
EXACT = {"quality": 100, "subsampling": "444"}
needs_avif = pytest.mark.skipif(
    not features.check("avif"), reason="this build of Pillow has no AVIF"
)


def smooth(width: int = 48, height: int = 32) -> np.ndarray:
    """Returns pixels (H, W, 3) that JPEG keeps within a few levels and no turn leaves as is."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 4, y * 6, 40 + x * 2 + y], axis=2).astype(np.uint8)


def save(im: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    im.save(buffer, kind, **options)
    return buffer.getvalue()


def encode(image: ImageInput, **options: Any) -> Result:
    encoder = PillowEncoder(EncodeSpec(mode="always", **options))
    encoder.open()
    (result,) = encoder.encode_batch([image])
    return result


def encoded(image: ImageInput, **options: Any) -> EncodedImage:
    result = encode(image, **options)
    assert isinstance(result, EncodedImage), result
    return result


def failed(image: ImageInput, **options: Any) -> SampleError:
    result = encode(image, **options)
    assert isinstance(result, SampleError)
    return result


def pixels(result: EncodedImage) -> np.ndarray:
    with Image.open(io.BytesIO(result.data), formats=["JPEG"]) as im:
        assert im.size == (result.width, result.height)
        return np.asarray(im)


def assert_close(one: np.ndarray, other: np.ndarray, most: int = 3) -> None:
    assert one.shape == other.shape
    assert np.abs(one.astype(int) - other.astype(int)).max() <= most


def flat(result: EncodedImage) -> tuple[int, ...] | int:
    """Returns the one colour of an image that has one."""
    array = pixels(result)
    assert (array == array[0, 0]).all()
    return tuple(map(int, array[0, 0])) if array.ndim == 3 else int(array[0, 0])


# The JPEG that is written


def test_jpeg_is_baseline_with_the_sampling_asked_for_and_nothing_else() -> None:
    source = save(
        Image.fromarray(smooth()), "JPEG", comment=b"made by", dpi=(300, 300), exif=b"Exif\0\0"
    )
    for subsampling, factors in [("444", 0x11), ("422", 0x21), ("420", 0x22)]:
        data = encoded(source, subsampling=subsampling).data
        assert jpeg.is_copyable(jpeg.inspect(data))
        frame = data.index(b"\xff\xc0")
        assert data[frame + 11] == factors
        assert b"made by" not in data
        assert b"Exif" not in data
        assert jpeg.inspect(data).process == "baseline"


def test_bytes_are_those_of_plain_pillow() -> None:
    im = Image.fromarray(smooth())
    expected = save(im, "JPEG", quality=85, subsampling="4:2:2")
    assert encoded(save(im, "PNG"), quality=85, subsampling="422").data == expected


def test_bytes_do_not_depend_on_threads_or_on_where_they_are_saved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(1)
    images = [
        save(Image.fromarray(rng.integers(0, 256, (40 + n, 50, 3), dtype=np.uint8)), "PNG")
        for n in range(12)
    ]
    images[5] = b"junk"
    spec = EncodeSpec(mode="always", resize=33)
    with_threads = PillowEncoder(spec, threads=4)
    with_threads.open()
    with_threads.open()
    several = with_threads.encode_batch(images)
    with_threads.close()
    alone = PillowEncoder(spec).encode_batch(images)
    monkeypatch.delattr(os, "memfd_create", raising=False)
    in_memory = PillowEncoder(spec).encode_batch(images)
    assert list(map(str, alone)) == list(map(str, several)) == list(map(str, in_memory))
    assert [at for at, r in enumerate(alone) if isinstance(r, SampleError)] == [5]


def test_nothing_of_a_larger_image_is_left_in_a_smaller_one() -> None:
    rng = np.random.default_rng(2)
    large = rng.integers(0, 256, (900, 900, 3), dtype=np.uint8)
    encoder = PillowEncoder(EncodeSpec(mode="always"))
    images = [large, smooth(), large[:300, :300], smooth()]
    assert [one.data for one in encoder.encode_batch(images)] == [  # type: ignore[union-attr]
        encoded(image, quality=92).data for image in images
    ]


def test_save_falls_back_where_memory_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> int:
        raise OSError("refused")

    expected = encoded(smooth())
    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    assert encoded(smooth()) == expected


# Colour


@pytest.mark.parametrize("value", [0, 1, 100, 254, 255])
def test_gray_stays_one_component(value: int) -> None:
    for array in (np.full((8, 8), value, np.uint8), np.full((8, 8, 1), value, np.uint8)):
        assert flat(encoded(array, **EXACT)) == value
    im = Image.new("L", (8, 8), value)
    for kind in ("PNG", "TIFF", "BMP", "JPEG"):
        options = {"quality": 100} if kind == "JPEG" else {}
        assert flat(encoded(save(im, kind, **options), **EXACT)) == value


def test_one_bit_is_gray() -> None:
    for kind in ("PNG", "TIFF", "BMP"):
        assert flat(encoded(save(Image.new("1", (8, 8), 1), kind), **EXACT)) == 255
        assert flat(encoded(save(Image.new("1", (8, 8), 0), kind), **EXACT)) == 0


def test_palette_is_rgb() -> None:
    im = Image.fromarray(smooth()).quantize(64)
    for kind in ("PNG", "GIF", "TIFF", "BMP"):
        result = encoded(save(im, kind), **EXACT)
        assert_close(pixels(result), np.asarray(im.convert("RGB")), 6)


ALPHAS = (0, 1, 77, 128, 200, 254, 255)


def over_white(value: int, alpha: int) -> int:
    return round((value * alpha + 255 * (255 - alpha)) / 255)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_alpha_is_composited_on_white_exactly(alpha: int) -> None:
    for value in (0, 3, 99, 200, 255):
        expected = over_white(value, alpha)
        la = Image.new("LA", (8, 8), (value, alpha))
        assert flat(encoded(save(la, "PNG"), **EXACT)) == expected
        rgba = Image.new("RGBA", (8, 8), (value, value, value, alpha))
        for kind, options in [
            ("PNG", {}),
            ("TIFF", {}),
            ("WEBP", {"lossless": True, "exact": True}),
        ]:
            result = encoded(save(rgba, kind, **options), **EXACT)
            assert flat(result) == (expected,) * 3, kind
        assert flat(encoded(np.asarray(rgba), **EXACT)) == (expected,) * 3


def test_alpha_touches_only_what_it_covers() -> None:
    array = np.dstack([smooth(), np.full((32, 48), 255, np.uint8)])
    array[:, :24, 3] = 0
    out = pixels(encoded(array, **EXACT))
    assert out[:, :16].min() >= 252
    assert_close(out[:, 32:], smooth()[:, 32:])


def test_transparent_palette_entries_are_white() -> None:
    im = Image.new("P", (16, 8), 1)
    im.putpalette([10, 20, 30, 200, 100, 50])
    im.paste(0, (0, 0, 8, 8))
    for kind, options in [
        ("PNG", {"transparency": 0}),
        ("PNG", {"transparency": b"\x00\xff"}),
        ("GIF", {"transparency": 0}),
    ]:
        out = pixels(encoded(save(im, kind, **options), **EXACT))
        assert out[:, :8].min() >= 254
        assert_close(out[:, 8:], np.full((8, 8, 3), (200, 100, 50), np.uint8))
    half = pixels(encoded(save(im, "PNG", transparency=b"\x80\xff"), **EXACT))
    assert_close(half[0, 0], np.array([over_white(v, 128) for v in (10, 20, 30)]))


def png(
    depth: int, kind: int, rows: list[bytes], width: int, *chunks: tuple[bytes, bytes]
) -> bytes:
    """Returns a PNG made by hand: of depths and types that Pillow does not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)

    head = struct.pack(">IIBBBBB", width, len(rows), depth, kind, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    inner = b"".join(chunk(name, content) for name, content in chunks)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
    return start + inner + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("depth", "row", "key", "left", "right"),
    [
        (1, b"\xff\x00", 1, 255, 0),
        (1, b"\xff\x00", 0, 255, 255),
        (2, b"\x55" * 2 + b"\xaa" * 2, 1, 255, 170),
        (2, b"\x55" * 2 + b"\xaa" * 2, 2, 85, 255),
        (4, b"\x33" * 4 + b"\x88" * 4, 3, 255, 136),
        (8, b"\x33" * 8 + b"\x88" * 8, 0x33, 255, 136),
        (16, b"\x33\x10" * 8 + b"\x88\x88" * 8, 0x3310, 255, 136),
        (16, b"\x33\x10" * 8 + b"\x88\x88" * 8, 0x3311, 51, 136),
    ],
)
def test_transparent_gray(depth: int, row: bytes, key: int, left: int, right: int) -> None:
    data = png(depth, 0, [row] * 8, 16, (b"tRNS", struct.pack(">H", key)))
    out = pixels(encoded(data, **EXACT))
    assert out.shape == (8, 16)
    assert (int(out[0, 0]), int(out[0, 15])) == (left, right)


@pytest.mark.parametrize("depth", [8, 16])
def test_transparent_color(depth: int) -> None:
    one, other = (10, 20, 30), (200, 100, 50)
    scale = 257 if depth == 16 else 1
    code = ">H" if depth == 16 else ">B"
    row = b"".join(struct.pack(code, v * scale) for c in (one, other) for _ in range(8) for v in c)
    key = struct.pack(">HHH", *(v * scale for v in one))
    out = pixels(encoded(png(depth, 2, [row] * 8, 16, (b"tRNS", key)), **EXACT))
    assert out[:, :8].min() >= 254
    assert_close(out[:, 8:], np.full((8, 8, 3), other, np.uint8))


def test_16_bit_gray_with_alpha_stays_gray() -> None:
    row = struct.pack(">HH", 100 * 257, 128 * 257) * 8
    assert flat(encoded(png(16, 4, [row] * 8, 8), **EXACT)) == over_white(100, 128)


def test_scaling_of_16_bits_is_exact() -> None:
    values = np.arange(65_536)
    expected = np.array([(v * 255 * 2 + 65_535) // (2 * 65_535) for v in range(65_536)])
    assert (color.scale_16_bit(values.astype(np.uint16)) == expected).all()
    assert (expected == (values * 255 + 32_895) >> 16).all()  # what DALI does
    assert list(color.scale_16_bit(np.array([0, 2_047, 2_048, 4_095]), 4_095)) == [0, 127, 128, 255]


@pytest.mark.parametrize(
    ("value", "level"), [(0, 0), (128, 0), (129, 1), (40_000, 156), (65_535, 255)]
)
def test_16_bits_are_scaled_and_not_clipped(value: int, level: int) -> None:
    im = Image.fromarray(np.full((8, 8), value, np.uint16))
    big = Image.frombytes("I;16B", (8, 8), struct.pack(">H", value) * 64)
    assert flat(encoded(save(im, "PNG"), **EXACT)) == level
    for kind in (im, big):
        for compression in (None, "tiff_lzw"):
            assert flat(encoded(save(kind, "TIFF", compression=compression), **EXACT)) == level
    wide = Image.fromarray(np.full((8, 8), value, np.int32))
    assert wide.mode == "I"
    assert flat(encoded(save(wide, "TIFF"), **EXACT)) == level


def test_16_bit_color_is_scaled() -> None:
    row = struct.pack(">HHH", 0x1234, 0x8080, 0xFFFF) * 8
    assert_close(pixels(encoded(png(16, 2, [row] * 8, 8), **EXACT))[0, 0], np.array([18, 128, 255]))


def test_inverted_16_bit_tiff() -> None:
    im = Image.fromarray(np.full((8, 8), 257 * 30, np.uint16))
    assert flat(encoded(save(im, "TIFF", tiffinfo={262: 0}), **EXACT)) == 225


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.full((8, 8), 70_000, np.int32), "32-bit numbers of 70000 to 70000"),
        (np.full((8, 8), -1, np.int32), "32-bit numbers of -1 to -1"),
        (np.full((8, 8), 0.5, np.float32), "floats"),
    ],
)
def test_pixels_without_a_known_white_are_failures(array: np.ndarray, reason: str) -> None:
    error = failed(save(Image.fromarray(array), "TIFF"))
    assert (error.stage, error.error) == ("decode", "ValueError")
    assert reason in error.message


def test_cmyk_is_converted_as_pillow_does() -> None:
    im = Image.fromarray(smooth()).convert("CMYK")
    source = save(im, "JPEG", quality=100)
    with Image.open(io.BytesIO(source)) as reread:
        expected = np.asarray(reread.convert("RGB"))
    assert_close(pixels(encoded(source, **EXACT)), expected)
    tiff = pixels(encoded(save(im, "TIFF"), **EXACT))
    assert_close(tiff, np.asarray(im.convert("RGB")))


def test_lab_and_ycbcr_become_rgb() -> None:
    lab = Image.new("LAB", (8, 8), (180, 128, 128))
    red, green, blue = flat(encoded(save(lab, "TIFF"), **EXACT))
    assert max(red, green, blue) - min(red, green, blue) <= 4
    ycbcr = Image.fromarray(smooth()).convert("YCbCr")
    data = save(ycbcr, "TIFF", compression="jpeg", quality=100)
    assert_close(pixels(encoded(data, **EXACT)), smooth(), 12)


# ICC profiles


def profile_of(result: EncodedImage) -> bytes | None:
    with Image.open(io.BytesIO(result.data)) as im:
        return im.info.get("icc_profile")


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "TIFF", "WEBP", pytest.param("AVIF", marks=needs_avif)]
)
def test_profile_is_converted_to_srgb(kind: str) -> None:
    im = Image.new("RGB", (16, 16), (220, 40, 90))
    options = {"quality": 100} if kind in ("JPEG", "AVIF") else {}
    if kind == "WEBP":
        options = {"lossless": True}
    result = encoded(save(im, kind, icc_profile=rgb_profile(swapped=True), **options), **EXACT)
    assert profile_of(result) is None
    assert_close(np.array(flat(result)), np.array([90, 40, 220]), 5)


def test_srgb_under_any_name_changes_nothing() -> None:
    plain = save(Image.fromarray(smooth()), "PNG")
    tagged = save(Image.fromarray(smooth()), "PNG", icc_profile=rgb_profile())
    assert encoded(tagged) == encoded(plain)


def test_what_is_srgb_to_the_eye_is_left_as_it_is() -> None:
    im = Image.fromarray(smooth())
    rounded = bytearray(rgb_profile())
    rounded[rounded.index(b"XYZ \0\0\0\0", 128) + 11] ^= 3  # the last bits of a primary
    for profile in (rgb_profile(), bytes(rounded)):
        same, kept = color.to_srgb(im, profile)
        assert same is im
        assert kept is None
    assert color.to_srgb(im, rgb_profile(gamma=2.2))[0] is not im


def test_gamma_profile_is_converted() -> None:
    data = save(
        Image.new("RGB", (8, 8), (128, 128, 128)), "PNG", icc_profile=rgb_profile(gamma=1.0)
    )
    assert_close(np.array(flat(encoded(data, **EXACT))), np.array([188] * 3), 2)


def test_gray_profile_is_converted_and_stays_gray() -> None:
    data = save(Image.new("L", (8, 8), 128), "PNG", icc_profile=gray_profile(1.0))
    result = encoded(data, **EXACT)
    assert abs(flat(result) - 188) <= 2
    assert profile_of(result) is None


def test_rgb_profile_on_gray_is_obeyed() -> None:
    data = save(
        Image.new("L", (8, 8), 128), "JPEG", icc_profile=rgb_profile(gamma=1.0), quality=100
    )
    assert abs(flat(encoded(data, **EXACT)) - 188) <= 2


def test_profile_is_applied_before_white_is_laid_under() -> None:
    im = Image.new("RGBA", (8, 8), (220, 40, 90, 128))
    result = encoded(save(im, "PNG", icc_profile=rgb_profile(swapped=True)), **EXACT)
    expected = [over_white(v, 128) for v in (90, 40, 220)]
    assert_close(np.array(flat(result)), np.array(expected), 4)
    assert profile_of(result) is None


def test_palette_and_16_bit_obey_their_profile() -> None:
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([220, 40, 90])
    result = encoded(save(palette, "PNG", icc_profile=rgb_profile(swapped=True)), **EXACT)
    assert_close(np.array(flat(result)), np.array([90, 40, 220]), 5)
    wide = Image.fromarray(np.full((8, 8), 128 * 257, np.uint16))
    assert abs(flat(encoded(save(wide, "PNG", icc_profile=gray_profile(1.0)), **EXACT)) - 188) <= 2


def test_profile_that_cannot_be_applied_is_kept() -> None:
    broken = rgb_profile()[:128] + bytes(40)  # a header, and no tables
    im = Image.fromarray(smooth())
    result = encoded(save(im, "PNG", icc_profile=broken))
    assert profile_of(result) == broken
    assert_close(pixels(result), pixels(encoded(save(im, "PNG"))), 0)
    large = broken + bytes(150_000)
    assert profile_of(encoded(save(im, "JPEG", icc_profile=large))) == large


@pytest.mark.parametrize("profile", [b"not a profile", gray_profile(1.0), b"\0" * 200])
def test_profile_that_says_nothing_of_the_pixels_is_dropped(profile: bytes) -> None:
    plain = encoded(save(Image.fromarray(smooth()), "PNG"))
    assert encoded(save(Image.fromarray(smooth()), "PNG", icc_profile=profile)) == plain


def test_large_compressed_profile_does_not_lose_a_png() -> None:
    large = rgb_profile()[:128] + bytes(1_500_000)
    result = encoded(save(Image.fromarray(smooth()), "PNG", icc_profile=large))
    assert profile_of(result) == large


def test_cmyk_without_a_matching_profile() -> None:
    im, kept = color.to_srgb(Image.new("CMYK", (4, 4), (255, 0, 0, 0)), rgb_profile(swapped=True))
    assert (im.mode, kept) == ("RGB", None)
    assert_close(np.asarray(im)[0, 0], np.array([255, 255, 0]), 5)


# EXIF orientation


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[ExifTags.Base.Make] = "maker"
    block[ExifTags.Base.Orientation] = orientation
    return block


TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}
EXIF_KINDS = [
    ("JPEG", {"quality": 100, "subsampling": 0}),
    ("PNG", {}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    pytest.param("AVIF", {"quality": 100, "subsampling": "4:4:4"}, marks=needs_avif),
]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), EXIF_KINDS)
def test_orientation_is_applied(kind: str, options: dict, orientation: int) -> None:
    source = save(Image.fromarray(smooth()), kind, exif=exif(orientation), **options)
    out = pixels(encoded(source, **EXACT))
    assert_close(out, TURNED[orientation](smooth()), 5)


def test_orientation_of_gray_and_palette() -> None:
    gray = smooth()[:, :, :1]
    out = pixels(encoded(save(Image.fromarray(gray[:, :, 0]), "PNG", exif=exif(6)), **EXACT))
    assert_close(out, TURNED[6](gray)[:, :, 0])
    palette = Image.fromarray(smooth()).quantize(32)
    out = pixels(encoded(save(palette, "PNG", exif=exif(8)), **EXACT))
    assert_close(out, TURNED[8](np.asarray(palette.convert("RGB"))), 6)


def test_resize_is_planned_on_the_upright_image() -> None:
    source = save(Image.fromarray(smooth(48, 32)), "JPEG", exif=exif(6))
    result = encoded(source, resize=16, resize_mode="keep_ratio")
    assert (result.width, result.height) == (16, 24)


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0junk that is no TIFF",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x01\0\x06\0\0",
    ],
)
def test_broken_exif_does_not_lose_the_image(block: bytes) -> None:
    im = Image.fromarray(smooth())
    assert read_orientation(block) == 1
    for kind in ("JPEG", "PNG", "WEBP"):
        assert_close(
            pixels(encoded(save(im, kind, exif=block))), pixels(encoded(save(im, kind))), 0
        )


@given(st.binary(max_size=60), st.sampled_from([b"", b"Exif\0\0", b"II*\0\x08\0\0\0", b"MM\0*"]))
def test_reading_an_orientation_never_raises(junk: bytes, start: bytes) -> None:
    assert 1 <= read_orientation(start + junk) <= 8


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("code", "kind"), [("H", 3), ("I", 4)])
def test_orientation_in_both_byte_orders(order: str, code: str, kind: int) -> None:
    start = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(order + code, 7).ljust(4, b"\0")
    entries = struct.pack(order + "IHHHI", 8, 1, 0x0112, kind, 1) + value
    assert read_orientation(start + entries) == 7


def test_orientation_from_imagemagick_text() -> None:
    block = exif(6).tobytes()
    text = f"\nexif\n{len(block):8d}\n{block.hex()}\n".encode()
    key = b"Raw profile type exif\0\0" + zlib.compress(text)
    rows = [row.tobytes() for row in smooth()]
    out = pixels(encoded(png(8, 2, rows, 48, (b"zTXt", key)), **EXACT))
    assert_close(out, TURNED[6](smooth()))
    broken = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n3\nnothex\n")
    assert_close(pixels(encoded(png(8, 2, rows, 48, (b"zTXt", broken)), **EXACT)), smooth())


# Frames


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("GIF", {}),
        ("TIFF", {}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        pytest.param("AVIF", {"quality": 100}, marks=needs_avif),
        ("MPO", {"quality": 100}),
    ],
)
def test_first_frame_is_taken(kind: str, options: dict) -> None:
    frames = [Image.new("RGB", (16, 16), c) for c in ((200, 30, 60), (0, 255, 0), (0, 0, 255))]
    data = save(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    result = encoded(data, **EXACT)
    assert_close(pixels(result), np.full((16, 16, 3), (200, 30, 60), np.uint8), 4)


# Sizes


@pytest.mark.parametrize(
    ("mode", "size"),
    [
        ("no", (48, 32)),
        ("keep_ratio", (24, 16)),
        ("keep_ratio_largest", (16, 11)),
        ("center_crop", (16, 16)),
        ("border", (16, 16)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_resized_sizes(mode: str, size: tuple[int, int], channels: int) -> None:
    array = smooth() if channels == 3 else smooth()[:, :, 0]
    result = encoded(array, resize=16, resize_mode=mode, **EXACT)
    assert (result.width, result.height) == size
    assert pixels(result).ndim == array.ndim


def test_resized_pixels() -> None:
    im = Image.fromarray(smooth())
    small = np.asarray(im.resize((24, 16), Image.Resampling.LANCZOS))
    options = {"resize": 16, **EXACT}
    assert_close(pixels(encoded(smooth(), resize_mode="keep_ratio", **options)), small)
    assert_close(pixels(encoded(smooth(), resize_mode="center_crop", **options)), small[:, 4:20])
    bordered = pixels(encoded(np.zeros((32, 64, 3), np.uint8), resize_mode="border", **options))
    assert bordered[:4].min() >= 250
    assert bordered[12:].min() >= 250
    assert bordered[5:11].max() <= 5


def test_small_images_are_enlarged() -> None:
    result = encoded(np.zeros((4, 6, 3), np.uint8), resize=8)
    assert (result.width, result.height) == (12, 8)


def test_resizing_cannot_make_a_bomb() -> None:
    error = failed(np.zeros((1, 6_000), np.uint8), resize=512, max_pixels=1_000_000)
    assert error.stage == "encode"
    assert "max_pixels=1000000" in error.message


# Bad input


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.uint16),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), bool),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0), np.uint8),
    ],
)
def test_other_arrays_are_failures_that_say_what_was_given(array: np.ndarray) -> None:
    error = failed(array)
    assert (error.stage, error.error) == ("encode", "ValueError")
    assert str(array.dtype) in error.message
    assert str(array.shape) in error.message
    assert "uint8" in error.message


def test_arrays_of_any_memory_order() -> None:
    expected = encoded(np.ascontiguousarray(smooth()[::-1, ::2]))
    assert encoded(smooth()[::-1, ::2]) == expected
    assert encoded(np.asfortranarray(smooth()[::-1, ::2])) == expected


def test_what_is_neither_bytes_nor_array_is_a_failure() -> None:
    error = failed("photo.jpg")  # type: ignore[arg-type]
    assert error.message == "the image is a str; it must be bytes or an array"


CUTTABLE = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("GIF", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("BMP", {}),
    pytest.param("AVIF", {}, marks=needs_avif),
]


@pytest.mark.parametrize(("kind", "options"), CUTTABLE)
def test_cut_images_are_failures(kind: str, options: dict) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    data = save(Image.fromarray(noise), kind, **options)
    assert isinstance(encode(data), EncodedImage)
    for percent in range(1, 100, 7):
        error = failed(data[: len(data) * percent // 100])
        assert error.stage == "decode"
        assert error.message
        assert "0x" not in error.message


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"<html>not found</html>",
        bytes(5_000),
        np.random.default_rng(3).bytes(5_000),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"P6 2 2 255\n" + bytes(12),
        b"8BPS\0\1" + bytes(60),
    ],
)
def test_what_is_no_image_is_a_failure(data: bytes) -> None:
    error = failed(data)
    assert (error.stage, error.error) == ("decode", "UnidentifiedImageError")
    assert error.message == "the image does not begin as a JPEG, PNG, WebP, GIF, TIFF, BMP or AVIF"


def test_header_that_is_broken_says_so() -> None:
    error = failed(b"GIF89a")
    assert "begins as gif" in error.message


def test_addresses_are_taken_out_of_messages() -> None:
    error = header.failure("decode", OSError(f"cannot identify\n {io.BytesIO()!r} here"))
    assert error.message == "cannot identify <object> here"
    assert error.error == "OSError"


def test_failures_hold_no_frames() -> None:
    for error in (failed(b"junk"), failed(PNG, max_pixels=1), *process([b""])):
        assert error.__traceback__ is None
        assert error.__context__ is None


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


def test_sides_that_jpeg_does_not_have_are_failures() -> None:
    result = encoded(np.zeros((1, 65_500), np.uint8))
    assert result.width == 65_500
    error = failed(np.zeros((1, 65_501), np.uint8))
    assert (error.stage, error.error) == ("encode", "ValueError")
    assert "65501 x 1" in error.message


def test_lack_of_memory_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pillow_module.color, "split_alpha", fail)
    with pytest.raises(MemoryError):
        encode(save(Image.fromarray(smooth()), "PNG"))


KINDS = [save(Image.fromarray(smooth()), kind) for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP")]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_images_are_results(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(KINDS)))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(damaged)))
        damaged[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    first, second = (encode(bytes(damaged), max_pixels=1_000_000) for _ in range(2))
    assert str(first) == str(second)


# The encoder as an object


def test_encoder_pickles_as_its_options() -> None:
    encoder = PillowEncoder(EncodeSpec(quality=70), threads=3)
    fresh = pickle.dumps(encoder)
    encoder.open()
    expected = encoder.encode_batch([smooth(), smooth()])
    assert pickle.dumps(encoder) == fresh
    copy = pickle.loads(pickle.dumps(encoder))
    encoder.close()
    encoder.close()
    assert (copy.spec, copy.threads) == (encoder.spec, 3)
    assert copy.encode_batch([smooth(), smooth()]) == expected
    copy.open()
    assert copy.encode_batch([smooth(), smooth()]) == expected
    copy.close()
    copy.open()
    assert copy.encode_batch([smooth(), smooth()]) == expected
    copy.close()


def test_identity_names_the_codecs() -> None:
    identity = PillowEncoder(EncodeSpec()).identity()
    assert identity["encoder"] == "pillow"
    assert identity["device"] == "cpu"
    assert identity["pillow"] == Image.__version__
    assert all(isinstance(value, str) for value in identity.values())
    assert {"libjpeg_turbo", "littlecms2", "webp", "libtiff", "avif", "zlib"} <= identity.keys()


@pytest.mark.parametrize(
    ("options", "threads", "reason"),
    [
        ({"quality": 0}, 1, "quality is 0"),
        ({"quality": 101}, 1, "quality is 101"),
        ({"subsampling": "411"}, 1, "subsampling is '411'"),
        ({"resize": 0}, 1, "1 or more"),
        ({"resize": 8, "resize_mode": "fit"}, 1, "resize_mode is 'fit'"),
        ({}, 0, "threads is 0"),
    ],
)
def test_options_that_cannot_be(options: dict, threads: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        PillowEncoder(EncodeSpec(**options), threads)


# What is copied and what is encoded


class CountingEncoder(PillowEncoder):
    def __init__(self, spec: EncodeSpec) -> None:
        super().__init__(spec)
        self.batches: list[int] = []

    def encode_batch(self, images: Any) -> list[Result]:
        self.batches.append(len(images))
        return super().encode_batch(images)


def process(
    images: list[ImageInput], exts: list[str] | None = None, **options: Any
) -> list[Result]:
    return transcode_batch(images, exts or [""] * len(images), PillowEncoder(EncodeSpec(**options)))


JPEG = save(Image.fromarray(smooth()), "JPEG", exif=exif(6), comment=b"kept")
PNG = save(Image.fromarray(smooth()), "PNG")


def test_auto_copies_whole_jpegs_and_encodes_the_rest_in_one_batch() -> None:
    rgb = save(Image.fromarray(smooth()), "JPEG", keep_rgb=True)
    cmyk = save(Image.fromarray(smooth()).convert("CMYK"), "JPEG")
    images = [JPEG, PNG, b"", JPEG + b"trailer", JPEG[:-200], smooth(), rgb, cmyk]
    encoder = CountingEncoder(EncodeSpec())
    results = transcode_batch(images, [""] * len(images), encoder)
    assert encoder.batches == [5]
    kinds = [r.stage if isinstance(r, SampleError) else r.encoding for r in results]
    assert kinds == [
        "copied", "encoded", "read", "copied", "decode", "encoded", "encoded", "encoded",
    ]  # fmt: skip
    assert results[0] == EncodedImage(JPEG, "jpg", 48, 32, "copied")
    assert results[3] == EncodedImage(JPEG + b"trailer", "jpg", 48, 32, "copied")
    assert transcode_batch([JPEG], [""], encoder)[0].encoding == "copied"
    assert len(encoder.batches) == 1


def test_resizing_encodes_every_image_and_no_resizing_none() -> None:
    assert process([JPEG], resize=16)[0].encoding == "encoded"
    assert process([JPEG], resize=48, resize_mode="keep_ratio_largest")[0].encoding == "encoded"
    assert process([JPEG], resize=16, resize_mode="no")[0].encoding == "copied"


def test_always_encodes_everything() -> None:
    (result,) = process([JPEG], mode="always")
    assert (result.encoding, result.width, result.height) == ("encoded", 32, 48)


def test_a_bad_image_never_takes_its_batch_with_it() -> None:
    bad = [b"", b"junk", JPEG[:300], np.zeros((2, 2), np.int64), PNG[:90], BOMBS[0]]
    for mode in ("auto", "always"):
        mixed = [image for one in bad for image in (PNG, one, JPEG)]
        results = process(mixed, mode=mode)
        assert results[0::3] == process([PNG], mode=mode) * len(bad)
        assert results[2::3] == process([JPEG], mode=mode) * len(bad)
        assert all(isinstance(r, SampleError) for r in results[1::3])


@pytest.mark.parametrize("mode", ["auto", "always", "never"])
def test_limits_hold_in_every_mode(mode: str) -> None:
    (empty,) = process([b""], mode=mode)
    assert (empty.stage, empty.message) == ("read", "the image is empty: it has 0 bytes")
    size = len(JPEG)
    (large,) = process([JPEG], mode=mode, max_image_bytes=size - 1)
    assert (large.stage, large.error) == ("read", "ValueError")
    assert large.message == f"the image has {size} bytes, more than max_image_bytes={size - 1}"
    assert isinstance(process([JPEG], mode=mode, max_image_bytes=size)[0], EncodedImage)
    for data in (JPEG, PNG):
        (wide,) = process([data], mode=mode, max_pixels=48 * 32 - 1)
        assert wide.stage == "decode"
        assert "1536 pixels" in wide.message
        assert isinstance(process([data], mode=mode, max_pixels=48 * 32)[0], EncodedImage)


@pytest.mark.parametrize(
    ("kind", "ext", "options"),
    [
        ("JPEG", "jpg", {}),
        ("PNG", "png", {}),
        ("WEBP", "webp", {}),
        ("GIF", "gif", {}),
        ("TIFF", "tiff", {}),
        ("TIFF", "tiff", {"big_tiff": True}),
        ("BMP", "bmp", {}),
        pytest.param("AVIF", "avif", {}, marks=needs_avif),
    ],
)
def test_never_names_by_content_and_reads_sizes(kind: str, ext: str, options: dict) -> None:
    data = save(Image.fromarray(smooth()), kind, exif=exif(1), **options)
    assert process([data], ["xyz"], mode="never") == [EncodedImage(data, ext, 48, 32, "copied")]
    cut = data[: 200 if kind == "JPEG" else 40]
    (result,) = process([cut], [".Cut"], mode="never")
    assert (result.data, result.encoding) == (cut, "copied")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_never_gives_the_stored_size(kind: str) -> None:
    data = save(Image.fromarray(smooth()), kind, exif=exif(6))
    (result,) = process([data], mode="never")
    assert (result.width, result.height) == (48, 32)


@pytest.mark.parametrize(
    ("source_ext", "ext"),
    [("HEIC", "heic"), (".Svg", "svg"), ("", "bin"), ("a/b", "bin"), ("jpg?x=1", "bin")],
)
def test_never_keeps_what_it_does_not_know(source_ext: str, ext: str) -> None:
    (result,) = process([b"something else"], [source_ext], mode="never")
    assert result == EncodedImage(b"something else", ext, None, None, "copied")


def test_never_refuses_arrays() -> None:
    (error,) = process([smooth()], mode="never")
    assert (error.stage, error.error) == ("encode", "ValueError")


# Real images


def test_every_photo_becomes_a_jpeg() -> None:
    suffixes = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".tiff", ".bmp", ".apng"}
    suffixes |= {".avif"} if features.check("avif") else set()
    files = sorted(f for f in PHOTOS.rglob("*") if f.suffix.lower() in suffixes)
    if not files:
        pytest.skip("shared/data/photos is not here")
    encoder = PillowEncoder(EncodeSpec(), threads=2)
    encoder.open()
    for file in files:
        data = file.read_bytes()
        (result,) = transcode_batch([data], [file.suffix], encoder)
        assert isinstance(result, EncodedImage), (file, result)
        is_copied = file.suffix.lower() in (".jpg", ".jpeg") and file.stem not in ODD_SAMPLING
        assert result.encoding == ("copied" if is_copied else "encoded"), file
        if not is_copied:
            assert jpeg.is_copyable(jpeg.inspect(result.data)), file
    encoder.close()


def test_photos_are_turned_as_pillow_turns_them() -> None:
    files = sorted((PHOTOS / "exif-orientation").rglob("*.jpg"))
    if not files:
        pytest.skip("shared/data/photos is not here")
    for file in files:
        data = file.read_bytes()
        with Image.open(io.BytesIO(data)) as im:
            upright = ImageOps.exif_transpose(im)
            expected = save(upright.convert(im.mode), "JPEG", quality=92, subsampling="4:2:0")
        with Image.open(io.BytesIO(data)) as im:
            if "icc_profile" not in im.info:
                assert encoded(data).data == expected, file
