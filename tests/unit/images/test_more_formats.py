"""HEIC, JPEG 2000 and PPM: what they become, whose codecs are named, and what is refused."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, PpmImagePlugin
from support.pictures import (
    EXACT,
    assert_close,
    encode,
    encoded,
    exif,
    failed,
    flat,
    pixels,
    save,
    smooth,
)

from beam_export.errors import SampleError
from beam_export.images import codecs, header, heif
from beam_export.images.encoder import EncodeSpec
from beam_export.images.limits import DeclaredSize, read_declared_size
from beam_export.images.memory_need import need_of
from beam_export.images.png_color import OTHER_COLORS
from beam_export.images.transcode import name_of

NEVER = EncodeSpec(mode="never")
RGB = Image.fromarray(smooth())
GRAY = RGB.convert("L")


def heic(im: Image.Image, **options: Any) -> bytes:
    library = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    given: dict[str, Any] = {"quality": -1, "chroma": 444, **options}
    library.from_pillow(im).save(buffer, **given)
    return buffer.getvalue()


def jp2(im: Image.Image, **options: Any) -> bytes:
    return save(im, "JPEG2000", **options)


def with_color_box(data: bytes, box: bytes) -> bytes:
    """Returns a JP2 with another colour box: the header box and its own length are mended."""
    at = data.index(b"colr") - 4
    (old,) = struct.unpack_from(">I", data, at)
    start = data.index(b"jp2h") - 4
    (length,) = struct.unpack_from(">I", data, start)
    made = struct.pack(">I", 8 + len(box)) + b"colr" + box
    head = struct.pack(">I", length - old + len(made))
    return data[:start] + head + data[start + 4 : at] + made + data[at + old :]


# HEIC and HEIF.


@pytest.mark.parametrize("options", [{}, {"tile_size": 256}, {"save_nclx_profile": False}], ids=str)
def test_a_heic_becomes_its_pixels(options: dict[str, Any]) -> None:
    made = encoded(heic(RGB, **options), **EXACT)
    assert (made.ext, made.width, made.height, made.encoding) == ("jpg", 48, 32, "encoded")
    assert_close(pixels(made), smooth(), most=4)


def test_a_gray_heic_stays_gray() -> None:
    assert_close(pixels(encoded(heic(GRAY, chroma=420), **EXACT)), np.asarray(GRAY), most=4)


def test_alpha_of_a_heic_is_composited_on_white() -> None:
    clear = Image.new("RGBA", (32, 32), (10, 200, 30, 0))
    assert flat(encoded(heic(clear), **EXACT)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_heic_is_turned_once(orientation: int) -> None:
    # pillow-heif writes the turn as a property of the image, which libheif applies.
    made = encoded(heic(RGB, exif=exif(orientation).tobytes()), **EXACT)
    turned = encoded(save(RGB, "PNG", exif=exif(orientation)), **EXACT)
    assert_close(pixels(made), pixels(turned), most=6)


def test_the_profile_of_a_heic_is_converted() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = encoded(heic(RGB, icc_profile=profile), **EXACT)
    assert_close(pixels(plain), smooth(), most=4)


@pytest.mark.parametrize(
    ("codes", "remarks"),
    [((1, 13), ()), ((2, 2), ()), ((1, 1), ()), ((12, 13), ()), ((9, 16), (OTHER_COLORS,))],
)
def test_color_codes_of_a_heic_count(
    codes: tuple[int, int], remarks: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beam_export.images.source_color.color_codes", lambda im: codes)
    made = encoded(heic(RGB), **EXACT)
    assert [one for one in made.remarks if not codecs.is_codec(one)] == list(remarks)
    distance = np.abs(pixels(made).astype(int) - smooth().astype(int)).max()
    assert (distance > 8) == (codes == (12, 13))


def test_what_opens_images_elsewhere_stays_as_it_was() -> None:
    data = heic(RGB)
    library = pytest.importorskip("pillow_heif")
    before = dict(vars(library.options))
    encoded(data)
    assert vars(library.options) == before
    assert "HEIF" not in Image.OPEN


@pytest.mark.parametrize("keep", [0, 11, 40, 200, 700])
def test_a_heic_cut_short_is_a_failure_with_a_reason(keep: int) -> None:
    error = failed(heic(RGB)[:keep])
    assert error.stage in ("read", "decode")
    assert len(error.message) > 10


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"msf1", b"hevc"])
def test_without_the_library_one_sentence_names_the_extra(
    brand: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heif, "_library", lambda: None)
    error = failed(b"\0\0\0\x18ftyp" + brand + bytes(40))
    assert (error.stage, error.error) == ("decode", "MissingCodec")
    assert "pip install 'beam_export[heif]'" in error.message
    assert header.read_size(b"\0\0\0\x18ftyp" + brand, NEVER) is None


def test_without_its_decoder_a_jpeg_2000_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header.features, "check", lambda name: False)
    assert "JPEG 2000, which this build of Pillow" in failed(jp2(RGB)).message


# JPEG 2000.


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_2000_becomes_its_pixels(mode: str, bare: bool) -> None:
    made = encoded(jp2(RGB.convert(mode), no_jp2=bare), **EXACT)
    assert_close(pixels(made), np.asarray(RGB.convert(mode)), most=4)


def test_alpha_of_a_jpeg_2000_is_composited_on_white() -> None:
    for mode in ("LA", "RGBA"):
        clear = Image.new("RGBA", (32, 32), (10, 200, 30, 0)).convert(mode)
        assert (pixels(encoded(jp2(clear), **EXACT)) == 255).all()


def test_sixteen_bits_of_a_jpeg_2000_are_scaled() -> None:
    values = np.linspace(0, 65_535, 64 * 64).astype(np.uint16).reshape(64, 64)
    made = encoded(jp2(Image.fromarray(values)), **EXACT)
    assert_close(pixels(made), (values / 257).round().astype(np.uint8), most=3)


def test_tiles_of_a_jpeg_2000_are_read() -> None:
    made = encoded(jp2(RGB, tile_size=(16, 16)), **EXACT)
    assert_close(pixels(made), smooth(), most=4)


def test_the_profile_of_a_jpeg_2000_counts() -> None:
    # BRG: what a profile that swaps primaries makes of the pixels shows that it was applied.
    p3 = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = with_color_box(jp2(RGB), b"\2\0\0" + p3)
    assert_close(pixels(encoded(same, **EXACT)), smooth(), most=4)
    junk = with_color_box(jp2(RGB), b"\2\0\0" + bytes(100))
    assert_close(pixels(encoded(junk, **EXACT)), smooth(), most=4)


def test_a_profile_of_a_jpeg_2000_that_is_not_srgb_is_applied() -> None:
    from beam_export.images.png_color import LINEAR, matrix_profile

    places = [0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06]
    data = with_color_box(jp2(RGB), b"\2\0\0" + matrix_profile(places, LINEAR))
    lighter = pixels(encoded(data, **EXACT)).astype(int)
    assert lighter.mean() > smooth().mean() + 20


@pytest.mark.parametrize("space", [14, 1, 3, 4, 19, 99])
def test_colors_that_pillow_would_take_for_rgb_are_refused(space: int) -> None:
    data = with_color_box(jp2(RGB), b"\1\0\0" + struct.pack(">I", space))
    assert f"colour space {space} of JPEG 2000" in failed(data).message


def test_rgb_that_is_not_srgb_is_reported() -> None:
    data = with_color_box(jp2(RGB), b"\1\0\0" + struct.pack(">I", 21))
    assert OTHER_COLORS in encoded(data).remarks


@pytest.mark.parametrize("keep", [12, 50, 90, 150, 300])
def test_a_jpeg_2000_cut_short_is_a_failure_with_a_reason(keep: int) -> None:
    assert len(failed(jp2(RGB)[:keep]).message) > 10


# PPM, PGM, PBM.


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_a_netpbm_becomes_its_pixels(mode: str) -> None:
    made = encoded(save(RGB.convert(mode), "PPM"), **EXACT)
    expected = RGB.convert(mode).convert("L" if mode == "1" else mode)
    # Black and white side by side are no picture for a JPEG.
    assert_close(pixels(made), np.asarray(expected), most=40 if mode == "1" else 4)


@pytest.mark.parametrize(
    ("data", "color"),
    [
        (b"P1 2 1\n1 1\n", 0),
        (b"P1\n# by hand\n2 1\n0 0\n", 255),
        (b"P2 2 1 255\n77 77\n", 77),
        (b"P2\r\n2 1\r\n15\r\n15 15\r\n", 255),
        (b"P3 1 1 255\n9 9 9\n", (9, 9, 9)),
        (b"P4 8 1\n\xff", 0),
        (b"P5 2 1 255\n\x4d\x4d", 77),
        (b"P5 2 1 100\n\x64\x64", 255),
        (b"P5 2 1 65535\n\xff\xff\xff\xff", 255),
        (b"P5 2 1 4095\n\x0f\xff\x0f\xff", 255),
        (b"P6 1 1 255\n\x09\x09\x09", (9, 9, 9)),
        (b"P6#no\n1 1 255\n\x09\x09\x09", None),
        (b"P6 1 1 65535\n" + b"\x80\x80" * 3, (128, 128, 128)),
    ],
)
def test_netpbms_of_every_kind_are_read(data: bytes, color: Any) -> None:
    if color is None:
        assert failed(data).message.endswith("not read here (its header cannot be read)")
    else:
        assert flat(encoded(data, **EXACT)) == color


@pytest.mark.parametrize("data", [b"P0 1 1 1\n", b"P7\n", b"Pf 1 1\n-1\n", b"P6", b"P5 is good"])
def test_what_only_looks_like_a_netpbm_is_no_image(data: bytes) -> None:
    assert header.sniff(data) is None
    assert failed(data + bytes(40)).error == "UnidentifiedImageError"


@pytest.mark.parametrize("data", [b"P5 9 9 255\nshort", b"P6 9 9 65535\nshort", b"P3 2 2 9\n1 2"])
def test_a_netpbm_cut_short_is_a_failure_with_a_reason(data: bytes) -> None:
    assert len(failed(data).message) > 10


@given(
    most=st.integers(1, 65_535).filter(lambda value: value not in (255, 65_535)),
    bands=st.sampled_from([1, 3]),
    seed=st.integers(0, 1 << 30),
)
def test_unusual_depths_become_what_pillow_makes_of_them(most: int, bands: int, seed: int) -> None:
    kind = "u1" if most < 256 else ">u2"
    values = np.random.default_rng(seed).integers(0, most + 1, (5, 7, bands)).astype(kind)
    data = b"P%d 7 5 %d\n" % (5 if bands == 1 else 6, most) + values.tobytes()
    with header.open_image(data, NEVER) as ours:
        assert [tile.codec_name for tile in ours.tile] == ["beam_export_netpbm"]
        found = np.asarray(ours)
    with PpmImagePlugin.PpmImageFile(io.BytesIO(data)) as theirs:
        assert np.array_equal(found, np.asarray(theirs))


# All of them.


def made_of_each() -> dict[str, bytes]:
    return {
        "jp2": jp2(RGB),
        "j2k": jp2(RGB, no_jp2=True),
        "pbm": save(RGB.convert("1"), "PPM"),
        "pgm": save(GRAY, "PPM"),
        "ppm": save(RGB, "PPM"),
    }


def test_names_and_sizes_follow_the_content() -> None:
    for ext, data in {**made_of_each(), "heic": heic(RGB)}.items():
        assert header.sniff(data) == ext
        assert name_of(data, "dat", NEVER) == ext
        assert header.read_size(data, NEVER) == (48, 32)
        found = read_declared_size(data)
        # A HEIC is coded in blocks, of which the declared size is cut.
        assert found is not None
        assert 48 * 32 <= found.pixels <= 64 * 64
        assert ext == "heic" or found == DeclaredSize(48 * 32)


def test_limits_hold_for_each() -> None:
    for data in [*made_of_each().values(), heic(RGB)]:
        result = encode(data, max_pixels=100)
        assert isinstance(result, SampleError)
        assert "more than max_pixels=100" in result.message


STARTS = [
    b"\0\0\0\x18ftypheic",
    b"\0\0\0\x18ftypmif1",
    b"\0\0\0\x0cjP  \r\n\x87\n",
    b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 \0\0\0-jp2h\0\0\0\x16ihdr",
    b"\xff\x4f\xff\x51\0\x2f",
    b"P6 9 9 255\n",
    b"P3 ",
]


@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=200))
def test_junk_has_a_reason_and_never_raises(start: bytes, rest: bytes) -> None:
    found = read_declared_size(start + rest)
    assert found is None or found.pixels > 0
    result = encode(start + rest, max_pixels=100_000)
    assert isinstance(result, SampleError) is False or len(result.message) > 5


def test_codecs_are_named_with_images_that_need_them_and_with_no_others() -> None:
    assert [*codecs.stated(encoded(jp2(RGB)).remarks)] == ["openjpeg"]
    stated = codecs.stated(encoded(heic(RGB)).remarks)
    assert "libheif" in stated["heif"]
    assert "libde265" in stated["heif"]
    for data in (save(RGB, "PPM"), save(RGB, "PNG")):
        assert encoded(data).remarks == ()


def test_another_version_of_a_codec_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    remarks = encoded(jp2(RGB)).remarks
    assert not codecs.are_other(remarks)
    assert not codecs.are_other(("damaged",))
    assert codecs.are_other(("codec/openjpeg=1.0",))
    monkeypatch.setitem(codecs._VERSIONS, "openjpeg", lambda: None)  # type: ignore[index]
    assert codecs.are_other(remarks)


def test_memory_of_each_is_foreseen() -> None:
    big = Image.new("RGB", (2_200, 2_000))
    number = 2_200 * 2_000
    for data, least in ((jp2(big), 20), (heic(big, quality=10), 9), (save(big, "PPM"), 4)):
        with header.open_image(data, EncodeSpec()) as im:
            assert need_of(im, data, EncodeSpec()) >= least * number


# PNGs that stopped with no reason.


def palette_png(length: int | None, transparent: int | None, depth: int = 8) -> bytes:
    from support.pictures import png

    chunks = [] if length is None else [(b"PLTE", (b"\x20\x40\x60" * 300)[:length])]
    chunks += [] if transparent is None else [(b"tRNS", b"\xff" * transparent)]
    return png(depth, 3, [b"\0"], 1, *chunks)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", [None, 1, 3])
def test_a_palette_png_without_a_palette_says_so(depth: int, transparent: int | None) -> None:
    assert "no palette (no PLTE)" in failed(palette_png(None, transparent, depth)).message


@pytest.mark.parametrize("transparent", [None, 0, 1, 2, 256, 257, 300, 1000])
@pytest.mark.parametrize("length", [3, 6, 768])
def test_a_palette_png_of_one_pixel_is_read(length: int, transparent: int | None) -> None:
    assert flat(encoded(palette_png(length, transparent), **EXACT)) in ((32, 64, 96), (31, 64, 95))


@pytest.mark.parametrize("error", [AssertionError(), EOFError(), KeyError(), IndexError("")])
def test_an_error_without_words_still_has_a_reason(error: Exception) -> None:
    message = header.failure("decode", error).message
    assert type(error).__name__ in message
    assert "no reason" not in message
