"""CSV and JSON lines: dialects, types, and rows that do not fit."""

from __future__ import annotations

import gzip
import json
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tables import rows, types_of, values

from beam_export.metadata.schema import ColumnTypes
from beam_export.sources.tables.formats import BadRow


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1", "", "-2"], [1, None, -2]),
        (["1", "2.5", "1e3"], [1.0, 2.5, 1000.0]),
        (["true", "False", ""], [True, False, None]),
        (["true", "1"], ["true", "1"]),
        (["1", "x"], ["1", "x"]),
        (["007", "8"], ["007", "8"]),
        (["1.", ".5"], [1.0, 0.5]),
        (["9223372036854775807"], [2**63 - 1]),
        (["9007199254740993", "1"], [2**53 + 1, 1]),
        (["9007199254740993", "0.5"], ["9007199254740993", "0.5"]),
        (["0.5", "-9007199254740993"], ["0.5", "-9007199254740993"]),
        (["9007199254740992", "1e18", "1000000000000000000"], [2.0**53, 1e18, 1e18]),
        (["9007199254740993", "NaN"], [2**53 + 1, None]),
        (["9223372036854775808"], ["9223372036854775808"]),
        (["1e5x", "2"], ["1e5x", "2"]),
        (["2024-05-06"], ["2024-05-06"]),
        (["", ""], [None, None]),
        (["inf", "-inf", "1"], [math.inf, -math.inf, 1.0]),
        (["null", "NA"], ["null", "NA"]),
        (["NA", "1"], [None, 1]),
        (["0.5", "NA", "0.7"], [0.5, None, 0.7]),
        (["1", "nan"], [1, None]),
        (["1.5", "NaN", "-nan"], [1.5, None, None]),
        (["#N/A", "2", "N/A", "n/a", "NULL", "null", "None", "<NA>"], [None, 2, *[None] * 6]),
        (["1.#IND", "3"], [None, 3]),
        (["true", "NA"], [True, None]),
        (["NA", "US", "DE"], ["NA", "US", "DE"]),
        (["NA", "1", "x"], ["NA", "1", "x"]),
        (["none", "1"], ["none", "1"]),
        (["", "NA"], [None, "NA"]),
        (["1 ", "2"], [1, 2]),
        ([" 0.5", "0.7 ", "\t1"], [0.5, 0.7, 1.0]),
        ([" NA", "1"], [None, 1]),
        (["0.5", " N/A ", "  "], [0.5, None, None]),
        ([" true", "False "], [True, False]),
        ([" x", "1 "], [" x", "1 "]),
        ([" 007", "8"], [" 007", "8"]),
        (["  ", " NA"], ["  ", " NA"]),
        (["１"], ["１"]),
    ],
)
def test_types_of_a_csv_column_follow_from_all_of_its_values(
    texts: list[str], expected: list[Any]
) -> None:
    data = "\n".join(["a,b", *(f"{text},x" for text in texts)]).encode()
    found = [row["a"] for row in values(data, "t.csv")]
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


def test_the_type_of_a_csv_column_is_that_of_all_files_in_any_order() -> None:
    whole, text = (b"n\n7\n", "a.csv"), (b"n\nx\n", "b.csv")
    for files in ([whole, text], [text, whole]):
        assert values(*whole, types_of(*files)) == [{"n": "7"}]
    assert values(*whole, types_of(whole, (b"n\n0.5\n", "c.csv"))) == [{"n": 7.0}]


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), min_size=1),
    st.lists(st.floats(allow_nan=False) | st.none(), min_size=1),
)
def test_numbers_come_back_from_csv(ints: list[int | None], floats: list[float | None]) -> None:
    for numbers, kind in ((ints, int), (floats, float)):
        lines = ["n,x", *("," if one is None else f"{one!r}," for one in numbers)]
        found = [row["n"] for row in values("\n".join(lines).encode(), "t.csv")]
        assert found == numbers
        assert {type(one) for one in found} <= {kind, type(None)}


@pytest.mark.parametrize("digits", [str(2**63), str(-(2**63) - 1), str(10**25), "9" * 5000])
def test_integers_beyond_64_bits_keep_their_digits_as_text(digits: str) -> None:
    given = [digits, "7"]
    assert [row["n"] for row in values("\n".join(["n", *given]).encode(), "t.csv")] == given


