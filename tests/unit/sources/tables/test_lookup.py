from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.errors import InputError
from beam_export.sources.tables.formats import BadRow
from beam_export.sources.tables.lookup import (
    LookupRow,
    check_key,
    count_of,
    keyed_rows,
    list_tables,
    pack_rows,
    unpack_rows,
)
from beam_export.sources.tables.parquet import ParquetTable
from beam_export.storage.uris import unpin


def parquet(**columns: list[Any]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, row_group_size=2)
    return file.getvalue()


@given(st.lists(st.builds(LookupRow, st.text(), st.binary(), st.just(("a",)))))
def test_rows_come_back(rows: list[LookupRow]) -> None:
    packed = pack_rows(rows)
    assert count_of(packed) == len(rows)
    assert unpack_rows(packed) == rows


def test_tables_of_a_directory_and_of_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "_meta").mkdir()
    for name in ("b.csv", "a.parquet", "c.jsonl", "d.txt", "_meta/e.parquet"):
        (tmp_path / name).write_bytes(b"")
    for text in (f"{tmp_path}", f"{tmp_path}/*", f"{tmp_path}/a.parquet,{tmp_path}/[bc].*"):
        found = [Path(unpin(uri)[0]).name for uri in list_tables(text)]
        assert found == ["a.parquet", "b.csv", "c.jsonl"]
    for text in (f"{tmp_path}/d.txt", f"{tmp_path}/nowhere.csv"):
        with pytest.raises(InputError, match=r"--metadata=.* names no table: give a \.parquet"):
            list_tables(text)


def test_rows_go_by_their_key() -> None:
    found = keyed_rows([(0, {"k": 7, "n": 1}), (1, {"k": "a", "n": 2})], "k", True, "t")
    assert [(row.key, pickle.loads(row.values), row.typed) for row in found] == [
        ("7", {"n": 1}, ("n",)),
        ("a", {"n": 2}, ("n",)),
    ]
    assert keyed_rows([(0, {"k": "a", "n": 1})], "k", False, "t")[0].typed == ()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ((4, {"n": 1, "m": 2}), "t.csv (row 5) has no column 'k' to find samples by, but n, m"),
        ((4, {"k": None}), "t.csv has no id in column 'k' of row 5"),
        ((4, {"k": 1.5}), "t.csv has 1.5 for an id in column 'k' of row 5"),
        ((4, {"k": True}), "t.csv has True for an id"),
        (BadRow(4, "it is empty"), "t.csv has a row 5 that cannot be read (it is empty)"),
    ],
)
def test_row_that_cannot_be_joined(row: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        keyed_rows([row], "k", False, "t.csv")
    assert f"--metadata={said}" in caught.value.sentence


def test_ids_must_be_text_or_whole_numbers() -> None:
    table = ParquetTable(io.BytesIO(parquet(a=[1.5], b=["x"], c=[1])))
    for name in ("b", "c"):
        check_key(table.schema, name, "t")
    with pytest.raises(InputError, match="has ids of type double in column 'a'"):
        check_key(table.schema, "a", "t")
    with pytest.raises(InputError, match="has no column 'd' to find samples by, but a, b, c"):
        check_key(table.schema, "d", "t")
