from __future__ import annotations

import datetime
import os
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_export.errors import InputError
from beam_export.metadata.filter import Filter, needs_probe, operand

nan, inf = float("nan"), float("inf")
DAYS = [datetime.datetime(2024, 5, day, tzinfo=datetime.UTC) for day in (1, 2, 3, 4)]
COLUMNS = {
    "score": pa.array([0.1, float("nan"), None, 0.9], pa.float32()),
    "caption": pa.array(["a cat", "dog", None, "it's"]),
    "Tags": pa.array([["a"], [], None, ["b", "c"]]),
    "my col": pa.array([1, 2, 3, 4]),
    "half": pa.array([1.5, 2.5, None, 1.0], pa.float16()),
    "big": pa.array([1, 2, 3, 4], pa.decimal256(50, 2)),
    "day": pa.array(DAYS, pa.timestamp("us", "UTC")),
    "nothing": pa.nulls(4),
    "meta": pa.array([{"x": 1}, {"x": 2}, None, {"x": 3}]),
    "split": pa.array(["train", "val", "train", "test"]).dictionary_encode(),
}
TYPES = {name: column.type for name, column in COLUMNS.items()}


def kept(text: str) -> list[int]:
    bound = Filter(text).bind(TYPES)
    keep = bound.keep({name: COLUMNS[name] for name in bound.types}, 4)
    return [place for place, one in enumerate(keep) if one]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("score >= 0.1", [0, 3]),
        ("score >= 0.1 and not split = 'test'", [0]),
        ("score == 0.9 or caption like '%cat'", [0, 3]),
        ("score is null", [1, 2]),
        ("SCORE > 0.5", [3]),
        ("split in ('train', 'val')", [0, 1, 2]),
        ("split not in ('train', 'val')", [3]),
        ("split != 'train'", [1, 3]),
        ('"my col" between 2 and 3', [1, 2]),
        ('"my col" % 2 = 0', [1, 3]),
        ("'b' in Tags", [3]),
        ("list_contains(tags, 'a')", [0]),
        ("len(caption) > 3 and lower(caption) <> 'dog'", [0, 3]),
        ("caption = 'it''s'", [3]),
        ("coalesce(score, 1) > 0.5", [1, 2, 3]),
        ("case when score > 0.5 then true end", [3]),
        ("half > 1.2", [0, 1]),
        ("big >= 3", [2, 3]),
        ("day > '2024-05-02'", [2, 3]),
        ("year(day) = 2024 and day < date '2024-05-02'", [0]),
        ("nothing is null", [0, 1, 2, 3]),
        ("nothing > 1", []),
        ("meta.x = 2", [1]),
        ("true", [0, 1, 2, 3]),
        ("1 = 2 -- a remark", []),
    ],
)
def test_filter_keeps(text: str, places: list[int]) -> None:
    assert kept(text) == places


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no expression"),
        ("score >", 'syntax error at or near ")"'),
        ("score > 0.5; drop table t", 'syntax error at or near ";"'),
        ("1) from t where (1", "more than one expression"),
        ("score in (select 1)", "a subquery"),
        ("sum(score) > 1", "sum()"),
        ("row_number() over () > 1", "a window"),
        ("score > $1", "a parameter"),
        ("*", "a star"),
        ("random() > 0.5", "random()"),
        ("day < now()", "now()"),
        ("age(day) > interval 1 day", "age()"),
        ("getenv('HOME') = 'x'", "getenv()"),
        ("read_text('/etc/passwd') = 'x'", "read_text()"),
        ("current_setting('threads') = '1'", "current_setting()"),
    ],
)
def test_what_is_no_expression_on_a_sample_is_refused_before_all_else(text: str, said: str) -> None:
    with pytest.raises(InputError, match="--filter=") as caught:
        Filter(text)
    assert said in caught.value.sentence


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scor > 0.5", "names 'scor', and the columns are score (float), caption (string), Tags"),
        ("current_date > day", "names 'current_date'"),
        ("caption > 5", "Cannot compare values of type VARCHAR"),
        ("lower(score) = 'x'", "No function matches"),
        ("score > 'abc'", "Could not convert string 'abc'"),
        ("caption", "is of type string, neither true nor false"),
        ("score, caption", "neither true nor false"),
        ("meta.y = 1", 'Could not find key "y"'),
    ],
)
def test_what_does_not_fit_the_columns_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(InputError, match="--filter=") as caught:
        Filter(text).bind(TYPES)
    assert said in caught.value.sentence
    assert "\n" not in caught.value.sentence


def test_value_that_fails_is_one_sentence_too() -> None:
    with pytest.raises(InputError, match=r"Could not convert string 'a cat'.*caption \(string\)"):
        kept("cast(caption as int) > 1")


