"""Sidecars: of the stem of an image, of its whole name, with extensions as people have them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.listings import failures, listed, make, relatives, skipped

from beam_export.sources.entries import Listed


def fields(tmp_path: Path, *names: str) -> dict[str, list[tuple[str, str]]]:
    """Returns (extension, file's name) of each image's sidecars; nothing else may be left."""
    make(tmp_path, *names)
    found = listed(tmp_path)
    assert skipped(found) == []
    assert failures(found) == []
    return dict(_fields(found))


def _fields(found: object) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    for one in found:  # type: ignore[attr-defined]
        if isinstance(one, Listed):
            pairs = [
                (field.ext, field.uri.partition("\0")[0].rpartition("/")[2]) for field in one.fields
            ]
            yield one.relative, pairs


@pytest.mark.parametrize(
    ("name", "ext"),
    [
        ("x.txt", "txt"),
        ("x.jpg.txt", "txt"),
        ("x.jpg.json", "json"),
        ("x.jpg.XML", "xml"),
        ("x.jpg.cls", "cls"),
        ("x.jpg.npy", "npy"),
        ("x.clip_embedding.npy", "clip_embedding.npy"),
        ("x.t5-xl.npy", "t5-xl.npy"),
        ("x.jpg.clip_embedding.npy", "clip_embedding.npy"),
        ("x.jpg.supplemental-metadata.json", "supplemental-metadata.json"),
        ("x.seg.mask.npz", "seg.mask.npz"),
        ("x.en.txt", "en.txt"),
        ("x.Vit-L-14.pth", "vit-l-14.pth"),
    ],
)
def test_a_sidecar_has_the_stem_or_the_whole_name_of_its_image(
    tmp_path: Path, name: str, ext: str
) -> None:
    assert fields(tmp_path, "d/x.jpg", f"d/{name}", "d/y.jpg") == {
        "d/x.jpg": [(ext, name)],
        "d/y.jpg": [],
    }


def test_both_kinds_travel_together(tmp_path: Path) -> None:
    found = fields(tmp_path, "x.jpg", "x.txt", "x.jpg.json", "x.npy")
    assert found == {"x.jpg": [("json", "x.jpg.json"), ("npy", "x.npy"), ("txt", "x.txt")]}


def test_a_whole_name_tells_images_of_one_stem_apart(tmp_path: Path) -> None:
    found = fields(tmp_path, "x.jpg", "x.png", "x.jpg.txt", "x.png.txt", "x.cls")
    assert found == {
        "x.jpg": [("cls", "x.cls"), ("txt", "x.jpg.txt")],
        "x.png": [("cls", "x.cls"), ("txt", "x.png.txt")],
    }


def test_the_nearest_image_has_the_sidecar(tmp_path: Path) -> None:
    found = fields(tmp_path, "v1.jpg", "v1.0.jpg", "v1.0.txt", "v1.txt", "v1.0.jpg.json")
    assert found == {
        "v1.0.jpg": [("json", "v1.0.jpg.json"), ("txt", "v1.0.txt")],
        "v1.jpg": [("txt", "v1.txt")],
    }


@pytest.mark.parametrize(
    ("names", "found", "beaten"),
    [
        (["x.jpg", "x.txt", "x.jpg.txt"], {"x.jpg": ["x.jpg.txt"]}, 1),
        # What is of both by the stem is of the one that has none of its own.
        (
            ["d.png", "d.jpg", "d.txt", "d.png.txt"],
            {"d.jpg": ["d.txt"], "d.png": ["d.png.txt"]},
            0,
        ),
        (
            ["d.png", "d.jpg", "d.txt", "d.png.txt", "d.jpg.TXT"],
            {"d.jpg": ["d.jpg.TXT"], "d.png": ["d.png.txt"]},
            1,
        ),
        (
            ["d.png", "d.jpg", "d.json", "d.png.txt"],
            {"d.jpg": ["d.json"], "d.png": ["d.json", "d.png.txt"]},
            0,
        ),
        # Two that are beaten do no harm to each other.
        (["x.jpg", "x.txt", "x.TXT", "x.jpg.txt"], {"x.jpg": ["x.jpg.txt"]}, 2),
        (["x.JPG", "x.JPG.txt", "x.jpg.txt"], {"x.JPG": ["x.JPG.txt"]}, 1),
        (["x.JPG", "x.jpg.txt", "x.txt"], {"x.JPG": ["x.jpg.txt"]}, 1),
    ],
)
def test_of_sidecars_of_one_extension_the_most_exact_name_travels(
    tmp_path: Path, names: list[str], found: dict[str, list[str]], beaten: int
) -> None:
    make(tmp_path, *names)
    items = listed(tmp_path)
    assert {place: [name for _, name in pairs] for place, pairs in _fields(items)} == found
    assert not failures(items)
    assert skipped(items) == ["(second .txt of an image)"] * beaten


NFC, NFD = "caf\xe9", "cafe\u0301"


@pytest.mark.parametrize(
    ("images", "name", "owners"),
    [
        (["c.JPG"], "c.jpg.txt", ["c.JPG"]),
        (["c.jpg"], "c.JPG.txt", ["c.jpg"]),
        (["c.Jpeg"], "c.jpeg.clip.npy", ["c.Jpeg"]),
        (["c.JPG", "c.png"], "c.jpg.json", ["c.JPG"]),
        (["c.JPG", "c.jpg"], "c.jpg.txt", ["c.jpg"]),
        (["c.JPG", "c.jpg"], "c.JPG.txt", ["c.JPG"]),
        # As a stem is, it is of all that it fits.
        (["c.JPG", "c.jpg"], "c.Jpg.txt", ["c.JPG", "c.jpg"]),
        # A stem is a name, and no suffix.
        (["C.jpg"], "c.txt", []),
        (["C.jpg"], "c.jpg.txt", []),
        ([f"{NFD}.jpg"], f"{NFC}.txt", [f"{NFD}.jpg"]),
        ([f"{NFC}.jpg"], f"{NFD}.txt", [f"{NFC}.jpg"]),
        ([f"{NFC}.JPG"], f"{NFD}.jpg.txt", [f"{NFC}.JPG"]),
        ([f"{NFD}.jpg", f"{NFD}.png"], f"{NFC}.png.json", [f"{NFD}.png"]),
        # Where both forms are there, each name is that which is written so.
        ([f"{NFC}.jpg", f"{NFD}.jpg"], f"{NFC}.txt", [f"{NFC}.jpg"]),
        ([f"{NFC}.jpg", f"{NFD}.jpg"], f"{NFD}.txt", [f"{NFD}.jpg"]),
        ([f"{NFC}.jpg", f"{NFD}.png"], f"{NFD}.png.txt", [f"{NFD}.png"]),
    ],
)
def test_a_name_that_is_written_otherwise_belongs_to_an_image_if_no_other_is_written_so(
    tmp_path: Path, images: list[str], name: str, owners: list[str]
) -> None:
    make(tmp_path, *images, name)
    items = listed(tmp_path)
    assert [place for place, pairs in _fields(items) if pairs] == sorted(owners, key=os.fsencode)
    assert {name for _, pairs in _fields(items) for _, name in pairs} == (
        {name} if owners else set()
    )
    assert len(skipped(items)) == (not owners)


def test_two_whole_names_that_differ_in_case_are_a_failure(tmp_path: Path) -> None:
    make(tmp_path, "x.jpg", "x.jpg.txt", "x.jpg.TXT")
    (failure,) = failures(listed(tmp_path))
    assert failure.message == (
        "its sidecars x.jpg.TXT and x.jpg.txt would have the same name in the tar"
    )


@pytest.mark.parametrize("name", ["x.tar.gz", "x.csv.gz", "x.jpg.tar", "x.a.parquet"])
def test_a_source_beside_an_image_is_no_sidecar_of_many_dots(tmp_path: Path, name: str) -> None:
    make(tmp_path, "x.jpg", name)
    found = listed(tmp_path)
    assert dict(_fields(found))["x.jpg"] == ([("tar", name)] if name == "x.jpg.tar" else [])


@pytest.mark.parametrize("name", ["x.seg.png", "x.jpg.webp"])
def test_an_image_is_a_sample_of_its_own(tmp_path: Path, name: str) -> None:
    make(tmp_path, "x.jpg", name)
    assert sorted(relatives(listed(tmp_path))) == sorted(["x.jpg", name])


@pytest.mark.parametrize("name", ["y.txt", "xx.txt", "x", "x.", "x.a b", "x.jpg.a b", "x..txt"])
def test_what_belongs_to_no_image_is_counted(tmp_path: Path, name: str) -> None:
    make(tmp_path, "x.jpg", name)
    found = listed(tmp_path)
    assert dict(_fields(found)) == {"x.jpg": []}
    assert len(skipped(found)) == 1
