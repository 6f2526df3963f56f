from __future__ import annotations

import datetime
import decimal
import hashlib
import io
import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exports import ROOT

from beam_export.metadata.schema import STRUCTURAL, ColumnTypes, check_declared
from beam_export.shards import parquet
from beam_export.shards.parquet import (
    FAILURES,
    SHARDS,
    ShardRow,
    ShardTable,
    read_facts,
    read_shard_rows,
    write_table,
)

NOON = datetime.datetime(2024, 5, 6, 12)
FACTS = {"beam_export.version": "1", "beam_export.plan": "ab"}


def row(number: int, metadata: Mapping[str, Any] | None = None) -> ShardRow:
    digest = hashlib.sha256(b"%d" % number).hexdigest()
    return ShardRow(
        image_id=f"photos/{number:06d}",
        tar_file="images-0123456789ab-000000.tar",
        member_name=f"photos/{number:06d}.jpg",
        original_path=f"/data/photos/{number:06d}.jpg",
        offset=512 + 1024 * number,
        size=500,
        width=640,
        height=480,
        sha256=digest,
        source_sha256=digest,
        encoding="copied",
        metadata=metadata or {},
    )


def written(rows: list[ShardRow], columns: pa.Schema, facts: Mapping[str, str] = FACTS) -> bytes:
    file = io.BytesIO()
    table = ShardTable(file, columns)
    for one in rows:
        table.append(one)
    table.close(facts)
    return file.getvalue()


def inferred(rows: list[ShardRow]) -> pa.Schema:
    types = ColumnTypes()
    for one in rows:
        types.add(one.metadata, one.image_id)
    return types.finish()


def stored(value: Any, kind: pa.DataType) -> Any:
    """Returns what a reader sees of one metadata value."""
    data = written([row(0, {"c": value})], pa.schema([("c", kind)]))
    return pq.read_table(io.BytesIO(data)).column("c")[0].as_py()


def test_columns_are_the_contract() -> None:
    columns = pa.schema([("caption", pa.string()), ("score", pa.float64())])
    data = written([row(0)], columns)
    assert pq.read_schema(io.BytesIO(data)) == pa.schema([*STRUCTURAL, *columns])
    assert ", ".join(f"{field.name} {field.type}" for field in STRUCTURAL) == (
        "image_id string, tar_file string, member_name string, original_path string, "
        "offset int64, size int64, width int32, height int32, sha256 string, "
        "source_sha256 string, encoding string"
    )


def test_rows_come_back() -> None:
    rows = [
        row(0, {"caption": "a cat", "score": 0.5, "tags": ["x", None]}),
        row(1, {"score": 1, "size": {"b": 2}})._replace(width=None, height=None),
        row(2)._replace(source_sha256=None, encoding="encoded"),
    ]
    data = written(rows, inferred(rows))
    back = list(read_shard_rows(io.BytesIO(data)))
    assert [one._replace(metadata={}) for one in back] == [
        one._replace(metadata={}) for one in rows
    ]
    assert [one.metadata for one in back] == [
        {"caption": "a cat", "input_size": None, "score": 0.5, "tags": ["x", None]},
        {"caption": None, "input_size": {"b": 2}, "score": 1.0, "tags": None},
        {"caption": None, "input_size": None, "score": None, "tags": None},
    ]


def test_an_export_of_an_export_is_the_same() -> None:
    rows = [row(number, {"width": number, "at": np.datetime64(number, "ns")}) for number in (1, 2)]
    columns = inferred(rows)
    data = written(rows, columns)
    again = list(read_shard_rows(io.BytesIO(data)))
    assert written(again, columns) == data


def test_facts_are_kept_and_the_file_stays_open() -> None:
    file = io.BytesIO()
    ShardTable(file, pa.schema([], metadata={"theirs": "x"})).close({**FACTS, "other": "y"})
    assert not file.closed
    assert read_facts(file) == dict(sorted(FACTS.items()))
    assert pq.read_schema(file).metadata[b"theirs"] == b"x"
    assert list(read_shard_rows(file)) == []


def test_a_table_that_is_given_up_writes_nothing() -> None:
    file = io.BytesIO()
    ShardTable(file, pa.schema([])).append(row(0))
    assert file.getvalue() == b""


