from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa
import pytest
from support.shard_results import shard_result

from beam_export.errors import RunError
from beam_export.options import ExportOptions
from beam_export.planning.duplicates import Decisions
from beam_export.planning.join import Tally
from beam_export.planning.members import MemberRules
from beam_export.planning.outcome import Outcome, check_outcome, make_manifest, name_devices
from beam_export.planning.plan import make_plan, segments
from beam_export.samples import DAMAGED_IMAGE, MISSING_CODEC, SOURCE_CHANGED, Failure
from beam_export.shards.member_sets import MemberSets
from beam_export.shards.writer import ShardResult

IDENTITY = {"encoder": "pillow", "device": "cpu"}


def failure(ident: str, stage: str = "decode", error: str = "ValueError") -> Failure:
    return Failure(ident, f"/in/{ident}.jpg", stage, error, "no image")


def shard(number: int, failed: int = 0, error: str = "ValueError", **more: Any) -> ShardResult:
    lost = [failure(f"s{number}-{one}", error=error) for one in range(failed)]
    return shard_result(number, copied=5 - failed, failures=lost, **more)


def outcome(**given: Any) -> Outcome:
    """Returns an outcome whose sums agree: 16 came to planning, of 10 that are planned 9 stand."""
    tally = Tally()
    tally.add("filter_dropped", 4)
    pairs = [(bytes([number]), bytes([number]) * 32) for number in range(10)]
    values: dict[str, Any] = {
        "results": [shard(0), shard(1, failed=1)],
        "layout": make_plan(segments(pairs, 0, 5, None), b"", None),
        "decisions": Decisions(dropped=frozenset([b"x", b"y"]), renamed={b"z": "z-1"}),
        "counted": 16,
        "ranked": 14,
        "source_failures": [failure("listed", "list")],
        "probe_failures": [failure("probed"), failure("probed2")],
        "skipped": {".txt": 3},
        "tally": tally,
        "rules": MemberRules(),
    }
    return Outcome(**{**values, **given})


def test_every_sample_is_in_one_of_the_sums() -> None:
    totals = outcome().totals()
    totals.check()
    assert (totals.read, totals.written, totals.shards) == (23, 9, 2)
    assert (totals.failed, totals.filtered, totals.duplicate, totals.limited) == (4, 4, 2, 4)


def test_failures_of_all_three_stages_are_given() -> None:
    found = outcome()
    assert [one.image_id for one in found.failures] == ["listed", "probed", "probed2", "s1-0"]
    assert found.early == 3


def test_a_shard_too_many_is_noticed() -> None:
    with pytest.raises(RunError, match="the input has changed"):
        outcome(results=[shard(0), shard(1), shard(2)]).totals().check()


def sentence(found: Outcome, **options: Any) -> str:
    """Returns what ends a run with this outcome; the list of failures is `out/list`."""
    with pytest.raises(RunError) as caught:
        check_outcome(found, ExportOptions(output_dir="o", **options), lambda: "out/list")
    return caught.value.sentence


@pytest.mark.parametrize("error", ["BrokenSource", SOURCE_CHANGED])
def test_a_broken_source_ends_the_run_unless_it_may(error: str) -> None:
    broken = [failure("a", "list"), failure("b", "list", error)]
    found = outcome(source_failures=broken)
    # All that failed is told, not the sources alone.
    assert sentence(found) == (
        f"1 source cannot be read to the end: 1 with {error} (/in/b.jpg: no image); 4 failed "
        "beside them, 4 with ValueError (the first, /in/a.jpg: no image); all are listed in "
        "out/list: mend them, or give --allow_broken_sources to do without what they hold."
    )
    allowed = ExportOptions(output_dir="o", max_failed_fraction=0.9, allow_broken_sources=True)
    check_outcome(found, allowed, lambda: None)
    sound = outcome(source_failures=[failure("a", "list"), failure("b", "read", error)])
    check_outcome(sound, dataclasses.replace(allowed, allow_broken_sources=False), lambda: None)