def test_names_that_differ_in_case_alone_must_be_written_as_they_are() -> None:
    types = {"Score": pa.int64(), "score": pa.int64(), "SCORE": pa.int64()}
    bound = Filter("score > 1").bind(types)
    assert list(bound.types) == ["score"]
    with pytest.raises(InputError, match="which may be Score, score, SCORE"):
        Filter("sCore > 1").bind(types)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.none() | st.floats(width=32), max_size=9), st.floats(0, 1, width=16))
def test_numbers_compare_as_in_python(values: list[float | None], bound: float) -> None:
    types = {"x": pa.float32()}
    keep = (
        Filter(f"x >= {bound!r}")
        .bind(types)
        .keep({"x": pa.array(values, pa.float32())}, len(values))
    )
    assert keep == [value is not None and value >= bound for value in values]


@pytest.mark.parametrize(
    ("text", "needs"),
    [("Width > 10", True), ("format = 'png'", True), ("size > 3 and width_ok", False)],
)
def test_only_what_stands_in_headers_needs_a_look_at_them(text: str, needs: bool) -> None:
    assert needs_probe(text) is needs


def test_files_cannot_be_reached_even_by_a_statement() -> None:
    import duckdb

    from beam_export.metadata import sql

    connection: Any = sql.connect()
    for statement in ("SELECT * FROM read_text('/etc/hostname')", "SET threads = 2"):
        with pytest.raises(duckdb.Error):
            connection.execute(statement)


def test_columns_whose_names_duckdb_holds_for_one_are_told_apart() -> None:
    columns = {
        "score": pa.array([0.5, 0.9]),
        "Score": pa.array([1, 2]),
        "SCORE": pa.array(["a", "b"]),
        "beam_export count": pa.array([3, 4]),
    }
    text = """score > 0.7 and "Score" = 2 and "SCORE" = 'b' and "beam_export count" = 4"""
    bound = Filter(text).bind({name: column.type for name, column in columns.items()})
    assert bound.keep(columns, 2) == [False, True]


