from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.column_types import collect, outcome

from beam_export.errors import InputError
from beam_export.metadata import inference, schema
from beam_export.metadata.schema import infer

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


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(0, 40))
def test_limits_do_not_depend_on_order(numbers: list[int], cut: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "MAX_PLACES", 8)
        patch.setattr(schema, "_MOST_COLUMNS", 8)
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
        "one type holds; keep it as JSON text by --text_columns=box, or leave it out by "
        "--drop_columns=box"
    )


def test_a_conflict_names_the_first_file_by_name_not_by_arrival() -> None:
    types = collect([({"a": 1}, "2"), ({"a": 1}, "1"), ({"a": "x"}, "4"), ({"a": "x"}, "3")])
    with pytest.raises(InputError, match=r"int64 \(in 1\) and string \(in 3\), which"):
        types.finish()


WIDE = 2**53 + 1


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(
    ("wide", "fraction"),
    [
        (WIDE, 0.5),
        (-WIDE, 0.5),
        (2**64 - 1, 0.5),
        ([1, WIDE, 2**60], [0.5]),
        ([WIDE, 0.5], [1]),
        ({"b": [WIDE]}, {"b": [1e30]}),
        (WIDE, np.float32(0.5)),
    ],
)
def test_an_integer_that_a_float_would_round_is_no_number_among_floats(
    wide: Any, fraction: Any, first: bool
) -> None:
    one, other = inference.Column(), inference.Column()
    one.add(wide, "a.json")
    other.add(fraction, "b.json")
    (other if first else one).merge(one if first else other)
    with pytest.raises(ValueError, match=r"would round the integers beyond 2\*\*53 \(in a\.json\)"):
        (other if first else one).resolve()


@pytest.mark.parametrize("exact", [2**53, -(2**53), 2**60, 2**63, 10**18, [2**60, 1, -(2**62)]])
def test_an_integer_that_a_float_holds_exactly_is_one_among_floats(exact: Any) -> None:
    column = inference.Column()
    for value in (exact, [0.5] if isinstance(exact, list) else 0.5):
        column.add(value, "")
    kind = column.resolve()
    assert kind == (pa.list_(pa.float64()) if isinstance(exact, list) else pa.float64())


@pytest.mark.parametrize("others", [[], [1], [None], [-1]])
def test_alone_it_is_an_integer(others: list[Any]) -> None:
    column = inference.Column()
    for value in (WIDE, *others):
        column.add(value, "")
    assert column.resolve() == pa.int64()
