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
from support.exports import ROOT

from beam_export.sources.tables import pages
from beam_export.sources.tables.cells import Cells
from beam_export.sources.tables.formats import TableError
from beam_export.sources.tables.pages import Chunk, Page, chunks_of, pages_of
from beam_export.sources.tables.parquet import ParquetTable
from beam_export.sources.tar.exports import read_export_table

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


def pages_in(data: bytes, column: int = 0) -> list[Page]:
    fh = io.BytesIO(data)
    return list(pages_of(fh, chunks_of(fh)[0][column]))


def test_pages_tell_what_they_unpack_to() -> None:
    dictionary, data = pages_in(bomb(MIB, 10))
    assert (dictionary.is_dictionary, dictionary.unpacked, dictionary.values) == (True, MIB + 4, 1)
    assert dictionary.packed < MIB / 100
    assert (data.is_dictionary, data.values) == (False, 10)
    plain = {"image": [b"a" * 700, b"b"], "n": [[1, 2], [3]]}
    for version in ("1.0", "2.0"):
        file = parquet(plain, use_dictionary=False, data_page_version=version)
        assert [page.values for page in pages_in(file)] == [2]
        assert [page.values for page in pages_in(file, 1)] == [3]
        assert [path for path, *_ in chunks_of(io.BytesIO(file))[0]] == ["image", "n.list.element"]


