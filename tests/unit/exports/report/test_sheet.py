from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.exports import picture
from support.made_exports import NAMES, make_export

from beam_export.errors import SampleError
from beam_export.exports.files import ExportFiles
from beam_export.exports.opening import open_catalog
from beam_export.exports.report.sheet import chosen, tiles_of
from beam_export.exports.report.thumbnails import LARGEST_SIDE, Thumbnails
from beam_export.samples import Sample


@given(st.integers(0, 10**7), st.integers(0, 70), st.integers(-5, 5))
def test_numbers_are_chosen_once_each_and_in_order(count: int, most: int, seed: int) -> None:
    found = chosen(count, most, seed)
    assert len(found) == min(count, most)
    assert found == sorted(set(found))
    assert all(0 <= number < count for number in found)
    assert found == chosen(count, most, seed)


def test_another_seed_chooses_others() -> None:
    assert chosen(10_000, 20, seed=1) != chosen(10_000, 20, seed=2)


@pytest.fixture(scope="module")
def thumbnails() -> Iterator[Thumbnails]:
    with Thumbnails() as made:
        yield made


def opened(data: bytes | SampleError) -> Image.Image:
    assert isinstance(data, bytes)
    im = Image.open(io.BytesIO(data))
    im.load()
    return im


def encoded(im: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    im.save(file, kind, **options)
    return file.getvalue()


def test_a_thumbnail_is_a_small_jpeg(thumbnails: Thumbnails) -> None:
    image = encoded(Image.new("RGB", (1200, 800), "red"))
    im = opened(thumbnails.make(image, (1200, 800)))
    assert (im.format, im.size) == ("JPEG", (LARGEST_SIDE, 171))


def test_a_small_image_is_not_enlarged(thumbnails: Thumbnails) -> None:
    image = encoded(Image.new("RGBA", (16, 9), (255, 0, 0, 0)), "PNG")
    im = opened(thumbnails.make(image, (16, 9)))
    assert im.size == (16, 9)
    assert im.getpixel((3, 3)) == (255, 255, 255)


def test_an_image_stands_upright(thumbnails: Thumbnails) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = encoded(Image.new("RGB", (300, 150)), exif=exif)
    assert opened(thumbnails.make(image, (300, 150))).size == (128, LARGEST_SIDE)


def test_a_damaged_image_is_shown_as_far_as_it_goes(thumbnails: Thumbnails) -> None:
    image = encoded(Image.effect_noise((400, 400), 90))
    im = opened(thumbnails.make(image[: len(image) // 2], (400, 400)))
    assert im.size == (LARGEST_SIDE, LARGEST_SIDE)


@pytest.mark.parametrize("image", [b"", b"no image", b"\xff\xd8\xff\xe0"])
def test_what_is_no_image_has_a_reason(thumbnails: Thumbnails, image: bytes) -> None:
    made = thumbnails.make(image, (None, None))
    assert isinstance(made, SampleError)
    assert made.message


def test_a_bomb_has_a_reason(thumbnails: Thumbnails) -> None:
    image = encoded(Image.new("1", (16_000, 16_000)), "PNG")
    made = thumbnails.make(image, (16_000, 16_000))
    assert isinstance(made, SampleError)
    assert "pixels" in made.message


def test_tiles_have_rows_and_pictures_and_problems(tmp_path: Path) -> None:
    samples = [
        Sample(id="good", image=picture(1), metadata={"score": 1.5}),
        Sample(id="odd", image=b"no image", metadata={}),
        Sample(id="changed", image=picture(3), metadata={}),
    ]
    out = make_export(tmp_path / "out", samples, per_shard=2)
    tar = out / NAMES.tar(1)
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    files = ExportFiles(open_catalog(str(out)))
    good, odd, changed = tiles_of(files, [0, 1, 2])
    assert (good.row["image_id"], good.row["score"]) == ("good", 1.5)
    assert good.picture is not None
    assert odd.picture is changed.picture is None
    assert "does not begin as" in odd.problem
    assert "have changed" in changed.problem
