"""Local files, written: what stands in the way stays, and no link below the output is followed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from beam_export.storage.base import InTheWayError, WriteCondition
from beam_export.storage.local_writer import LocalWriter


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("mine")
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def publish(out: Path, name: str, temporary: str = "_tmp/t/x") -> None:
    with LocalWriter(str(out)).publish(
        f"{out}/{name}", f"{out}/{temporary}", WriteCondition("")
    ) as target:
        target.write(b"ours")


def create(out: Path, name: str) -> None:
    with LocalWriter(str(out)).create(f"{out}/{name}") as target:
        target.write(b"ours")


def thesis(out: Path) -> str:
    return (out.parent / "home" / "thesis.txt").read_text()


def test_a_file_is_made_only_where_nothing_stands(out: Path) -> None:
    (out / "x").write_text("mine")
    (out / "link").symlink_to("../home/thesis.txt")
    (out / "dangling").symlink_to("../home/new.txt")
    for name in ("x", "link", "dangling"):
        with pytest.raises(FileExistsError):
            create(out, name)
        with pytest.raises(FileExistsError):
            publish(out, "y", name)
    assert (out / "x").read_text() == thesis(out) == "mine"
    assert os.listdir(out.parent / "home") == ["thesis.txt"]
    assert sorted(os.listdir(out)) == ["dangling", "link", "x"]


@pytest.mark.parametrize("kind", ["symbolic link", "directory", "special file"])
def test_only_a_plain_file_is_replaced_or_removed(out: Path, kind: str) -> None:
    path = out / "x"
    if kind == "symbolic link":
        path.symlink_to("../home/thesis.txt")
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    before = path.lstat().st_ino
    target = LocalWriter(str(out))
    assert target.kind(str(path)) == kind
    assert [(one.name, one.kind) for one in target.entries(str(out))] == [("x", kind)]
    with pytest.raises(InTheWayError, match=f"a {kind} stands in its place") as caught:
        publish(out, "x")
    assert caught.value.filename == str(path)
    assert caught.value.kind == kind
    target.delete([str(path)])
    with pytest.raises(InTheWayError):
        target.open_plain(str(path))
    assert path.lstat().st_ino == before
    assert os.listdir(out / "_tmp" / "t") == []
    assert thesis(out) == "mine"


def test_a_hard_link_is_replaced_and_what_it_shares_stays(out: Path) -> None:
    os.link(out.parent / "home" / "thesis.txt", out / "x")
    publish(out, "x")
    assert (out / "x").read_text() == "ours"
    assert thesis(out) == "mine"


@pytest.mark.parametrize("kind", ["symbolic link", "file"])
def test_no_directory_below_the_root_is_anything_else(out: Path, kind: str) -> None:
    if kind == "file":
        (out / "_tmp").write_text("mine")
    else:
        (out / "_tmp").symlink_to("../home")
    (out / "x").write_text("old")
    target = LocalWriter(str(out))
    for write in (lambda: create(out, "_tmp/x"), lambda: publish(out, "x"), lambda: make(target)):
        with pytest.raises(InTheWayError, match=kind):
            write()
    with pytest.raises(InTheWayError):
        publish(out, "_tmp/x", "other")
    target.delete([f"{out}/_tmp/thesis.txt"])
    target.remove_if_empty(f"{out}/_tmp")
    assert target.entries(f"{out}/_tmp") == []
    assert target.kind(f"{out}/_tmp/thesis.txt") == ""
    assert os.listdir(out.parent / "home") == ["thesis.txt"]
    assert sorted(os.listdir(out)) == ["_tmp", "x"]
    assert thesis(out) == "mine"


def make(target: LocalWriter) -> None:
    target.make_folder(f"{target._root}/_tmp")


def test_the_root_may_be_a_link_and_is_made_with_what_it_lies_in(out: Path) -> None:
    link = out.parent / "link"
    link.symlink_to("out")
    publish(link, "x")
    assert (out / "x").read_text() == "ours"
    assert LocalWriter(str(link)).make_root() == []
    deep = out / "a" / "b" / "c"
    target = LocalWriter(str(deep))
    assert target.make_root() == [str(deep), str(out / "a" / "b"), str(out / "a")]
    assert target.make_folder(f"{deep}/_tmp")
    assert not target.make_folder(f"{deep}/_tmp")
    target.remove_if_empty(str(deep))
    assert deep.exists()
    target.remove_if_empty(f"{deep}/_tmp")
    target.remove_if_empty(str(deep))
    assert not deep.exists()
    with pytest.raises(NotADirectoryError):
        LocalWriter(str(out / "x")).make_root()


def test_a_relative_root(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(out)
    target = LocalWriter("new")
    assert target.make_root() == ["new"]
    publish(Path("new"), "x")
    assert (out / "new" / "x").read_text() == "ours"
    target.delete(["new/x"])
    target.remove_if_empty("new/_tmp/t")
    target.remove_if_empty("new/_tmp")
    target.remove_if_empty("new")
    assert os.listdir(out) == []
