from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from beam_export.errors import InputError
from beam_export.options import ExportOptions
from beam_export.sources.tables.refs import resolve
from beam_export.storage.home import expand_given, expand_home


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("HOME", "/home/me/")
    monkeypatch.chdir(tmp_path)
    return "/home/me"


@pytest.mark.parametrize(
    ("given", "expanded"),
    [
        ("~", "/home/me"),
        ("~/", "/home/me/"),
        ("~/a/~/b", "/home/me/a/~/b"),
        ("~x/a", "~x/a"),
        ("a/~", "a/~"),
        ("./~/a", "./~/a"),
        ("gs://b/~/a", "gs://b/~/a"),
        ("", ""),
    ],
)
def test_home_stands_at_the_beginning_alone(given: str, expanded: str) -> None:
    assert expand_home(given) == expanded
    assert expand_given(given) == expanded


@pytest.mark.parametrize(
    ("given", "expanded"),
    [
        ("~/a,~/b", "/home/me/a,/home/me/b"),
        ("a,~/b, ~/c", "a,/home/me/b, /home/me/c"),
        ("~,b~", "/home/me,b~"),
    ],
)
def test_each_path_of_a_list_has_its_own(given: str, expanded: str) -> None:
    assert expand_given(given) == expanded


@pytest.mark.parametrize("name", ["~", "~/a", "~/a,b", "x,~/a"])
def test_a_name_that_exists_is_meant_as_such(name: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).mkdir()
    assert expand_given(name) == name


def test_without_a_home_directory_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(InputError, match="set HOME"):
        expand_home("~/a")


def test_nothing_is_written_below_a_directory_of_that_name() -> None:
    Path("~/out").mkdir(parents=True)
    assert ExportOptions(output_dir="~/out").output_dir == "/home/me/out"
    assert ExportOptions(output_dir="out", ids="~/out").ids == "~/out"


@pytest.mark.parametrize("given", ["~nobody/out", "~nobody", "~root/a/b", "~-/x", "~+"])
def test_the_home_of_another_user_is_no_place_to_write_to(given: str) -> None:
    first = given.partition("/")[0]
    with pytest.raises(InputError, match=re.escape(f"{given!r} begins with {first}, which only")):
        ExportOptions(output_dir=given)
    # By its own name it is meant, as what is there is.
    assert ExportOptions(output_dir=f"./{given}").output_dir == f"./{given}"
    Path(first).mkdir()
    assert ExportOptions(output_dir=given).output_dir == given


def test_paths_may_be_path_objects() -> None:
    options = ExportOptions(output_dir=Path("~/a") / "b", metadata=Path("/x/m.csv"))  # type: ignore[arg-type]
    assert (options.output_dir, options.metadata) == ("/home/me/a/b", "/x/m.csv")


def test_paths_in_local_tables_have_it_too(tmp_path: Path) -> None:
    table = str(tmp_path / "t.csv")
    assert resolve("~/x.jpg", table) == "/home/me/x.jpg"
    assert resolve("~/x.jpg", "gs://b/t.csv") == "gs://b/~/x.jpg"
    (tmp_path / "~").mkdir()
    (tmp_path / "~/x.jpg").touch()
    assert resolve("~/x.jpg", table) == str(tmp_path / "~/x.jpg")
