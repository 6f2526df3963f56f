"""What the console says of tables and lists of ids."""

from __future__ import annotations

from typing import Any

import pytest

from beam_export.cli import display
from beam_export.cli.joins import join_lines

JOIN: dict[str, Any] = {
    "step": "join",
    "table": "s.csv",
    "key": "image_id",
    "rows": 10,
    "samples_matched": 7,
    "samples_unmatched": 2,
    "samples_unmatched_examples": ["x", "y"],
    "rows_unmatched": 3,
    "rows_unmatched_examples": ["z" * 300],
}
IDS = {"step": "keep ids", "file": "i.txt", "ids": 5, "ids_unmatched": 0, "dropped": 4}


def test_a_table_says_what_matched_and_names_one_of_each_that_did_not() -> None:
    (line,) = join_lines([{"step": "read"}, JOIN])
    assert line.startswith("  --metadata=s.csv: 7 of 9 samples have a row ('x' has none); 7 of 10 ")
    assert "rows have a sample ('zzz" in line
    assert len(line) < 250
    whole = {**JOIN, "samples_unmatched": 0, "rows_unmatched": 0}
    del whole["samples_unmatched_examples"], whole["rows_unmatched_examples"]
    assert (
        list(join_lines([whole, whole]))
        == ["  --metadata=s.csv: 7 of 7 samples have a row; 10 of 10 rows have a sample"] * 2
    )


def test_a_table_of_a_folder_that_joins_nothing_says_so_by_its_column() -> None:
    step = {**JOIN, "metadata": "auto", "key": "file_name", "samples_matched": 0}
    step["rows_unmatched_examples"] = ["z.jpg"]
    said = "  s.csv lies beside the images, and names none of them by file_name in its 10 rows"
    assert list(join_lines([step])) == [f"{said} ('z.jpg' say): nothing was joined"]
    del step["rows_unmatched_examples"]
    assert list(join_lines([step])) == [f"{said}: nothing was joined"]


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (IDS, "  --ids=i.txt: 0 of 5 ids are of no sample, 4 samples were left out"),
        (
            {**IDS, "ids_unmatched": 2, "ids_unmatched_examples": ["q", "r"]},
            "  --ids=i.txt: 2 of 5 ids are of no sample, such as 'q', 4 samples were left out",
        ),
        (
            {**IDS, "step": "leave out ids"},
            "  --exclude_ids=i.txt: 0 of 5 ids are of no sample, 4 samples were left out",
        ),
    ],
)
def test_ids_that_no_sample_has_are_counted(step: dict[str, Any], line: str) -> None:
    assert list(join_lines([step])) == [line]


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, ""),
        (1, "; 1 row names an image a second time ('a.jpg'): the first row counts"),
        (7, "; 7 rows name an image a second time ('a.jpg' say): the first row counts"),
    ],
)
def test_rows_that_name_an_image_again_are_told(count: int, said: str) -> None:
    step = {**JOIN, "metadata": "auto", "samples_unmatched": 0, "rows_unmatched": 0}
    del step["samples_unmatched_examples"], step["rows_unmatched_examples"]
    again = {"rows_again": count, "rows_again_examples": ["a.jpg", "b.jpg"]} if count else {}
    (line,) = join_lines([{**step, **again}])
    assert line.endswith(f"10 of 10 rows have a sample{said}")


@pytest.mark.parametrize("names", [["nosuch"], ["a*", "b,c"]])
@pytest.mark.parametrize("flag", ["drop_columns", "text_columns"])
def test_a_name_that_no_column_has_is_told(flag: str, names: list[str]) -> None:
    (line,) = join_lines([{"step": "choose columns", "flag": flag, "unknown": names}])
    shown = ", ".join(map(repr, names))
    assert line == f"  --{flag}: there is no column {shown}, in no sample and no table"


@pytest.mark.parametrize(
    ("examples", "hint"), [(["a", "b"], False), (["a", "caf\ufffd"], True), (["\ufffd"], True)]
)
def test_ids_that_are_not_utf_8_say_what_to_do(examples: list[str], hint: bool) -> None:
    (line,) = join_lines([{**IDS, "ids_unmatched": 2, "ids_unmatched_examples": examples}])
    assert ("by --table_encoding" in line) == hint


def test_a_dry_run_says_it_too() -> None:
    counts = ("planned", "planned_shards", "copied", "encoded", "copied_bytes", "encoded_bytes")
    facts = {**dict.fromkeys(counts, 1), "lookups": [JOIN, IDS]}
    lines = display.plan(facts).splitlines()
    assert lines[1:-1] == list(join_lines([JOIN, IDS]))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a"], "its columns 'a' from elsewhere (another table, or their own), which stay: no"),
        (["a", "b"], "its columns 'a', 'b' from elsewhere"),
        (list("abcdefg"), "its columns 'a', 'b', 'c', 'd', 'e' and 2 more from elsewhere"),
    ],
)
def test_columns_that_samples_without_a_row_have_too_are_said(names: list[str], said: str) -> None:
    (line,) = join_lines([{**JOIN, "shared_columns": names}])
    assert said in line
    assert "elsewhere" not in next(join_lines([JOIN]))
