from __future__ import annotations

import datetime
import decimal
import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_export.errors import InputError
from beam_export.metadata import inference, schema
from beam_export.metadata.schema import ColumnTypes, check_declared, infer, unify

UTC = datetime.UTC
NOON = datetime.datetime(2024, 5, 6, 12)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, pa.null()),
        (True, pa.bool_()),
        (-1, pa.int64()),
        (2**63 - 1, pa.int64()),
        (2**63, pa.uint64()),
        (0.5, pa.float64()),
        ("a", pa.string()),
        (b"a", pa.binary()),
        (bytearray(b"a"), pa.binary()),
        (NOON, pa.timestamp("us")),
        (NOON.replace(tzinfo=UTC), pa.timestamp("us", "UTC")),
        (NOON.date(), pa.date32()),
        (NOON.time(), pa.time64("us")),
        (datetime.timedelta(1), pa.duration("us")),
        (decimal.Decimal("12.345"), pa.decimal128(5, 3)),
        (decimal.Decimal("0.001"), pa.decimal128(3, 3)),
        (decimal.Decimal("1E+5"), pa.decimal128(6, 0)),
        (decimal.Decimal("NaN"), pa.null()),
        ([], pa.list_(pa.null())),
        ([1, 2.5, None], pa.list_(pa.float64())),
        ((-1, 2**40), pa.list_(pa.int64())),
        ([0, -1, 0], pa.list_(pa.int64())),
        ([1, 2**63, 1], pa.list_(pa.uint64())),
        ({"b": 1, "a": "x"}, pa.struct([("a", pa.string()), ("b", pa.int64())])),
        ([{"a": 1}, {"b": 2.5}], pa.list_(pa.struct([("a", pa.int64()), ("b", pa.float64())]))),
        ({}, pa.null()),
        ([{}], pa.list_(pa.null())),
        (np.float32(1), pa.float32()),
        (np.float64(1), pa.float64()),
        (np.uint8(1), pa.uint8()),
        (np.bool_(True), pa.bool_()),
        (np.str_("a"), pa.string()),
        (np.datetime64("2024-05-06"), pa.date32()),
        (np.datetime64(0, "s"), pa.timestamp("ms")),
        (np.datetime64(0, "ns"), pa.timestamp("ns")),
        (np.zeros(3, np.float32), pa.list_(pa.float32())),
        (np.zeros(3, ">f4"), pa.list_(pa.float32())),
        (np.zeros((2, 2), np.int16), pa.list_(pa.list_(pa.int16()))),
        (np.array(1.5), pa.float64()),
        (np.array(["a", None], object), pa.list_(pa.string())),
        ([np.zeros(1, np.float32)], pa.list_(pa.list_(pa.float32()))),
    ],
)
def test_infer(value: Any, expected: pa.DataType) -> None:
    assert infer(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        2**64,
        -(2**63) - 1,
        [1, 2**64],
        [-1, 2**63],
        1j,
        {1: 2},
        {"\ud800": 1},
        decimal.Decimal("Infinity"),
        decimal.Decimal(10) ** 80,
        np.zeros(1, np.complex64),
        np.timedelta64(1, "M"),
        [1, "a"],
        [True, 1],
        object(),
    ],
)
def test_infer_refuses(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^holds "):
        infer(value)


def test_infer_refuses_bottomless_values() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="nested more than 64 deep"):
        infer(loop)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (pa.null(), pa.string(), pa.string()),
        (pa.int8(), pa.int32(), pa.int32()),
        (pa.uint8(), pa.uint64(), pa.uint64()),
        (pa.uint32(), pa.int8(), pa.int64()),
        (pa.int8(), pa.float32(), pa.float64()),
        (pa.uint64(), pa.float64(), pa.float64()),
        (pa.float16(), pa.float32(), pa.float32()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.binary(2), pa.binary(3), pa.binary()),
        (pa.date32(), pa.timestamp("ms"), pa.timestamp("ms")),
        (pa.timestamp("ms"), pa.timestamp("ns"), pa.timestamp("ns")),
        (pa.timestamp("us", "Asia/Tokyo"), pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")),
        (pa.time32("ms"), pa.time64("us"), pa.time64("us")),
        (pa.duration("s"), pa.duration("ms"), pa.duration("ms")),
        (pa.decimal128(5, 3), pa.decimal128(5, 0), pa.decimal128(8, 3)),
        (pa.decimal128(38, 0), pa.decimal128(38, 3), pa.decimal256(41, 3)),
        (pa.list_(pa.null()), pa.list_(pa.string()), pa.list_(pa.string())),
        (pa.list_(pa.int64()), pa.list_(pa.float64()), pa.list_(pa.float64())),
        (pa.list_(pa.float32(), 2), pa.list_(pa.float32(), 3), pa.list_(pa.float32())),
        (pa.list_(pa.float32(), 2), pa.list_(pa.float32(), 2), pa.list_(pa.float32(), 2)),
        (pa.dictionary(pa.int8(), pa.string()), pa.string(), pa.string()),
        (
            pa.struct([("b", pa.int64())]),
            pa.struct([("a", pa.string()), ("b", pa.float64())]),
            pa.struct([("a", pa.string()), ("b", pa.float64())]),
        ),
    ],
)
def test_unify(a: pa.DataType, b: pa.DataType, expected: pa.DataType) -> None:
    assert unify(a, b) == unify(b, a) == expected


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (pa.string(), pa.int64()),
        (pa.bool_(), pa.int64()),
        (pa.uint64(), pa.int8()),
        (pa.string(), pa.binary()),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.list_(pa.int64()), pa.int64()),
        (pa.list_(pa.int64()), pa.list_(pa.string())),
        (pa.struct([("a", pa.int64())]), pa.struct([("a", pa.string())])),
        (pa.decimal256(76, 0), pa.decimal256(76, 1)),
    ],
)
def test_unify_refuses(a: pa.DataType, b: pa.DataType) -> None:
    for pair in ((a, b), (b, a)):
        with pytest.raises(ValueError, match=r"no type holds|digits"):
            unify(*pair)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**62, 2**63, -(2**63), 2**64, 1.5]),
    st.text("ab", max_size=2),
    st.sampled_from([NOON, NOON.date(), NOON.replace(tzinfo=UTC), b"x", np.float32(1)]),
    st.sampled_from([decimal.Decimal("1.5"), decimal.Decimal("100"), {1}, np.zeros(2, np.uint64)]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=4,
)
# One kind of value a column, mostly: else every example would be a conflict.
SAMPLES = st.lists(
    st.tuples(
        st.fixed_dictionaries(
            {},
            optional={
                "any": VALUES,
                "number": st.one_of(st.none(), st.integers(0, 2**64 - 1), st.just(np.int8(1))),
                "real": st.floats() | st.integers(-5, 5),
                "list": st.lists(st.integers(0, 9) | st.floats() | st.none(), max_size=3),
                "size": st.dictionaries(st.sampled_from("abc"), st.none() | st.just(1)),
            },
        ),
        st.text("pq", min_size=1, max_size=2),
    ),
    max_size=6,
)


