from __future__ import annotations

import pyarrow as pa
import pytest

from beam_export.metadata.arrow_types import unify


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