@pytest.mark.parametrize("count", [0, 1, 4, 7, 9, 10, 11, 20, 25])
def test_row_groups_are_full_but_the_last(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 10)
    monkeypatch.setattr(parquet, "_ROWS_PER_BATCH", 4)
    rows = [row(number, {"n": number}) for number in range(count)]
    data = written(rows, pa.schema([("n", pa.int64())]))
    meta = pq.read_metadata(io.BytesIO(data))
    sizes = [meta.row_group(number).num_rows for number in range(meta.num_row_groups)]
    assert sizes == [10] * (count // 10) + [count % 10] * (count % 10 > 0)
    assert list(read_shard_rows(io.BytesIO(data))) == rows


def test_nothing_is_held_but_compact_batches() -> None:
    table = ShardTable(io.BytesIO(), pa.schema([]))
    for number in range(2_500):
        table.append(row(number))
    assert len(table._rows) == 500
    assert [batch.num_rows for batch in table._batches] == [1000, 1000]


def test_a_full_row_group_is_written_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 10)
    monkeypatch.setattr(parquet, "_ROWS_PER_BATCH", 4)
    file = io.BytesIO()
    table = ShardTable(file, pa.schema([]))
    sizes = []
    for number in range(30):
        assert len(table._rows) < 4
        assert len(table._batches) < 3
        table.append(row(number))
        sizes.append(len(file.getvalue()))
    assert [at for at in range(1, 30) if sizes[at] > sizes[at - 1]] == [9, 19, 29]


def example() -> bytes:
    rows = [row(number, {"caption": f"cat {number % 7}", "n": number}) for number in range(3_000)]
    return written(rows, inferred(rows), {f"beam_export.{name}": name for name in "cabfed"})


def test_the_same_rows_give_the_same_bytes_in_another_process() -> None:
    code = "import hashlib, test_parquet as t; print(hashlib.sha256(t.example()).hexdigest())"
    here = hashlib.sha256(example()).hexdigest()
    paths = [str(Path(__file__).parent), str(ROOT / "tests"), str(ROOT)]
    for seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": ":".join(paths), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.strip() == here


