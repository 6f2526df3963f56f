from __future__ import annotations

import io
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cells import FILES, TEXTS

from beam_export.sources.tables import cells
from beam_export.sources.tables.cells import Cells
from beam_export.sources.tables.formats import TableError
from beam_export.sources.tables.parquet import ParquetTable


class Opened:
    """Counts the files that are open."""

    def __init__(self) -> None:
        self.files: list[BinaryIO] = []

    def __call__(self, uri: str) -> BinaryIO:
        if uri not in FILES:
            raise FileNotFoundError(uri)
        self.files.append(io.BytesIO(FILES[uri]))
        return self.files[-1]


@pytest.mark.parametrize("kept", [0, 4000, 1 << 30])
@settings(deadline=None, max_examples=25)
@given(places=st.lists(st.tuples(st.sampled_from(sorted(FILES)), st.integers(0, 299)), max_size=30))
def test_cells_in_any_order(kept: int, places: list[tuple[str, int]]) -> None:
    opened = Opened()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "_KEPT_BYTES", kept)
        patch.setattr("beam_export.sources.tables.parquet._BATCH_BYTES", 500)
        reader = Cells(opened)
        for uri, row in places:
            assert reader.read(uri, "a.b", row) == TEXTS[row]
            assert sum(not file.closed for file in opened.files) <= 4
            assert sum(size for size, _ in reader._kept.values()) <= kept
        reader.close()
    assert all(file.closed for file in opened.files)


def test_rows_in_order_read_each_row_group_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_export.sources.tables.parquet._BATCH_BYTES", 500)
    for kept in (0, 1 << 30):
        monkeypatch.setattr(cells, "_KEPT_BYTES", kept)
        reader, started = Cells(Opened()), []
        batches = ParquetTable.batches

        def counted(
            table: ParquetTable, group: int, *rest: Any, started: Any = started, to: Any = batches
        ) -> Any:
            started.append(group)
            return to(table, group, *rest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ParquetTable, "batches", counted)
            for row in range(0, 300, 3):
                reader.read("plain0", "a.b", row)
        assert started == [0, 1, 2]


def test_what_is_not_there() -> None:
    reader = Cells(Opened())
    for column, row in (("a.b", 300), ("a.b", -1), ("x", 0)):
        with pytest.raises(TableError, match="has no row"):
            reader.read("plain0", column, row)
    with pytest.raises(FileNotFoundError):
        reader.read("gone", "a.b", 0)
    reader.read("plain0", "a.b", 0)
    reader.forget("plain0")
    assert reader.read("plain0", "a.b", 1) == TEXTS[1]


def test_a_row_group_that_ends_too_early_says_so() -> None:
    table = ParquetTable(io.BytesIO(FILES["plain0"]))
    table.groups[1] = table.groups[1]._replace(rows=129)
    with pytest.raises(TableError, match="row group 1: it ends before its last row"):
        list(table.batches(1))
