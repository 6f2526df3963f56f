from __future__ import annotations

import os
from pathlib import Path

import pytest

from beam_export.naming import ShardNames
from beam_export.shards.directory import Directory

NAMES = ShardNames("0123456789ab")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "_meta" / "below").mkdir(parents=True)
    for name in (NAMES.tar(1), NAMES.tar(0), NAMES.shards, "notes.txt", "_meta/below/x.txt"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / NAMES.parquet(0)).symlink_to("notes.txt")
    (tmp_path / NAMES.manifest).mkdir()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / NAMES.tar(2)).write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def test_names_of_an_export_are_listed_whatever_has_them(folder: Path) -> None:
    found = Directory(str(folder)).list_files()
    assert list(found) == sorted(found)
    assert {name: file.kind for name, file in found.items()} == {
        NAMES.shards: "file",
        NAMES.tar(0): "file",
        NAMES.tar(1): "file",
        NAMES.parquet(0): "symbolic link",
        NAMES.manifest: "directory",
    }
    assert found[NAMES.tar(0)].size == len(NAMES.tar(0))


def test_all_files_are_listed_but_those_of_other_directories(folder: Path) -> None:
    assert Directory(str(folder)).files() == sorted(
        [NAMES.tar(0), NAMES.tar(1), NAMES.parquet(0), NAMES.shards, "notes.txt", "pipe"]
    )


def test_what_a_name_holds(folder: Path) -> None:
    directory = Directory(f"{folder}/")
    assert directory.path("notes.txt") == f"{folder}/notes.txt"
    kinds = {name: directory.kind(name) for name in ("notes.txt", "below", "pipe", "gone")}
    assert kinds == {"notes.txt": "file", "below": "directory", "pipe": "special file", "gone": ""}
    assert directory.kind("notes.txt/x") == ""
    assert directory.holds("notes.txt", b"notes.txt")
    assert not directory.holds("notes.txt", b"notes_txt")
    assert not directory.holds(NAMES.parquet(0), b"notes.txt")
    assert not directory.holds("gone", b"")


def test_a_snapshot_is_of_the_moment(folder: Path) -> None:
    directory = Directory(str(folder))
    before = directory.snapshot("gone")
    (folder / "gone").write_bytes(b"new")
    assert before.stat is None
    after = directory.snapshot("gone")
    assert after.stat is not None
    assert after.stat.size == 3
    assert directory.exists("gone")
