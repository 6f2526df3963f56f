"""`beam_export.shards.json_member`: columns of a sample as JSON, as the Parquet has them."""

from __future__ import annotations

import datetime
import decimal
import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.errors import InputError
from beam_export.metadata.to_arrow import to_values
from beam_export.shards.json_member import JsonColumns, json_of_row

UTC = datetime.UTC
MOMENT = datetime.datetime(2026, 11, 29, 9, 30, 1, 5, tzinfo=UTC)


def made(kind: pa.DataType, value: Any) -> Any:
    (data,) = JsonColumns([pa.field("a", kind)]).of([{"a": value}], ["s"])
    assert not data.endswith(b"\n")
    return json.loads(data)["a"]


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        (pa.float64(), 1, 1.0),
        (pa.float32(), 0.1, 0.10000000149011612),
        (pa.float16(), 1.5, 1.5),
        (pa.float64(), float("nan"), None),
        (pa.float64(), float("-inf"), None),
        (pa.int64(), 7, 7),
        (pa.uint64(), 2**64 - 1, 2**64 - 1),
        (pa.bool_(), True, True),
        (pa.string(), "ü\udc80\n", "ü\ufffd\n"),
        (pa.binary(), b"\0\xff", "AP8="),
        (pa.null(), None, None),
        (pa.decimal128(5, 2), decimal.Decimal("1.50"), "1.50"),
        (pa.date32(), datetime.date(2026, 1, 2), "2026-01-02"),
        (pa.time64("us"), datetime.time(1, 2, 3), "01:02:03"),
        (pa.timestamp("us", "UTC"), MOMENT, "2026-11-29T09:30:01.000005+00:00"),
        (pa.timestamp("us"), MOMENT.replace(tzinfo=None), "2026-11-29T09:30:01.000005"),
        (
            pa.timestamp("ns", "UTC"),
            np.datetime64("2026-01-01T00:00:00.000000001"),
            "2026-01-01T00:00:00.000000001+00:00",
        ),
        (pa.timestamp("ns"), np.datetime64("NaT"), None),
        (pa.duration("us"), datetime.timedelta(seconds=1.5), 1.5),
        (pa.duration("ns"), np.timedelta64(1_500_000_000, "ns"), 1.5),
        (pa.list_(pa.float64()), [1, float("nan"), None], [1.0, None, None]),
        (pa.list_(pa.timestamp("ns", "UTC")), [np.datetime64("2026-01-01")], None),
        (pa.struct([("b", pa.float64()), ("a", pa.string())]), {"b": 2}, {"a": None, "b": 2.0}),
        (pa.dictionary(pa.int8(), pa.string()), "cat", "cat"),
    ],
)
def test_values_are_those_of_the_columns_type(kind: pa.DataType, value: Any, stored: Any) -> None:
    if pa.types.is_list(kind) and stored is None:
        stored = ["2026-01-01T00:00:00.000000000+00:00"]
    found = made(kind, value)
    assert found == stored
    assert type(found) is type(stored)


def test_keys_are_the_same_for_all_samples_and_sorted() -> None:
    columns = [pa.field("b", pa.int64()), pa.field("a", pa.string())]
    samples = [{"a": "x"}, {}, {"b": 1, "c": 2}]
    assert list(JsonColumns(columns).of(samples, ["1", "2", "3"])) == [
        b'{"a":"x","b":null}',
        b'{"a":null,"b":null}',
        b'{"a":null,"b":1}',
    ]


def test_columns_have_the_names_that_the_parquet_has() -> None:
    made = JsonColumns([pa.field("input_width", pa.int64())]).of([{"width": 3}], ["1"])
    assert list(made) == [b'{"input_width":3}']


def test_a_value_that_does_not_fit_is_an_error_that_names_its_sample() -> None:
    with pytest.raises(InputError, match="sample 'one' has a value of type str"):
        list(JsonColumns([pa.field("a", pa.int64())]).of([{"a": "x"}], ["one"]))


VALUES = st.fixed_dictionaries(
    {
        "f": st.none() | st.floats(),
        "t": st.none() | st.text(),
        "l": st.none() | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
        "s": st.none() | st.fixed_dictionaries({"x": st.none() | st.binary(max_size=9)}),
    }
)
SCHEMA = pa.schema(
    [
        ("f", pa.float64()),
        ("t", pa.string()),
        ("l", pa.list_(pa.int64())),
        ("s", pa.struct([("x", pa.binary())])),
    ]
)


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_the_parquet_says_the_same(rows: list[dict[str, Any]]) -> None:
    """What `verify` makes of a row on disk is what was made of the sample."""
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), file)
    table = pq.read_table(file)
    read = [to_values(table[name].combine_chunks()) for name in SCHEMA.names]
    stored = [dict(zip(SCHEMA.names, row, strict=True)) for row in zip(*read, strict=True)]
    members = list(JsonColumns(list(SCHEMA)).of(rows, ["s"] * len(rows)))
    assert members == [json_of_row(list(SCHEMA), row) for row in stored]
    for member in members:
        assert list(json.loads(member)) == ["f", "l", "s", "t"]
