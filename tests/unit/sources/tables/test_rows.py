from __future__ import annotations

import datetime
import gzip
import io
import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exports import SHARED

from beam_export.metadata.schema import ColumnTypes
from beam_export.metadata.to_arrow import to_values
from beam_export.sources.tables.rows import (
    BadRow,
    ParquetTable,
    TableError,
    TableTypes,
    read_rows,
    read_types,
)


def parquet(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def types_of(*files: tuple[bytes, str]) -> TableTypes:
    types = TableTypes()
    for data, name in files:
        types.merge(read_types(io.BytesIO(data), name))
    return types


def rows(data: bytes, name: str, types: TableTypes | None = None, **options: Any) -> list[Any]:
    types = types or types_of((data, name))
    return [row for batch in read_rows(io.BytesIO(data), name, types, **options) for row in batch]


def values(data: bytes, name: str, types: TableTypes | None = None) -> list[dict[str, Any]]:
    return [row[1] for row in rows(data, name, types)]


# CSV.


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
        (["9223372036854775808"], ["9223372036854775808"]),
        (["1e5x", "2"], ["1e5x", "2"]),
        (["2024-05-06"], ["2024-05-06"]),
        (["", ""], [None, None]),
        (["inf", "-inf", "1"], [math.inf, -math.inf, 1.0]),
        (["null", "NA"], ["null", "NA"]),
        (["1 ", "2"], ["1 ", "2"]),
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


@given(st.lists(st.lists(st.text(max_size=5), min_size=2, max_size=2), max_size=5))
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
    assert values(b"", "t.csv") == values(b"a,b\n", "t.csv") == []
    # A file's name in bytes that are no UTF-8.
    assert values(b"path\ncaf\xe9.jpg\n", "t.csv") == [{"path": "caf\\xe9.jpg"}]


def test_a_row_that_does_not_fit_is_told_and_the_next_one_is_read() -> None:
    found = rows(b"a,b\n1\n2,3\n4,5,6\n", "t.csv")
    assert found[1] == (1, {"a": 2, "b": 3})
    assert [row.number for row in found if isinstance(row, BadRow)] == [0, 2]
    assert "1 values where 2 columns" in found[0].reason


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


def test_years_that_python_has_not() -> None:
    far = pa.array([10**18], pa.int64()).cast(pa.timestamp("us"))
    data = parquet(pa.table({"c": far}))
    (row,) = values(data, "t.parquet")
    assert row["c"] == np.datetime64(10**18, "us")


def test_extension_types_are_what_they_store() -> None:
    one, other = (pa.array([letter * 16], pa.uuid()) for letter in (b"0", b"1"))
    table = pa.table({"u": one, "l": pa.ListArray.from_arrays([0, 1], other)})
    data = parquet(table)
    assert types_of((data, "t.parquet")).schema == pa.schema(
        [("u", pa.binary(16)), ("l", pa.list_(pa.binary(16)))]
    )
    assert values(data, "t.parquet") == [{"u": b"0" * 16, "l": [b"1" * 16]}]


def test_row_groups_and_numbers_of_rows() -> None:
    table = pa.table({"n": range(2500), "big": [b"%05d" % n * 4000 for n in range(2500)]})
    data = parquet(table, row_group_size=1200)
    opened = ParquetTable(io.BytesIO(data))
    assert [tuple(group) for group in opened.groups] == [(0, 1200), (1200, 1200), (2400, 100)]
    first = next(iter(opened.batches(1, ["big"])))
    # Bytes bound a batch too, however many rows it could have.
    assert first[0] == 1200
    assert first[1].num_rows < 500
    assert [row[1]["n"] for row in rows(data, "t.parquet", columns=["n"])] == list(range(2500))
    assert [row[0] for row in rows(data, "t.parquet", columns=[])] == list(range(2500))


def test_a_start_inside_a_row_group() -> None:
    data = parquet(pa.table({"n": range(5000)}))
    first, batch = next(iter(ParquetTable(io.BytesIO(data)).batches(0, None, 2345)))
    assert first <= 2345 < first + batch.num_rows
    assert batch.column("n")[0].as_py() == first


@pytest.mark.parametrize("place", [0.1, 0.5, 0.8])
def test_a_damaged_row_group_says_so_or_is_read(place: float) -> None:
    table = pa.table({"n": [f"{n * 7919 % 1000:04d}" for n in range(20_000)]})
    data = bytearray(parquet(table, write_page_checksum=True, use_dictionary=False))
    at = int(len(data) * place)
    data[at : at + 200] = bytes(200)
    with pytest.raises(TableError, match="is damaged in row group 0"):
        list(ParquetTable(io.BytesIO(bytes(data))).batches(0))


def test_two_columns_of_one_name_are_refused() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])
    with pytest.raises(TableError, match="two columns that are called 'a'"):
        ParquetTable(io.BytesIO(parquet(table)))


@pytest.mark.skipif(not (SHARED / "data").exists(), reason="the shared data are not here")
@pytest.mark.parametrize("name", ["huggingface/train-00000-of-00002", "img2dataset/parquet/00002"])
def test_real_files(name: str) -> None:
    path = SHARED / "data" / f"{name}.parquet"
    data = path.read_bytes()
    assert values(data, path.name) == pq.read_table(path).to_pylist()
