"""`beam_export.images.color`: every mode becomes gray or sRGB on white, whatever its profile."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image
from support.pictures import (
    EXACT,
    assert_close,
    encoded,
    failed,
    flat,
    needs_avif,
    pixels,
    png,
    save,
    smooth,
)
from support.profiles import gray_profile, rgb_profile

from beam_export.images import color
from beam_export.samples import EncodedImage


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
