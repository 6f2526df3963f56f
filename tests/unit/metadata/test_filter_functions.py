from __future__ import annotations

import re
from typing import Any

import pytest
from support.exports import ROOT

from beam_export.errors import InputError
from beam_export.metadata import filter_functions, sql

KNOWN = frozenset().union(*filter_functions.FUNCTIONS.values())


def test_each_function_is_one_of_duckdb_that_tells_the_same_at_any_time() -> None:
    connection: Any = sql.connect()
    rows = connection.execute(
        "SELECT lower(function_name), coalesce(stability, 'CONSISTENT') FROM duckdb_functions() "
        "WHERE function_type IN ('scalar', 'macro')"
    ).fetchall()
    assert {name for name, _ in rows} >= KNOWN
    # Within a query: what reads the time zone, which is UTC.
    assert {stability for name, stability in rows if name in KNOWN} == {
        "CONSISTENT",
        "CONSISTENT_WITHIN_QUERY",
    }
    assert not {name for name, kind in rows if kind == "VOLATILE"} & KNOWN


def test_functions_that_are_treated_apart_are_functions() -> None:
    assert filter_functions.PASSING <= KNOWN
    assert filter_functions.DISTANCES <= KNOWN


def test_documentation_lists_each_function_once() -> None:
    page = (ROOT / "docs" / "filters.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| ([\w ]+) \| (.+) \|$", page, re.MULTILINE)
    listed = {kind: re.findall(r"`([a-z_0-9]+)`", names) for kind, names in table}
    for kind, names in filter_functions.FUNCTIONS.items():
        if kind != "operators":
            assert listed[kind] == sorted(names)


def test_examples_of_the_documentation_are_filters() -> None:
    page = (ROOT / "docs" / "filters.md").read_text(encoding="utf-8")
    examples = re.findall(r'^--filter "(.+)"$', page, re.MULTILINE)
    assert len(examples) == 6
    for text in examples:
        sql.parse_expression(text)


@pytest.mark.parametrize(
    ("pattern", "states"),
    [
        ("", 0),
        ("abc", 3),
        (r"(ab|[^c]{2}){3}x*", 13),
        (r"^\d{4}-\d{2}-\d{2}$", 12),
        ("((a?){30}){30}", 900),
        ("a{2,}b{3,7}", 9),
        (r"[]x]{3}[[:alpha:]]{2}\p{Greek}{4}\x{1F600}", 10),
        (r"\{5\}\Qa{9}\E(", 11),
        ("a)b{2", 5),
    ],
)
def test_states_of_a_pattern(pattern: str, states: int) -> None:
    assert filter_functions._states(pattern) == states


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("a > 1", 0),
        ("sqrt(a) + 1 > 2", 2),
        ("a || b || c = 'x'", 5),
        ("concat(a, b, c) = 'x'", 3),
        ("replace(a, 'x', 'yyyy') = 'x'", 4),
        ("replace(replace(a, 'x', 'yyyy'), 'x', 'yyyy') = 'x'", 20),
        ("lpad(a, 1000, '0') = 'x'", 11),
        ("array_to_string(a, ', ') = 'x'", 3),
        (f"a || '{'x' * 500}' = 'x'", 6),
        ("lower(a || a) = lower(a)", 5),
        ("case when a then lower(b) end = 'x'", 2),
    ],
)
def test_work_follows_what_texts_are_made_of(text: str, cost: int) -> None:
    assert filter_functions.cost(sql.parse_expression(text)["select_list"][0]) == cost


@pytest.mark.parametrize(
    "text",
    [
        "regexp_matches(a, 'x{0,250}')",
        "regexp_replace(a, '(x)', '[\\1]') = 'x'",
        "regexp_extract(a, 'x', 0, 'i') = 'x'",
        "lpad(a, 10000, 'x') = 'x'",
        "strftime(a, '%Y') = 'x'",
        "a like b",
    ],
)
def test_what_is_bounded_is_taken(text: str) -> None:
    sql.parse_expression(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("regexp_matches(a, 'x{0,251}')", "must have a pattern of at most 250 characters"),
        ("regexp_matches(a, 'x', b)", "must have a pattern that is a constant text"),
        ("regexp_matches(a)", "must have a pattern that is a constant text"),
        ("a ~ b", "regexp_matches(), which must have a pattern"),
        ("a similar to b", "regexp_full_match(), which must have a pattern"),
        ("regexp_replace(a, 'x', b) = 'x'", "must have a pattern that is a constant text"),
        ("regexp_replace(a, 'x', '', 'gi') = 'x'", "must do without the option 'g'"),
        ("regexp_replace(a, 'x', '\\0\\0') = 'x'", "must name at most one group"),
        ("rpad(a, 10001, 'x') = 'x'", "must have a constant length of at most 10,000"),
        ("rpad(a) = 'x'", "must have a constant length of at most 10,000"),
        ("strptime(a, b) > c", "must have a constant format"),
        ("replace(a, 'x', b) = 'x'", "must have constants for all but what it works on"),
        ("replace(a) = 'x'", "must have constants for all but what it works on"),
        ("lenth(a) > 1", "lenth(), which filters do not have (length() they have)"),
        ("zzz(a) > 1", "zzz(), which filters do not have: allowed are"),
        ("pg_catalog.abs(a) > 1", "abs(), which must be called by its own name alone"),
        ('"beam_export finite"(a) > 1', "beam_export finite(), which filters do not have"),
    ],
)
def test_what_cannot_be_bounded_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        sql.parse_expression(text)
    assert said in caught.value.sentence