def test_columns_are_stored_well() -> None:
    group = pq.read_metadata(io.BytesIO(example())).row_group(0)
    chunks = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert {chunk.compression for chunk in chunks.values()} == {"ZSTD"}
    assert all(chunk.is_stats_set for chunk in chunks.values())
    assert all(chunk.has_offset_index for chunk in chunks.values())
    with_dictionary = {name for name, chunk in chunks.items() if chunk.has_dictionary_page}
    assert with_dictionary == {"tar_file", "width", "height", "encoding", "caption", "n"}


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (1, pa.float64(), 1.0),
        (2**60 + 1, pa.float64(), float(2**60)),
        (2**24 + 1, pa.float32(), float(2**24)),
        (2.0, pa.int64(), 2),
        (np.float32(1.5), pa.float64(), 1.5),
        (np.int8(3), pa.int64(), 3),
        (np.uint64(2**63), pa.uint64(), 2**63),
        (np.bool_(True), pa.bool_(), True),
        (np.array(2.5), pa.float64(), 2.5),
        (np.zeros(2, ">f4"), pa.list_(pa.float32()), [0.0, 0.0]),
        (np.zeros(2, np.int64), pa.list_(pa.float64()), [0.0, 0.0]),
        (np.zeros((1, 2), np.float32), pa.list_(pa.list_(pa.float32())), [[0.0, 0.0]]),
        (np.array(["a"]), pa.list_(pa.string()), ["a"]),
        ([1, 2.5, 2**60 + 1], pa.list_(pa.float64()), [1.0, 2.5, float(2**60)]),
        ((1, 2), pa.list_(pa.float32(), 2), [1.0, 2.0]),
        ({}, pa.null(), None),
        ([{}], pa.list_(pa.null()), [None]),
        ({}, pa.struct([("a", pa.int64())]), {"a": None}),
        (MappingProxyType({"a": 1}), pa.struct([("a", pa.float64())]), {"a": 1.0}),
        ({"a": 1, "b": 2}, pa.struct([("a", pa.int64())]), {"a": 1}),
        (NOON.date(), pa.timestamp("us"), NOON.replace(hour=0)),
        (np.datetime64("2024-05-06"), pa.date32(), NOON.date()),
        (np.datetime64("2024-05-06T12", "h"), pa.timestamp("us"), NOON),
        (np.datetime64("NaT"), pa.timestamp("us"), None),
        (np.timedelta64(5, "s"), pa.duration("us"), datetime.timedelta(seconds=5)),
        (np.array(["2024-05-06T12"], "M8[ns]"), pa.list_(pa.timestamp("us")), [NOON]),
        (decimal.Decimal("NaN"), pa.decimal128(5, 2), None),
        (3, pa.decimal128(5, 2), decimal.Decimal("3.00")),
        ("a", pa.dictionary(pa.int8(), pa.string()), "a"),
        ({"a": 1}, pa.map_(pa.string(), pa.int64()), [("a", 1)]),
        (memoryview(b"ab"), pa.binary(), b"ab"),
        ("caf\udce9", pa.string(), "caf\ufffd"),
        (["\ud800"], pa.list_(pa.string()), ["\ufffd"]),
    ],
)
def test_values_become_what_the_schema_says(value: Any, kind: pa.DataType, expected: Any) -> None:
    assert stored(value, kind) == expected


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1.5, pa.int64()),
        (math.nan, pa.int64()),
        (True, pa.int64()),
        (True, pa.float64()),
        (1, pa.bool_()),
        (300, pa.int8()),
        (-1, pa.uint64()),
        (1, pa.string()),
        (b"a", pa.string()),
        ("a", pa.binary()),
        ("a", pa.int64()),
        ("abc", pa.list_(pa.string())),
        ({"a"}, pa.list_(pa.string())),
        ([1.5], pa.list_(pa.int64())),
        (np.array([1.5]), pa.list_(pa.int64())),
        (np.array([300]), pa.list_(pa.int8())),
        ([1.0], pa.list_(pa.float32(), 2)),
        ([("a", 1)], pa.struct([("a", pa.int64())])),
        ({"a": "x"}, pa.struct([("a", pa.int64())])),
        (NOON, pa.date32()),
        ("2024-05-06", pa.date32()),
        (5, pa.timestamp("us")),
        (np.timedelta64(5, "s"), pa.timestamp("us")),
        (np.datetime64("9999-01-01"), pa.timestamp("ns")),
        (decimal.Decimal("1.555"), pa.decimal128(5, 2)),
        (1, pa.dictionary(pa.int8(), pa.string())),
        (0, pa.null()),
    ],
)
def test_a_value_that_does_not_fit_is_an_error_of_one_sentence(
    value: Any, kind: pa.DataType
) -> None:
    table = ShardTable(io.BytesIO(), pa.schema([("col", kind)]))
    table.append(row(1))
    table.append(row(2, {"col": value}))
    with pytest.raises(ValueError, match="does not fit") as caught:
        table.close(FACTS)
    assert str(caught.value) == (
        f"sample 'photos/000002' has a value of type {type(value).__name__} in metadata column "
        f"'col' that does not fit the column's type {kind}; change the value or declare another "
        "type"
    )


def test_a_value_that_is_missing_but_declared() -> None:
    columns = check_declared(pa.schema([pa.field("c", pa.int64(), nullable=False)]))
    with pytest.raises(ValueError, match="'photos/000001' has no value in metadata column 'c'"):
        written([row(0, {"c": 1}), row(1)], columns)


def test_text_of_undecodable_file_names_is_stored() -> None:
    rows = [row(0)._replace(image_id="caf\udce9", original_path="/d/caf\udce9.jpg")]
    back = next(read_shard_rows(io.BytesIO(written(rows, pa.schema([])))))
    assert back.image_id == "caf\ufffd"
    assert back.original_path == "/d/caf\ufffd.jpg"


#: What 64 bits of microseconds hold.
LONGEST = datetime.timedelta(microseconds=2**63 - 1)

