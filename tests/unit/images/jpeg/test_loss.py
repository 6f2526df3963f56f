"""`beam_export.images.jpeg.loss`: all that libjpeg reports as lost, and nothing else."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.exports import PHOTOS

from beam_export.images.jpeg.loss import MOST_EXTRA, lost_data
from beam_export.images.jpeg.segments import SOS, walk

EOI = b"\xff\xd9"
RESTART = re.compile(rb"(\xff[\xd0-\xd7])")

KINDS: dict[str, dict] = {
    "baseline": {},
    "444": {"subsampling": 0, "optimize": True},
    "progressive": {"progressive": True},
    "rows": {"restart_marker_rows": 1},
    "blocks": {"restart_marker_blocks": 3},
    "progressive rows": {"progressive": True, "restart_marker_rows": 2},
    "rgb": {"keep_rgb": True},
    "gray": {"mode": "L"},
    "gray rows": {"mode": "L", "restart_marker_rows": 2},
    "cmyk": {"mode": "CMYK"},
    "cmyk rows": {"mode": "CMYK", "restart_marker_rows": 1},
    "cmyk progressive": {"mode": "CMYK", "progressive": True},
}


def encode(mode: str = "RGB", **options: object) -> bytes:
    pixels = np.random.default_rng(7).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((400, 300), Image.Resampling.BICUBIC).convert(mode).save(
        buffer, "JPEG", quality=90, **options
    )
    return buffer.getvalue()


WHOLE = {name: encode(**options) for name, options in KINDS.items()}
each_kind = pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE)
#: Where an interval of a progressive scan ends is not known but by decoding all before it.
in_parts = pytest.mark.parametrize(
    "data", [data for name, data in WHOLE.items() if name != "progressive rows"]
)


def with_extra(data: bytes, extra: bytes) -> bytes:
    """Returns a JPEG with bytes before each of its markers, but for the first ones."""
    made, at = data[:2], 2
    in_scan = False
    for marker, before, found, _, end, _ in walk(data):
        coded = data[before:found]
        if in_scan:
            coded = RESTART.sub(extra.replace(b"\\", b"\\\\") + rb"\1", coded)
        made += coded + (extra if at > 2 else b"") + data[found:end]
        at, in_scan = end, marker == SOS
    return made + data[at:]


def middle(data: bytes) -> int:
    return (data.index(b"\xff\xda") + len(data)) // 2


@each_kind
def test_whole_files_have_lost_nothing(data: bytes) -> None:
    assert lost_data(data) is None
    assert lost_data(data + b"what follows the end") is None


@each_kind
def test_cut_files_have(data: bytes) -> None:
    for part in 3, 2, 1.1:
        cut = data[: int(len(data) / part)]
        assert lost_data(cut) is not None
        assert lost_data(cut + EOI) is not None
    assert lost_data(data[:-2]) == "Premature end of JPEG file"


@each_kind
def test_holes_are_found(data: bytes) -> None:
    at = middle(data)
    assert lost_data(data[:at] + data[at + 500 :]) is not None


@in_parts
def test_some_bytes_too_many_before_each_marker_are_none(data: bytes) -> None:
    assert lost_data(with_extra(data, b"\x55" * MOST_EXTRA)) is None
    assert lost_data(with_extra(data, b"\x55\xff\0\x33")) is None


@each_kind
def test_more_bytes_too_many_are_a_loss(data: bytes) -> None:
    at = data.index(b"\xff\xdb")
    assert lost_data(data[:at] + bytes(MOST_EXTRA) + data[at:]) is None
    assert lost_data(data[:at] + bytes(MOST_EXTRA + 1) + data[at:]) is not None
    assert "extraneous" in str(lost_data(data[:-2] + b"\x55" * 100 + EOI))
    assert lost_data(data[:-2] + b"\x55" * 10 + EOI) is None


@each_kind
def test_harmless_bytes_hide_no_loss(data: bytes) -> None:
    """libjpeg's first word is of the bytes; what comes behind counts all the same."""
    odd = with_extra(data, b"\x55\x55\x55")
    at = middle(odd)
    assert lost_data(odd[:at] + EOI) is not None
    assert lost_data(odd[:at] + odd[at + 600 :]) is not None
    first = data.index(b"\xff\xdb")
    assert lost_data(data[:first] + b"\0" + data[first : len(data) * 2 // 3] + EOI) is not None


@pytest.mark.parametrize("data", [WHOLE["baseline"], WHOLE["progressive"]])
def test_harmless_words_hide_no_loss(data: bytes) -> None:
    """A revision of JFIF that is not known, an odd Adobe segment, parameters of a scan."""
    profile = b"\xff\xe2\0\x12ICC_PROFILE\0\7\1\0\0"
    for odd in (
        data.replace(b"JFIF\0\x01", b"JFIF\0\x07", 1),
        data[:2] + profile + data[2:],
        data[:2] + profile * 2 + data[2:],
    ):
        assert lost_data(odd) is None
        assert lost_data(odd[: middle(odd)] + EOI) is not None
    at = data.index(b"\xff\xda")
    scan = data[:at] + data[at : at + 13] + b"\x11" + data[at + 14 :]
    if data is WHOLE["baseline"]:
        assert lost_data(scan) is None
        assert lost_data(scan[: middle(scan)] + EOI) is not None


@pytest.mark.parametrize("name", ["rows", "blocks", "gray rows", "cmyk rows", "progressive rows"])
def test_restart_markers(name: str) -> None:
    data = WHOLE[name]
    places = [found.start() for found in RESTART.finditer(data)]
    first, second = places[2], places[3]
    assert lost_data(data[:first] + data[first + 2 :]) is not None
    assert lost_data(data[:first] + data[first : first + 2] + data[first:]) is not None
    swapped = bytearray(data)
    swapped[first + 1], swapped[second + 1] = swapped[second + 1], swapped[first + 1]
    assert lost_data(bytes(swapped)) is not None
    assert lost_data(data[:first] + data[second:]) is not None


@pytest.mark.parametrize("revision", [b"\x01", b"\x07"], ids=["alone", "behind a harmless word"])
@pytest.mark.parametrize("name", ["progressive", "progressive rows"])
def test_scans_that_are_missing(name: str, revision: bytes) -> None:
    """No decoder minds: what has come is a picture, though not a sharp one."""
    data = WHOLE[name].replace(b"JFIF\0\x01", b"JFIF\0" + revision, 1)
    at = [found.start() for found in re.finditer(rb"\xff[\xc4\xda]", data)]
    assert "scans are missing" in str(lost_data(data[: at[-2]] + EOI))


@pytest.mark.parametrize(
    "name", ["peacock.s1x3.jpeg", "peacock.s-weird.jpeg", "peacock.s-very-weird.jpeg"]
)
def test_odd_sampling(name: str) -> None:
    file = PHOTOS / "formats-wuffs" / name
    if not file.exists():
        pytest.skip("shared/data/photos is not here")
    data = file.read_bytes()
    assert lost_data(data) is None
    assert lost_data(data[: len(data) * 2 // 3] + EOI) is not None
    assert lost_data(data[:-12] + EOI) is not None
    at = middle(data)
    assert lost_data(data[:at] + data[at + 300 :]) is not None
    assert lost_data(data[:-2] + b"\x55" * MOST_EXTRA + EOI) is None
    assert lost_data(data[:-2] + b"\x55" * 40 + EOI) is not None


def test_what_is_no_jpeg_has_no_loss_here() -> None:
    for data in b"", b"\xff\xd8\xff", b"GIF89a", WHOLE["baseline"][:100]:
        assert lost_data(data) is None or "Premature" in str(lost_data(data))


@given(st.sampled_from([*WHOLE]), st.data())
def test_any_damage_gives_an_answer(name: str, data: st.DataObject) -> None:
    damaged = bytearray(WHOLE[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(2, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=8))
    found = lost_data(bytes(damaged))
    assert found is None or found.startswith(("Corrupt", "Premature", "Inconsistent", "its", "1 "))


def test_no_photograph_has_lost_anything() -> None:
    files = [f for f in PHOTOS.rglob("*") if f.suffix.lower() in (".jpg", ".jpeg")]
    if not files:
        pytest.skip("shared/data/photos is not here")
    for file in files:
        assert lost_data(file.read_bytes()) is None, file
