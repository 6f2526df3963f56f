"""The error where no sample is left to plan."""

from __future__ import annotations

import pytest

from beam_export.planning.empty_plan import describe_skipped, nothing_to_plan
from beam_export.samples import MISSING_CODEC, SOURCE_CHANGED, Failure


def lost(number: int, error: str) -> Failure:
    return Failure(f"a{number}", f"/in/a{number}.jpg", "list", error, f"it is {error}")


def test_the_most_common_reasons_are_told_with_an_example_each() -> None:
    errors = ["B"] * 3 + ["C"] * 2 + ["A"] * 3 + ["D", "E", "F", "G"]
    failures = [lost(number, error) for number, error in enumerate(errors)]
    said = nothing_to_plan(failures, False, output=None, hash_="0" * 12).sentence
    assert said == (
        "the input holds no image that can be exported: 12 failed, 3 with A (the first, "
        "/in/a5.jpg: it is A), 3 with B (the first, /in/a0.jpg: it is B), 2 with C (the first, "
        "/in/a3.jpg: it is C), 1 with D (/in/a8.jpg: it is D), 1 with E (/in/a9.jpg: it is E), "
        "2 for 2 further reasons: mend them, or give another input."
    )


@pytest.mark.parametrize(
    ("errors", "remedy"),
    [
        ([MISSING_CODEC] * 2, "install what reads them where the workers run"),
        ([SOURCE_CHANGED], "run again, when nobody writes to the sources"),
        ([MISSING_CODEC, "A"], "mend them, or give another input"),
    ],
)
def test_what_helps_all_is_said(errors: list[str], remedy: str) -> None:
    failures = [lost(number, error) for number, error in enumerate(errors)]
    said = nothing_to_plan(failures, False, output=None, hash_="0" * 12).sentence
    assert said.endswith(f": {remedy}.")


def test_samples_that_were_left_out_are_spoken_of() -> None:
    said = nothing_to_plan([lost(1, "A")], True, output=None, hash_="0" * 12).sentence
    assert "1 failed, 1 with A (/in/a1.jpg: it is A); --filter, --ids" in said
    assert "ask for less" in nothing_to_plan([], True, output=None, hash_="0" * 12).sentence
    assert "failed" not in nothing_to_plan([], False, output=None, hash_="0" * 12).sentence


def empty(*skipped: str) -> str:
    return nothing_to_plan([], False, output=None, hash_="0" * 12, skipped=skipped).sentence


@pytest.mark.parametrize(
    ("kinds", "there", "advice"),
    [
        ([".jxl"] * 3, "3 .jxl", "convert them first, as JPEG or PNG"),
        ([".psd", ".txt", ".txt"], "2 .txt, 1 .psd", "convert them first"),
        ([".zip"], "1 .zip", "unpack them first"),
        ([".7z", ".rar"], "1 .7z, 1 .rar", "unpack them first"),
        ([".json"], "1 .json", "write it as .jsonl"),
        ([".cr2"], "1 .cr2", "developed first"),
        ([".mp4"], "1 .mp4", "take frames"),
        ([".xlsx"], "1 .xlsx", "write the table as .parquet, .csv or .jsonl"),
        (["(hidden)"] * 2, "2 (hidden)", "name a hidden file or directory outright"),
        (["(socket)"], "1 (socket)", "give regular files"),
        (["(an export)"], "1 (an export)", "name the directory of an export outright"),
        (
            ["(link to a directory above itself)"],
            "1 (link to a directory above itself)",
            "leads to",
        ),
        ([".tar", ".csv", ".csv"], "2 .csv, 1 .tar", "a directory that begins with _"),
        ([".jpg", ".png", ".png"], "2 .png, 1 .jpg", "leave --input_format out"),
        ([".md", "(no suffix)"], "1 (no suffix), 1 .md", "give a directory, a file or a pattern"),
    ],
)
def test_what_is_there_is_said_and_what_to_do(kinds: list[str], there: str, advice: str) -> None:
    sentence = empty(*kinds)
    assert sentence.startswith(f"the input holds no image that can be exported, only {there}: ")
    assert advice in sentence


def test_each_kind_that_can_be_helped_has_its_advice_and_what_is_hidden_comes_last() -> None:
    said = empty(*["(hidden)"] * 9, ".zip", ".rar", ".md", ".jxl", ".jxl")
    assert said.partition(": ")[2] == (
        "of .jxl, convert them first, as JPEG or PNG; of .rar and .zip, unpack them first, and "
        "give the directory; of archives only tars are read; of (hidden), name a hidden file or "
        "directory outright, if it is meant."
    )
    # More of them would be a page.
    assert "xlsx" not in empty(*[".zip"] * 4, *[".jxl"] * 3, *[".mp4"] * 2, ".xlsx").split(": ")[1]


def test_an_empty_directory_is_said_to_be() -> None:
    assert "exported, since it is empty: give a directory" in empty()


def test_beside_failures_it_is_said_too() -> None:
    said = nothing_to_plan(
        [lost(1, "A")], False, output=None, hash_="0" * 12, skipped=[".txt", ".jxl", ".txt"]
    ).sentence
    assert "(/in/a1.jpg: it is A); 2 .txt, 1 .jxl were passed by: mend them" in said


def test_kinds_are_told_by_their_number() -> None:
    assert describe_skipped({}) == ""
    assert describe_skipped({".b": 1, ".a": 1, ".c": 10}) == "10 .c, 1 .a, 1 .b"
