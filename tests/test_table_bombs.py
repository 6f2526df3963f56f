"""Parquet files that say much in few bytes: what is held at a time stays bounded."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT

from beam_export.earlier import read_beside
from beam_export.tables.cells import Cells
from beam_export.tables.pages import dictionary_bytes
from beam_export.tables.parquet import ParquetTable

MIB = 1 << 20


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    # Without the stored schema nothing tells that a column was a dictionary.
    pq.write_table(pa.table(columns), buffer, compression="zstd", store_schema=False, **options)
    return buffer.getvalue()


def repeated(value: bytes, rows: int) -> pa.Array:
    indices = pa.array(np.zeros(rows, np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array([value], pa.binary()))


def bomb(size: int, rows: int) -> bytes:
    data = parquet({"image": repeated(bytes(size), rows)}, dictionary_pagesize_limit=1 << 30)
    assert len(data) < size / 100
    return data


def chunk_of(data: bytes, column: int = 0) -> Any:
    return pq.read_metadata(io.BytesIO(data)).row_group(0).column(column)


def test_a_dictionary_tells_its_bytes() -> None:
    data = bomb(MIB, 10)
    assert dictionary_bytes(io.BytesIO(data), chunk_of(data)) == MIB + 4
    plain = parquet({"image": [b"a", b"b"]}, use_dictionary=False)
    assert dictionary_bytes(io.BytesIO(plain), chunk_of(plain)) == 0
    assert dictionary_bytes(io.BytesIO(bytes(100)), chunk_of(data)) == 0
    assert dictionary_bytes(io.BytesIO(b""), chunk_of(data)) == 0


def test_batches_are_small_where_a_row_may_be_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_export.tables.parquet._MOST_BYTES", 8 * MIB)
    table = ParquetTable(io.BytesIO(bomb(MIB, 20)))
    batches = list(table.batches(0))
    assert max(batch.nbytes for _, batch in batches) <= 8 * MIB + 1000
    assert sum(batch.num_rows for _, batch in batches) == 20
    many = parquet({"caption": ["a", "b"] * 3000})
    assert max(batch.num_rows for _, batch in ParquetTable(io.BytesIO(many)).batches(0)) == 1000


def test_prefixes_that_are_shared_count_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_export.tables.parquet._MOST_BYTES", 8 * MIB)
    values = [bytes(MIB) + bytes([n]) for n in range(20)]
    data = parquet(
        {"image": values}, use_dictionary=False, column_encoding={"image": "DELTA_BYTE_ARRAY"}
    )
    assert chunk_of(data).total_uncompressed_size < 2 * MIB
    table = ParquetTable(io.BytesIO(data))
    assert max(batch.nbytes for _, batch in table.batches(0)) <= 9 * MIB


def test_cells_keep_no_more_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_export.tables.cells._KEPT_BYTES", 16 * MIB)
    data = bomb(MIB, 60)
    cells = Cells(lambda _: io.BytesIO(data))
    for row in (0, 59, 3, 40):
        assert cells.read("x", "image", row) == bytes(MIB)
    assert not cells._kept
    small = parquet({"image": [b"a", b"b"]})
    cells = Cells(lambda _: io.BytesIO(small))
    assert [cells.read("x", "image", row) for row in (1, 0)] == [b"b", b"a"]
    assert len(cells._kept) == 1


def curator(rows: int, value: Any = None) -> bytes:
    names = ("image_id", "tar_file", "member_name", "original_path", "metadata")
    lost = pa.nulls(rows, pa.string())
    return parquet({**dict.fromkeys(names, lost), "more": lost if value is None else value})


def test_a_parquet_beside_a_tar_says_no_more_than_the_tar_can_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("beam_export.earlier._MOST_BYTES", 4 * MIB)
    monkeypatch.setattr("beam_export.earlier._MOST_LOST", 1000)
    assert read_beside(curator(3), 10_240).rows != []  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="1100 rows"):
        read_beside(curator(1_100), 10_240)
    big = pa.array(["x" * MIB] * 40)
    with pytest.raises(ValueError, match="holds more than"):
        read_beside(curator(40, big), 10_240)


READ_DAMAGED = """
import io, random, sys
import torture_archives
from beam_export.tables.cells import Cells
from beam_export.tables.errors import TableError
from beam_export.tables.parquet import ParquetTable
from beam_export.tables.refs import Place, group_refs
from beam_export.tables.roles import roles_of_schema

whole, dice, refused = open(sys.argv[1], "rb").read(), random.Random(7), 0
for _ in range(150):
    data = torture_archives.damaged(whole, dice)
    try:
        table = ParquetTable(io.BytesIO(data))
        for group in range(len(table.groups)):
            for _ in group_refs(table, group, roles_of_schema(table.schema), Place("", "", b"")):
                pass
        Cells(lambda _: io.BytesIO(data)).read("x", "image", 3)
    except TableError:
        refused += 1
print(refused)
"""


def test_damaged_footers_are_told_and_end_no_process(tmp_path: Path) -> None:
    """Arrow's C++ exceptions end a process that asks for what such a footer says."""
    path = tmp_path / "whole.parquet"
    ids = [f"id{row}" for row in range(40)]
    path.write_bytes(parquet({"image": [b"x"] * 40, "id": ids, "tags": [["a"]] * 40}))
    command = [sys.executable, "-c", READ_DAMAGED, str(path)]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30
