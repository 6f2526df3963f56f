"""Colours that images declare: a profile, chunks of a PNG, boxes of a JPEG 2000."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from beam_export.errors import SampleError
from beam_export.images.png_color import PngColors
from beam_export.images.source_color import read_colors

SRGB, GRAY, SYCC, ROMM, LAB = 16, 17, 18, 21, 14


def image(kind: str, **info: Any) -> Image.Image:
    im = Image.new("RGB", (2, 2))
    im.format = kind
    im.info.update(info)
    return im


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def of_space(number: int) -> bytes:
    return box(b"colr", struct.pack(">BBBI", 1, 0, 0, number))


def jp2(*boxes: bytes) -> bytes:
    return box(b"jP  ", b"\r\n\x87\n") + box(b"jp2h", b"".join(boxes))


def test_a_profile_is_taken_as_it_is() -> None:
    assert read_colors(image("JPEG", icc_profile=b"p"), b"").profile == b"p"
    assert read_colors(image("GIF"), b"").profile is None


@pytest.mark.parametrize("space", [SRGB, GRAY, SYCC])
def test_spaces_that_pillow_shows_as_they_are_meant_need_no_profile(space: int) -> None:
    found = read_colors(image("JPEG2000"), jp2(of_space(space)))
    assert (found.profile, found.is_other) == (None, False)


def test_another_rgb_is_noted_and_what_is_no_rgb_is_refused() -> None:
    assert read_colors(image("JPEG2000"), jp2(of_space(ROMM))).is_other
    with pytest.raises(SampleError, match="colour space 14 of JPEG 2000"):
        read_colors(image("JPEG2000"), jp2(of_space(LAB)))


def test_the_first_colour_box_that_is_known_counts() -> None:
    profile = box(b"colr", b"\x02\0\0ICC profile")
    unknown = box(b"colr", b"\x09\0\0" + bytes(4))
    im = image("JPEG2000")
    assert read_colors(im, jp2(profile, of_space(LAB))).profile == b"ICC profile"
    assert read_colors(im, jp2(unknown, of_space(SRGB))).profile is None
    assert read_colors(im, jp2(unknown, profile)).profile == b"ICC profile"


def test_a_bare_codestream_has_no_colours() -> None:
    assert read_colors(image("JPEG2000"), b"\xff\x4f\xff\x51" + bytes(40)).profile is None


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from([b"jp2h", b"colr", b"x"]))))
def test_any_boxes_end(boxes: list[tuple[int, bytes]]) -> None:
    data = b"".join(struct.pack(">I4s", size, kind.ljust(4)) for size, kind in boxes)
    with contextlib.suppress(SampleError):
        assert isinstance(read_colors(image("JPEG2000"), jp2(data) + data), PngColors)
