from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_export.metadata.schema import STRUCTURAL
from beam_export.samples import Failure
from beam_export.verify.findings import Faults
from beam_export.verify.shard_parquet import open_shard_file, read_table

FAILURES = [Failure("b", "b.jpg", "read", "ValueError", "gone"), Failure("a", "a", "x", "y", "z")]
FACTS = {"version": "1", "plan": "p", "tar_sha256": "0" * 64, "tar_bytes": "1024"}
ROW: dict[str, Any] = {
    "image_id": "a",
    "tar_file": "images-0.tar",
    "member_name": "a.jpg",
    "original_path": "",
    "offset": 512,
    "size": 9,
    "sha256": "1" * 64,
    "encoding": "copied",
}


def as_json(failures: list[Failure]) -> str:
    return json.dumps([one._asdict() for one in failures], sort_keys=True)


def shard(
    *rows: dict[str, Any],
    facts: dict[str, str] | None = None,
    schema: pa.Schema | None = None,
    **options: Any,
) -> bytes:
    schema = schema or pa.schema([*STRUCTURAL, pa.field("label", pa.string())])
    facts = {"failures": "[]", **FACTS} if facts is None else facts
    named = {f"beam_export.{name}": text for name, text in facts.items()}
    table = pa.Table.from_pylist(list(rows), schema.with_metadata(named))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def said(faults: Faults) -> list[str]:
    return [fault.problem for fault in faults.all()]


def test_a_sound_file_has_rows_columns_and_facts() -> None:
    faults = Faults()
    file = open_shard_file(shard({**ROW, "label": "cat"}), "s.parquet", faults)
    assert file is not None
    assert [row.image_id for row in file.rows()] == ["a"]
    assert file.columns == pa.schema([("label", pa.string())])
    assert file.facts["beam_export.plan"] == "p"
    assert said(faults) == []


@pytest.mark.parametrize(
    "kind",
    [
        pa.map_(pa.string(), pa.int64()),
        pa.list_(pa.map_(pa.string(), pa.list_(pa.int8()), keys_sorted=True)),
        pa.large_list(pa.struct([("a", pa.list_(pa.float32(), 2))])),
        pa.list_(pa.field("item", pa.int8(), nullable=False)),
    ],
    ids=str,
)
def test_columns_are_described_as_arrow_names_what_is_in_them(kind: pa.DataType) -> None:
    schema = pa.schema([*STRUCTURAL, pa.field("a (b)", kind)])
    file = open_shard_file(shard({**ROW}, schema=schema), "s.parquet", Faults())
    assert file is not None
    assert file.described[-1] == ("a (b)", str(kind))


def test_failures_are_sorted_and_in_their_form() -> None:
    for failures, problem in (
        (as_json(sorted(FAILURES)), []),
        (as_json(FAILURES), ["its beam_export.failures are not written as they should be"]),
        ("[1]", ["its beam_export.failures are no failures"]),
        ("nonsense", ["its beam_export.failures are no failures"]),
    ):
        faults = Faults()
        file = open_shard_file(shard(ROW, facts={**FACTS, "failures": failures}), "s", faults)
        assert file is not None
        assert said(faults) == problem
        assert len(file.failures) == (2 if failures.startswith("[{") else 0)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"no parquet at all", "it cannot be read as Parquet"),
        (shard(ROW)[:-20], "it cannot be read as Parquet"),
        (shard({"a": 1}, schema=pa.schema([("a", pa.int8())])), "its first columns are not those"),
    ],
)
def test_what_is_no_parquet_of_a_shard_is_not_opened(data: bytes, problem: str) -> None:
    faults = Faults()
    assert open_shard_file(data, "s.parquet", faults) is None
    assert said(faults)[0].startswith(problem)


def test_what_is_missing_is_named() -> None:
    faults = Faults()
    file = open_shard_file(shard({**ROW, "sha256": None}, facts={}), "s.parquet", faults)
    assert file is not None
    assert [row.sha256 for row in file.rows()] == [None]
    assert {"it is null in: sha256", "its key-values lack beam_export.plan"} <= set(said(faults))


def test_rows_are_in_groups_by_their_number_alone() -> None:
    faults = Faults()
    open_shard_file(shard(ROW, ROW, row_group_size=1), "s.parquet", faults)
    assert said(faults) == ["it has 2 row groups, not 1"]


def test_a_table_has_the_schema_that_is_asked_for() -> None:
    schema, faults = pa.schema([("n", pa.int64())]), Faults()
    buffer = io.BytesIO()
    pq.write_table(pa.table({"n": [1, 2]}), buffer)
    assert read_table(buffer.getvalue(), "t", schema, faults) == [{"n": 1}, {"n": 2}]
    assert read_table(buffer.getvalue(), "t", pa.schema([("m", pa.int8())]), faults) is None
    assert read_table(b"x", "t", schema, faults) is None
    assert len(said(faults)) == 2
