"""The pages say what is so: flags, columns, links, names of files, parts that the code cites."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pyarrow as pa
import pytest
from support.exports import ROOT
from support.pages import flag_rows

from beam_export.cli.flags import ReportCommand, VerifyCommand, export_flags
from beam_export.declaration import Option, declared
from beam_export.metadata.schema import STRUCTURAL
from beam_export.shards.parquet import FAILURES

PAGES = sorted(
    page
    for folder in ("", "docs", "docs/decisions", "docs/tasks", "templates", "benchmarks")
    for page in (ROOT / folder).glob("*.md")
)
FORMAT = (ROOT / "docs" / "format.md").read_text()
EXPORT_TABLE, VERIFY_TABLE = FORMAT.split("\nFlags of `verify`")
ROWS = flag_rows(EXPORT_TABLE)
VERIFY_TABLE, REPORT_TABLE = VERIFY_TABLE.split("\nFlags of `report`")
OTHER_ROWS = {
    VerifyCommand: flag_rows(VERIFY_TABLE),
    ReportCommand: flag_rows(REPORT_TABLE),
}
FLAGS = export_flags()
OTHER_FLAGS = [(kind, one) for kind in OTHER_ROWS for one in declared(kind).values()]

#: What names a file of the repository, and no file of a user's.
_FILE = re.compile(r"`([\w.-]+(?:/[\w.-]+)+\.(?:py|md|json|toml|sh|yaml|yml|xml))\b")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def test_the_contract_has_a_row_for_every_flag_and_no_other() -> None:
    assert set(ROWS) == {one.name for one in FLAGS}
    for kind, rows in OTHER_ROWS.items():
        assert set(rows) == set(declared(kind))


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_a_row_of_the_contract_says_default_and_choices(flag: Option) -> None:
    check_row(flag, *ROWS[flag.name])


@pytest.mark.parametrize(
    ("kind", "flag"), OTHER_FLAGS, ids=[f"{kind.__name__}-{one.name}" for kind, one in OTHER_FLAGS]
)
def test_a_row_of_another_command_says_the_default(kind: type, flag: Option) -> None:
    default, _ = OTHER_ROWS[kind][flag.name]
    assert default == ("none" if flag.default_text is None else flag.default_text)


def check_row(flag: Option, default: str, row: str) -> None:
    if flag.required:
        assert default == "required"
    else:
        assert default == ("none" if flag.default_text is None else flag.default_text)
    assert not [word for word in flag.choices if f"`{word}`" not in row]


def rows_of_part(number: str) -> list[list[str]]:
    """Returns the cells of the rows of a part's tables, without the marks of code."""
    part = re.split(r"^##+ ", FORMAT.split(f"\n### {number} ")[1], flags=re.MULTILINE)[0]
    lines = re.findall(r"^\| `.*$", part, re.MULTILINE)
    return [[cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in lines]


def test_the_columns_of_the_contract_are_those_of_a_shard() -> None:
    named = [(name, kind) for name, kind, _ in rows_of_part("4.2")]
    assert named == [(field.name, str(field.type)) for field in STRUCTURAL]


def test_the_columns_of_failures_stand_in_the_contract() -> None:
    part = FORMAT.split("\n### 4.3 ")[1].split("\n### ")[0]
    assert [name for name in schema_names(FAILURES) if f"`{name}`" not in part] == []


def schema_names(schema: pa.Schema) -> list[str]:
    return list(schema.names)


def test_every_part_of_the_contract_that_is_cited_is_there() -> None:
    there = set(re.findall(r"^##+ ([0-9.]+?)\.? ", FORMAT, re.MULTILINE))
    for path in [*(ROOT / "beam_export").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        for cited in re.findall(r"format\.md,\s+part ([0-9]+(?:\.[0-9]+)?)", path.read_text()):
            assert cited in there, f"{path}: part {cited}"


def test_the_picture_of_the_rooms_has_the_layers_that_import_linter_holds() -> None:
    """Each layer is a line of the picture, from the top down."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = [one for one in config["contracts"] if one["id"] == "layers"]
    page = (ROOT / "docs" / "architecture.md").read_text()
    picture = page.split("\n## The rooms\n")[1].split("```")[1]
    rooms = [re.findall(r"\w+", line) for line in picture.splitlines()]
    layers = [layer.split(" | ") for layer in contract["layers"]]
    found = [next(at for at, line in enumerate(rooms) if line[: len(one)] == one) for one in layers]
    assert found == sorted(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_names_of_files_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    links = [link for link in _LINK.findall(text) if ":" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    named = [name for name in _FILE.findall(text) if not is_users(name)]
    assert [name for name in named if not is_there(page, name)] == []


def is_users(name: str) -> bool:
    """Returns whether a name is of a user's files: its first folder is none of the repository's."""
    first = name.split("/")[0]
    return not any((ROOT / folder / first).is_dir() for folder in ("", "beam_export", "docs"))


def is_there(page: Path, name: str) -> bool:
    return any((folder / name).is_file() for folder in (ROOT, ROOT / "beam_export", page.parent))


def test_the_glossary_names_what_the_code_has() -> None:
    words = (ROOT / "CONTRIBUTING.md").read_text().split("\n## Words\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in words.splitlines() if line.startswith("| ")]
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    code = "\n".join(path.read_text() for path in (ROOT / "beam_export").rglob("*.py"))
    assert names
    assert {name for name in names if not re.search(rf"\b{name}\b", code)} == set()
