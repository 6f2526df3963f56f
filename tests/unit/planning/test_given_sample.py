"""`planning.given_sample`: what a user's pipeline may hand over, and what becomes of it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from support.pictures import assert_close, exif, save, smooth

from beam_export.errors import SampleError
from beam_export.images.encoder import EncodeSpec
from beam_export.images.png_color import LINEAR, matrix_profile
from beam_export.planning.given_sample import pixels_of, taken
from beam_export.samples import Sample

SPEC = EncodeSpec()
RGB = Image.fromarray(smooth())


def refused(sample: Sample) -> str:
    with pytest.raises(SampleError) as raised:
        taken(sample, SPEC)
    return raised.value.message


@pytest.mark.parametrize("path", [Path("a/b.jpg"), PurePosixPath("a/b.jpg"), "a/b.jpg"])
def test_paths_become_text(path: Any) -> None:
    assert taken(Sample("x", None, path), SPEC).path == "a/b.jpg"


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (b"\xff", b"\xff"),
        ("", b""),
        ("caf\xe9 \u4e2d", "caf\xe9 \u4e2d".encode()),
        ({}, b"{}"),
        ({"b": 1, "a": [0.5, None, True]}, b'{"b": 1, "a": [0.5, null, true]}'),
        ({"\xe4": {"deep": "\u4e2d"}}, '{"\xe4": {"deep": "\u4e2d"}}'.encode()),
    ],
)
def test_fields_become_bytes(value: Any, data: bytes) -> None:
    assert taken(Sample("x", b"i", fields={"txt": value}), SPEC).fields == {"txt": data}


@given(
    value=st.dictionaries(
        st.text(max_size=5).filter(str.isprintable),
        st.none()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.booleans(),
    )
)
def test_a_dict_comes_back_from_its_json(value: dict[str, Any]) -> None:
    made = taken(Sample("x", b"i", fields={"json": value}), SPEC).fields["json"]
    assert isinstance(made, bytes)
    assert json.loads(made) == value


@pytest.mark.parametrize(
    "value",
    [5, None, ["a"], ("a",), bytearray(b"a"), {"a": object()}, {"a": {1, 2}}, {"a": float("inf")}],
)
def test_other_fields_are_refused_by_name(value: Any) -> None:
    assert "its field 'meta.json'" in refused(Sample("x", b"i", fields={"meta.json": value}))


def test_an_id_that_is_empty_is_refused() -> None:
    assert refused(Sample("", b"x")) == "its id is empty: give each sample a name of its own"


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (
            {"a": 1, "b": object()},
            "its metadata column 'b' cannot be stored: a value of type object",
        ),
        (
            {"deep": {"x": [{1, 2}]}},
            "its metadata column 'deep' cannot be stored: a value of type set",
        ),
        ({"z": 1j}, "its metadata column 'z' cannot be stored: a value of type complex"),
        (
            {"m": {"a": 1, 2: 3}},
            "column 'm' cannot be stored: a mapping whose keys are not all text",
        ),
        ({"a": 1, 2: 3}, "its metadata has a column whose name is of type int, 2: make it text"),
        ({None: 1}, "its metadata has a column whose name is of type NoneType, None: make it text"),
        ({b"a": 1, b"b": 2}, "a column whose name is of type bytes, b'a': make it text"),
    ],
)
def test_metadata_that_cannot_be_stored_is_named_by_its_column(
    metadata: dict[Any, Any], said: str
) -> None:
    assert said in refused(Sample("a", b"x", metadata=metadata))


def test_nothing_of_the_given_sample_is_changed() -> None:
    given_fields = {"json": {"a": 1}}
    im = RGB.convert("P")
    sample = Sample("x", im, Path("p"), fields=given_fields)
    taken(sample, SPEC)
    assert sample.fields is given_fields
    assert given_fields == {"json": {"a": 1}}
    assert (sample.path, im.mode) == (Path("p"), "P")


MODES: dict[str, Callable[[], Image.Image]] = {
    "RGB": lambda: RGB,
    "RGBA": lambda: RGB.convert("RGBA"),
    "RGBX": lambda: RGB.convert("RGBX"),
    "RGBa": lambda: RGB.convert("RGBA").convert("RGBa"),
    "CMYK": lambda: RGB.convert("CMYK"),
    "YCbCr": lambda: RGB.convert("YCbCr"),
    "HSV": lambda: RGB.convert("HSV"),
}


@pytest.mark.parametrize("mode", MODES)
def test_colours_of_every_mode_become_rgb(mode: str) -> None:
    assert_close(pixels_of(MODES[mode](), SPEC), smooth(), most=6)


def test_grays_of_every_mode_stay_gray() -> None:
    gray = RGB.convert("L")
    values = np.asarray(gray)
    wide = Image.fromarray(values.astype(np.uint16) * 257)
    for im in (gray, gray.convert("LA"), wide, wide.convert("I")):
        assert_close(pixels_of(im, SPEC), values, most=1)
    black = pixels_of(Image.new("1", (3, 2)), SPEC)
    assert (black.shape, black.max()) == ((2, 3), 0)


def test_palettes_and_transparency_are_shown() -> None:
    palette = RGB.quantize(256)
    assert_close(pixels_of(palette, SPEC), np.asarray(palette.convert("RGB")), most=0)
    clear = Image.new("RGBA", (4, 4), (1, 2, 3, 0))
    assert (pixels_of(clear, SPEC) == 255).all()
    key = Image.open(io.BytesIO(save(Image.new("P", (4, 4), 3), "GIF", transparency=3)))
    assert (pixels_of(key, SPEC) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_that_it_carries_is_applied(orientation: int) -> None:
    data = save(RGB, "PNG", exif=exif(orientation))
    found = pixels_of(Image.open(io.BytesIO(data)), SPEC)
    assert found.shape[:2] == ((48, 32) if orientation >= 5 else (32, 48))
    assert np.array_equal(found, smooth()) == (orientation == 1)


def test_a_profile_that_it_carries_is_converted() -> None:
    places = [0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06]
    linear = Image.open(io.BytesIO(save(RGB, "PNG", icc_profile=matrix_profile(places, LINEAR))))
    assert pixels_of(linear, SPEC).mean() > smooth().mean() + 20
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = Image.open(io.BytesIO(save(RGB, "PNG", icc_profile=srgb)))
    assert_close(pixels_of(plain, SPEC), smooth(), most=0)


@pytest.mark.parametrize(
    ("im", "words"),
    [
        (lambda: Image.new("F", (4, 4)), "floats"),
        (lambda: Image.new("I", (4, 4), 70_000), "32-bit numbers"),
        (lambda: Image.new("RGB", (300, 300)), "more than max_pixels=10000"),
        (lambda: Image.open(io.BytesIO(save(RGB, "JPEG", quality=95)[:700])), "truncated"),
        (lambda: Image.open(io.BytesIO(save(RGB, "TIFF")[:900])), "truncated"),
    ],
)
def test_what_cannot_be_shown_has_a_reason(im: Callable[[], Image.Image], words: str) -> None:
    with pytest.raises(SampleError) as raised:
        pixels_of(im(), EncodeSpec(max_pixels=10_000))
    assert words in raised.value.message
