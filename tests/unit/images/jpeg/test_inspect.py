"""`beam_export.images.jpeg.inspect`: what is a whole JPEG, and what may be copied."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.exports import PHOTOS

from beam_export.images.jpeg import inspect as jpeg
from beam_export.images.jpeg.segments import MAX_SCANS, SOS, is_bomb, read_size, walk

#: The only photographs that are not copied for their sampling.
ODD_SAMPLING = {"peacock.s1x3", "peacock.s-weird", "peacock.s-very-weird"}
SOF, DQT, DHT, APP0, EOI = 0xC0, 0xDB, 0xC4, 0xE0, b"\xff\xd9"


def picture(mode: str = "RGB", width: int = 61, height: int = 47) -> Image.Image:
    pixels = np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encode(mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


BASELINE = encode()
PROGRESSIVE = encode(progressive=True)


def parts(data: bytes) -> list[tuple[int, bytes, bytes]]:
    """Returns (marker, content, entropy-coded data behind it) of each segment."""
    found = list(walk(data))
    ends = [before for _, before, *_ in found[1:]] + [len(data)]
    after = [at for _, _, at, *_ in found[1:]] + [len(data)]
    return [
        (marker, data[start:end], data[old:new])
        for (marker, _, _, start, end, _), old, new in zip(found, ends, after, strict=True)
    ]


def build(segments: list[tuple[int, bytes, bytes]]) -> bytes:
    data = b"\xff\xd8"
    for marker, content, coded in segments:
        length = b"" if marker == 0xD9 else (len(content) + 2).to_bytes(2, "big")
        data += bytes([0xFF, marker]) + length + content + coded
    return data


def without(data: bytes, *markers: int) -> bytes:
    return build([part for part in parts(data) if part[0] not in markers])


def changed(data: bytes, marker: int, at: int, value: int, new_marker: int | None = None) -> bytes:
    """Returns the JPEG with one byte of a segment's content set to `value`."""
    result = []
    for number, content, coded in parts(data):
        if number == marker:
            content = content[:at] + bytes([value]) + content[at + 1 :]
            number = new_marker or number
        result.append((number, content, coded))
    return build(result)


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


@pytest.mark.parametrize(
    ("marker", "precision", "process"),
    [(0xC1, 8, "extended"), (0xC1, 12, "extended"), (0xC9, 8, "arithmetic")],
)
def test_other_processes(marker: int, precision: int, process: str) -> None:
    facts = jpeg.inspect(changed(BASELINE, SOF, 0, precision, marker))
    assert (facts.process, facts.precision) == (process, precision)
    assert jpeg.is_copyable(facts) is (process == "extended" and precision == 8)


def test_lossless_is_not_copyable() -> None:
    assert not jpeg.is_copyable(jpeg.inspect(changed(BASELINE, SOF, 0, 8, 0xC3)))


def test_sides_that_libjpeg_does_not_read_are_not_copyable() -> None:
    facts = jpeg.inspect(BASELINE)
    assert jpeg.is_copyable(facts._replace(width=65_500))
    assert not jpeg.is_copyable(facts._replace(width=65_501))


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


LAST_SCAN = parts(PROGRESSIVE)[-2]
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
    assert read_size(data) is None


def test_size_is_read_from_a_part_of_the_file() -> None:
    assert read_size(BASELINE) == (61, 47)
    assert read_size(BASELINE[:250]) == (61, 47)
    assert read_size(BASELINE[:20]) is None
    assert read_size(without(BASELINE, SOF)) is None
    assert read_size(b"") is None


@settings(max_examples=300, deadline=None)
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
        assert read_size(bytes(damaged)) == facts[:2]
    is_bomb(bytes(damaged))


def test_photos_are_whole_and_decode() -> None:
    files = [f for f in PHOTOS.rglob("*") if f.suffix.lower() in (".jpg", ".jpeg")]
    if not files:
        pytest.skip("shared/data/photos is not here")
    for file in files:
        data = file.read_bytes()
        facts = jpeg.inspect(data)
        with Image.open(io.BytesIO(data)) as im:
            assert im.size == facts[:2] == read_size(data), file
            usual = facts.color == "gray" or facts.sampling != ""
            assert jpeg.is_copyable(facts) == (im.mode in ("RGB", "L") and usual), file
            assert usual or im.mode == "CMYK" or file.stem in ODD_SAMPLING, file
        with pytest.raises(ValueError, match=r"^it"):
            jpeg.inspect(data[: data.rindex(EOI)])
