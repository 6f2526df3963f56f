"""Exports of ours inside a folder of other images are passed by; alone they are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.listings import chosen, counts, make, parquet, read

from beam_export.samples import Failure

ONE, OTHER = "0123456789ab", "ba9876543210"


def export(folder: Path, hash_: str = ONE, *, shards: int = 2, ours: bool = True) -> None:
    """Writes files named like those of an export, as it would stand."""
    for number in range(shards):
        make(folder, f"images-{hash_}-{number:06d}.tar")
        parquet(folder / f"images-{hash_}-{number:06d}.parquet", ours=ours)
    make(folder, f"images-{hash_}-manifest.json", "README.md", f"_meta/images-{hash_}-run.json")
    parquet(folder / f"_meta/images-{hash_}-shards.parquet", ours=ours)


@pytest.mark.parametrize("place", ["out", "a/b/out", "."])
def test_an_export_inside_a_folder_of_images_is_passed_by(tmp_path: Path, place: str) -> None:
    make(tmp_path, "0.jpg", "z.png")
    export(tmp_path / place)
    found = chosen(tmp_path)
    assert read(found) == ["0.jpg", "z.png"]
    # Two tars, each with its Parquet, the manifest, the card, and two files of `_meta`.
    assert counts(found) == {"(an export)": 6}


def test_what_is_called_as_an_exports_own_and_is_of_none_is_counted_by_suffix(
    tmp_path: Path,
) -> None:
    make(
        tmp_path, "0.jpg", "README.md", "a/README.md", f"_meta/images-{ONE}-run.json", "_meta/x.md"
    )
    export(tmp_path / "out", ours=False, shards=1)
    # Of an export of another tool's; its tar is read, with the Parquet beside it.
    assert counts(chosen(tmp_path)) == {".md": 4, ".json": 2, ".parquet": 1}


@pytest.mark.parametrize("images", ["0.jpg", "z.jpg", "zz/0.jpg", "train-0.tar", "zz/x.tar.gz"])
def test_whatever_the_other_images_are_and_wherever(tmp_path: Path, images: str) -> None:
    make(tmp_path, images)
    export(tmp_path / "out")
    assert read(chosen(tmp_path)) == [images]


def test_an_unfinished_export_is_passed_by_too(tmp_path: Path) -> None:
    make(tmp_path, "0.jpg")
    export(tmp_path / "out")
    for name in ("000000.parquet", "manifest.json"):
        (tmp_path / "out" / f"images-{ONE}-{name}").unlink()
    found = chosen(tmp_path)
    assert read(found) == ["0.jpg"]
    assert counts(found) == {"(an export)": 5}
    assert not [one for one in found if isinstance(one, Failure)]


def test_one_damaged_table_does_not_hide_an_export(tmp_path: Path) -> None:
    make(tmp_path, "0.jpg")
    export(tmp_path / "out")
    (tmp_path / "out" / f"images-{ONE}-000000.parquet").write_bytes(b"PAR1 damaged PAR1")
    assert read(chosen(tmp_path)) == ["0.jpg"]


@pytest.mark.parametrize("folders", [["out"], ["out", "more"], ["."]])
def test_exports_alone_are_read(tmp_path: Path, folders: list[str]) -> None:
    for folder, hash_ in zip(folders, (ONE, OTHER), strict=False):
        export(tmp_path / folder, hash_)
    make(tmp_path, "notes.txt", "scores.csv")
    found = chosen(tmp_path)
    # The manifest is read for the shards that it counts.
    assert len(read(found)) == 3 * len(folders)
    assert sorted(read(found), key=lambda one: one) == read(found)
    assert "(an export)" not in counts(found)
    assert counts(found)[".csv"] == 1


def test_two_exports_of_one_folder_are_each_known(tmp_path: Path) -> None:
    make(tmp_path, "0.jpg")
    export(tmp_path / "out", ONE)
    export(tmp_path / "out", OTHER, ours=False)
    # Whatever is said of what lies beside the shards, theirs count.
    parquet(tmp_path / f"out/_meta/images-{OTHER}-shards.parquet")
    found = chosen(tmp_path)
    assert read(found)[0] == "0.jpg"
    assert {OTHER in one for one in read(found)[1:]} == {True}


@pytest.mark.parametrize("kind", ["no Parquet", "another's Parquet", "no Parquet file"])
def test_names_alone_make_no_export(tmp_path: Path, kind: str) -> None:
    make(tmp_path, "0.jpg", f"out/images-{ONE}-000000.tar")
    if kind == "another's Parquet":
        parquet(tmp_path / f"out/images-{ONE}-000000.parquet", ours=False)
    if kind == "no Parquet file":
        make(tmp_path, f"out/images-{ONE}-000000.parquet")
    assert read(chosen(tmp_path)) == ["0.jpg", f"out/images-{ONE}-000000.tar"]


@pytest.mark.parametrize(
    ("input_format", "suffix"), [("webdataset", ".tar"), ("parquet", ".parquet")]
)
def test_what_is_asked_for_outright_is_read(tmp_path: Path, input_format: str, suffix: str) -> None:
    make(tmp_path, "0.jpg")
    export(tmp_path / "out")
    found = chosen(tmp_path, input_format)
    assert [one for one in read(found) if one.endswith(suffix)] == [
        f"out/images-{ONE}-{number:06d}{suffix}" for number in range(2)
    ]


def test_an_export_named_outright_is_read(tmp_path: Path) -> None:
    make(tmp_path, "0.jpg")
    export(tmp_path / "out")
    assert len(read(chosen(tmp_path / "out"))) == 3
    assert len(read(chosen(f"{tmp_path}/out/*.tar"))) == 2
    assert len(read(chosen(f"{tmp_path}/out/images-{ONE}-000000.tar"))) == 1
