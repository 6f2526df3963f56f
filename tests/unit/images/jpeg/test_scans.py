"""Parts of a JPEG decode by themselves: scans, and restart intervals."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFile
from support.jpegs import BASELINE, PROGRESSIVE, encode, picture

from beam_export.images.jpeg.scans import close, one_interval, open_scans
from beam_export.images.jpeg.segments import walk

RESTARTS = encode(restart_marker_rows=1)
TAG = 0xE7


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize(("data", "count"), [(BASELINE, 1), (PROGRESSIVE, 10), (RESTARTS, 1)])
def test_all_scans_together_are_the_image(data: bytes, count: int) -> None:
    scans = open_scans(data, 0)
    assert len(scans) == count
    assert {scan.pixels for scan in scans} == {61 * 47}
    assert scans[0].components == 3
    assert scans[0].is_sequential == (count == 1)
    np.testing.assert_array_equal(pixels(close(scans, [])), pixels(data))


def test_the_first_scans_of_a_progressive_jpeg_are_an_image_of_less_detail() -> None:
    scans = open_scans(PROGRESSIVE, 0)
    some = close(scans[:1], [(scans[1], TAG)])
    assert [marker for marker, *_ in walk(some)].count(TAG) == 1
    assert pixels(some).shape == (47, 61, 3)
    assert (pixels(some) != pixels(PROGRESSIVE)).any()


def test_a_restart_interval_is_an_image_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # libjpeg reports the marker that follows the data; Pillow passes on what it has till then.
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    (scan,) = open_scans(RESTARTS, 0)
    units = scan.coded.interval
    first = scan.data.split(b"\xff\xd0")[0]
    made = pixels(one_interval(scan, first, units))
    # Chroma of the last row is smoothed with that of the interval below.
    np.testing.assert_array_equal(made[:15, :61], pixels(RESTARTS)[:15])


def test_bytes_between_segments_are_tolerated_up_to_a_number() -> None:
    at = BASELINE.index(b"\xff\xdb")
    data = BASELINE[:at] + b"\x01\x02\x03" + BASELINE[at:]
    assert len(open_scans(data, 3)) == 1
    with pytest.raises(ValueError, match="3 bytes between its segments"):
        open_scans(data, 2)


def test_a_scan_may_be_shortened() -> None:
    (scan,) = open_scans(encode("L"), 0)
    assert scan.shortened(2).data == scan.data[:-2]
    assert picture("L").size == (61, 47)
