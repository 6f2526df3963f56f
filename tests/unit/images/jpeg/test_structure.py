from __future__ import annotations

import io

import pytest
from PIL import Image
from support.jpegs import (
    APP0,
    BASELINE,
    DHT,
    DQT,
    EOI,
    LAST_SCAN,
    PROGRESSIVE,
    SOF,
    build,
    changed,
    encode,
    parts,
    without,
)

from beam_export.images.jpeg import inspect as jpeg
from beam_export.images.jpeg.segments import SOS


@pytest.mark.parametrize(
    ("marker", "precision", "process"),
    [(0xC1, 8, "extended"), (0xC1, 12, "extended"), (0xC9, 8, "arithmetic")],
)
def test_other_processes(marker: int, precision: int, process: str) -> None:
    facts = jpeg.inspect(changed(BASELINE, SOF, 0, precision, marker))
    assert (facts.process, facts.precision) == (process, precision)
    assert jpeg.is_copyable(facts) is (process == "extended" and precision == 8)


def adobe(transform: int) -> tuple[int, bytes, bytes]:
    return 0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]), b""


def with_ids(data: bytes, ids: bytes) -> bytes:
    for at, number in enumerate(ids):
        data = changed(data, SOF, 6 + 3 * at, number)
        data = changed(data, SOS, 1 + 2 * at, number)
    return data


def test_color_is_what_libjpeg_decides() -> None:
    bare = without(BASELINE, APP0)
    assert jpeg.inspect(bare).color == "ycbcr"
    assert jpeg.inspect(with_ids(bare, b"RGB")).color == "rgb"
    assert jpeg.inspect(with_ids(bare, b"\0\1\2")).color == "ycbcr"
    assert jpeg.inspect(with_ids(BASELINE, b"RGB")).color == "ycbcr"  # JFIF has the last word
    for transform, color in [(0, "rgb"), (1, "ycbcr"), (2, "ycbcr")]:
        assert jpeg.inspect(build([adobe(transform), *parts(bare)])).color == color
        assert jpeg.inspect(build([adobe(transform), *parts(BASELINE)])).color == "ycbcr"
    cmyk = without(encode("CMYK"), 0xEE)
    assert jpeg.inspect(cmyk).color == "cmyk"
    assert jpeg.inspect(build([adobe(2), *parts(cmyk)])).color == "ycck"


@pytest.mark.parametrize("keep", range(1, 10))
def test_a_progressive_jpeg_without_its_last_scans_is_not_whole(keep: int) -> None:
    scans = [number for number, part in enumerate(parts(PROGRESSIVE)) if part[0] == SOS]
    cut = build([*parts(PROGRESSIVE)[: scans[keep]], parts(PROGRESSIVE)[-1]])
    with pytest.raises(ValueError, match=r"in no scan|last scans are missing"):
        jpeg.inspect(cut)


def test_progressive_scans_out_of_order_are_refused() -> None:
    found = parts(PROGRESSIVE)
    scans = [number for number, part in enumerate(found) if part[0] == SOS]
    lost = build([part for number, part in enumerate(found) if number != scans[1]])
    with pytest.raises(ValueError, match="not in order"):
        jpeg.inspect(lost)


def test_a_second_height_must_be_the_first() -> None:
    end = parts(BASELINE)[-1]
    for height, is_sound in (47, True), (48, False):
        data = build([*parts(BASELINE)[:-1], (0xDC, height.to_bytes(2, "big"), b""), end])
        if is_sound:
            assert jpeg.inspect(data) == jpeg.inspect(BASELINE)
            continue
        with pytest.raises(ValueError, match="another height"):
            jpeg.inspect(data)


SCAN = parts(BASELINE)[-2]


TWO_OF_THREE = [
    (SOS, bytes([2, 1, 0, 2, 0x11, 0, 63, 0]), SCAN[2]),
    parts(BASELINE)[-1],
]


