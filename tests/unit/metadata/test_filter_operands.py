from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from beam_export.metadata.filter_operands import operand

nan = float("nan")
inf = float("inf")


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
