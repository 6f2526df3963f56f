from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest

from beam_export.index_kinds import KINDS
from beam_export.naming import ShardNames
from beam_export.samples import EncodedImage, Member, SampleRef
from beam_export.shards.indexes.dataset import dataset_files
from beam_export.shards.indexes.shard import ShardIndexer
from beam_export.shards.indexes.table import indexes_table
from beam_export.shards.writer import ReadySample, ShardResult, indexed_shards, write_shard
from beam_export.verify.findings import Fault, Faults
from beam_export.verify.indexes import IndexTask, Once, check_once, open_indexes
from beam_export.verify.shard import ShardChecker

NAMES = ShardNames("0123456789ab")


def shard() -> tuple[bytes, bytes, ShardResult, dict[str, bytes]]:
    """Returns tar, Parquet, result and index files of a shard with two samples."""
    samples = []
    for ident in ("a", "b"):
        data = ident.encode()
        member = Member("jpg", "", 0, len(data))
        ref = SampleRef(b"", ident, f"/in/{ident}.jpg", member, (), {}, len(data))
        image = EncodedImage(data, "jpg", 1, 1, "copied")
        digest = hashlib.sha256(data).hexdigest()
        samples.append(ReadySample(ref, ident, image, digest, [("txt", b"hi")], None))
    tar, table, indexer = io.BytesIO(), io.BytesIO(), ShardIndexer(KINDS)
    result = write_shard(
        samples,
        tar,
        table,
        number=0,
        names=NAMES,
        columns=pa.schema([]),
        plan="0" * 64,
        indexer=indexer,
    )
    return tar.getvalue(), table.getvalue(), result, indexer.files(NAMES, 0)


TAR, TABLE, RESULT, FILES = shard()
ONCE = dataset_files(NAMES, indexed_shards([RESULT]))
LISTED = [
    {"name": name, "sha256": hashlib.sha256(content).hexdigest()} for name, content in ONCE.items()
]
ROW = {"samples": 2, "bytes": RESULT.bytes, "tar_sha256": RESULT.tar_sha256}


def check_shard(files: Mapping[str, bytes | None], **given: Any) -> list[Fault]:
    assert RESULT.indexes is not None
    task = IndexTask(KINDS, (RESULT.tar_sha256, RESULT.indexes), files)._replace(**given)
    tar, table = io.BytesIO(TAR), TABLE
    return (
        ShardChecker(NAMES).check(number=0, tar=tar, table=table, listed=None, indexes=task).faults
    )


def test_the_indexes_of_a_shard_as_they_were_written_are_sound() -> None:
    assert check_shard(FILES) == []


@pytest.mark.parametrize("name", list(FILES))
def test_an_index_that_is_missing_or_another_is_named(name: str) -> None:
    index = "run beam-export index OUT"
    for content, said, remedy in (
        (None, "it is missing", f"restore it from a copy, or {index}"),
        (FILES[name][:-1], "it does not say where", f"remove it, and {index}"),
    ):
        (fault,) = check_shard({**FILES, name: content})
        assert fault.file == name
        assert fault.problem.startswith(said)
        assert fault.remedy == remedy


def test_a_row_of_the_table_is_held_to_the_tar() -> None:
    assert RESULT.indexes is not None
    for listed in (
        None,
        ("00", RESULT.indexes),
        (RESULT.tar_sha256, RESULT.indexes._replace(tar_md5="00")),
        (RESULT.tar_sha256, RESULT.indexes._replace(fields=())),
    ):
        (fault,) = check_shard(FILES, listed=listed)
        assert fault.file == NAMES.indexes


def once(**given: Any) -> tuple[list[Fault], list[str]]:
    """Returns faults and notes about the indexes that the dataset has once."""
    faults = Faults()
    table = indexes_table(indexed_shards([RESULT]), NAMES)
    values: dict[str, Any] = {
        "names": NAMES,
        "manifest": {"indexes": LISTED},
        "shards": {0: ROW},
        "indexes": open_indexes(table, NAMES.indexes, faults),
        "files": list(ONCE),
    }
    content = {**ONCE, **given.pop("content", {})}
    notes = list(check_once(Once(**{**values, **given}), content.__getitem__, faults))
    return faults.all(), notes


def test_the_indexes_of_a_dataset_as_they_were_written_are_sound() -> None:
    assert once() == ([], [])


@pytest.mark.parametrize("name", ["sizes.json", "nshards.txt", ".nv-meta/.info.json"])
def test_one_that_is_missing_or_damaged_is_named(name: str) -> None:
    (fault,), _ = once(files=set(ONCE) - {name})
    assert (fault.file, fault.problem) == (name, "it is missing")
    assert fault.remedy == "restore it from a copy, or run beam-export index OUT"
    (fault,), _ = once(content={name: b"{}"})
    assert (fault.file, fault.problem[:15]) == (name, "its sha256 is n")


@pytest.mark.parametrize("name", [".nv-meta/dataset.yaml", NAMES.wids_index()])
def test_one_that_people_set_by_hand_is_a_note(name: str) -> None:
    faults, notes = once(content={name: b"mine"})
    assert faults == []
    assert notes == [f"{name}: not what the export wrote there, and read by loaders as it is"]


def test_a_list_that_does_not_fit_the_shards_is_a_fault_of_the_manifest() -> None:
    less, more = LISTED[1:], [*LISTED, {"name": "more", "sha256": "00"}]
    for manifest, name in (({"indexes": less}, LISTED[0]["name"]), ({"indexes": more}, "more")):
        faults, _ = once(manifest=manifest, files=[*ONCE, "more"], content={"more": b""})
        problems = {fault.file: fault.problem for fault in faults}
        assert name in problems[NAMES.manifest]
    faults, _ = once(shards={0: {**ROW, "samples": 3}})
    assert {fault.file for fault in faults} == {NAMES.manifest}
    faults, _ = once(shards={0: ROW, 1: ROW})
    assert {fault.file for fault in faults} == {NAMES.indexes}
    faults, _ = once(indexes=None)
    assert {fault.file for fault in faults} == {NAMES.manifest}


@pytest.mark.parametrize("listed", [5, [5], [{"name": "a"}], [{"name": "a", "sha256": 5}]])
def test_a_damaged_list_is_a_fault(listed: object) -> None:
    (fault,), _ = once(manifest={"indexes": listed})
    assert fault.file == NAMES.manifest


def test_a_damaged_table_is_a_fault() -> None:
    faults = Faults()
    assert open_indexes(b"PAR1", NAMES.indexes, faults) is None
    assert [fault.file for fault in faults.all()] == [NAMES.indexes]
