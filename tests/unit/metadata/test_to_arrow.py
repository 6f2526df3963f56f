from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.metadata.schema import infer
from beam_export.metadata.to_arrow import ColumnBuilder, to_values

DAY = datetime.date(2024, 5, 6)
VALUES = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("ab"), inner, min_size=1, max_size=2),
    max_leaves=3,
)


def build(kind: pa.DataType, *values: Any, nullable: bool = True) -> pa.Array:
    ids = [f"s{number}" for number in range(len(values))]
    return ColumnBuilder(pa.field("c", kind, nullable)).build(values, ids)


@given(VALUES)
def test_a_value_comes_back_from_an_array_of_its_own_type(value: Any) -> None:
    assert to_values(build(infer(value), value, None))[1] is None
    (found, _) = to_values(build(infer(value), value, None))
    assert found == value or isinstance(value, dict)


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        (pa.float64(), 3, 3.0),
        (pa.int8(), 3.0, 3),
        (pa.int64(), np.int16(3), 3),
        (pa.timestamp("us"), DAY, datetime.datetime(2024, 5, 6)),
        (pa.string(), "a\udc80", "a\ufffd"),
        (pa.list_(pa.float32()), (1, 2.5), [1.0, 2.5]),
        (pa.list_(pa.float32()), np.zeros(2, np.float32), [0.0, 0.0]),
        (pa.struct([("a", pa.int8()), ("b", pa.string())]), {"a": 1}, {"a": 1, "b": None}),
        (pa.null(), {}, None),
    ],
)
def test_values_are_converted_where_nothing_is_lost(
    kind: pa.DataType, value: Any, stored: Any
) -> None:
    assert to_values(build(kind, value)) == [stored]


@pytest.mark.parametrize(
    ("kind", "value"),
    [(pa.int8(), 128), (pa.int8(), 1.5), (pa.string(), 1), (pa.bool_(), "x"), (pa.int64(), True)],
)
def test_a_value_that_does_not_fit_names_sample_and_column(kind: pa.DataType, value: Any) -> None:
    with pytest.raises(ValueError, match=r"sample 's1' has a value of type .* column 'c'"):
        build(kind, None, value)


def test_a_column_that_is_not_nullable_names_the_first_sample_without_a_value() -> None:
    assert build(pa.int8(), 1, 2, nullable=False).null_count == 0
    with pytest.raises(ValueError, match="sample 's1' has no value in metadata column 'c'"):
        build(pa.int8(), 1, None, None, nullable=False)


def test_nanoseconds_and_far_years_are_numpys() -> None:
    moment = np.datetime64(1, "ns")
    assert to_values(pa.array([moment, None])) == [moment, None]
    far = pa.array([10**18, None], pa.int64()).cast(pa.timestamp("us"))
    assert to_values(far) == [np.datetime64(10**18, "us"), None]