def outcome(types: ColumnTypes) -> Any:
    try:
        return types.finish()
    except InputError as error:
        return error.sentence


def collect(samples: list[tuple[dict[str, Any], str]]) -> ColumnTypes:
    types = ColumnTypes()
    for metadata, where in samples:
        types.add(metadata, where)
    return types


@settings(deadline=None)
@given(SAMPLES, st.data())
def test_order_and_grouping_do_not_matter(
    samples: list[tuple[dict[str, Any], str]], data: st.DataObject
) -> None:
    expected = outcome(collect(samples))
    shuffled = data.draw(st.permutations(samples))
    parts = [collect([sample]) for sample in shuffled] or [ColumnTypes()]
    while len(parts) > 1:
        into = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        into = pickle.loads(pickle.dumps(into))
        other = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        before = outcome(other)
        into.merge(other)
        assert outcome(other) == before
        parts.append(into)
    assert outcome(parts[0]) == expected


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(0, 40))
def test_limits_do_not_depend_on_order(numbers: list[int], cut: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "MAX_PLACES", 8)
        patch.setattr(schema, "MAX_COLUMNS", 8)
        samples = [
            ({"scores": {f"id{number}": 1.0}, f"id{number % 10}": 1}, "a") for number in numbers
        ]
        expected = outcome(collect(samples))
        left, right = collect(samples[cut:]), collect(samples[:cut])
        right.add({}, "b")
        left.merge(right)
        assert outcome(left) == expected
        if len({number % 10 for number in numbers}) > 7:
            assert "more than 8 different metadata columns" in expected
        elif len(set(numbers)) > 7:
            assert expected.startswith("metadata column 'scores' holds more than")


def test_columns_are_sorted_and_missing_ones_are_null() -> None:
    types = collect([({"b": 1, "e": np.zeros(2, np.float32)}, "x"), ({"a": "t", "n": None}, "y")])
    names = {"a": pa.string(), "b": pa.int64(), "e": pa.list_(pa.float32()), "n": pa.null()}
    assert types.finish() == pa.schema(names.items())


