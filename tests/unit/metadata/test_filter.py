from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.four_samples import COLUMNS, TYPES, kept

from beam_export.errors import InputError
from beam_export.metadata.filter import Filter, needs_probe, operand

nan, inf = float("nan"), float("inf")


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