#: Zeros in a few bytes of text look like UTF-16, which is refused.
LETTERS = st.characters(exclude_categories=("Cs",), exclude_characters="\0")


@given(st.lists(st.lists(st.text(LETTERS, max_size=5), min_size=2, max_size=2), max_size=5))
def test_text_comes_back_from_csv(lines: list[list[str]]) -> None:
    quoted = [",".join('"' + one.replace('"', '""') + '"' for one in line) for line in lines]
    data = "\r\n".join(["a,b", "x,y", *quoted]).encode("utf-8", "replace")
    found = [list(row.values()) for row in values(data, "t.csv")][1:]
    expected = [[one.encode("utf-8", "replace").decode() or None for one in line] for line in lines]
    assert found == expected


def test_dialects_of_csv() -> None:
    assert values(b"a;b\n1,5;2\n", "t.csv") == [{"a": "1,5", "b": 2}]
    assert values(b"a\tb\n1,5\t2\n", "t.tsv") == [{"a": "1,5", "b": 2}]
    assert values(b"\xef\xbb\xbfa , b\r\n\r\n1,2\r\n", "t.CSV") == [{"a": 1, "b": 2}]
    assert values(b",b\nx,y", "t.csv") == [{"column_1": "x", "b": "y"}]
    assert values(b'a,b\n"x\ny","z"\n', "t.csv") == [{"a": "x\ny", "b": "z"}]
    assert values(gzip.compress(b"a\n1\n", mtime=0), "t.csv.gz") == [{"a": 1}]
    assert values(b"a,b\na few letters,and a \0 of a C program\n", "t.csv") == [
        {"a": "a few letters", "b": "and a \0 of a C program"}
    ]
    assert values(b"", "t.csv") == values(b"a,b\n", "t.csv") == []


@pytest.mark.parametrize(
    "before", [b"\n", b"\r\n\r\n", b"   \n", b",,\n", b";;\n \n", b"\xef\xbb\xbf\n", b"\t\n\n"]
)
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz"])
def test_lines_before_the_header_that_hold_nothing_are_none(before: bytes, name: str) -> None:
    tab = b"\t" if name == "t.tsv" else b","
    data = before + tab.join([b"a", b"b"]) + b"\n" + tab.join([b"1", b"x"]) + b"\n   \n\n"
    data = gzip.compress(data, mtime=0) if name.endswith("gz") else data
    assert values(data, name) == [{"a": 1, "b": "x"}]


def test_a_value_of_spaces_alone_in_the_only_column_stays() -> None:
    assert values(b"a\nx\n  \n", "t.csv") == [{"a": "x"}, {"a": "  "}]


def test_a_row_that_does_not_fit_is_told_and_the_next_one_is_read() -> None:
    found = rows(b"a,b\n1\n2,3\n4,5,6\n", "t.csv")
    assert found[1] == (1, {"a": 2, "b": 3})
    assert [row.number for row in found if isinstance(row, BadRow)] == [0, 2]
    assert found[0].reason == "it has 1 value where 2 columns are named"


def test_json_lines() -> None:
    data = '\ufeff{"a": 1}\n\n{"a": null, "b": [1.5]}\nnonsense\n[1]\n{"a": 1'.encode()
    found = rows(data, "t.jsonl")
    assert found[:2] == [(0, {"a": 1}), (1, {"a": None, "b": [1.5]})]
    assert [row.number for row in found[2:]] == [2, 3, 4]
    assert "not valid JSON" in found[2].reason
    assert "list" in found[3].reason


@given(st.data())
def test_types_of_json_lines_do_not_depend_on_their_order(data: st.DataObject) -> None:
    pool = [{"n": 1}, {"n": 1.5}, {"n": None}, {}, {"l": [1, None]}, {"l": []}, {"l": [0.5]}]
    picked = data.draw(st.permutations(pool))
    cut = data.draw(st.integers(0, len(picked)))
    types = ColumnTypes()
    for part in (picked[:cut], picked[cut:]):
        lines = "\n".join(map(json.dumps, part)).encode()
        for row in values(lines, "t.jsonl"):
            types.add(row, "t.jsonl")
    assert types.finish() == pa.schema([("l", pa.list_(pa.float64())), ("n", pa.float64())])
