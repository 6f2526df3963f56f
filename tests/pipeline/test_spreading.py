"""One source that holds all samples is still the work of many: in how many pieces it goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.pvalue import TaggedOutput
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from support.exports import picture
from support.runs import run_export

import beam_export
from beam_export.pipeline import read_samples, read_tables, read_tars
from beam_export.pipeline.dry_run import DryRun
from beam_export.pipeline.list_inputs import ListPattern
from beam_export.pipeline.listed_items import Emitter, open_listed
from beam_export.planning.spill_files import load
from beam_export.planning.steps import BESIDE
from beam_export.shards.lock import prepare_output, release_output
from beam_export.sources.contents import ALL_KINDS, FOLDER_TABLE
from beam_export.sources.entries import Source
from beam_export.sources.lookup_files import lookup_files
from beam_export.sources.patterns import parse_inputs


def outputs(do: beam.DoFn, element: Any) -> dict[str | None, list[Any]]:
    """Returns what a DoFn makes of an element, by tag."""
    found: dict[str | None, list[Any]] = {}
    for one in do.process(element):
        tag = one.tag if isinstance(one, TaggedOutput) else None
        found.setdefault(tag, []).append(one.value if tag else one)
    return found


def write_tar(path: Path, count: int) -> Path:
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            facts = json.dumps({"number": number}).encode()
            for ext, data in (("jpg", picture(number % 7)), ("json", facts)):
                info = tarfile.TarInfo(f"{number:05d}.{ext}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def source(kind: str, path: Path) -> Source:
    return Source(kind, path.name, str(path), path.stat().st_size, b"\0" * 16)


def test_samples_of_one_large_tar_are_handed_on_before_their_json_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_tars, "REFS_PER_BLOCK", 10)
    monkeypatch.setattr(read_tars, "_KEPT", 2)
    path = write_tar(tmp_path / "t.tar", 95)
    found = outputs(read_tars._ReadTar(None, 1 << 28, None), source("webdataset", path))
    assert [[ref.metadata for ref in block] for block in found[None]] == [
        [{"number": number} for number in range(start, start + 10)] for start in (0, 10)
    ]
    later = [pickle.loads(load(packed)) for packed in found["later"]]
    assert [len(block) for block in later] == [10, 10, 10, 10, 10, 10, 10, 5]
    assert all(ref.metadata == {} for block in later for ref in block)
    export = run_export(path, tmp_path / "out", images_per_tar=50)
    assert [row["number"] for row in export.rows] == list(range(95))


def test_bad_json_is_the_same_failure_here_and_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(6):
            for ext, data in (("jpg", picture(number)), ("json", b"{" if number % 2 else b"{}")):
                info = tarfile.TarInfo(f"{number}.{ext}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    exports = []
    for kept in (9, 0):
        monkeypatch.setattr(read_tars, "_KEPT", kept)
        out = tmp_path / f"out{kept}"
        exports.append(run_export(path, out, max_failed_fraction=1))
    one, other = exports
    assert one.failures == other.failures
    assert [failure["image_id"] for failure in one.failures] == ["1", "3", "5"]
    assert one.hash == other.hash


def test_lines_of_one_large_table_are_cut_into_blocks(tmp_path: Path) -> None:
    rows = [f"img/{number}.jpg,{number}" for number in range(2500)]
    (tmp_path / "t.csv").write_text("\n".join(["path,n", *rows]))
    lines = [json.dumps({"path": f"img/{number}.jpg"}) for number in range(2500)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    for name, blocks in (("t.csv", [0, 1000, 1000, 500]), ("t.jsonl", [1000, 1000, 500])):
        found = outputs(read_tables._CutText("utf-8"), source("table", tmp_path / name))
        assert [len(read_tables._unpack_lines(one)[1].lines) for one in found[None]] == blocks


def test_large_lines_make_small_blocks(tmp_path: Path) -> None:
    line = json.dumps({"path": "a.jpg", "text": "x" * (1 << 20)})
    (tmp_path / "t.jsonl").write_text("\n".join([line] * 9))
    found = outputs(read_tables._CutText("utf-8"), source("table", tmp_path / "t.jsonl"))
    assert [len(read_tables._unpack_lines(one)[1].lines) for one in found[None]] == [4, 4, 1]


def test_each_row_group_of_one_large_parquet_is_an_element(tmp_path: Path) -> None:
    table = pa.table({"path": [f"{number}.jpg" for number in range(100)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=10)
    found = outputs(read_tables._OpenTable(), source("parquet", tmp_path / "t.parquet"))
    assert [group for _, group in found[None]] == list(range(10))


def test_one_large_folder_is_listed_in_blocks(tmp_path: Path) -> None:
    for number in range(2500):
        (tmp_path / f"{number}.jpg").touch()
    (pattern,) = parse_inputs(str(tmp_path))
    emitter = Emitter(None, ALL_KINDS, joins=False, drops_all=False, encoding="utf-8")
    found = outputs(ListPattern("", "auto", emitter), pattern)
    opened = [open_listed(block, None) for block in found[None]]
    assert [(at, len(plain)) for _, at, plain in opened] == [(0, 1000), (1000, 1000), (2000, 500)]


def test_tables_and_lists_that_flags_name_are_not_passed_by(tmp_path: Path) -> None:
    for name in ("0.jpg", "notes.txt", "ids.txt", "t.csv", "u.csv", "metadata.csv"):
        (tmp_path / name).write_text("id,text\n")
    (pattern,) = parse_inputs(str(tmp_path))
    tables = f"{tmp_path}/t.csv,{tmp_path}/metadata.csv"
    options = beam_export.ExportOptions(
        output_dir="/out", metadata=tables, ids=f"{tmp_path}/ids.txt"
    )
    emitter = Emitter(None, ALL_KINDS, joins=False, drops_all=False, encoding="utf-8")
    found = outputs(ListPattern("", "auto", emitter), pattern)
    assert sorted(found["skipped"]) == [".csv", ".csv", ".csv", ".txt", ".txt"]
    emitter = dataclasses.replace(emitter, lookups=lookup_files(options))
    found = outputs(ListPattern("", "auto", emitter), pattern)
    assert sorted(found["skipped"]) == [".csv", ".txt"]
    (notes,) = found["notes"]
    assert notes.counts[BESIDE] == 1


def steps_of(pipeline: beam.Pipeline) -> list[str]:
    """Returns the full names of all steps."""
    labels: list[str] = []

    class Visitor(PipelineVisitor):
        def visit_transform(self, node: AppliedPTransform) -> None:
            labels.append(node.full_label)

    pipeline.visit(Visitor())
    return labels


def test_images_alone_need_no_steps_for_anything_else(tmp_path: Path) -> None:
    given = tmp_path / "in"
    given.mkdir()
    options = beam_export.ExportOptions(output_dir=str(tmp_path / "out"))
    output = prepare_output(options, bound=False)
    with contextlib.ExitStack() as stack:
        stack.callback(release_output, output)
        counts = []
        for kinds in (frozenset({"files"}), None):
            pipeline = beam.Pipeline()
            pipeline | beam_export.ExportImages(str(given), options, output=output, kinds=kinds)
            labels = steps_of(pipeline)
            assert any("ReadTars" in one for one in labels) == (kinds is None)
            assert any("MeasureImages" in one for one in labels) == (kinds is None)
            assert not any("JoinTables" in one for one in labels)
            # Each of them would be three stages of the local runner.
            assert not any("CombineGlobally" in one for one in labels)
            counts.append(len(labels))
    assert counts[0] < 60 < counts[1]


def test_tables_of_folders_have_steps_where_a_look_has_seen_some(tmp_path: Path) -> None:
    """What was seen is not looked for a second time: here it has gone since."""
    given, options = tmp_path / "in", beam_export.ExportOptions(output_dir=str(tmp_path / "out"))
    given.mkdir()
    output = prepare_output(options, bound=False)
    with contextlib.ExitStack() as stack:
        stack.callback(release_output, output)
        for kinds in (frozenset({"files"}), frozenset({"files", FOLDER_TABLE})):
            pipeline = beam.Pipeline()
            pipeline | beam_export.ExportImages(str(given), options, output=output, kinds=kinds)
            joins = any("ReadFolderTables" in one for one in steps_of(pipeline))
            assert joins == (FOLDER_TABLE in kinds)


def test_one_worker_is_dealt_nothing() -> None:
    options = beam_export.ExportOptions(output_dir="out")
    for workers in (1, 2):
        made = PipelineOptions([f"--direct_num_workers={workers}"])
        pipeline = beam.Pipeline(runner=FnApiRunner(), options=made)
        pipeline | read_samples.ReadSamples(parse_inputs("/in"), options.output_dir)
        dealt = [one for one in steps_of(pipeline) if "/Spread" in one]
        assert bool(dealt) == (workers > 1)


def test_pieces_are_dealt_out_between_the_steps() -> None:
    pipeline = beam.Pipeline()
    options = beam_export.ExportOptions(output_dir="out")
    images = read_samples.ReadSamples(parse_inputs("/in"), options.output_dir)
    pipeline | "ReadSamples" >> images
    labels = steps_of(pipeline)
    steps = [
        ("ListInputs", "SpreadBlocks", "MakeRefs"),
        ("ReadTables/OpenTables", "ReadTables/SpreadGroups", "ReadTables/ReadGroups"),
        ("ReadTables/CutTexts", "ReadTables/SpreadLines", "ReadTables/LookAtValues"),
        ("ReadTables/CutTexts", "ReadTables/SpreadLines", "ReadTables/ReadLines"),
        ("ReadTars/ReadTar", "ReadTars/SpreadSamples", "ReadTars/ReadJson"),
    ]
    for three in steps:
        at = [
            next(n for n, one in enumerate(labels) if one.startswith(f"ReadSamples/{label}"))
            for label in three
        ]
        assert at == sorted(at), three


@pytest.mark.parametrize("dry", [False, True])
def test_no_side_input_is_one_output_of_several(tmp_path: Path, dry: bool) -> None:
    """Beam's own DirectRunner would put the other outputs of such a step into it too."""
    (tmp_path / "in").mkdir()
    options = beam_export.ExportOptions(output_dir=str(tmp_path / "out"), metadata="auto")
    pipeline = beam.Pipeline()
    given = str(tmp_path / "in")
    pipeline | (DryRun(given, options, None) if dry else beam_export.ExportImages(given, options))
    sides = []

    class Visitor(PipelineVisitor):
        def visit_transform(self, node: AppliedPTransform) -> None:
            sides.extend((node.full_label, side.pvalue) for side in node.side_inputs)

    pipeline.visit(Visitor())
    assert len(sides) > 4
    assert [label for label, side in sides if len(side.producer.outputs) > 1] == []