def test_dictionaries_differ_from_block_to_block() -> None:
    bound = Filter("split >= 'm' or split = 'b'").bind({"split": COLUMNS["split"].type})
    for values in (["z", "a"], ["a", "z"], ["m", "b", "c"]):
        array = pa.array(values).dictionary_encode()
        assert bound.keep({"split": array}, len(values)) == [one in "bmz" for one in values]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("score > 0 " + " " * 100_000, "has 100,010 characters, and 100,000 are the most"),
        ("(" * 2000 + "true" + ")" * 2000, "has expressions within expressions, and 100 levels"),
        ("score > 0" + " is null" * 300, "has expressions within expressions, and 100 levels"),
        ("+".join(["score"] * 150) + " > 1", "has expressions within expressions"),
        (" or ".join(["sqrt(score) > 1"] * 501), "has 501 operators, functions and casts"),
        (" or ".join(["score > 1"] * 2001), "has 2002 comparisons and other parts, and 2000 are"),
        ("concat(" + ",".join(["caption"] * 1001) + ") = 'x'", "has texts or lists of 1001 times"),
        ("caption = '\udc80'", "is no text: write it in UTF-8."),
        ("/* nothing */ -- at all", "is no expression"),
    ],
)
def test_cost_of_a_filter_is_bounded(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        Filter(text)
    assert said in caught.value.sentence
    assert len(caught.value.sentence) < 700


@pytest.mark.parametrize(
    "text",
    [
        "+".join(["score"] * 99) + " > 50",
        "sqrt(" * 95 + "score" + ")" * 95 + " > 0.9",
        "case when score > 0 then " * 90 + "true" + " end" * 90,
        "split in (" + ",".join(f"'id{number:06}'" for number in range(8000)) + ") or score > 0",
        " or ".join(f"score > {number}" for number in range(1500)) + " or score > 0",
    ],
)
def test_what_is_within_the_bounds_is_a_filter(text: str) -> None:
    assert kept(text) == ([3] if "+score" in text else [0, 3])


def test_values_in_messages_are_cut() -> None:
    bound = Filter("cast(caption as int) > 1").bind({"caption": pa.string()})
    with pytest.raises(InputError) as caught:
        bound.keep({"caption": pa.array(["x" * 500_000])}, 1)
    assert "Could not convert string 'xxx" in caught.value.sentence
    assert len(caught.value.sentence) < 700


def test_list_distances_are_of_each_row_alone() -> None:
    nan = float("nan")
    vectors = pa.array([[1.0, 0.0], [nan, 1.0], None, [0.0, 1.0]], pa.list_(pa.float32()))
    fixed = vectors.cast(pa.list_(pa.float32(), 2))
    for array in (vectors, fixed):
        bound = Filter("list_cosine_similarity(v, [1, 0]) > 0.5").bind({"v": array.type})
        assert bound.keep({"v": array}, 4) == [True, False, False, False]


TIMES = """
import datetime, pyarrow as pa
from beam_export.metadata.filter import Filter
day = pa.array([datetime.datetime(2024, 5, 1, hour) for hour in (0, 12, 23)], pa.timestamp("us"))
columns = {"plain": day, "zoned": day.cast(pa.timestamp("us", "Asia/Tokyo"))}
for text in (
    "zoned >= '2024-05-01 12:00' and hour(zoned) > 12",
    "plain::timestamptz = zoned and day(zoned) = 1",
    "strftime(zoned, '%c %x %X %Z %A') = strftime(plain::timestamptz, '%c %x %X %Z %A')",
    "strftime(plain, '%A %B %H') = 'Wednesday May 12'",
    "lower('IŞ') = 'iş' and upper('i') = 'I' and plain::varchar like '2024-05-01 12%'",
):
    bound = Filter(text).bind({name: column.type for name, column in columns.items()})
    print(bound.keep({name: columns[name] for name in bound.types}, 3))
"""


def test_neither_zone_nor_language_of_the_machine_decides() -> None:
    said = set()
    for zone, language in (("UTC", "C.UTF-8"), ("Asia/Tokyo", "tr_TR.UTF-8"), ("America/Lima", "")):
        environment = {**os.environ, "TZ": zone, "LC_ALL": language, "LANG": language}
        command = [sys.executable, "-c", TIMES]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        said.add(done.stdout)
    assert len(said) == 1
    assert [line.count("True") for line in said.pop().splitlines()] == [1, 3, 3, 1, 1]


HEAVY = """
import pyarrow as pa
from beam_export.metadata.filter import Filter
rows = pa.array(["ab " * 2000 + str(number) for number in range(1000)])
for text in (
    "||".join(["s"] * 40) + " = ''", "upper(lower(" * 49 + "s" + "))" * 49 + " = ''",
    f"replace(replace(s, 'a', '{'x' * 20}'), 'x', '{'y' * 20}') = ''",
    "len(string_split(s, '')) = 1",
    "concat(" + ",".join(["s"] * 900) + ") = ''", "s like '%_a%_b%_a%_b%_c%'",
    "regexp_matches(s, '[ab ].{200}c')", "lpad(s, 10000, 'x') || rpad(s, 10000, 'y') = ''",
):
    assert Filter(text).bind({"s": rows.type}).keep({"s": rows}, 1000) == [False] * 1000
def peak():
    # Of this program alone: `ru_maxrss` begins at what the process that started it held.
    with open("/proc/self/status") as file:
        return int(file.read().partition("VmHWM:")[2].split()[0])
print(peak() >> 10)
"""


@pytest.mark.slow
def test_memory_of_a_filter_is_bounded() -> None:
    command = [sys.executable, "-c", HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    # Of 6 MB of text; without bounds, some take gigabytes. No progress is drawn beside it.
    assert int(done.stdout) < 1500


@pytest.mark.parametrize(
    ("array", "kind", "values"),
    [
        (pa.array([1.5, nan, None, inf]), pa.float64(), [1.5, None, None, inf]),
        (pa.array([1.5, nan, None, inf], pa.float16()), pa.float32(), [1.5, None, None, inf]),
        (pa.array([1, None, 2], pa.decimal256(50, 2)), pa.float64(), [1.0, None, 2.0]),
        (pa.array(["b", None, "a"]).dictionary_encode(), pa.string(), ["b", None, "a"]),
        (pa.array([1, None]), pa.int64(), [1, None]),
        (
            pa.array([[1.0, nan], None, [], [nan]]),
            pa.list_(pa.float64()),
            [[1.0, None], None, [], [None]],
        ),
        (
            pa.array([[1.0, nan], None, [2, 3]], pa.list_(pa.float16(), 2)),
            pa.list_(pa.float32(), 2),
            [[1.0, None], None, [2.0, 3.0]],
        ),
        (
            pa.array([[[nan]], None, [None, [1.0]]], pa.large_list(pa.list_(pa.float64()))),
            pa.large_list(pa.list_(pa.float64())),
            [[[None]], None, [None, [1.0]]],
        ),
        (
            pa.array([{"x": nan, "y": "a"}, None, {"x": 1.0, "y": None}]),
            pa.struct([("x", pa.float64()), ("y", pa.string())]),
            [{"x": None, "y": "a"}, None, {"x": 1.0, "y": None}],
        ),
        (
            pa.array([[("a", nan)], None, [("b", 2.0)]], pa.map_(pa.string(), pa.float32())),
            pa.map_(pa.string(), pa.float32()),
            [[("a", None)], None, [("b", 2.0)]],
        ),
        (
            pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"x" * 16], pa.binary(16))),
            pa.binary(16),
            [b"x" * 16],
        ),
    ],
)
def test_operand_has_no_nan_and_a_plain_type(
    array: pa.Array, kind: pa.DataType, values: list[Any]
) -> None:
    for start in range(len(array)):
        for stop in range(start, len(array) + 1):
            made = operand(array[start:stop])
            made.validate(full=True)
            assert made.type == kind
            assert made.to_pylist() == values[start:stop]


def test_what_needs_no_change_is_left_as_it_is() -> None:
    array = pa.array([[{"a": "x"}], None])
    assert operand(array) is array