def test_numbers_beyond_int64_make_a_column_unsigned_only_without_negative_ones() -> None:
    types = collect([({"phash": 5}, "a"), ({"phash": 2**63 + 5}, "b")])
    assert types.finish().field("phash").type == pa.uint64()
    types.add({"phash": -1}, "c")
    with pytest.raises(InputError, match=r"int64 \(in a\) and uint64 \(in b\)"):
        types.finish()


def test_a_conflict_names_column_types_and_files() -> None:
    types = collect(
        [
            ({"box": {"x": 1}}, "z.tar#2"),
            ({"box": {"x": "left"}}, "b.tar#1"),
            ({"box": {"x": 3}}, "a.tar#9"),
            ({"box": None}, "0.tar"),
        ]
    )
    with pytest.raises(InputError) as caught:
        types.finish()
    assert caught.value.sentence == (
        "metadata column 'box' holds int64 (in a.tar#9) and string (in b.tar#1) at .x, which no "
        "one type holds; make its values one type that can be stored, or leave the column out"
    )


def test_a_conflict_names_the_first_file_by_name_not_by_arrival() -> None:
    types = collect([({"a": 1}, "2"), ({"a": 1}, "1"), ({"a": "x"}, "4"), ({"a": "x"}, "3")])
    with pytest.raises(InputError, match=r"int64 \(in 1\) and string \(in 3\), which"):
        types.finish()


def test_too_many_columns_stay_too_many_when_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MAX_COLUMNS", 2)
    types = ColumnTypes()
    types.merge(collect([({"a": 1, "b": 1, "c": 1}, "x")]))
    types.add({"a": 1}, "x")
    with pytest.raises(InputError, match="more than 2 different"):
        types.finish()


def test_values_that_cannot_be_stored_are_named() -> None:
    with pytest.raises(InputError, match=r"'tags' holds a value of type set \(in f\)"):
        collect([({"tags": {"a"}}, "f")]).finish()
    with pytest.raises(InputError, match="column name of type int, 7"):
        collect([({7: "a"}, "f")])  # type: ignore[dict-item]
    with pytest.raises(InputError, match="not valid Unicode"):
        collect([({"\udc80": 1}, "f")]).finish()


def test_a_known_schema_keeps_types_that_values_lose() -> None:
    known = pa.schema(
        [
            ("e", pa.list_(pa.float32())),
            ("fixed", pa.list_(pa.float32(), 4)),
            ("s", pa.struct([("a", pa.int8())])),
            ("none", pa.struct([])),
            ("t", pa.timestamp("s")),
        ]
    )
    types = ColumnTypes()
    types.add_schema(known, "a.parquet")
    types.add({"s": {"b": "x"}}, "b.json")
    assert types.finish() == pa.schema(
        [
            ("e", pa.list_(pa.float32())),
            ("fixed", pa.list_(pa.float32(), 4)),
            ("none", pa.null()),
            ("s", pa.struct([("a", pa.int8()), ("b", pa.string())])),
            ("t", pa.timestamp("ms")),
        ]
    )


def test_reserved_names_get_a_prefix_and_never_collide() -> None:
    types = collect([({"width": 1, "aaa": 1, "kkk": 1}, "a")])
    assert types.finish().names == ["aaa", "input_width", "kkk"]
    types.add({"input_width": 2}, "b")
    with pytest.raises(InputError, match="'input_width'"):
        types.finish()


def test_a_declared_schema_keeps_order_types_and_metadata() -> None:
    declared = pa.schema(
        [pa.field("z", pa.float32(), nullable=False), ("sha256", pa.string()), ("t", pa.date64())],
        metadata={"k": "v"},
    )
    checked = check_declared(declared)
    assert checked.names == ["z", "input_sha256", "t"]
    assert checked.field(0) == declared.field(0)
    assert checked.field("t").type == pa.date32()
    assert checked.metadata == {b"k": b"v"}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ([("a", pa.int8()), ("a", pa.string())], "'a'"),
        ([("size", pa.int8()), ("input_size", pa.int8())], "'input_size'"),
        ([("a", pa.struct([]))], "'a' as struct<>"),
        ([("a", pa.month_day_nano_interval())], "month_day_nano_interval"),
    ],
)
def test_a_declared_schema_that_cannot_be_kept(fields: list[Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        check_declared(pa.schema(fields))


def test_no_metadata_is_no_columns() -> None:
    types = collect([({}, "a")] * 3)
    assert types.finish() == pa.schema([])


def test_a_duration_that_no_column_holds_is_named() -> None:
    types = ColumnTypes()
    types.add({"c": datetime.timedelta(days=106_751_992)}, "x")
    with pytest.raises(InputError, match="'c' holds a duration of more than 292,271 years"):
        types.finish()
