"""Hidden files: one rule for folders, globs, single files, tars and object stores."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.listings import listed, make, relatives, skipped

from beam_export.sources import listing_objects, near_tables
from beam_export.sources.entries import Listed, ListedItem, Skipped, Source
from beam_export.sources.hidden import Visible, is_hidden
from beam_export.sources.listing import list_images
from beam_export.sources.patterns import Pattern, parse_inputs
from beam_export.storage.base import Stat

HIDDEN = [
    "._0.jpg",
    ".DS_Store",
    "a/._1.jpg",
    ".ipynb_checkpoints/0-checkpoint.jpg",
    "a/.ipynb_checkpoints/1-checkpoint.jpg",
    "@eaDir/0.jpg/SYNOPHOTO_THUMB_XL.jpg",
    "a/@eaDir/1.jpg@SynoEAStream",
    "__MACOSX/._0.jpg",
    "__MACOSX/a/2.jpg",
    ".thumbnails/normal/0.png",
    ".Trash-1000/files/x.jpg",
    ".git/objects/ab/cd",
    ".hidden.tar",
    ".cache/data.parquet",
]
SHOWN = ["0.jpg", "0.txt", "a/1.jpg", "a/b.c/2.jpg", "eaDir/3.jpg", "MACOSX/4.jpg", "a../5.jpg"]


def as_objects(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes listings of `gs://b/` be those of the files below a folder."""
    files = sorted(
        (str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()), key=os.fsencode
    )

    def match(prefix: str) -> Iterator[Stat]:
        uris = [f"gs://b/{one}" for one in files]
        yield from (Stat(uri, 1, 0.0) for uri in uris if uri.startswith(prefix))

    for module in (listing_objects, near_tables):
        monkeypatch.setattr(module, "storage_of", lambda _: SimpleNamespace(list=match))


def remote(given: str) -> list[ListedItem]:
    return [item for one in parse_inputs(given) for item in list_images(one, "")]


def places(items: list[ListedItem]) -> list[str]:
    return [one.relative for one in items if isinstance(one, (Listed, Source))]


def test_hidden_files_of_a_folder_are_counted_and_not_listed(tmp_path: Path) -> None:
    make(tmp_path, *SHOWN, *HIDDEN)
    found = listed(tmp_path)
    assert sorted(relatives(found)) == sorted(one for one in SHOWN if one.endswith(".jpg"))
    assert skipped(found) == ["(hidden)"] * len(HIDDEN)


@pytest.mark.parametrize("name", HIDDEN)
def test_each_hidden_file_is_counted_once_on_every_storage(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "0.jpg", name)
    as_objects(tmp_path, monkeypatch)
    for found in (
        listed(tmp_path),
        listed(f"{tmp_path}/**"),
        remote("gs://b/"),
        remote("gs://b/**"),
    ):
        assert places(found) == ["0.jpg"]
        assert skipped(found) == ["(hidden)"]


def test_object_stores_list_as_folders_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, *SHOWN, *HIDDEN)
    as_objects(tmp_path, monkeypatch)
    for glob in ("", "/**", "/**/*.jpg", "/a", "/a/*", "/*/*.jpg"):
        here, there = listed(f"{tmp_path}{glob}"), remote(f"gs://b{glob}")
        assert places(here) == places(there), glob
        assert Counter(skipped(here)) == Counter(skipped(there)), glob


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("/._0.jpg", ["._0.jpg"]),
        ("/.thumbnails", ["normal/0.png"]),
        ("/.thumbnails/", ["normal/0.png"]),
        ("/.thumbnails/*/*.png", ["normal/0.png"]),
        ("/.thumb*/**", [".thumbnails/normal/0.png"]),
        ("/**/._*.jpg", ["._0.jpg", "a/._1.jpg"]),
        ("/__MACOSX/a", ["2.jpg"]),
        ("/a/.ipynb_checkpoints/*.jpg", ["1-checkpoint.jpg"]),
        ("/*/.ipynb_checkpoints/*.jpg", ["a/.ipynb_checkpoints/1-checkpoint.jpg"]),
        ("/{.thumbnails,eaDir}/**", [".thumbnails/normal/0.png", "eaDir/3.jpg"]),
        ("/.hidden.tar", [".hidden.tar"]),
        ("/.cache/data.parquet", ["data.parquet"]),
    ],
)
def test_what_is_named_outright_is_listed(
    tmp_path: Path, given: str, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, *SHOWN, *HIDDEN)
    as_objects(tmp_path, monkeypatch)
    assert places(listed(f"{tmp_path}{given}")) == found
    assert places(remote(f"gs://b{given}")) == found


