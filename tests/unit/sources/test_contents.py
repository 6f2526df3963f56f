"""What an input holds, as it is looked at before a pipeline is built."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.listings import make

from beam_export.errors import InputError
from beam_export.sources import contents
from beam_export.sources.contents import Contents, look_at
from beam_export.sources.patterns import parse_inputs


def look(given: object, input_format: str = "auto", exclude: str = "") -> Contents | None:
    return look_at(parse_inputs(str(given)), exclude, input_format)


def test_images_with_sidecars_are_counted_with_their_bytes(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "a.json", "b/c.PNG", "notes.txt")
    found = look(tmp_path)
    assert found is not None
    assert (found.kinds, found.suffixes) == ({"files"}, {"jpg", "png"})
    assert ([one.size for one in found.images], found.bytes) == ([1, 3], 1 + 2 + 3)


@pytest.mark.parametrize(
    ("names", "input_format", "kinds"),
    [
        (("a.jpg", "b.tar", "c.csv"), "auto", {"files", "webdataset"}),
        (("c.csv", "d.parquet"), "auto", {"table", "parquet"}),
        (("a.jpg", "c.csv"), "auto", {"files"}),
        (("a.jpg", "metadata.csv"), "auto", {"files", "folder_table"}),
        (("a.jpg", "metadata.csv"), "webdataset", set()),
        (("metadata.csv",), "auto", {"table"}),
        (("a.jpg", "c.csv"), "table", {"table"}),
        (("a.tar", "a.parquet"), "auto", {"webdataset"}),
        (("a.tar", "a.parquet"), "parquet", {"parquet"}),
        (("notes.txt",), "auto", set()),
    ],
)
def test_kinds_are_those_that_are_read(
    tmp_path: Path, names: tuple[str, ...], input_format: str, kinds: set[str]
) -> None:
    make(tmp_path, *names)
    found = look(tmp_path, input_format)
    assert found is not None
    assert found.kinds == kinds <= contents.ALL_KINDS


def test_all_inputs_are_looked_at_but_the_output(tmp_path: Path) -> None:
    make(tmp_path, "one/a.jpg", "two/b.tar", "two/out/c.csv", "two/out/d.jpg")
    found = look(f"{tmp_path}/one,{tmp_path}/two", exclude=str(tmp_path / "two/out"))
    assert found is not None
    assert (found.kinds, len(found.images)) == ({"files", "webdataset"}, 1)


def test_what_takes_more_than_a_moment_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, *(f"{number}.jpg" for number in range(4)))
    monkeypatch.setattr(contents, "_MOST_ITEMS", 4)
    assert look(tmp_path) is not None
    make(tmp_path, "last.tar")
    assert look(tmp_path) is None
    assert look("gs://bucket/photos") is None


@pytest.mark.parametrize(
    ("names", "pattern", "kinds"),
    [
        (("a.JPG", "b/c.png", "notes.txt"), "", {"files"}),
        (("a.jpg", "b.tar"), "", {"files", "webdataset"}),
        (("b.TAR.GZ",), "", {"webdataset", "table"}),
        (("c.csv", "d.parquet"), "", {"table", "parquet"}),
        (("sub.tar/a.jpg", "e.jsonl.gz"), "/*/*.jpg", {"files", "webdataset", "table"}),
        (("a.jpg", "b.tar"), "/a.jpg", {"files"}),
        (("notes.txt", ".tar", "jpg"), "", {"webdataset"}),
        ((), "", set()),
    ],
)
def test_names_say_which_kinds_there_can_be(
    tmp_path: Path, names: tuple[str, ...], pattern: str, kinds: set[str]
) -> None:
    make(tmp_path, *names)
    assert contents.kinds_by_names(parse_inputs(f"{tmp_path}{pattern}")) == kinds


@pytest.mark.parametrize(
    ("files", "pattern", "held"),
    [
        (["0.jpg"], "", False),
        (["0.jpg", "metadata.csv"], "", True),
        (["0.jpg", "a/b/metadata.parquet"], "", True),
        (["0.jpg", "a/metadata.txt"], "", False),
        (["0.jpg", "a/metadata.jsonl"], "/**/*.jpg", True),
        (["0.jpg", "metadata.csv"], "/0.jpg", True),
        (["0.jpg", "a/metadata.csv"], "/0.jpg", False),
        (["a/0.jpg", "metadata.csv"], "/a/*.jpg", False),
        (["a/0.jpg", "metadata.csv"], "/{a,b}/*.jpg", True),
        (["a/0.jpg", "metadata.csv"], "/{a,b}/0.jpg", True),
        (["a/b/0.jpg", "a/metadata.csv"], "/{a/b,b}", True),
    ],
)
def test_names_say_whether_there_can_be_tables_of_folders(
    tmp_path: Path, files: list[str], pattern: str, held: bool
) -> None:
    make(tmp_path, *files)
    kinds = contents.kinds_by_names(parse_inputs(f"{tmp_path}{pattern}"))
    assert (contents.FOLDER_TABLE in kinds) == held


def test_all_kinds_can_be_where_many_names_or_none_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, *(f"{number}.jpg" for number in range(4)))
    monkeypatch.setattr(contents, "_MOST_NAMES", 4)
    assert contents.kinds_by_names(parse_inputs(str(tmp_path))) == {"files"}
    assert contents.kinds_by_names(parse_inputs(f"{tmp_path},{tmp_path}")) == contents.ALL_KINDS
    assert contents.kinds_by_names(parse_inputs("gs://bucket/photos")) == contents.ALL_KINDS


def test_files_are_many_from_a_number_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, *(f"{number % 3}/{number}.jpg" for number in range(9)))
    monkeypatch.setattr(contents, "_MANY", 5)
    few, all_ = parse_inputs(f"{tmp_path}/0"), parse_inputs(str(tmp_path))
    assert [contents.look_at_names(one).many for one in (few, all_)] == [False, True]
    # More are not looked at.
    monkeypatch.setattr(contents, "_MOST_NAMES", 11)
    assert contents.look_at_names(all_) == contents.Names(contents.ALL_KINDS, many=True)
    assert not contents.look_at_names(parse_inputs("gs://bucket/photos")).many


def test_of_one_large_folder_no_more_names_are_looked_at_than_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, *(f"{number}.jpg" for number in range(9)))
    monkeypatch.setattr(contents, "_NAMES_AT_ONCE", 2)
    monkeypatch.setattr(contents, "_MANY", 5)
    monkeypatch.setattr(contents, "_MOST_NAMES", 7)
    assert contents.look_at_names(parse_inputs(str(tmp_path))) == (contents.ALL_KINDS, True)
    assert look(tmp_path) is not None
    # Its files are not looked at one by one if they are more than can come of use.
    monkeypatch.setattr(contents, "_MOST_IN_FOLDER", 8)
    assert look(tmp_path) is None


def test_a_name_with_brackets_that_is_there_is_no_pattern(tmp_path: Path) -> None:
    make(tmp_path, "[1]/a.jpg", "[2].csv", "b.tar")
    for name, kinds in (("[1]", {"files"}), ("[2].csv", {"table"})):
        assert contents.kinds_by_names(parse_inputs(str(tmp_path / name))) == kinds


@given(st.lists(st.text("ab.TARtgzcsvjpg", min_size=1, max_size=12), max_size=4))
def test_no_kind_is_missed_by_names(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("input")
    make(folder, *(f"{number}{name}" for number, name in enumerate(names)))
    found = look(folder)
    assert found is not None
    assert found.kinds <= contents.kinds_by_names(parse_inputs(str(folder)))


def test_nothing_at_a_path_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no"):
        look(tmp_path / "gone")
