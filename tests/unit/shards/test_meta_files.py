from __future__ import annotations

import dataclasses
import hashlib
import logging
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from beam_export.naming import ShardNames
from beam_export.samples import Failure
from beam_export.shards.card import dataset_card
from beam_export.shards.leftovers import CARD
from beam_export.shards.manifest import FROM_JSON, Manifest, Totals, unseal
from beam_export.shards.meta_files import MetaFiles
from beam_export.shards.output import Output

NAMES = ShardNames("0123456789ab")


@pytest.fixture
def output(tmp_path: Path) -> Output:
    made = Output(str(tmp_path / "out"), "token")
    made.prepare()
    return made


def manifest(**given: Any) -> Manifest:
    zeros = {field.name: 0 for field in dataclasses.fields(Totals)}
    values: dict[str, Any] = {
        "hash": NAMES.hash,
        "options": {"images_per_tar": 5},
        "software": {"pyarrow": "1", "beam_export": "2"},
        "steps": [{"step": "write"}],
        "schema": [{"name": "image_id", "type": "string"}],
        "totals": Totals(**{**zeros, "written": 7}),
        "tables": [],
    }
    return Manifest(**{**values, **given})


def put_last(files: MetaFiles, made: Manifest, **given: Any) -> None:
    values: dict[str, Any] = {"identity": {"device": "cpu"}, "from_json": True, "lacks": {}}
    values |= {"members": [], "notes": {}}
    values |= {"started": 0.0, "unchanged": False, "hub": None}
    files.put_last(made, **{**values, **given})


def content(output: Output, name: str) -> bytes:
    return (Path(output.directory) / name).read_bytes()


def facts(output: Output) -> dict[str, Any]:
    return unseal(content(output, NAMES.run))


def test_failures_are_a_table_whose_digest_is_given(output: Output) -> None:
    files = MetaFiles(output, NAMES)
    lost = [Failure("b", "/b.jpg", "decode", "ValueError", "no image")]
    (named,) = files.put_failures(lost)
    data = content(output, NAMES.failures)
    assert named == {"name": NAMES.failures, "sha256": hashlib.sha256(data).hexdigest()}
    table = pq.read_table(Path(output.directory) / NAMES.failures)
    assert table.column("image_id").to_pylist() == ["b"]
    assert files.written == 1


def test_without_failures_a_table_of_an_earlier_attempt_goes(output: Output) -> None:
    files = MetaFiles(output, NAMES)
    files.put_failures([Failure("b", "/b.jpg", "decode", "ValueError", "no image")])
    assert files.put_failures([]) == []
    assert not (Path(output.directory) / NAMES.failures).exists()


def test_the_list_of_a_run_that_ends_harms_no_dataset_that_stands_there(output: Output) -> None:
    files = MetaFiles(output, NAMES)
    lost = [Failure(name, f"/{name}.jpg", "decode", "ValueError", "no image") for name in "ab"]
    assert files.list_failures([]) is None
    assert files.list_failures(lost[:1]) == output.path(NAMES.failures)
    # What a run of before has left is replaced.
    assert files.list_failures(lost) == output.path(NAMES.failures)
    whole = content(output, NAMES.failures)
    output.put(NAMES.manifest, b"{}")
    assert files.list_failures(lost[:1]) is None
    assert files.list_failures(lost[::-1]) == output.path(NAMES.failures)
    assert content(output, NAMES.failures) == whole


def test_card_manifest_and_facts_are_written_last(output: Output) -> None:
    files, made = MetaFiles(output, NAMES), manifest()
    put_last(files, made)
    assert content(output, NAMES.manifest) == made.to_json()
    assert content(output, CARD) == dataset_card(made)
    found = facts(output)
    assert found["started"] == "1970-01-01T00:00:00Z"
    assert (found["device"], found[FROM_JSON]) == ("cpu", True)
    assert found["card_sha256"] == hashlib.sha256(dataset_card(made)).hexdigest()
    assert files.written == 3


def test_a_run_that_changes_nothing_leaves_the_facts_of_the_first(output: Output) -> None:
    put_last(MetaFiles(output, NAMES), manifest())
    files = MetaFiles(output, NAMES)
    put_last(files, manifest(), unchanged=True, started=5.0)
    assert files.written == 0
    assert facts(output)["started"] == "1970-01-01T00:00:00Z"


def test_a_run_that_has_written_shards_writes_its_own_facts(output: Output) -> None:
    put_last(MetaFiles(output, NAMES), manifest())
    put_last(MetaFiles(output, NAMES), manifest(), started=5.0)
    assert facts(output)["started"] == "1970-01-01T00:00:05Z"


@pytest.mark.parametrize("damage", [b"", b"{}", None])
def test_facts_that_are_damaged_or_gone_are_written_again(
    output: Output, damage: bytes | None
) -> None:
    put_last(MetaFiles(output, NAMES), manifest())
    path = Path(output.directory) / NAMES.run
    path.unlink() if damage is None else path.write_bytes(damage)
    later = Output(output.directory, "later")
    later.prepare()
    put_last(MetaFiles(later, NAMES), manifest(), unchanged=True, started=5.0)
    assert facts(output)["started"] == "1970-01-01T00:00:05Z"


def test_a_readme_of_somebody_else_is_kept(
    output: Output, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(output.directory) / CARD
    path.write_bytes(b"# Mine\n")
    with caplog.at_level(logging.WARNING):
        put_last(MetaFiles(output, NAMES), manifest())
    assert path.read_bytes() == b"# Mine\n"
    assert "it is kept" in caplog.text
    assert content(output, NAMES.manifest) == manifest().to_json()


def test_what_was_only_seen_stands_in_card_and_facts_and_not_in_the_manifest(
    output: Output,
) -> None:
    step = {
        "step": "members",
        "ragged_fields": "keep",
        "samples": 7,
        "members": {"txt": 7, "xml": 2},
        "unequal": True,
    }
    seen: dict[str, Any] = {"members": [step], "lacks": {"samples": 7, "rgb": 1}}
    put_last(MetaFiles(output, NAMES), manifest(), **seen, notes={"columns_unlike": 2})
    assert facts(output)["members"] == [step]
    assert facts(output)["lacks"] == {"samples": 7, "rgb": 1}
    assert facts(output)["columns_unlike"] == 2
    assert "| `members` | samples have unequal members: .xml in 2 of 7 |" in (
        content(output, CARD).decode()
    )
    assert b"unequal" not in content(output, NAMES.manifest)
    assert b"unlike" not in content(output, NAMES.manifest)
    # A step that the manifest has is told once.
    put_last(MetaFiles(output, NAMES), manifest(steps=[step]), members=[step])
    assert content(output, CARD).count(b"samples have unequal members") == 1