SCALARS: list[st.SearchStrategy[Any]] = [
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(-(2**53), 2**53) | st.floats(),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.dates() | st.datetimes(),
    st.datetimes(timezones=st.just(datetime.UTC)),
    st.times(),
    st.timedeltas(-LONGEST, LONGEST),
    st.decimals(allow_infinity=False, min_value=-(10**9), max_value=10**9, places=3),
    st.floats(width=32).map(np.float32) | st.integers(0, 9).map(np.int16),
    st.lists(st.floats(width=32), max_size=3).map(lambda items: np.array(items, np.float32)),
]


def nested(scalar: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.just(st.none() | scalar),
        st.just(st.none() | st.lists(st.none() | scalar, max_size=3)),
        st.just(st.dictionaries(st.sampled_from("ab"), st.none() | scalar, max_size=2)),
    ).flatmap(lambda values: st.lists(values, max_size=5))


@given(st.sampled_from(SCALARS).flatmap(nested))
def test_every_value_fits_the_type_that_was_inferred(values: list[Any]) -> None:
    rows = [row(number, {"c": value}) for number, value in enumerate(values)]
    columns = inferred(rows)
    data = written(rows, columns)
    assert pq.read_schema(io.BytesIO(data)) == pa.schema([*STRUCTURAL, *columns])
    again = list(read_shard_rows(io.BytesIO(data)))
    assert written(again, columns) == data
    for before, after in zip(values, again, strict=True):
        if isinstance(before, (str, bytes, bool, datetime.time, datetime.timedelta)):
            assert after.metadata["c"] == before


def test_a_file_that_is_no_shard() -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"image_id": ["a"]}), file)
    with pytest.raises(ValueError, match="no column 'tar_file'"):
        next(read_shard_rows(file))


def test_tables_do_not_depend_on_how_they_are_chunked() -> None:
    # Enough for several pages: what is in one is where chunks could show.
    message = "".join(hashlib.sha256(b"%d" % number).hexdigest() for number in range(8))
    failures = [
        {**dict.fromkeys(FAILURES.names, "x"), "message": f"{number} {message}"}
        for number in range(5_000)
    ]
    whole = pa.Table.from_pylist(failures, schema=FAILURES)
    pieces = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 2_500), whole.slice(2_501)])
    one, other = io.BytesIO(), io.BytesIO()
    write_table(one, whole)
    write_table(other, pieces)
    assert one.getvalue() == other.getvalue()
    assert pq.read_table(one).equals(whole)


def test_the_table_of_shards_is_stored() -> None:
    shard = {field.name: "x" if field.type == pa.string() else 1 for field in SHARDS}
    file = io.BytesIO()
    write_table(file, pa.Table.from_pylist([shard], schema=SHARDS))
    assert pq.read_table(file).to_pylist() == [shard]
    assert pq.read_schema(file) == SHARDS


def export(folder: Path) -> list[str]:
    """Writes two shards whose metadata differs; returns their paths."""
    shards = [
        [row(0, {"caption": "a", "score": 1}), row(1, {"e": np.ones(2, np.float32), "none": {}})],
        [row(2, {"box": {"x": 1}, "score": 0.5}), row(3, {"when": NOON, "tags": ["a", "b"]})],
    ]
    columns = inferred([one for shard in shards for one in shard])
    paths = [folder / f"images-0123456789ab-{number:06d}.parquet" for number in range(2)]
    for path, rows in zip(paths, shards, strict=True):
        path.write_bytes(written(rows, columns))
    return [str(path) for path in paths]


EXPECTED_SCORES = [1.0, None, 0.5, None]


def test_pyarrow_dataset_reads_all_shards_as_one(tmp_path: Path) -> None:
    dataset = pyarrow.dataset.dataset(export(tmp_path))
    table = dataset.to_table()
    assert table.column("score").to_pylist() == EXPECTED_SCORES
    assert dataset.schema.field("e").type == pa.list_(pa.float32())
    found = dataset.to_table(filter=pyarrow.dataset.field("score") >= 0.75)
    assert found.column("image_id").to_pylist() == ["photos/000000"]


def test_hugging_face_datasets_reads_all_shards_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    loaded = datasets.load_dataset(
        "parquet", data_files=export(tmp_path), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded["score"][:] == EXPECTED_SCORES
    assert loaded[1]["e"] == [1.0, 1.0]
    assert loaded[2]["box"] == {"x": 1}
    assert loaded[3]["when"] == NOON
    assert loaded[0]["none"] is None
