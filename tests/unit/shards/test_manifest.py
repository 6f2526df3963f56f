from __future__ import annotations

import dataclasses
import io
import json
import random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.shard_results import shard_result

from beam_export.errors import RunError
from beam_export.metadata.schema import STRUCTURAL
from beam_export.naming import ShardNames
from beam_export.samples import MISSING_CODEC, Failure
from beam_export.shards.manifest import (
    FORMAT,
    Manifest,
    SealError,
    SplitShards,
    Totals,
    describe_schema,
    failures_table,
    lacks,
    seal,
    shards_table,
    totals,
    unseal,
    with_indexes,
)
from beam_export.shards.parquet import FAILURES, SHARDS, write_table
from beam_export.shards.writer import ShardResult

NAMES = ShardNames("0123456789ab")


def failure(ident: str, stage: str = "decode") -> Failure:
    return Failure(ident, f"/in/{ident}.jpg", stage, "ValueError", "no image")


def shard(number: int, copied: int = 3, encoded: int = 2, failed: int = 1) -> ShardResult:
    lost = [failure(f"s{number}-{one}") for one in range(failed)]
    return shard_result(number, copied=copied, encoded=encoded, failures=lost)


def sums(**given_sums: int) -> Totals:
    zeros = {field.name: 0 for field in dataclasses.fields(Totals)}
    return Totals(**{**zeros, **given_sums})


def manifest(**given_values: Any) -> Manifest:
    values: dict[str, Any] = {
        "hash": NAMES.hash,
        "options": {"seed": 0, "images_per_tar": 5},
        "software": {"pyarrow": "1", "beam_export": "2"},
        "steps": [{"step": "read", "samples": 5, "skipped": {".txt": 1}}, {"step": "write"}],
        "schema": [{"name": "image_id", "type": "string"}],
        "totals": sums(),
        "tables": [],
    }
    return Manifest(**{**values, **given_values})


# Sums.


def test_totals_add_up() -> None:
    results = [shard(0), shard(1, copied=5, encoded=0, failed=0), shard(2, 0, 1, 2)]
    total = totals(results, 4, counted=20, filtered=5, duplicate=3, limited=3)
    assert total == Totals(
        read=29,
        filtered=5,
        duplicate=3,
        limited=3,
        failed=7,
        written=11,
        copied=8,
        encoded=3,
        shards=3,
        bytes=3003,
        parquet_bytes=303,
    )
    total.check()


def test_totals_can_come_from_anything_that_is_gone_through_once() -> None:
    results = [shard(0), shard(1)]
    given_once = totals(iter(results), 0, counted=12, filtered=0, duplicate=0, limited=0)
    assert given_once == totals(results, 0, counted=12, filtered=0, duplicate=0, limited=0)


FAILED = [Failure("a", "in/a.tar#a.txt", "list", "NoImage", "it has no image")]
SOUND = sums(read=21, filtered=1, duplicate=2, limited=3, failed=4, written=11, copied=5, encoded=6)


@pytest.mark.parametrize("name", ["read", "filtered", "duplicate", "limited", "failed", "written"])
@pytest.mark.parametrize("by", [-1, 1])
def test_a_sample_lost_or_counted_twice_is_an_error(name: str, by: int) -> None:
    SOUND.check()
    wrong = dataclasses.replace(SOUND, **{name: getattr(SOUND, name) + by})
    with pytest.raises(RunError) as caught:
        wrong.check()
    assert str(getattr(wrong, name)) in caught.value.sentence


@pytest.mark.parametrize("name", ["copied", "encoded"])
def test_what_is_written_is_copied_or_encoded(name: str) -> None:
    with pytest.raises(RunError, match=r"11 samples were written, but . copied and . encoded"):
        dataclasses.replace(SOUND, **{name: 4}).check()


@pytest.mark.parametrize(
    ("failed", "written", "most"),
    [(0, 0, 0.0), (0, 5, 0.0), (1, 99, 0.01), (3, 297, 0.01), (7, 93, 0.07), (5, 0, 1.0)],
)
def test_the_budget_may_be_used_up(failed: int, written: int, most: float) -> None:
    sums(failed=failed, written=written).check_budget(most, FAILED, lambda: "out/list")


@pytest.mark.parametrize(
    ("failed", "written", "most"),
    [(1, 10**6, 0.0), (1, 98, 0.01), (101, 9899, 0.01), (1, 0, 0.99), (8, 92, 0.07)],
)
def test_more_than_the_budget_ends_the_run(failed: int, written: int, most: float) -> None:
    with pytest.raises(RunError) as caught:
        sums(failed=failed, written=written).check_budget(most, FAILED, lambda: "out/list")
    sentence = caught.value.sentence
    share = f"{failed} of {failed + written:,} images" if written else "the only image"
    assert sentence.startswith(f"{share} failed, more than")
    assert (
        "1 with NoImage (in/a.tar#a.txt: it has no image); all are listed in out/list" in sentence
    )
    assert f"--max_failed_fraction={most}" in sentence


@pytest.mark.parametrize(
    ("error", "remedy"),
    [(MISSING_CODEC, "install what reads them"), ("NoImage", "mend them, or allow more")],
)
def test_what_helps_all_that_failed_is_said(error: str, remedy: str) -> None:
    failures = [one._replace(error=error) for one in FAILED]
    with pytest.raises(RunError, match=f"out/list: {remedy}"):
        sums(failed=2, written=9).check_budget(0.01, failures, lambda: "out/list")


@given(st.integers(0, 10**7), st.integers(1, 10**7))
def test_a_budget_of_just_what_failed_is_enough(failed: int, written: int) -> None:
    most = failed / (failed + written)
    sums(failed=failed, written=written).check_budget(most, FAILED, lambda: None)


# JSON.


