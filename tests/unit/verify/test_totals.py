from __future__ import annotations

from typing import Any

import pytest
from support.checked_shards import checked_shard as shard

from beam_export.naming import ShardNames
from beam_export.samples import Failure
from beam_export.shards.member_sets import MemberSets
from beam_export.verify.dataset import Opened
from beam_export.verify.findings import MISSING, Fault, Findings
from beam_export.verify.shard import CheckedShard
from beam_export.verify.totals import collect_findings

NAMES = ShardNames("0123456789ab")


def manifest(**totals: int) -> dict[str, Any]:
    counts = {"read": 6, "filtered": 0, "duplicate": 0, "limited": 0, "failed": 0, "written": 6}
    counts |= {"copied": 2, "encoded": 4, "shards": 2, "bytes": 200, "parquet_bytes": 20}
    content = {"options": {"images_per_tar": 3}, "steps": [], "schema": []}
    return {**content, "totals": {**counts, **totals}}


def findings(
    shards: list[CheckedShard], faults: tuple[Fault, ...] = (), whole: bool = True, **given: Any
) -> Findings:
    content = given.pop("manifest", manifest())
    opened = Opened(NAMES, content, None, [], [0, 1], whole, list(given.pop("opened", ())), [])
    values = {"unmatched": None, "spans": (), "codecs": (), "decode": False, "reencode": False}
    return collect_findings(opened, shards, faults, **{**values, **given})


def test_shards_that_add_up_are_sound_and_counted() -> None:
    found = findings([shard(1), shard(0)])
    assert (found.sound, found.shards, found.samples, found.bytes) == (True, 2, 6, 220)
    assert found.unchecked == found.notes == []


def test_faults_of_parts_and_of_the_whole_stand_together_in_order() -> None:
    part = Fault(NAMES.tar(1), "", "it is cut short", "restore it")
    found = findings([shard(0), shard(1)], (part,), manifest=manifest(bytes=201))
    assert [fault.file for fault in found.faults] == [NAMES.tar(1), NAMES.manifest]
    assert "its total bytes is 201, and the shards have 200" in found.faults[1].problem


@pytest.mark.parametrize(
    ("stated", "stands"),
    [
        ("map<string, int64>", "map<string, int64>"),
        ("large_list<item: int8 not null>", "large_list<item: int8 not null>"),
        ("list<one: map<string ('k'), int64 ('v')>>", "list<item: map<string, int64>>"),
    ],
)
def test_names_of_what_is_in_lists_and_maps_are_no_difference(stated: str, stands: str) -> None:
    content = {**manifest(), "schema": [{"name": "a", "type": stated}]}
    shards = [shard(number, described=(("a", stands),)) for number in (0, 1)]
    assert findings(shards, manifest=content).sound
    other = [shard(number, described=(("a", "int64"),)) for number in (0, 1)]
    assert not findings(other, manifest=content).sound


def test_of_a_missing_table_of_failures_nothing_more_is_said() -> None:
    columns = {**(shard(1).columns or {}), "samples": 2, "encoded": 1}
    short = shard(
        1, columns=columns, failures=(Failure("x", "/in/x.jpg", "encode", "OSError", "gone"),)
    )
    gone = Fault(NAMES.failures, "", MISSING, "restore it")
    for known, faults in (((), [NAMES.failures, NAMES.manifest]), ((gone,), [NAMES.failures])):
        totals = manifest(written=5, encoded=3, failed=1)
        found = findings([shard(0), short], manifest=totals, opened=known)
        assert [fault.file for fault in found.faults] == faults


def test_a_shard_of_other_columns_or_too_many_samples_is_named() -> None:
    columns = {**(shard(1).columns or {}), "samples": 4}
    found = findings([shard(0), shard(1, schema="t", columns=columns)])
    problems = [fault.problem for fault in found.faults if fault.file == NAMES.parquet(1)]
    assert problems == [
        "it holds or lists 4 samples, and should 3",
        "its columns are not those of the other shards",
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "--decode beside --against encodes them again"),
        ({"decode": True}, "what encoded them is not on this machine"),
        ({"codecs": ["pillow 2, not 1"] * 2}, "not the export's (pillow 2, not 1)"),
    ],
)
def test_why_encoded_images_were_not_compared_with_the_input(
    given: dict[str, Any], words: str
) -> None:
    (unchecked,) = findings([shard(0), shard(1)], unmatched=[], **given).unchecked
    assert unchecked.startswith("whether the 4 encoded images are what the input's become")
    assert words in unchecked
    done = findings([shard(0), shard(1)], unmatched=[], decode=True, reencode=True)
    assert done.unchecked == []