def test_a_hidden_part_above_the_root_hides_nothing(tmp_path: Path) -> None:
    make(tmp_path, ".data/in/0.jpg", ".data/in/.x/1.jpg")
    assert relatives(listed(tmp_path / ".data/in")) == ["0.jpg"]
    assert relatives(listed(f"{tmp_path}/.data/in/*.jpg")) == ["0.jpg"]


def test_an_output_in_a_hidden_folder_is_not_counted(tmp_path: Path) -> None:
    make(tmp_path, "0.jpg", ".x/out/images.tar", ".x/y.jpg", ".out/images.tar")
    assert skipped(listed(tmp_path, str(tmp_path / ".x/out"))) == ["(hidden)"] * 2
    assert skipped(listed(tmp_path, str(tmp_path / ".out"))) == ["(hidden)"] * 2


def test_links_in_hidden_folders_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path, "0.jpg", ".x/1.jpg")
    (tmp_path / ".x/up").symlink_to(tmp_path)
    (tmp_path / ".link").symlink_to(tmp_path)
    assert skipped(listed(tmp_path)) == ["(hidden)"] * 2


@pytest.mark.parametrize("name", ["_meta/x.parquet", "a/_old/x.tar", "_x.csv", "_x.jsonl"])
def test_sources_that_describe_a_dataset_are_passed_by(tmp_path: Path, name: str) -> None:
    make(tmp_path, name, "_meta/0.jpg")
    found = listed(tmp_path)
    assert relatives(found) == ["_meta/0.jpg"]
    assert [one for one in found if isinstance(one, Skipped)] == [Skipped(name[name.rindex(".") :])]
    assert [one.relative for one in listed(tmp_path / name) if isinstance(one, Source)]


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        (".x", True),
        ("._x", True),
        ("...", True),
        ("@eaDir", True),
        ("__MACOSX", True),
        (".", False),
        ("..", False),
        ("", False),
        ("x.", False),
        ("_x", False),
        ("@eadir", False),
        ("__macosx__", False),
    ],
)
def test_is_hidden(name: str, hidden: bool) -> None:
    assert is_hidden(name) is hidden
    assert Visible().hides(f"a/{name}/b.jpg") is hidden
    assert not Visible(f"*/{name}/*", glob=False).hides(f"a/{name}/b.jpg")


def test_a_pattern_of_a_pipeline_is_a_plain_tuple() -> None:
    (pattern,) = parse_inputs("a/.b/*.jpg")
    assert Pattern(*pattern) == pattern


@pytest.mark.parametrize("given", ["x[1].jpg", "d[1]", "d[1]/", "d[1]/y[2].jpg"])
def test_brackets_of_a_name_that_exists_are_letters(
    tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "x[1].jpg", "x1.jpg", "d[1]/y[2].jpg", "d1/y2.jpg")
    as_objects(tmp_path, monkeypatch)
    found = [given if given == "x[1].jpg" else "y[2].jpg"]
    assert places(listed(f"{tmp_path}/{given}")) == found
    assert places(remote(f"gs://b/{given}")) == found
    assert places(remote("gs://b/x[12].jpg")) == ["x1.jpg"]
