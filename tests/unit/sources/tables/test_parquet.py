from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from support.tables import parquet, rows, types_of, values

from beam_export.sources.tables.formats import TableError
from beam_export.sources.tables.parquet import ParquetTable


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