def test_json_has_sorted_keys_and_all_that_is_known() -> None:
    text = manifest().to_json()
    content = json.loads(text)
    fields = {one.name for one in dataclasses.fields(Manifest)}
    assert set(content) == {"format", "sha256", *fields} - {"splits", "indexes"}
    assert content["format"] == FORMAT
    assert content["totals"] == dataclasses.asdict(sums())
    assert content["steps"] == manifest().steps
    assert text == json.dumps(content, sort_keys=True, indent=2).encode() + b"\n"


def test_json_is_the_same_in_whatever_order_things_were_put_in() -> None:
    other = manifest(
        options={"images_per_tar": 5, "seed": 0}, software={"beam_export": "2", "pyarrow": "1"}
    )
    assert other.to_json() == manifest().to_json()
    assert manifest(hash="f" * 12).to_json() != manifest().to_json()


def test_indexes_that_are_added_later_stand_in_it_as_if_the_export_had_made_them() -> None:
    tables = [{"name": NAMES.shards, "sha256": "aa"}]
    listed = [{"name": NAMES.indexes, "sha256": "cc"}]
    indexes = [{"name": "sizes.json", "sha256": "bb"}]
    plain = manifest(tables=tables)
    whole = manifest(tables=[*tables, *listed], indexes=indexes)
    for before in (plain, whole):
        content = unseal(before.to_json())
        made = with_indexes(content, NAMES, table=listed, indexes=indexes)
        assert made == whole.to_json()
        assert with_indexes(content, NAMES, table=[], indexes=[]) == plain.to_json()


def test_splits_stand_in_it_only_where_there_are_some() -> None:
    assert "splits" not in unseal(manifest().to_json())
    val = SplitShards(name="val!", key="val", first_shard=3, shards=1, samples=5, bytes=10_240)
    assert unseal(manifest(splits=[val]).to_json())["splits"] == [
        {
            "name": "val!",
            "key": "val",
            "first_shard": 3,
            "shards": 1,
            "samples": 5,
            "bytes": 10_240,
        }
    ]


@given(st.text(st.characters(exclude_categories=[]), max_size=8))
def test_json_holds_any_text(text: str) -> None:
    made = manifest(schema=[{"name": text, "type": "string"}]).to_json()
    assert json.loads(made.decode("utf-8"))["schema"][0]["name"] == text


def test_json_can_be_read_by_people() -> None:
    assert "größe".encode() in manifest(schema=[{"name": "größe", "type": "double"}]).to_json()


# Tables.


def test_schema_tells_every_column() -> None:
    described = describe_schema(
        pa.schema([("score", pa.float64()), ("tags", pa.list_(pa.string()))])
    )
    assert [one["name"] for one in described[:-2]] == STRUCTURAL.names
    assert described[-2:] == [
        {"name": "score", "type": "double"},
        {"name": "tags", "type": "list<item: string>"},
    ]


def test_shards_stand_in_order_of_their_numbers() -> None:
    results = [shard(number) for number in range(12)]
    table = shards_table(random.Random(0).sample(results, 12), NAMES)
    assert table.schema == SHARDS
    assert table == shards_table(results, NAMES)
    assert table.column("shard").to_pylist() == list(range(12))
    assert table.to_pylist()[11] == {
        "shard": 11,
        "tar_file": "images-0123456789ab-000011.tar",
        "parquet_file": "images-0123456789ab-000011.parquet",
        "samples": 5,
        "bytes": 1011,
        "parquet_bytes": 111,
        "tar_sha256": f"{11:064x}",
        "parquet_sha256": f"{12:064x}",
        "plan": f"{13:064x}",
        "failed": 1,
        "copied": 3,
        "encoded": 2,
    }


def test_failures_are_sorted_and_the_same_each_time() -> None:
    rows = [failure("b"), failure("a", "read"), failure("a", "list"), failure("é")]
    table = failures_table(rows)
    assert table.schema == FAILURES
    assert [(row["image_id"], row["stage"]) for row in table.to_pylist()] == [
        ("a", "list"),
        ("a", "read"),
        ("b", "decode"),
        ("é", "decode"),
    ]
    assert table.to_pylist()[2] == failure("b")._asdict()
    assert as_file(failures_table(reversed(rows))) == as_file(table)


def as_file(table: pa.Table) -> bytes:
    file = io.BytesIO()
    write_table(file, table)
    return file.getvalue()


def test_tables_of_nothing() -> None:
    assert failures_table([]).num_rows == shards_table([], NAMES).num_rows == 0
    assert pq.read_table(io.BytesIO(as_file(failures_table([])))).schema == FAILURES


CONTENT: dict[str, Any] = {"b": [1, 2.5, None, "é\ud800"], "a": {"z": True, "y": ""}}


def test_sealed_content_comes_back() -> None:
    assert unseal(seal(CONTENT)) == CONTENT


@given(st.data())
def test_any_changed_byte_of_a_sealed_file_is_seen(data: st.DataObject) -> None:
    sealed = bytearray(seal(CONTENT))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SealError):
        unseal(bytes(sealed))


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"1", b"[" * 100_000, b'{"sha256": 1}', b"{}", seal({})[:-1], seal({}) + b"\n"],
)
def test_what_was_not_sealed_is_refused(data: bytes) -> None:
    with pytest.raises(SealError):
        unseal(data)


def test_what_images_lack_is_counted_of_the_shards_that_a_run_wrote() -> None:
    shards = [
        shard(0)._replace(lacks=(("rgb", 1), ("upright", 2))),
        shard(1)._replace(lacks=(("rgb", 3),)),
        shard(2)._replace(kept=True),
    ]
    assert lacks(shards) == {"rgb": 4, "samples": 10, "upright": 2}
    assert lacks([]) == {"samples": 0}
