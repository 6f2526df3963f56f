"""`images.jpeg.layout`: what it says at a glance is what the careful way says."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.exports import PHOTOS

from beam_export.images.jpeg.intervals import fewest_code_bits
from beam_export.images.jpeg.layout import facts_by_layout
from beam_export.images.jpeg.segments import MarkerFinder, next_marker, walk
from beam_export.images.jpeg.structure import HUFFMAN_DCT, JpegFacts, Structure


def careful(data: bytes) -> JpegFacts | None:
    """Returns what a walk over all segments finds; None for a JPEG that is not whole."""
    reader = Structure(data)
    try:
        for segment in walk(data):
            reader.take(segment)
        return reader.finish()
    except ValueError:
        return None


def encode(mode: str, width: int, height: int, **options: object) -> bytes:
    pixels = np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


USUAL = [
    encode("RGB", 61, 47),
    encode("RGB", 61, 47, optimize=True),
    encode("RGB", 16, 16, subsampling=0, quality=95),
    encode("RGB", 300, 5, subsampling=1, optimize=True, quality=20),
    encode("RGB", 61, 47, restart_marker_rows=1),
    encode("RGB", 200, 90, restart_marker_blocks=3, optimize=True),
    encode("L", 33, 129, optimize=True),
    encode("L", 8, 8),
    encode("CMYK", 40, 30),
    encode("RGB", 61, 47, exif=b"Exif\0\0" + b"\xff\xd8\xff\xda\xff\xd9" * 20, comment=b"\xff" * 9),
    encode("RGB", 61, 47, progressive=True),
    encode("RGB", 320, 300, progressive=True, subsampling=0),
    encode("L", 9, 9, progressive=True),
    encode("CMYK", 40, 30, progressive=True),
    encode("RGB", 200, 90, progressive=True, restart_marker_rows=1),
]
#: Sound, and written by few programs: with fill bytes before a marker.
FILLED = USUAL[0].replace(b"\xff\xda", b"\xff\xff\xda")


@pytest.mark.parametrize("data", USUAL)
def test_the_usual_ones_need_no_walk(data: bytes) -> None:
    found = facts_by_layout(data)
    assert found is not None
    assert found == careful(data)
    assert found == facts_by_layout(data + b"\xff\xd8 what follows the end")


def test_what_is_rare_is_walked() -> None:
    assert facts_by_layout(FILLED) is None
    assert careful(FILLED) == careful(USUAL[0])


def test_what_is_large_and_no_two_images_have_alike_is_not_cached() -> None:
    thumbnail = b"\xff\xe0\xea\x60JFXX\0\x10" + bytes(60_000 - 8)
    data = USUAL[0][:2] + thumbnail + USUAL[0][2:]
    assert facts_by_layout(data) is None
    assert careful(data) == careful(USUAL[0])


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff", USUAL[0][:300], USUAL[0][:-2]])
def test_what_ends_early_is_walked(data: bytes) -> None:
    assert facts_by_layout(data) is None


def test_a_size_that_the_data_cannot_fill_is_refused_by_both() -> None:
    at = USUAL[1].index(b"\xff\xc0") + 5
    huge = USUAL[1][:at] + b"\x7f\xff\x7f\xff" + USUAL[1][at + 4 :]
    for data in (huge, USUAL[1][:at] + bytes(4) + USUAL[1][at + 4 :]):
        assert facts_by_layout(data) is None
        assert careful(data) is None


@settings(max_examples=2 * settings.default.max_examples)
@given(st.sampled_from([*USUAL, FILLED]), st.data())
def test_whatever_is_damaged_they_agree(data: bytes, draw: st.DataObject) -> None:
    """Most damages go to where segments begin: that is where judgement lies."""
    changed = bytearray(data)
    starts = [at + step for _, _, at, *_ in walk(data) for step in range(24)]
    for _ in range(draw.draw(st.integers(1, 3))):
        near = draw.draw(st.sampled_from(starts)) if draw.draw(st.booleans()) else None
        at = near if near is not None else draw.draw(st.integers(2, len(data) - 1))
        if at < len(changed):
            changed[at] = draw.draw(st.sampled_from([0, 1, 2, 0x10, 0x11, 0xC0, 0xC4, 0xD9, 0xFF]))
    cut = draw.draw(st.integers(0, 4))
    damaged = bytes(changed[: len(changed) - cut])
    found = facts_by_layout(damaged)
    assert found is None or found == careful(damaged)


def test_photographs_need_no_walk() -> None:
    if not PHOTOS.exists():
        pytest.skip(f"no photographs in {PHOTOS}")
    found = 0
    for path in sorted(PHOTOS.rglob("*.jp*g")):
        data = path.read_bytes()
        facts = careful(data)
        quick = facts_by_layout(data)
        assert quick in (None, facts), path.name
        found += quick is not None
        usual = facts is not None and facts.process in HUFFMAN_DCT
        assert (quick is not None) == usual, path.name
    assert found > 10


@given(st.lists(st.sampled_from([0, 1, 2, 3]), min_size=16, max_size=16), st.binary(max_size=48))
@example([0] * 16, b"")
def test_the_shortest_codes_are_those_that_counting_finds(lengths: list[int], some: bytes) -> None:
    every = [bits for bits, count in enumerate(lengths, 1) for _ in range(count)]
    symbols = (some + bytes(range(1, 49)))[: len(every)]
    for number in (0x00, 0x11):
        expected = every[0] if every else 0
        if every and number:
            expected *= 4
            if 0 in symbols:
                expected = min(expected, every[symbols.index(0)])
        assert fewest_code_bits(number, bytes(lengths), symbols) == expected


@given(
    st.lists(
        st.sampled_from([b"\xff", b"\0", b"\xd3", b"\xd9", b"\xda", b"a" * 70, b"\xff\0" * 9])
    ),
    st.integers(0, 70_000),
    st.booleans(),
)
def test_the_next_marker_is_the_one_that_a_pattern_finds(
    pieces: list[bytes], before: int, restarts: bool
) -> None:
    data = b"x" * before + b"".join(pieces)
    pattern = rb"\xff[^\x00\xff]" if restarts else rb"\xff[^\x00\xd0-\xd7\xff]"
    for position in (0, before):
        found = re.compile(pattern, re.DOTALL).search(data, position)
        assert next_marker(data, position, restarts) == (found.start() if found else -1)


@given(
    st.lists(st.sampled_from([b"\xff", b"\0", b"\xd3", b"\xd9", b"a" * 70, b"\xff\0" * 9])),
    st.lists(st.integers(0, 70_500), max_size=9),
    st.sampled_from([0, 1, 65_500, 65_534, 65_535, 65_536]),
)
def test_a_finder_finds_what_one_search_after_the_other_does(
    pieces: list[bytes], positions: list[int], before: int
) -> None:
    data = b"\xff\xc0" + b"x" * before + b"".join(pieces)
    finder = MarkerFinder(data)
    for position in sorted([0, before, *positions]):
        assert finder.find(position) == next_marker(data, position, restarts=True)
