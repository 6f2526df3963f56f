"""`beam_export.images.pillow_decoder`: upright, the first frame, and whole."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from PIL import Image
from support.pictures import (
    EXACT,
    assert_close,
    encode,
    encoded,
    exif,
    failed,
    needs_avif,
    pixels,
    png,
    save,
    smooth,
)
from support.profiles import gray_profile, rgb_profile

from beam_export.images.geometry import read_orientation
from beam_export.samples import EncodedImage

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


def test_orientation_from_imagemagick_text() -> None:
    block = exif(6).tobytes()
    text = f"\nexif\n{len(block):8d}\n{block.hex()}\n".encode()
    key = b"Raw profile type exif\0\0" + zlib.compress(text)
    rows = [row.tobytes() for row in smooth()]
    out = pixels(encoded(png(8, 2, rows, 48, (b"zTXt", key)), **EXACT))
    assert_close(out, TURNED[6](smooth()))
    broken = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n3\nnothex\n")
    assert_close(pixels(encoded(png(8, 2, rows, 48, (b"zTXt", broken)), **EXACT)), smooth())


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


GRAY = smooth()[..., 0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("side", [48, 2_100])
def test_gray_is_made_rgb_where_it_is_asked_for(kind: str, side: int) -> None:
    # Larger ones are converted a tile at a time.
    source = save(Image.fromarray(GRAY).resize((side, side)), kind)
    plain, made = encoded(source), encoded(source, ensure=("rgb",))
    assert pixels(made).shape == (side, side, 3)
    assert (made.lacks, plain.lacks) == ((), () if kind == "WEBP" else ("rgb",))
    gray = pixels(plain) if kind == "WEBP" else np.stack([pixels(plain)] * 3, axis=2)
    assert_close(pixels(made), gray, 2)


def test_arrays_of_gray_are_made_rgb_too() -> None:
    made = encoded(GRAY, ensure=("rgb",))
    assert pixels(made).shape == (32, 48, 3)
    assert encoded(GRAY).lacks == ("rgb",)


#: Profiles that no library applies, for pixels of their kind.
BROKEN = rgb_profile().replace(b"curv", b"????").replace(b"para", b"????")
BROKEN_GRAY = gray_profile(2.2).replace(b"curv", b"????")


@pytest.mark.parametrize(
    ("pixel", "profile", "ensure", "fails"),
    [
        (smooth(), BROKEN, (), False),
        (smooth(), BROKEN, ("upright", "rgb"), False),
        (smooth(), BROKEN, ("srgb",), True),
        (GRAY, BROKEN_GRAY, ("upright",), False),
        (GRAY, BROKEN_GRAY, ("srgb",), True),
        # Its profile would be one of other pixels.
        (GRAY, BROKEN_GRAY, ("rgb",), True),
    ],
)
def test_a_profile_that_cannot_be_applied_is_kept_or_a_failure(
    pixel: np.ndarray, profile: bytes, ensure: tuple, fails: bool
) -> None:
    source = save(Image.fromarray(pixel), "PNG", icc_profile=profile)
    result = encode(source, ensure=ensure)
    if fails:
        assert failed(source, ensure=ensure).message == (
            f"its colour profile cannot be converted, as --ensure={','.join(ensure)} asks: make "
            "it sRGB first"
        )
    else:
        assert "srgb" in result.lacks


def test_colours_that_are_not_converted_are_a_failure_where_srgb_is_asked_for() -> None:
    chunk = b"cICP" + bytes([9, 16, 0, 1])
    crc = zlib.crc32(chunk).to_bytes(4, "big")
    plain = save(Image.fromarray(smooth()), "PNG")
    source = plain[:33] + (4).to_bytes(4, "big") + chunk + crc + plain[33:]
    assert encoded(source).lacks == ("srgb",)
    assert failed(source, ensure=("srgb",)).message.startswith("its colours cannot be converted")
