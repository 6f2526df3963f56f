"""`beam_export.images.jpeg.inspect`: what is a whole JPEG, and what may be copied."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.exports import PHOTOS
from support.jpegs import (
    BASELINE,
    DQT,
    EOI,
    PROGRESSIVE,
    SOF,
    build,
    changed,
    encode,
    parts,
    without,
)

from beam_export.images.jpeg import inspect as jpeg
from beam_export.images.jpeg.segments import frame_size, is_bomb

#: The only photographs that are not copied for their sampling.
ODD_SAMPLING = {"peacock.s1x3", "peacock.s-weird", "peacock.s-very-weird"}


def test_build_undoes_parts() -> None:
    assert build(parts(PROGRESSIVE)) == PROGRESSIVE


@pytest.mark.parametrize(
    ("mode", "options", "process", "color", "copyable"),
    [
        ("RGB", {}, "baseline", "ycbcr", True),
        ("RGB", {"subsampling": 0, "optimize": True}, "baseline", "ycbcr", True),
        ("RGB", {"progressive": True}, "progressive", "ycbcr", True),
        ("RGB", {"restart_marker_blocks": 2}, "baseline", "ycbcr", True),
        ("RGB", {"keep_rgb": True}, "baseline", "rgb", False),
        ("L", {}, "baseline", "gray", True),
        ("L", {"progressive": True}, "progressive", "gray", True),
        ("CMYK", {}, "baseline", "cmyk", False),
    ],
)
def test_facts(mode: str, options: dict, process: str, color: str, copyable: bool) -> None:
    facts = jpeg.inspect(encode(mode, **options))
    components = {"RGB": 3, "L": 1, "CMYK": 4}[mode]
    assert facts[:6] == (61, 47, components, 8, process, color)
    assert jpeg.is_copyable(facts) is copyable


def test_lossless_is_not_copyable() -> None:
    assert not jpeg.is_copyable(jpeg.inspect(changed(BASELINE, SOF, 0, 8, 0xC3)))


def test_sides_that_libjpeg_does_not_read_are_not_copyable() -> None:
    facts = jpeg.inspect(BASELINE)
    assert jpeg.is_copyable(facts._replace(width=65_500))
    assert not jpeg.is_copyable(facts._replace(width=65_501))


def sampled(*factors: int) -> bytes:
    """Returns the start of a JPEG that declares such sampling, closed at once."""
    data = BASELINE
    for number, factor in enumerate(factors):
        data = changed(data, SOF, 7 + 3 * number, factor)
    return changed(changed(data, SOF, 2, 8), SOF, 4, 8)


@pytest.mark.parametrize(
    ("factors", "sampling"),
    [
        ((0x11, 0x11, 0x11), "444"),
        ((0x12, 0x12, 0x12), "444"),
        ((0x12, 0x11, 0x11), "440"),
        ((0x21, 0x11, 0x11), "422"),
        ((0x22, 0x12, 0x12), "422"),
        ((0x22, 0x11, 0x11), "420"),
        ((0x41, 0x11, 0x11), "411"),
        ((0x31, 0x11, 0x11), ""),
        ((0x13, 0x11, 0x11), ""),
        ((0x14, 0x11, 0x11), ""),
        ((0x31, 0x31, 0x31), ""),
        ((0x11, 0x22, 0x22), ""),
        ((0x22, 0x11, 0x21), ""),
        ((0x42, 0x11, 0x11), ""),
    ],
)
def test_only_sampling_that_every_reader_takes_is_copied(
    factors: tuple[int, ...], sampling: str
) -> None:
    facts = jpeg.inspect(sampled(*factors))
    assert facts.sampling == sampling
    assert jpeg.is_copyable(facts) is bool(sampling)


@pytest.mark.parametrize("data", [BASELINE, PROGRESSIVE, encode("L")])
def test_every_cut_is_refused(data: bytes) -> None:
    for end in range(len(data)):
        with pytest.raises(ValueError, match=r"^it"):
            jpeg.inspect(data[:end])


@pytest.mark.parametrize("data", [BASELINE, PROGRESSIVE, encode("L"), encode("CMYK")])
def test_head_says_what_the_whole_says(data: bytes) -> None:
    assert jpeg.inspect_head(data) == jpeg.inspect(data)
    assert jpeg.inspect_head(data + b"trailer") == jpeg.inspect(data)
    for percent in range(0, 100, 3):
        assert jpeg.inspect_head(data[: len(data) * percent // 100]) is None
    assert jpeg.inspect_head(data[:-2]) is None
    assert jpeg.inspect_head(b"GIF89a" + data) is None
    assert jpeg.inspect_head(without(data, DQT)) is None


def test_what_follows_the_end_is_allowed() -> None:
    assert jpeg.inspect(BASELINE + b"\0junk" + BASELINE) == jpeg.inspect(BASELINE)


@given(st.data())
def test_damage_is_whole_or_a_value_error(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from([BASELINE, PROGRESSIVE])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 700))
        damaged[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    try:
        facts = jpeg.inspect(bytes(damaged))
    except ValueError:
        # Any other exception fails the test.
        pass
    else:
        assert frame_size(bytes(damaged)) == facts[:2]
    is_bomb(bytes(damaged))


def test_photos_are_whole_and_decode() -> None:
    files = [f for f in PHOTOS.rglob("*") if f.suffix.lower() in (".jpg", ".jpeg")]
    if not files:
        pytest.skip("shared/data/photos is not here")
    for file in files:
        data = file.read_bytes()
        facts = jpeg.inspect(data)
        with Image.open(io.BytesIO(data)) as im:
            assert im.size == facts[:2] == frame_size(data), file
            usual = facts.color == "gray" or facts.sampling != ""
            assert jpeg.is_copyable(facts) == (im.mode in ("RGB", "L") and usual), file
            assert usual or im.mode == "CMYK" or file.stem in ODD_SAMPLING, file
        with pytest.raises(ValueError, match=r"^it"):
            jpeg.inspect(data[: data.rindex(EOI)])
