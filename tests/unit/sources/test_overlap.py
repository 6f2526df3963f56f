"""Inputs and outputs that lie in each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.exports import make_images_behind_a_link, picture

from beam_export.errors import InputError
from beam_export.sources.overlap import refuse_overlap
from beam_export.sources.patterns import parse_inputs

SHARD = "images-0123456789ab-000000"


def refused(given: str, out: str) -> str:
    with pytest.raises(InputError) as caught:
        refuse_overlap(parse_inputs(given), out)
    return caught.value.sentence


def taken(given: str, out: str) -> None:
    refuse_overlap(parse_inputs(given), out)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_images_behind_a_link(tmp_path)


@pytest.mark.parametrize(
    "given", ["in", "in/", "in/../in", "link", "in/*", "in/**/*.jpg", "in/{a,b}*", "other,in"]
)
def test_what_is_listed_is_no_output(
    folder: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    for out in ("in", str(folder), "link"):
        assert "would read this one's shards" in refused(given, out)


def test_files_of_the_output_are_no_input(folder: Path) -> None:
    for name in (f"{SHARD}.tar", f"{SHARD}.parquet", "list.csv"):
        (folder / name).write_bytes(b"")
    (folder / "_meta").mkdir()
    assert "shards" in refused(f"{folder}/{SHARD}.tar", str(folder))
    assert "shards" in refused(f"{folder}/{SHARD}.parquet", str(folder))
    assert "shards" in refused(f"{folder}/_meta", str(folder))
    taken(f"{folder}/list.csv", str(folder))


def test_one_below_the_other(folder: Path) -> None:
    taken(str(folder / "part0"), str(folder))
    taken(str(folder), str(folder / "new"))
    taken(f"{folder}/**", str(folder / "not-yet"))
    taken(str(folder), f"{folder}2")
    taken("gs://b/in", str(folder))
    (folder / "new" / f"{SHARD}.tar").write_bytes(b"")
    (folder / "new" / "README.md").write_text("")
    taken(str(folder), str(folder / "new"))


@pytest.mark.parametrize("name", ["a.JPG", "a.tar", "b/a.png", "list.csv", "_tmp/a.jpg"])
def test_an_output_with_images_inside_the_input(folder: Path, name: str) -> None:
    path = folder / "new" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(picture(1))
    assert f"holds {name}, which would be passed by" in refused(str(folder), str(folder / "new"))
    taken(str(folder / "part0"), str(folder / "new"))


def test_an_object_store() -> None:
    for given in ("mem://b/x", "mem://b/x/", "mem://b/x/*", f"mem://b/x/{SHARD}.tar"):
        assert "shards" in refused(given, "mem://b/x/")
    taken("mem://b/x2", "mem://b/x")
    taken("mem://b/x/y", "mem://b/x")