@pytest.mark.parametrize(
    "junk", [b"", b"PAR1", bytes(100), b"\xff\xff\xff\x7fPAR1", bytes(8) + b"PAR1"]
)
def test_what_has_no_footer_has_no_chunks(junk: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (whatever is wrong)
        chunks_of(io.BytesIO(junk))


def refusal(data: bytes, column: str = "image") -> str:
    with pytest.raises(TableError) as raised:
        list(ParquetTable(io.BytesIO(data)).batches(0, [column]))
    return str(raised.value)


@pytest.mark.parametrize("codec", ["zstd", "gzip", "brotli", "lz4"])
@pytest.mark.parametrize("dictionary", [False, True])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_page_that_is_far_larger_than_it_looks_is_refused(
    codec: str, dictionary: bool, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    options = {"use_dictionary": dictionary, "dictionary_pagesize_limit": 1 << 30}
    table = pa.table({"image": [bytes(4 * MIB)], "id": ["a"]})
    pq.write_table(table, buffer, compression=codec, data_page_version=version, **options)
    data = buffer.getvalue()
    assert len(data) < 64 << 10
    assert list(ParquetTable(io.BytesIO(data)).batches(0, ["image"]))
    monkeypatch.setattr(pages, "MOST_BYTES", MIB)
    assert "column 'image', that unpacks to 4,194,3" in refusal(data)
    # What is not read is not judged.
    assert [one.num_rows for _, one in ParquetTable(io.BytesIO(data)).batches(0, ["id"])] == [1]


@pytest.mark.parametrize(("start", "end"), [(-5, 10), (10, 5), (4, 2**62), (2**63, 2**64)])
def test_a_column_that_lies_where_nothing_is(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="lies where there is nothing"):
        list(pages_of(io.BytesIO(bytes(100)), Chunk("x", start, end, 0)))


def test_large_pages_of_what_does_not_shrink_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_BYTES", MIB)
    data = parquet({"image": [np.random.default_rng(0).bytes(4 * MIB)]}, use_dictionary=False)
    assert list(ParquetTable(io.BytesIO(data)).batches(0))


def test_a_row_of_very_many_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_BYTES", MIB)
    many = pa.array([[7] * 500_000])
    data = parquet({"image": many})
    assert len(data) < 10_000
    assert "unpacks to 4,000,000" in refusal(data)
    # As many in as many rows are read a thousand rows at a time.
    rows = parquet({"image": pa.array([7] * 500_000)})
    assert list(ParquetTable(io.BytesIO(rows)).batches(0))


def varint(value: int) -> bytes:
    value = value << 1
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


@pytest.mark.parametrize("said", [2 * MIB, 60 * MIB, 120 * MIB])
def test_headers_that_lie_are_refused(said: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The header says another size than the page has: Arrow finds out, or is not asked."""
    monkeypatch.setattr(pages, "MOST_BYTES", 64 * MIB)
    data = parquet({"image": [bytes(4 * MIB)]}, use_dictionary=False)
    (page,) = pages_in(data)
    old, new = (b"\x15\x00\x15" + varint(size) for size in (page.unpacked, said))
    assert (data.count(old), len(old)) == (1, len(new))
    message = refusal(data.replace(old, new))
    assert ("unpacks" if said > 64 * MIB else "damaged") in message


def test_pages_that_reach_beyond_their_chunk_are_refused() -> None:
    data = parquet({"image": [bytes(range(256)) * 40]}, use_dictionary=False)
    (page,) = pages_in(data)
    at = data.index(varint(page.packed), data.index(varint(page.unpacked)))
    longer = data[:at] + varint(page.packed + 1_000) + data[at + 2 :]
    assert len(longer) == len(data)
    assert "larger than there is room for" in refusal(longer)


HUGE = """
import io, sys
import pyarrow as pa
import pyarrow.parquet as pq
from beam_export.sources.tables.formats import TableError
from beam_export.sources.tables.parquet import ParquetTable
data = open(sys.argv[1], "rb").read()
def peak():
    # Of this program alone: `ru_maxrss` begins at what the process that started it held.
    with open("/proc/self/status") as file:
        return int(file.read().partition("VmHWM:")[2].split()[0])
before = peak()
try:
    list(ParquetTable(io.BytesIO(data)).batches(0))
except TableError as error:
    print(error)
print(peak() - before)
"""


@pytest.mark.slow
def test_a_value_of_two_gigabytes_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(parquet({"image": [bytes((1 << 31) - 200)]}, use_dictionary=False))
    assert path.stat().st_size < 1 << 18
    done = subprocess.run(
        [sys.executable, "-c", HUGE, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    said, grown = done.stdout.splitlines()
    assert "unpacks to 2,147,48" in said
    assert int(grown) < 64 << 10


def test_batches_are_small_where_a_row_may_be_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_export.sources.tables.parquet._MOST_BYTES", 8 * MIB)
    table = ParquetTable(io.BytesIO(bomb(MIB, 20)))
    batches = list(table.batches(0))
    assert max(batch.nbytes for _, batch in batches) <= 8 * MIB + 1000
    assert sum(batch.num_rows for _, batch in batches) == 20
    many = parquet({"caption": ["a", "b"] * 3000})
    assert max(batch.num_rows for _, batch in ParquetTable(io.BytesIO(many)).batches(0)) == 1000


def test_prefixes_that_are_shared_count_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_export.sources.tables.parquet._MOST_BYTES", 8 * MIB)
    values = [bytes(MIB) + bytes([n]) for n in range(20)]
    data = parquet(
        {"image": values}, use_dictionary=False, column_encoding={"image": "DELTA_BYTE_ARRAY"}
    )
    assert chunk_of(data).total_uncompressed_size < 2 * MIB
    table = ParquetTable(io.BytesIO(data))
    assert max(batch.nbytes for _, batch in table.batches(0)) <= 9 * MIB


def test_cells_keep_no_more_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_export.sources.tables.cells._KEPT_BYTES", 16 * MIB)
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
    monkeypatch.setattr("beam_export.sources.tar.exports._MOST_BYTES", 4 * MIB)
    monkeypatch.setattr("beam_export.sources.tar.exports._MOST_LOST", 1000)
    assert read_export_table(curator(3), 10_240).rows != []  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="1100 rows"):
        read_export_table(curator(1_100), 10_240)
    big = pa.array(["x" * MIB] * 40)
    with pytest.raises(ValueError, match="holds more than"):
        read_export_table(curator(40, big), 10_240)


READ_DAMAGED = """
import io, random, sys
from benchmarks.robustness import torture_archives
from beam_export.sources.tables.cells import Cells
from beam_export.sources.tables.formats import TableError
from beam_export.sources.tables.parquet import ParquetTable
from beam_export.sources.tables.refs import TablePlace, group_refs
from beam_export.sources.tables.roles import roles_of_schema

whole, dice, refused = open(sys.argv[1], "rb").read(), random.Random(7), 0
for _ in range(150):
    data = torture_archives.damaged(whole, dice)
    try:
        table = ParquetTable(io.BytesIO(data))
        for group in range(len(table.groups)):
            roles = roles_of_schema(table.schema)
            for _ in group_refs(table, group, roles, TablePlace("", "", b"")):
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
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30
