"""The end of an export without a pipeline: what is written, and what is not after a fault."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.shard_results import shard_result

from beam_export.errors import RunError
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.naming import ShardNames
from beam_export.options import ExportOptions
from beam_export.pipeline import progress
from beam_export.pipeline.export_run import ExportRun
from beam_export.pipeline.write_manifest import write_manifest
from beam_export.planning.duplicates import Decisions
from beam_export.planning.join import Tally
from beam_export.planning.members import MemberRules
from beam_export.planning.outcome import Outcome
from beam_export.planning.plan import make_plan, segments
from beam_export.samples import Failure
from beam_export.shards.manifest import Manifest
from beam_export.shards.output import Output

PAIRS = [(bytes([number]), bytes([number]) * 32) for number in range(4)]
LAYOUT = make_plan(segments(PAIRS, 0, 4, None), b"", None)
NAMES = ShardNames(LAYOUT.hash)
RESULT = shard_result(copied=4)
LOST = Failure("a.tar", "/in/a.tar", "list", "BrokenSource", "it ends early")
EMPTY = shard_result(copied=0, failures=[LOST._replace(stage="decode", error="ValueError")] * 4)


def run_of(folder: Path, **options: Any) -> ExportRun:
    made = ExportOptions(output_dir=str(folder), max_failed_fraction=0.5, **options)
    output = Output(made.output_dir, "token")
    output.prepare()
    return ExportRun(options=made, output=output, encoder=PillowEncoder(made.spec()))


def write(run: ExportRun, **given: Any) -> Manifest:
    outcome = Outcome(
        results=[RESULT],
        layout=LAYOUT,
        decisions=Decisions(),
        counted=4,
        ranked=4,
        source_failures=[],
        probe_failures=[],
        skipped={},
        tally=Tally(),
        rules=MemberRules(),
    )
    return write_manifest(
        run,
        dataclasses.replace(outcome, **given),
        columns=pa.schema([]),
        from_json=False,
        started=0.0,
    )


def test_tables_card_and_manifest_stand_at_the_end(tmp_path: Path) -> None:
    manifest = write(run_of(tmp_path))
    assert json.loads((tmp_path / NAMES.manifest).read_text())["totals"]["written"] == 4
    assert [one["name"] for one in manifest.tables] == [NAMES.shards]
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {NAMES.manifest, NAMES.shards, NAMES.run, "README.md"} <= there
    assert NAMES.failures not in there


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"counted": 5}, "the input has changed"),
        ({"source_failures": [LOST]}, "1 source cannot be read to the end"),
        ({"source_failures": [LOST._replace(error="NoImage")], "results": [EMPTY]}, "all 5 images"),
        ({"source_failures": [LOST._replace(error="NoImage")], "counted": 9}, "has changed"),
        ({"probe_failures": [LOST._replace(stage="decode")] * 5}, "5 of 9 images failed"),
    ],
)
def test_no_manifest_stands_where_something_is_amiss(
    tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(RunError, match=words):
        write(run_of(tmp_path), **given)
    assert not (tmp_path / NAMES.manifest).exists()
    failed = sum(len(given.get(name, ())) for name in ("source_failures", "probe_failures"))
    failed += len(given["results"][0].failures) if "results" in given else 0
    if failed:
        assert pq.read_table(tmp_path / NAMES.failures).num_rows == failed
    assert (tmp_path / NAMES.failures).exists() == bool(failed)


def test_broken_sources_may_be_allowed(tmp_path: Path) -> None:
    manifest = write(run_of(tmp_path, allow_broken_sources=True), source_failures=[LOST])
    assert [one["name"] for one in manifest.tables] == [NAMES.shards, NAMES.failures]


def test_the_end_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[dict[str, int]] = []
    monkeypatch.setattr(progress, "report", lambda _, counts: heard.append(counts))
    write(run_of(tmp_path))
    write(run_of(tmp_path), results=[RESULT._replace(kept=True)])
    assert [(one["finished"], one["kept_shards"], one["mended_files"]) for one in heard] == [
        *((1, 0, 0), (1, 1, 0)),
    ]
    (tmp_path / NAMES.run).unlink()
    write(run_of(tmp_path), results=[RESULT._replace(kept=True)])
    assert heard[-1]["mended_files"] == 1