def with_last_scan(header: bytes) -> bytes:
    return build([*parts(PROGRESSIVE)[:-2], (SOS, header, LAST_SCAN[2]), parts(PROGRESSIVE)[-1]])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "begin"),
        (b"\x89PNG\r\n\x1a\n", "begin"),
        (EOI + BASELINE, "begin"),
        (without(BASELINE, DQT), "before its quantisation"),
        (without(BASELINE, DHT), "before its Huffman"),
        (without(BASELINE, SOF), "before its frame"),
        (without(BASELINE, SOS), "no scan"),
        (b"\xff\xd8" + BASELINE, "0xD8"),
        (build([*parts(BASELINE)[:-1], *parts(BASELINE)]), "two frame"),
        (build([*parts(BASELINE)[:-1], SCAN, parts(BASELINE)[-1]]), "in two scans"),
        (build([*parts(BASELINE)[:-2], *TWO_OF_THREE]), "1 of its components"),
        (build([*parts(BASELINE)[:-2], (*SCAN[:2], b""), parts(BASELINE)[-1]]), "empty scan"),
        (build([*parts(BASELINE)[:-2], (*SCAN[:2], b"\x5a"), parts(BASELINE)[-1]]), "too short"),
        (changed(BASELINE, SOF, 1, 0xFA), "too short"),
        (changed(changed(BASELINE, SOF, 1, 0), SOF, 2, 0), "61 x 0"),
        (changed(BASELINE, SOF, 5, 2), "malformed"),
        (changed(BASELINE, SOF, 7, 0), "malformed"),
        (changed(BASELINE, SOF, 7, 0x51), "malformed"),
        (changed(BASELINE, SOF, 8, 4), "malformed"),
        (changed(BASELINE, SOF, 9, 1), "one number"),
        (changed(changed(BASELINE, SOF, 7, 0x31), SOF, 10, 0x21), "fraction"),
        (changed(BASELINE, SOF, 7, 0x44), "10 blocks"),
        (changed(BASELINE, SOF, 0, 8, 0xC5), "hierarchical"),
        (changed(BASELINE, SOF, 0, 8, 0xC8), "0xC8"),
        (changed(BASELINE, SOS, 0, 5), "malformed"),
        (changed(BASELINE, SOS, 1, 9), "not there"),
        (changed(BASELINE, SOS, 2, 0x33), "before its Huffman"),
        (changed(BASELINE, DQT, 0, 4), "quantisation tables are malformed"),
        (changed(BASELINE, DQT, 0, 0x10), "quantisation tables are malformed"),
        (changed(BASELINE, DHT, 0, 4), "Huffman tables are malformed"),
        (changed(BASELINE, DHT, 1, 3), "Huffman tables are malformed"),
        # libjpeg refuses both: a code of ones alone, and a DC symbol of more than 15 bits.
        (changed(changed(BASELINE, DHT, 8, 2), DHT, 9, 0), "Huffman tables are malformed"),
        (changed(BASELINE, DHT, 17, 16), "Huffman tables are malformed"),
        (with_last_scan(LAST_SCAN[1][:-1] + b"\x31"), "malformed"),
        (with_last_scan(LAST_SCAN[1][:-2] + b"\x40" + LAST_SCAN[1][-1:]), "malformed"),
        (with_last_scan(b"\x03\1\0\2\0\3\0\1\x3f\0"), "malformed"),
        (build([(0xDD, b"\0", b""), *parts(BASELINE)]), "restart"),
        (build([(0x02, b"", b""), *parts(BASELINE)]), "0x02"),
        (b"\xff\xd8\xff\xe0\x00\x01" + BASELINE[2:], "longer than the file or too short"),
        (BASELINE[:2] + b"\xff\xfe\xff\xff" + EOI, "longer than the file or too short"),
    ],
)
def test_broken_structure_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        jpeg.inspect(data)


def test_a_huffman_table_that_libjpeg_would_refuse_does_no_harm_where_it_is_not_used() -> None:
    """It refuses those that a scan uses, as it makes them ready then."""

    def with_tables(*tables: bytes) -> bytes:
        made = [(DHT, bytes([0x13]) + one, b"") for one in tables]
        return build([*parts(BASELINE)[:-2], *made, *parts(BASELINE)[-2:]])

    unsound, sound = (bytes([*lengths, *[0] * 14]) + b"ab" for lengths in ((2, 0), (1, 1)))
    unused = with_tables(unsound)
    Image.open(io.BytesIO(unused)).load()
    assert jpeg.inspect(unused) == jpeg.inspect(BASELINE)
    used = changed(unused, SOS, 2, 0x03)
    with pytest.raises(ValueError, match="Huffman tables are malformed"):
        jpeg.inspect(used)
    with pytest.raises(OSError, match="broken data stream"):
        Image.open(io.BytesIO(used)).load()
    # Another under its number takes its place.
    assert jpeg.inspect(changed(with_tables(unsound, sound), SOS, 2, 0x03))