def test_sums_are_not_checked_where_shards_are_missing() -> None:
    assert findings([shard(0)], whole=False).unchecked == [
        "sums over the dataset: shards are missing"
    ]


def members(number: int, *exts: tuple[str, ...]) -> tuple[Any, ...]:
    sets = MemberSets()
    for at, one in enumerate(exts):
        sets.add(one, b"%09d/%09d" % (number, at), f"s{number}-{at}")
    return sets.pack()


UNEQUAL = [
    shard(0, members=members(0, ("txt",), ("txt",), ("txt",))),
    shard(1, members=members(1, ("txt",), ("txt", "xml"), ("txt", "xml"))),
]


def with_options(**given: Any) -> dict[str, Any]:
    made = manifest()
    return {**made, "options": {**made["options"], **given}}


def with_step(step: dict[str, Any], failed: int = 0, **given: Any) -> dict[str, Any]:
    steps = [{"step": "members", **step}, {"step": "encode", "failed": failed}]
    return {**with_options(**given), "steps": steps}


def test_unequal_members_are_a_note_where_they_may_be() -> None:
    found = findings(UNEQUAL)
    assert found.sound
    (note,) = found.notes
    assert note.startswith("samples have unequal members: .xml in 2 of 6; readers")
    assert findings([UNEQUAL[0], shard(1, members=members(1, ("txt",)))]).notes == []


@pytest.mark.parametrize("word", ["drop", "fill", "error"])
def test_unequal_members_are_a_fault_where_all_were_made_equal(word: str) -> None:
    found = findings(UNEQUAL, manifest=with_options(ragged_fields=word))
    assert found.notes == []
    (fault,) = found.faults
    assert (fault.file, fault.member) == (NAMES.tar(1), "s1-1")
    assert "its members (txt, xml) are not those of 's0-0' (txt)" in fault.problem


def test_members_of_columns_have_one_name() -> None:
    found = findings([shard(0, json_member="json"), shard(1, json_member="meta.json")])
    assert [fault.problem for fault in found.faults] == [
        "its member of --json_columns has another name"
    ]


STEP = {"samples": 6, "members": {"json": 6, "txt": 5}, "unequal": True, "json": "json"}
ALIKE = [
    shard(0, members=members(0, *[("json", "txt")] * 3), json_member="json"),
    shard(1, members=members(1, ("json",), *[("json", "txt")] * 2), json_member="json"),
]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"samples": 7}, "samples of its step 'members' is 7, and the shards have 6"),
        ({"members": {"json": 6}}, "is {'json': 6}, and the shards have {'json': 6, 'txt': 5}"),
        ({"unequal": False}, "unequal of its step 'members' is False, and the shards have True"),
        (
            {"json": "meta.json"},
            "has columns in each .meta.json, and the shards have them in .json",
        ),
    ],
)
def test_a_step_about_members_that_are_others_is_a_fault(step: dict[str, Any], words: str) -> None:
    assert findings(ALIKE, manifest=with_step(STEP)).sound
    (fault,) = findings(ALIKE, manifest=with_step(STEP | step)).faults
    assert fault.file == NAMES.manifest
    assert words in fault.problem


def test_a_step_about_members_is_missed_and_not_judged_by_damaged_shards() -> None:
    (fault,) = findings(ALIKE).faults
    assert fault.problem == "its step 'members' is missing"
    damaged = Fault(NAMES.tar(1), "", "it is cut short", "restore it")
    wrong = with_step(STEP | {"samples": 7})
    assert findings(ALIKE, (damaged,), manifest=wrong).faults == [damaged]
    # Earlier states of this version counted those too that had failed.
    assert findings(ALIKE, manifest=with_step(STEP | {"samples": 7}, failed=1)).sound
    assert not findings(ALIKE, manifest=with_step(STEP | {"unequal": False}, failed=1)).sound