def test_an_empty_shard_ends_the_run_with_all_failures_told_and_listed() -> None:
    early = [failure("listed", "list", "OSError")]
    found = outcome(results=[shard(0), shard(1, failed=5)], source_failures=early)
    assert sentence(found, max_failed_fraction=1) == (
        "all 5 images of shard 1 failed, and an empty shard is never written; of all 13 images 8 "
        "failed: 7 with ValueError (the first, /in/probed.jpg: no image), 1 with OSError "
        "(/in/listed.jpg: no image); all are listed in out/list: give --probe=full, which leaves "
        "such images out before shards are planned."
    )
    said = sentence(found, max_failed_fraction=0.5)
    assert "8 failed, more than --max_failed_fraction=0.5 allows: 7 with" in said
    assert said.endswith(
        ": mend them, or give --probe=full, which leaves such images out before "
        "shards are planned, and allow more."
    )
    # What ends the run with so many failed is said before how many may.
    several = outcome(results=[shard(n, failed=5) for n in (0, 1)] + [shard(2)])
    assert sentence(several).startswith("all 10 images of 2 shards (the first is shard 0) failed")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (SOURCE_CHANGED, "run again, when nobody writes to the sources."),
        (MISSING_CODEC, "install what reads them where the workers run, or give --probe=full"),
    ],
)
def test_what_helps_an_empty_shard_is_said(error: str, remedy: str) -> None:
    found = outcome(results=[shard(0), shard(1, failed=5, error=error)])
    assert f"out/list: {remedy}" in sentence(found, max_failed_fraction=1)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("ValueError", "mend them, or give another input"),
        (SOURCE_CHANGED, "run again, when nobody writes to the sources"),
        (MISSING_CODEC, "install what reads them where the workers run"),
    ],
)
def test_where_no_image_is_left_all_is_told_by_reason_and_listed(error: str, remedy: str) -> None:
    found = outcome(
        results=[shard(n, failed=5, error=error) for n in (0, 1)],
        source_failures=[failure("listed", "read", error)],
        probe_failures=[],
    )
    # Nothing would be left after a probe either, and whatever may fail.
    assert sentence(found, max_failed_fraction=0.5) == (
        f"all 11 images failed: 11 with {error} (the first, /in/listed.jpg: no image); all are "
        f"listed in out/list: {remedy}."
    )


def test_devices_of_all_workers_are_named() -> None:
    results = [shard(0, device="L4"), shard(1, device="A100"), shard(2, device="L4")]
    assert name_devices(IDENTITY, results) == {"encoder": "pillow", "device": "A100, L4"}


def test_the_manifest_names_options_steps_and_sums() -> None:
    options = ExportOptions(output_dir="o", images_per_tar=5)
    found = outcome()
    manifest = make_manifest(
        found,
        options,
        identity=IDENTITY,
        columns=pa.schema([("score", pa.float64())]),
        tables=[{"name": "t", "sha256": "d"}],
    )
    assert manifest.hash == found.layout.hash
    assert manifest.options == options.shaping()
    assert manifest.totals == found.totals()
    assert manifest.schema[-1] == {"name": "score", "type": "double"}
    steps = {one["step"]: one for one in manifest.steps}
    assert (steps["read"]["failed"], steps["probe"]["failed"], steps["encode"]["failed"]) == (
        *(1, 2, 1),
    )
    assert steps["settle equal ids"]["renamed"] == 1
    assert set(manifest.software) == {"beam_export", "pyarrow", "encoder", "device"}


def test_software_is_named_that_decided_something() -> None:
    options = ExportOptions(output_dir="o", filter="score > 1")
    damaged = outcome(results=[shard(0), shard(1, failed=1, error=DAMAGED_IMAGE)])
    given: dict[str, Any] = {"identity": IDENTITY, "columns": pa.schema([]), "tables": []}
    assert "duckdb" in make_manifest(outcome(), options, **given).software
    assert "simplejpeg" in make_manifest(damaged, options, **given).software


def test_members_are_a_step_where_something_was_done_about_them() -> None:
    sets = MemberSets()
    sets.add(("txt",), b"0", "a")
    sets.add((), b"1", "b")
    found = outcome(results=[shard(0)._replace(members=sets.pack()), shard(1, failed=1)])
    given: dict[str, Any] = {"identity": IDENTITY, "columns": pa.schema([]), "tables": []}
    (step,) = found.member_steps("keep")
    assert (step["members"], step["samples"], step["unequal"]) == ({"txt": 1}, 2, True)
    kept = make_manifest(found, ExportOptions(output_dir="o"), **given)
    assert "members" not in {one["step"] for one in kept.steps}
    asked = ExportOptions(output_dir="o", ragged_fields="drop")
    dropped = outcome(results=found.results, rules=MemberRules(keep=(), dropped=(("txt", 1),)))
    (step,) = (
        one for one in make_manifest(dropped, asked, **given).steps if one["step"] == "members"
    )
    assert (step["members"], step["dropped"], step["unequal"]) == ({}, {"txt": 1}, False)
