"""`beam_export.images.jpeg.carried`: the EXIF block and the ICC profile of a JPEG."""

from __future__ import annotations

import io

import pytest
from PIL import Image, JpegImagePlugin
from support.exports import PHOTOS
from support.pictures import exif, save, smooth
from support.profiles import rgb_profile

from beam_export.images.geometry import exif_block
from beam_export.images.jpeg.carried import read_carried

RGB = Image.fromarray(smooth())
PROFILE = rgb_profile()
PLAIN = save(RGB, "JPEG")
#: More than one segment of a JPEG holds.
LONG = PROFILE + bytes(100_000)


def by_pillow(data: bytes) -> tuple[bytes, bytes | None]:
    with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as im:
        return exif_block(im), im.info.get("icc_profile")


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        save(RGB, "JPEG", exif=exif(6)),
        save(RGB, "JPEG", icc_profile=PROFILE, exif=exif(1), comment=b"kept"),
        save(RGB, "JPEG", icc_profile=LONG),
        save(RGB, "JPEG", icc_profile=PROFILE, progressive=True),
        # Fill bytes before a marker.
        PLAIN[:2] + b"\xff\xff" + save(RGB, "JPEG", exif=exif(3))[2:],
    ],
)
def test_it_is_what_pillow_reads(data: bytes) -> None:
    assert tuple(read_carried(data)) == by_pillow(data)


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def test_blocks_in_parts_are_put_together_as_pillow_does() -> None:
    parts = [b"ICC_PROFILE\0" + bytes([at, 2]) + bytes([at]) * 9 for at in (2, 1)]
    # Tags of a maker, then the rest of them: a block of more than 64 KiB.
    whole = exif(6).tobytes() + bytes(70_000)
    blocks = [whole[:60_000], b"Exif\0\0" + whole[60_000:]]
    head = b"".join(segment(0xE2, one) for one in parts)
    head += b"".join(segment(0xE1, one) for one in blocks)
    data = PLAIN[:2] + head + PLAIN[2:]
    assert tuple(read_carried(data)) == by_pillow(data)
    assert read_carried(data) == (whole, b"\1" * 9 + b"\2" * 9)


def test_a_profile_that_lacks_a_part_is_none() -> None:
    data = PLAIN[:2] + segment(0xE2, b"ICC_PROFILE\0" + bytes([1, 2]) + b"half") + PLAIN[2:]
    assert read_carried(data) == (b"", None)


def test_what_comes_after_the_first_scan_is_not_read() -> None:
    data = PLAIN[:-2] + segment(0xE1, b"Exif\0\0II*\0") + PLAIN[-2:]
    assert read_carried(data) == (b"", None)


def test_any_beginning_of_a_file_is_read_as_far_as_it_goes() -> None:
    data = save(RGB, "JPEG", icc_profile=PROFILE, exif=exif(6))
    for end in (0, 1, 2, 5, 30, 300, 3000, len(data)):
        read_carried(data[:end])
    assert read_carried(data)[0] == by_pillow(data)[0] != b""


def test_photographs() -> None:
    files = [file for file in sorted(PHOTOS.rglob("*.jpg")) if file.stat().st_size < 1 << 20]
    if not files:
        pytest.skip("shared/data/photos is not here")
    for file in files[::5]:
        assert tuple(read_carried(file.read_bytes())) == by_pillow(file.read_bytes()), file
