"""`images.jpeg.intervals`: restart markers in their turn, and enough data between them."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from beam_export.images.jpeg import inspect as jpeg
from beam_export.images.jpeg.intervals import CodedScan, check_coded, fewest_code_bits

RESTART = re.compile(rb"\xff[\xd0-\xd7]")


def encode(**options: object) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((170, 130)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


KINDS: dict[str, dict] = {
    "rows": {"restart_marker_rows": 1},
    "blocks": {"restart_marker_blocks": 3},
    "gray": {"restart_marker_blocks": 1, "subsampling": 0},
    "progressive": {"restart_marker_rows": 1, "progressive": True},
    "optimized": {"restart_marker_blocks": 5, "optimize": True},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_restart_markers_must_be_there_and_in_turn(options: dict) -> None:
    data = encode(**options)
    whole = jpeg.inspect(data)
    at = [found.start() for found in RESTART.finditer(data)]
    assert len(at) > 5
    for place in at[0], at[3], at[-1]:
        for damaged in (
            data[:place] + data[place + 2 :],
            data[:place] + data[place : place + 2] + data[place:],
            data[: place + 1] + bytes([0xD0 | (data[place + 1] + 1) % 8]) + data[place + 2 :],
        ):
            with pytest.raises(ValueError, match="restart"):
                jpeg.inspect(damaged)
    swapped = bytearray(data)
    swapped[at[1] + 1], swapped[at[2] + 1] = swapped[at[2] + 1], swapped[at[1] + 1]
    with pytest.raises(ValueError, match="not in turn"):
        jpeg.inspect(bytes(swapped))
    with pytest.raises(ValueError, match="too short"):
        jpeg.inspect(data[: at[1] + 2] + data[at[2] :])
    # Fill bytes are no data, and no marker.
    assert jpeg.inspect(data[: at[0]] + b"\xff\xff" + data[at[0] :]) == whole


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
def test_restart_markers_that_nothing_asks_for_are_refused(options: dict) -> None:
    data = encode(**options)
    for place in len(data) - 2, len(data) - 40:
        with pytest.raises(ValueError, match="1 restart markers in a scan that has 0"):
            jpeg.inspect(data[:place] + b"\xff\xd0" + data[place:])


def test_an_interval_of_0_takes_markers_back() -> None:
    data = encode()
    frame = data.index(b"\xff\xc0")
    off = b"\xff\xdd\0\4\0\5" + b"\xff\xdd\0\4\0\0"
    assert jpeg.inspect(data[:frame] + off + data[frame:]) == jpeg.inspect(data)
    with pytest.raises(ValueError, match="restart"):
        jpeg.inspect(data[:frame] + off[:6] + data[frame:])


@given(
    st.integers(1, 400),
    st.integers(0, 50),
    st.integers(0, 40),
    st.integers(-1, 1),
    st.integers(0, 1),
)
def test_counts_and_sizes_are_those_of_the_careful_way(
    units: int, interval: int, bits: int, more: int, cut: int
) -> None:
    """Builds just enough data, then one marker or some bytes more or less."""
    scan = CodedScan(units, interval, bits)
    sizes = [interval] * (units // interval) if interval else []
    if not interval or units % interval:
        sizes.append(units - sum(sizes))
    parts = [b"\x5a" * max(1, (bits * size + 7) // 8) for size in sizes]
    coded = parts[0]
    for number, part in enumerate(parts[1:]):
        coded += bytes([0xFF, 0xD0 + number % 8]) + part
    if more > 0:
        coded += bytes([0xFF, 0xD0 + (len(parts) - 1) % 8]) + parts[-1]
    if more < 0 and len(parts) > 1:
        coded = coded[: coded.rindex(b"\xff")]
    is_sound = (more == 0 or (more < 0 and len(parts) == 1)) and not cut
    if cut:
        coded = coded[:-cut]
    if is_sound:
        check_coded(coded, scan)
        if not interval:
            check_coded(len(coded), scan)
    else:
        with pytest.raises(ValueError, match=r"restart|too short"):
            check_coded(coded, scan)


def test_fewest_bits_of_a_block() -> None:
    lengths = bytes([0, 1, 2, 1, *bytes(12)])  # codes of 2, 3, 3 and 4 bits
    assert fewest_code_bits(0x00, lengths, b"\5\0\1\2") == 2
    assert fewest_code_bits(0x10, lengths, b"\5\1\0\2") == 3
    assert fewest_code_bits(0x11, lengths, b"\5\1\2\3") == 8
    assert fewest_code_bits(0x10, bytes([1, 0, 0, 0, 0, 0, 1, *bytes(9)]), b"\5\0") == 4
    assert fewest_code_bits(0x10, bytes(16), b"") == 0


@pytest.mark.parametrize("quality", [1, 50, 100])
@pytest.mark.parametrize("optimize", [False, True])
def test_flat_images_have_enough_data(quality: int, optimize: bool) -> None:
    for mode in "L", "RGB", "CMYK":
        for progressive in False, True:
            for rows in 0, 1:
                buffer = io.BytesIO()
                Image.new(mode, (333, 222), "white").save(
                    buffer,
                    "JPEG",
                    quality=quality,
                    optimize=optimize,
                    progressive=progressive,
                    restart_marker_rows=rows,
                )
                jpeg.inspect(buffer.getvalue())
