from __future__ import annotations

import hashlib
import io

import pyarrow as pa

from beam_export.naming import ShardNames
from beam_export.samples import EncodedImage, Member, SampleRef
from beam_export.shards.writer import ReadySample, write_shard
from beam_export.verify.shard import CheckedShard, ShardChecker

NAMES = ShardNames("0123456789ab")


def written(*idents: str) -> tuple[bytes, bytes]:
    """Returns tar and Parquet of a shard whose images are their ids."""
    samples = []
    for ident in idents:
        data = ident.encode()
        member = Member("jpg", "", 0, len(data))
        ref = SampleRef(b"", ident, f"/in/{ident}.jpg", member, (), {}, len(data))
        image = EncodedImage(data, "jpg", 1, 1, "copied")
        digest = hashlib.sha256(data).hexdigest()
        samples.append(ReadySample(ref, ident, image, digest, [], None))
    tar, table = io.BytesIO(), io.BytesIO()
    write_shard(samples, tar, table, number=0, names=NAMES, columns=pa.schema([]), plan="0" * 64)
    return tar.getvalue(), table.getvalue()


def check(tar: bytes, table: bytes, listed: dict[str, object] | None = None) -> CheckedShard:
    return ShardChecker(NAMES).check(0, io.BytesIO(tar), table, listed)


def test_a_shard_as_it_was_written_is_sound() -> None:
    tar, table = written("a", "b")
    checked = check(tar, table)
    assert checked.faults == []
    assert (checked.first, checked.last) == ("a", "b")
    assert [(use.kind, use.name) for use in checked.name_uses] == [
        *(("id", "a"), ("key", "a"), ("id", "b"), ("key", "b"))
    ]
    assert checked.columns is not None
    found = {name: checked.columns[name] for name in ("samples", "copied", "encoded", "failed")}
    assert found == {"samples": 2, "copied": 2, "encoded": 0, "failed": 0}
    assert checked.columns["bytes"] == len(tar)
    assert check(tar, table, dict(checked.columns)).faults == []


def test_a_tar_of_another_shard_is_named_with_each_row_that_differs() -> None:
    faults = check(written("a", "c")[0], written("a", "b")[1]).faults
    assert {fault.file for fault in faults} == {NAMES.tar(0), NAMES.parquet(0)}
    assert {fault.member for fault in faults if fault.file == NAMES.parquet(0)} == {"b"}
    assert any("its tar_sha256 is" in fault.problem for fault in faults)


def test_a_row_without_a_sample_is_counted() -> None:
    faults = check(written("a")[0], written("a", "b")[1]).faults
    assert "it has 1 sample, and its Parquet 2 rows" in [fault.problem for fault in faults]


def test_what_the_table_of_shards_says_otherwise_is_the_fault_of_that_file() -> None:
    tar, table = written("a")
    listed = {"samples": 2, "bytes": 1, "plan": "0" * 64}
    assert [(fault.file, fault.problem) for fault in check(tar, table, listed).faults] == [
        (NAMES.parquet(0), "its samples is 1, and the table of shards says 2"),
        (NAMES.tar(0), f"its bytes is {len(tar)}, and the table of shards says 1"),
    ]


def test_a_damaged_parquet_leaves_the_tar_to_be_checked() -> None:
    tar, table = written("a")
    checked = check(tar[:-1], table[:-1])
    assert checked.columns is None
    problems = {fault.file: fault.problem for fault in checked.faults}
    assert problems[NAMES.parquet(0)].startswith("it cannot be read as Parquet")
    assert "two zero blocks" in problems[NAMES.tar(0)]
