from __future__ import annotations

import pytest
from support.jpegs import (
    BASELINE,
    EOI,
    LAST_SCAN,
    PROGRESSIVE,
    SOF,
    build,
    parts,
    without,
)

from beam_export.images.jpeg import inspect as jpeg
from beam_export.images.jpeg.segments import MAX_SCANS, SOS, frame_size, is_bomb


def test_fill_bytes_are_allowed_and_stray_bytes_are_not() -> None:
    assert jpeg.inspect(BASELINE.replace(b"\xff\xdb", b"\xff\xff\xff\xdb"))
    assert jpeg.inspect(BASELINE[:-2] + b"\xff\xff" + EOI)
    with pytest.raises(ValueError, match="stray"):
        jpeg.inspect(BASELINE.replace(b"\xff\xdb", b"\0\xff\xdb", 1))


def test_end_marker_inside_a_thumbnail_does_not_end_the_image() -> None:
    data = build([(0xE1, b"Exif\0\0" + BASELINE, b""), *parts(BASELINE)])
    assert jpeg.inspect(data) == jpeg.inspect(BASELINE)
    with pytest.raises(ValueError, match="without an end"):
        jpeg.inspect(data[:-2])


def test_scan_bombs_are_refused() -> None:
    before, end = parts(PROGRESSIVE)[:-1], parts(PROGRESSIVE)[-1]
    scans = sum(marker == SOS for marker, *_ in before)
    more = (SOS, LAST_SCAN[1][:-1] + b"\0", LAST_SCAN[2])
    at_limit = build([*before, *[more] * (MAX_SCANS - scans), end])
    assert jpeg.inspect(at_limit)
    assert not is_bomb(at_limit)
    over = build([*before, *[more] * (MAX_SCANS - scans + 1), end])
    with pytest.raises(ValueError, match="scans"):
        jpeg.inspect(over)
    assert is_bomb(over)
    assert is_bomb(over[:-2])
    assert is_bomb(over[:2] + b"junk" + over[2:])


def test_many_tiny_segments_are_refused() -> None:
    data = BASELINE[:2] + b"\xff\xfe\0\2" * 20_000 + BASELINE[2:]
    with pytest.raises(ValueError, match="segments"):
        jpeg.inspect(data)
    assert is_bomb(data)
    assert frame_size(data) is None


def test_size_is_read_from_a_part_of_the_file() -> None:
    assert frame_size(BASELINE) == (61, 47)
    assert frame_size(BASELINE[:250]) == (61, 47)
    assert frame_size(BASELINE[:20]) is None
    assert frame_size(without(BASELINE, SOF)) is None
    assert frame_size(b"") is None
