from __future__ import annotations

import datetime
import gzip
import io
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.exports import SHARED
from support.tables import parquet, rows, types_of, values

from beam_export.metadata.to_arrow import to_values
from beam_export.sources.tables.formats import TableError
from beam_export.sources.tables.rows import read_rows

# CSV.


@pytest.mark.parametrize(
    ("data", "name", "told"),
    [
        (b"a,a\n1,2\n", "t.csv", "two columns that are called 'a'"),
        (b'a\n"x\ny\n', "t.csv", "not valid CSV"),
        (gzip.compress(b"a\n1\n", mtime=0)[:-9], "t.csv.gz", "decompressed"),
        (b"a\n1\n", "t.csv.gz", "decompressed"),
        (gzip.compress(b"{}\n" * 9, mtime=0)[:-9], "t.jsonl.gz", "decompressed"),
        (b"PAR1", "t.parquet", "not a Parquet file"),
        (b"", "t.parquet", "not a Parquet file|damaged"),
        (b"x" * 99, "t.parquet", "not a Parquet file|damaged"),
    ],
)
def test_what_cannot_be_read_to_its_end_says_so(data: bytes, name: str, told: str) -> None:
    with pytest.raises(TableError, match=told):
        rows(data, name)


def test_columns_are_chosen_and_the_file_stays_open() -> None:
    for data, name in (
        (b"a,b\n1,2\n", "t.csv"),
        (b'{"a": 1, "b": 2}\n', "t.jsonl"),
        (parquet(pa.table({"a": [1], "b": [2]})), "t.parquet"),
    ):
        assert rows(data, name, columns=["b", "c"]) == [(0, {"b": 2})]
        assert rows(data, name, columns=["c"]) == [(0, {})]
        file = io.BytesIO(data)
        list(read_rows(file, name, types_of((data, name))))
        assert not file.closed


# JSON lines.


# Parquet.

MOMENT = datetime.datetime(2024, 5, 6, 7, 8, 9, 123456)
TYPES: list[tuple[pa.DataType, list[Any]]] = [
    (pa.int8(), [1, None]),
    (pa.uint64(), [2**64 - 1, None]),
    (pa.float32(), [0.5, None]),
    (pa.bool_(), [True, None]),
    (pa.string(), ["é", None]),
    (pa.large_string(), ["x", None]),
    (pa.binary(), [b"\0", None]),
    (pa.date32(), [MOMENT.date(), None]),
    (pa.time64("us"), [MOMENT.time(), None]),
    (pa.timestamp("us"), [MOMENT, None]),
    (pa.timestamp("us", "UTC"), [MOMENT.replace(tzinfo=datetime.UTC), None]),
    (pa.timestamp("ns"), [np.datetime64(1, "ns"), None]),
    (pa.duration("us"), [datetime.timedelta(seconds=1), None]),
    (pa.decimal128(5, 2), [Decimal("1.50"), None]),
    (pa.list_(pa.float32()), [[0.5, None], [], None]),
    (pa.list_(pa.float32(), 2), [[0.5, 1.0], [1.5, None]]),
    (pa.struct([("b", pa.int32()), ("a", pa.string())]), [{"b": 1, "a": None}, None]),
    (pa.map_(pa.string(), pa.int32()), [[("k", 1)], None]),
    (pa.list_(pa.timestamp("ns")), [[np.datetime64(1, "ns"), None], None, []]),
    (
        pa.struct([("t", pa.timestamp("ns")), ("n", pa.int8())]),
        [{"t": np.datetime64(1, "ns"), "n": 1}, None, {"t": None, "n": None}],
    ),
]


@pytest.mark.parametrize(("kind", "column"), TYPES, ids=[str(kind) for kind, _ in TYPES])
def test_types_and_values_of_parquet(kind: pa.DataType, column: list[Any]) -> None:
    data = parquet(pa.table({"c": pa.array(column, kind)}))
    assert [row["c"] for row in values(data, "t.parquet")] == column
    assert types_of((data, "t.parquet")).schema.field("c").type == kind
    sliced = pa.array([*column, *column], kind).slice(1)
    assert to_values(sliced) == [*column, *column][1:]


@pytest.mark.skipif(not (SHARED / "data").exists(), reason="the shared data are not here")
@pytest.mark.parametrize("name", ["huggingface/train-00000-of-00002", "img2dataset/parquet/00002"])
def test_real_files(name: str) -> None:
    path = SHARED / "data" / f"{name}.parquet"
    data = path.read_bytes()
    assert values(data, path.name) == pq.read_table(path).to_pylist()
