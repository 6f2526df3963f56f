from __future__ import annotations

import shutil
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given
from support.listings import chosen, listed, make, only_images, relatives

from beam_export.errors import InputError
from beam_export.sources import listing_parts
from beam_export.sources.entries import Listed
from beam_export.sources.listing_parts import Part, divide, list_part
from beam_export.sources.patterns import parse_inputs


def parts_of(folder: Path, exclude: str = "") -> list[Part]:
    (pattern,) = parse_inputs(str(folder))
    return divide(pattern, exclude)


def places(part: Part, exclude: str = "") -> list[tuple[int, str]]:
    items = list_part(part, exclude)
    return [(at, item.relative) for at, item in items if isinstance(item, Listed)]


def test_folders_are_parts_and_what_lies_between_them_is_the_trunks(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b/1.jpg", "b/2.jpg", "c.jpg", "d/1.jpg", "e.jpg")
    trunk, b, d = parts_of(tmp_path)
    assert trunk.apart == ("b", "d")
    assert places(trunk) == [(0, "a.jpg"), (2, "c.jpg"), (4, "e.jpg")]
    assert places(b) == [(1, "b/1.jpg"), (1, "b/2.jpg")]
    assert places(d) == [(3, "d/1.jpg")]


def test_a_folder_that_sorts_before_a_file_of_its_beginning_does_so_in_parts(
    tmp_path: Path,
) -> None:
    make(tmp_path, "a-.jpg", "a/1.jpg", "a.jpg", "a0.jpg")
    assert only_images(tmp_path) == ["a-.jpg", "a.jpg", "a/1.jpg", "a0.jpg"]
    trunk, _ = parts_of(tmp_path)
    assert places(trunk) == [(0, "a-.jpg"), (0, "a.jpg"), (2, "a0.jpg")]


def test_deeper_folders_are_parts_where_the_upper_are_few(tmp_path: Path) -> None:
    make(tmp_path, "train/x.jpg", *(f"train/{n:02d}/y/z/1.jpg" for n in range(33)), "val/1.jpg")
    trunk, *parts = parts_of(tmp_path)
    # A folder that has none in it stays one part.
    assert trunk.apart == (*(f"train/{n:02d}" for n in range(33)), "val")
    assert [one.relative for part in parts for one in part.folders] == list(trunk.apart)
    assert places(trunk) == [(66, "train/x.jpg")]


def test_of_many_folders_each_part_has_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, *(f"{n}/1.jpg" for n in range(9)))
    monkeypatch.setattr(listing_parts, "_MOST_PARTS", 4)
    _, *parts = parts_of(tmp_path)
    assert [len(part.folders) for part in parts] == [3, 3, 3]
    assert len(only_images(tmp_path)) == 9


def test_folders_of_a_part_are_one_segment_but_where_the_trunk_has_something_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, *(f"{n}/1.jpg" for n in range(8)), "2.jpg", "5/_x/1.jpg", "6_/.h/1.jpg")
    monkeypatch.setattr(listing_parts, "_MOST_PARTS", 2)
    trunk, first, second = parts_of(tmp_path)
    # `2.jpg` comes before `2/1.jpg`.
    assert places(trunk) == [(2, "2.jpg")]
    assert [at for at, _ in places(first)] == [1, 1, 3, 3, 3]
    assert [at for at, _ in places(second)] == [5, 5, 5, 5]
    # What comes meanwhile is listed too.
    make(tmp_path, "3.jpg")
    assert places(trunk) == [(2, "2.jpg"), (4, "3.jpg")]
    assert len(relatives(listed(tmp_path))) == 11


@pytest.mark.parametrize("name", ["_meta/x.json", ".hidden/1.jpg", "@eaDir/1.jpg", "out/x.jpg"])
def test_what_says_of_others_is_hidden_or_the_output_is_no_part(tmp_path: Path, name: str) -> None:
    make(tmp_path, name, "a/1.jpg")
    (trunk, _) = parts_of(tmp_path, str(tmp_path / "out"))
    assert trunk.apart == ("a",)
    listed(tmp_path, str(tmp_path / "out"))


def test_only_folders_that_a_pattern_enters_are_parts(tmp_path: Path) -> None:
    make(tmp_path, "a/x/1.jpg", "a/y/1.jpg", "b/x/1.jpg", "c/1.jpg")
    trunk, *_ = parts_of(tmp_path / "[ab]/x/*.jpg")
    assert trunk.apart == ("a/x", "b/x")
    assert only_images(tmp_path / "[ab]/x/*.jpg") == ["a/x/1.jpg", "b/x/1.jpg"]


def test_links_in_a_circle_end_in_parts_too(tmp_path: Path) -> None:
    make(tmp_path, "a/1.jpg", "b/1.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "c").symlink_to(tmp_path / "b")
    assert len(parts_of(tmp_path)) > 1
    assert [item.kind for item in chosen(tmp_path) if not isinstance(item, Listed)]


def test_a_folder_that_comes_or_goes_meanwhile_is_listed_or_said(tmp_path: Path) -> None:
    make(tmp_path, "a/1.jpg", "b/1.jpg", "d/1.jpg")
    trunk, a, b, d = parts_of(tmp_path)
    shutil.rmtree(tmp_path / "b")
    make(tmp_path, "c/1.jpg")
    assert places(trunk) == [(2, "c/1.jpg")]
    ((segment, failure),) = list_part(b, "")
    assert segment == 3
    assert "the directory cannot be listed" in failure.message  # type: ignore[union-attr]
    assert places(a) + places(d) == [(1, "a/1.jpg"), (5, "d/1.jpg")]


def test_a_root_that_goes_meanwhile_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, "in/a/1.jpg")
    trunk, a = parts_of(tmp_path / "in")
    shutil.rmtree(tmp_path / "in")
    assert list(list_part(a, "")) == []
    with pytest.raises(InputError, match="there is no"):
        list(list_part(trunk, ""))


@pytest.mark.parametrize("given_input", ["a.jpg", "nothing", "gs://bucket/folder", "flat"])
def test_what_has_no_folders_is_one_part(tmp_path: Path, given_input: str) -> None:
    make(tmp_path, "a.jpg", "flat/1.jpg", "flat/2.jpg")
    given_input = given_input if ":" in given_input else str(tmp_path / given_input)
    (pattern,) = parse_inputs(given_input)
    assert divide(pattern, "") == [Part(pattern)]


_NAMES = st.sampled_from(
    [*("a", "a.b", "b", "é", "a-", "_x", ".h", "x.tar"), *("1.jpg", "1.txt", "2.b.png", "r.csv")]
)


@given(paths=st.lists(st.lists(_NAMES, min_size=1, max_size=4), min_size=1, max_size=12))
def test_parts_of_any_tree_give_what_the_whole_gives(
    paths: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    for number, path in enumerate(paths):
        # A folder is never called as a file is.
        make(folder, "/".join([*(f"{part}d" for part in path[:-1]), f"{number}{path[-1]}"]))
    chosen(folder)
    chosen(folder, "files")
