"""One shard without a pipeline: written, found, or refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from support.exports import picture

from beam_export.errors import RunError
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.naming import ShardNames
from beam_export.options import ExportOptions
from beam_export.pipeline.export_run import ExportRun
from beam_export.pipeline.write_shards import write_or_find_shard
from beam_export.planning.blocks import pack_block, pack_ref
from beam_export.planning.order import source_key
from beam_export.planning.plan import Plan, make_plan, segments
from beam_export.samples import WHOLE, Member, SampleRef
from beam_export.shards.output import Output
from beam_export.shards.resume import list_finished
from beam_export.shards.writer import ShardResult

COUNT = 5
NO_COLUMNS = pa.schema([]).serialize().to_pybytes()


@pytest.fixture
def refs(tmp_path: Path) -> list[SampleRef]:
    paths = [tmp_path / f"{place}.jpg" for place in range(COUNT)]
    for place, path in enumerate(paths):
        path.write_bytes(picture(place))
    return [
        SampleRef(
            source_key(0, place),
            path.stem,
            str(path),
            Member("jpg", str(path), WHOLE, path.stat().st_size),
            (),
            {},
            path.stat().st_size,
        )
        for place, path in enumerate(paths)
    ]


def run_of(folder: Path, token: str = "one") -> ExportRun:
    options = ExportOptions(output_dir=str(folder))
    output = Output(options.output_dir, token)
    output.prepare()
    return ExportRun(options=options, output=output, encoder=PillowEncoder(options.spec()))


def plan_of(refs: list[SampleRef]) -> Plan:
    packed = [pack_ref(ref) for ref in refs]
    return make_plan(segments([one[:2] for one in packed], 0, COUNT, None), b"", None)


def write(run: ExportRun, layout: Plan, refs: list[SampleRef]) -> ShardResult:
    finished = list_finished(run.output, ShardNames(layout.hash))
    halves = [pack_block(map(pack_ref, half)) for half in (refs[3:], refs[:3])]
    return write_or_find_shard(
        run, 0, halves, layout=layout, renamed={}, columns=NO_COLUMNS, finished=finished
    )


def test_a_shard_is_written_once_and_found_by_a_later_run(
    tmp_path: Path, refs: list[SampleRef]
) -> None:
    layout = plan_of(refs)
    result = write(run_of(tmp_path / "out"), layout, refs)
    assert (result.number, result.samples, result.copied, result.kept) == (0, COUNT, COUNT, False)
    again = write(run_of(tmp_path / "out", "two"), layout, refs)
    # What was not looked at is not claimed.
    assert again == result._replace(kept=True, lacks=())


def test_refs_that_were_not_planned_are_refused(tmp_path: Path, refs: list[SampleRef]) -> None:
    with pytest.raises(RunError, match="planned with 5 samples and other refs than the 4"):
        write(run_of(tmp_path / "out"), plan_of(refs), refs[:4])
    other = [*refs[:4], refs[4]._replace(id="another")]
    with pytest.raises(RunError, match="the input has changed while it was read"):
        write(run_of(tmp_path / "out"), plan_of(refs), other)


def test_equal_ids_go_by_the_names_that_were_decided(tmp_path: Path, refs: list[SampleRef]) -> None:
    run, layout = run_of(tmp_path / "out"), plan_of(refs)
    write_or_find_shard(
        run,
        0,
        [pack_block(map(pack_ref, refs))],
        layout=layout,
        renamed={refs[2].order: "other"},
        columns=NO_COLUMNS,
        finished=list_finished(run.output, ShardNames(layout.hash)),
    )
    tar = (tmp_path / "out" / ShardNames(layout.hash).tar(0)).read_bytes()
    assert b"other.jpg\0" in tar
    assert f"{refs[2].id}.jpg".encode() not in tar
