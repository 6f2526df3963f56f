"""Tables of image folders that an input does not name: those of the images that it names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.listings import make

from beam_export.errors import InputError
from beam_export.sources import listing_objects, near_tables
from beam_export.sources.entries import FolderTable, Item, Listed, Skipped, Source
from beam_export.sources.input_format import choose
from beam_export.sources.listing import list_images
from beam_export.sources.patterns import parse_inputs
from beam_export.storage.base import Stat


class Objects:
    """The files below a folder, as if they were objects of `gs://b/`."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        names = (str(one.relative_to(root)) for one in root.rglob("*") if one.is_file())
        self._uris = [f"gs://b/{name}" for name in sorted(names, key=os.fsencode)]
        self.asked: list[str] = []
        for module in (listing_objects, near_tables):
            monkeypatch.setattr(module, "storage_of", lambda _: self)

    def list(self, prefix: str) -> Iterator[Stat]:
        self.asked.append(prefix)
        yield from (Stat(uri, 1, 0.0) for uri in self._uris if uri.startswith(prefix))


def chosen(given: str, input_format: str = "auto") -> list[Item]:
    patterns = parse_inputs(given)
    return [item for one in patterns for item in choose(list_images(one, ""), input_format)]


def tables(items: list[Item]) -> list[tuple[str, bool]]:
    found = (one for one in items if isinstance(one, FolderTable))
    return sorted({(one.source.path.rpartition("/in/")[2], one.near) for one in found})


FILES = [
    *("in/0.jpg", "in/1.png", "in/a/0.jpg", "in/a/b/0.jpg", "in/c/notes.txt", "in/met.jpg"),
    *("in/metadata.csv", "in/a/metadata.jsonl", "in/a/b/metadata.parquet", "in/c/metadata.csv"),
    *("in/a/captions.csv", "in/d/0.jpg", "metadata.csv"),
]


@pytest.mark.parametrize("objects", [False, True])
@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("in/*.jpg", ["metadata.csv"]),
        ("in/0.jpg", ["metadata.csv"]),
        ("in/0.j*", ["metadata.csv"]),
        ("in/met*.jpg", ["metadata.csv"]),
        ("in/[01].*", ["metadata.csv"]),
        # Of the images that are found, and of the folders above them up to the root.
        ("in/**/*.jpg", ["a/b/metadata.parquet", "a/metadata.jsonl", "metadata.csv"]),
        ("in/**/0.jpg", ["a/b/metadata.parquet", "a/metadata.jsonl", "metadata.csv"]),
        ("in/*/0.jpg", ["a/metadata.jsonl", "metadata.csv"]),
        ("in/a/*.jpg", ["a/metadata.jsonl"]),
        ("in/a/**/0.jpg", ["a/b/metadata.parquet", "a/metadata.jsonl"]),
        ("in/d/0.jpg", []),
        ("in/{a,d}/*.jpg", ["a/metadata.jsonl", "metadata.csv"]),
        ("in/{a/0,d/0}.jpg", ["a/metadata.jsonl", "metadata.csv"]),
        ("in/{d,c}", ["metadata.csv"]),
        ("in/0.jpg,in/d/0.jpg,in/1.png", ["metadata.csv"]),
        ("in/a/b/0.jpg", ["a/b/metadata.parquet"]),
    ],
)
def test_the_tables_of_the_folders_of_images_that_are_named_are_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    objects: bool,
    given: str,
    near: list[str],
) -> None:
    make(tmp_path, *FILES)
    root = "gs://b" if objects else str(tmp_path)
    if objects:
        Objects(tmp_path, monkeypatch)
    items = chosen(given.replace("in/", f"{root}/in/"))
    assert [name for name, is_near in tables(items) if is_near] == near
    assert any(isinstance(one, Listed) for one in items)


@pytest.mark.parametrize("input_format", ["auto", "files"])
@pytest.mark.parametrize("given", ["in/*", "in/**", "in"])
def test_a_table_that_is_named_itself_is_no_other(
    tmp_path: Path, given: str, input_format: str
) -> None:
    make(tmp_path, *FILES)
    assert ("metadata.csv", False) in tables(chosen(f"{tmp_path}/{given}", input_format))
    assert not any(near for _, near in tables(chosen(f"{tmp_path}/{given}", input_format)))


def test_each_of_several_near_tables_in_a_folder_names_the_others(tmp_path: Path) -> None:
    make(tmp_path, "0.jpg", "metadata.csv", "metadata.jsonl")
    found = [one for one in chosen(f"{tmp_path}/*.jpg") if isinstance(one, FolderTable)]
    assert {one.source.name: one.others for one in found} == {
        "metadata.csv": ("metadata.jsonl",),
        "metadata.jsonl": ("metadata.csv",),
    }


@pytest.mark.parametrize("given", ["*.gif", "**/*.gif", "a/*.jpg"])
def test_a_near_table_is_nothing_that_is_there(tmp_path: Path, given: str) -> None:
    make(tmp_path, "0.jpg", "metadata.csv", "a/metadata.csv")
    with pytest.raises(InputError, match="there is no"):
        chosen(f"{tmp_path}/{given}")


@pytest.mark.parametrize("given", ["*.tar", "x.tar", "*.csv", "metadata.csv"])
def test_without_images_there_are_none(tmp_path: Path, given: str) -> None:
    make(tmp_path, "0.jpg", "x.tar", "metadata.csv")
    items = chosen(f"{tmp_path}/{given}")
    assert [type(one) for one in items] == [Source]
    assert not any(isinstance(one, Skipped) for one in items)


def test_tars_and_tables_asked_for_outright_have_none(tmp_path: Path) -> None:
    make(tmp_path, "0.jpg", "x.tar", "metadata.csv")
    for input_format in ("webdataset", "parquet"):
        assert not tables(chosen(f"{tmp_path}/*.[jt]*", input_format))


def test_an_object_store_is_asked_once_more_and_of_images_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, *FILES, "in/x.tar")
    objects = Objects(tmp_path, monkeypatch)
    chosen("gs://b/in/0.jpg")
    assert objects.asked == ["gs://b/in/0.jpg/", "gs://b/in/0", "gs://b/in/metadata."]
    objects.asked.clear()
    chosen("gs://b/in/x.tar")
    chosen("gs://b/in/**/*.jpg")
    assert not [one for one in objects.asked if "metadata" in one]
