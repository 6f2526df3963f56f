"""The script that compares two commits: its cases are exports, and it sees what differs."""

from __future__ import annotations

import sys

import pytest
from support.exports import ROOT

from beam_export.cli.flags import parse_export

sys.path.insert(0, str(ROOT))

from benchmarks.robustness import same_bytes

CASES = same_bytes.cases(same_bytes.Inputs(*["in"] * 7))


@pytest.mark.parametrize("case", CASES)
def test_the_flags_of_each_case_are_those_of_an_export(case: str) -> None:
    assert parse_export(["--output_dir=out", *CASES[case]]).input == "in"


def test_what_differs_is_named() -> None:
    before = {"a": "1", "b": "2", "d": "5"}
    after = {"a": "1", "b": "3", "c": "4"}
    assert same_bytes.where_it_differs(before, after) == [
        "b: another content",
        "c: only after",
        "d: only before",
    ]
    assert same_bytes.where_it_differs(before, before) == []
