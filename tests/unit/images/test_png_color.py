"""`beam_export.images.png_color`: colours of PNGs become sRGB, or are reported."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from beam_export.images.dali.routing import route
from beam_export.images.encoder import EncodeSpec
from beam_export.images.pillow_decoder import Decoded, decode
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.images.png_color import OTHER_COLORS, Curve, matrix_profile, png_colors

SRGB_PLACES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
P3_PLACES = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
REC2020_PLACES = (31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600)
SPEC = EncodeSpec()


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def gamma(value: int) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", value))


def places(values: tuple[int, ...]) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *values))


def codes(*values: int) -> bytes:
    return chunk(b"cICP", bytes(values))


def picture(mode: str = "RGB") -> Image.Image:
    y, x = np.mgrid[0:24, 0:40]
    pixels = np.stack([x * 6, y * 10, 255 - x * 3 - y * 2], axis=2).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray((x * 1638).astype(np.uint16))
    im = Image.fromarray(pixels)
    return im.quantize(64) if mode == "P" else im.convert(mode)


def png(chunks: bytes = b"", mode: str = "RGB", **options: object) -> bytes:
    """Returns a PNG with chunks right behind its header."""
    buffer = io.BytesIO()
    picture(mode).save(buffer, "PNG", **options)
    data = buffer.getvalue()
    return data[:33] + chunks + data[33:]


def decoded(data: bytes) -> Decoded:
    with contextlib.ExitStack() as held:
        return decode(data, SPEC, held)


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(decoded(data).picture).astype(float)


def to_xyz(spots: tuple[int, ...]) -> np.ndarray:
    """Returns what brings linear RGB of such primaries, of the white D65, to X, Y, Z."""
    pairs = np.array(spots).reshape(4, 2) / 1e5
    xyz = np.array([[x / y, 1, (1 - x - y) / y] for x, y in pairs]).T
    return xyz[:, 1:] * np.linalg.solve(xyz[:, 1:], xyz[:, 0])


def srgb_light(levels: np.ndarray) -> np.ndarray:
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def srgb_levels(light: np.ndarray) -> np.ndarray:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def expected(levels: np.ndarray, spots: tuple[int, ...], power: float | None) -> np.ndarray:
    unit = levels / 255
    light = srgb_light(unit) if power is None else unit**power
    matrix = np.linalg.inv(to_xyz(SRGB_PLACES)) @ to_xyz(spots)
    return srgb_levels(light @ matrix.T) * 255


RAW = np.asarray(picture()).astype(float)


@pytest.mark.parametrize(
    ("chunks", "spots", "power"),
    [
        (gamma(100_000), SRGB_PLACES, 1.0),
        (gamma(55_556), SRGB_PLACES, 1.8),
        (gamma(45_455) + places(P3_PLACES), P3_PLACES, None),
        (places(P3_PLACES), P3_PLACES, None),
        (gamma(100_000) + places(REC2020_PLACES), REC2020_PLACES, 1.0),
        (codes(12, 13, 0, 1), P3_PLACES, None),
        (codes(1, 4, 0, 1), SRGB_PLACES, 2.2),
        (codes(9, 8, 0, 1), REC2020_PLACES, 1.0),
        # One before the other.
        (codes(12, 13, 0, 1) + gamma(100_000), P3_PLACES, None),
        (codes(12, 13, 0, 1) + chunk(b"sRGB", b"\0"), P3_PLACES, None),
    ],
)
def test_converted(chunks: bytes, spots: tuple[int, ...], power: float | None) -> None:
    made = decoded(png(chunks))
    assert made.remarks == ()
    assert made.profile is None
    wanted = expected(RAW, spots, power)
    # Colours that sRGB has not are cut off by both, in their own ways.
    inside = ((wanted > 3) & (wanted < 252)).all(axis=2)
    assert inside.mean() > 0.3
    error = np.abs(np.asarray(made.picture).astype(float) - wanted)[inside]
    assert error.max() <= 4
    assert error.mean() < 1
    assert np.abs(wanted - RAW)[inside].max() > 8


@pytest.mark.parametrize(
    "chunks",
    [
        gamma(45_455),
        gamma(45_455) + places(SRGB_PLACES),
        gamma(45_450) + places((31_271, 32_902, 64_000, 33_000, 30_000, 60_000, 15_000, 5_999)),
        places(SRGB_PLACES),
        chunk(b"sRGB", b"\0"),
        chunk(b"sRGB", b"\0") + gamma(100_000) + places(P3_PLACES),
        codes(1, 13, 0, 1),
        codes(1, 13, 0, 1) + gamma(100_000),
    ],
)
def test_srgb_stays_as_it_is(chunks: bytes) -> None:
    encoder = PillowEncoder(SPEC)
    (plain, told) = encoder.encode_batch([png(), png(chunks)])
    assert plain == told


@pytest.mark.parametrize(
    "chunks",
    [
        codes(9, 16, 0, 1),
        codes(9, 18, 0, 1),
        codes(2, 2, 0, 1),
        codes(12, 13, 0, 0),
        codes(12, 13, 1, 1),
        gamma(0),
        gamma(1),
        places((31_270, 0, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)),
        places((31_270, 32_900) * 4),
    ],
)
def test_what_is_not_converted_is_told(chunks: bytes) -> None:
    made = decoded(png(chunks))
    assert made.remarks == (OTHER_COLORS,)
    assert np.array_equal(np.asarray(made.picture), RAW)


def test_a_profile_comes_before_numbers_and_after_known_codes() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    p3 = matrix_profile([place / 1e5 for place in P3_PLACES], Curve(2.2))
    assert np.array_equal(pixels_of(png(gamma(100_000), icc_profile=profile)), RAW)
    assert png_colors(png(codes(9, 16, 0, 1), icc_profile=p3), p3).profile == p3
    assert png_colors(png(codes(1, 13, 0, 1), icc_profile=p3), p3).profile is None
    assert not np.array_equal(pixels_of(png(icc_profile=p3)), RAW)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "I;16", "1"])
def test_every_kind_of_png(mode: str) -> None:
    plain, linear = pixels_of(png(mode=mode)), pixels_of(png(gamma(100_000), mode=mode))
    assert plain.shape == linear.shape
    assert np.abs(linear - srgb_levels(plain / 255) * 255).max() <= 3
    assert decoded(png(codes(9, 16, 0, 1), mode=mode)).remarks == (OTHER_COLORS,)


def test_other_colors_go_pillows_way() -> None:
    assert not isinstance(route(png(gamma(45_455)), SPEC, False), str)
    for chunks in gamma(100_000), codes(12, 13, 0, 1), codes(9, 16, 0, 1):
        assert route(png(chunks), SPEC, False) == "profile"


def test_chunks_behind_the_pixels_do_not_count() -> None:
    data = png()
    assert np.array_equal(pixels_of(data[:-12] + gamma(100_000) + data[-12:]), RAW)


@given(st.lists(st.sampled_from([b"gAMA", b"cHRM", b"cICP", b"sRGB"]), max_size=4), st.data())
def test_any_content_gives_an_answer(kinds: list[bytes], data: st.DataObject) -> None:
    sizes = {b"gAMA": 4, b"cHRM": 32, b"cICP": 4, b"sRGB": 1}
    parts = [
        chunk(kind, data.draw(st.binary(min_size=sizes[kind], max_size=sizes[kind])))
        for kind in kinds
    ]
    made = decoded(png(b"".join(parts)))
    assert made.picture.mode == "RGB"
    assert made.remarks in ((), (OTHER_COLORS,))
