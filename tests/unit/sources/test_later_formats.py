"""Files of HEIC, JPEG 2000 and PPM: images by themselves, members beside another image."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.listings import failures, listed, make, relatives, skipped

from beam_export.sources.entries import IMAGE_SUFFIXES, LATER_SUFFIXES, Listed
from beam_export.sources.tar.webdataset import image_extension

FIRST = sorted(IMAGE_SUFFIXES - LATER_SUFFIXES)


@pytest.mark.parametrize("suffix", sorted(LATER_SUFFIXES))
def test_by_itself_it_is_an_image_with_sidecars(suffix: str, tmp_path: Path) -> None:
    make(tmp_path, f"a/x.{suffix.upper()}", "a/x.txt", "b/y.jpg")
    found = listed(tmp_path)
    assert relatives(found) == [f"a/x.{suffix.upper()}", "b/y.jpg"]
    assert [[one.ext for one in item.fields] for item in found if isinstance(item, Listed)] == [
        ["txt"],
        [],
    ]


@pytest.mark.parametrize("suffix", sorted(LATER_SUFFIXES))
@pytest.mark.parametrize("first", ["jpg", "PNG", "webp", "tiff"])
def test_beside_another_image_of_its_stem_it_travels(
    suffix: str, first: str, tmp_path: Path
) -> None:
    make(tmp_path, f"x.{first}", f"x.{suffix}", f"y.{suffix}")
    found = listed(tmp_path)
    assert relatives(found) == [f"x.{first}", f"y.{suffix}"]
    assert [[one.ext for one in item.fields] for item in found if isinstance(item, Listed)] == [
        [suffix],
        [],
    ]
    assert skipped(found) == failures(found) == []


def test_two_of_them_are_two_images_of_one_id(tmp_path: Path) -> None:
    make(tmp_path, "x.heic", "x.jp2")
    assert relatives(listed(tmp_path)) == ["x.heic", "x.jp2"]


@pytest.mark.parametrize("suffix", sorted(LATER_SUFFIXES))
def test_in_a_tar_every_other_image_comes_before_it(suffix: str) -> None:
    assert image_extension([suffix, "txt"]) == suffix
    for other in [*FIRST, "left.jpg", "seg.png"]:
        assert image_extension([suffix, other]) == other
    assert image_extension([f"left.{suffix}", suffix]) == suffix
