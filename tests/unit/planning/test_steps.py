from __future__ import annotations

import dataclasses
from typing import Any

from beam_export.options import ExportOptions
from beam_export.planning.join import Tally, columns_named, of_table
from beam_export.planning.steps import lookup_steps, processing_steps, selection_steps
from beam_export.shards.manifest import Totals


def steps_of(options: ExportOptions, tally: Tally, **given: Any) -> list[dict[str, Any]]:
    zeros = {field.name: 0 for field in dataclasses.fields(Totals)}
    totals = Totals(**{**zeros, "read": 9, "failed": 4, "written": 5, "shards": 2, "copied": 5})
    values = {"skipped": {".txt": 2, ".md": 1}, "unread": 1, "probed": 2, "renamed": 3}
    return processing_steps(options, totals, tally, **{**values, "remarks": {}, **given})


def test_steps_stand_in_the_order_of_processing() -> None:
    options = ExportOptions(
        output_dir="o",
        ids="i.txt",
        exclude_ids="e.txt",
        metadata="t.csv",
        filter="a > 1",
        caption_column="c",
    )
    assert [one["step"] for one in steps_of(options, Tally())] == [
        *("read", "keep ids", "leave out ids", "join", "probe", "filter", "caption"),
        *("settle equal ids", "order", "limit", "encode", "write"),
    ]


def test_what_was_not_asked_for_is_no_step() -> None:
    options = ExportOptions(output_dir="o")
    assert lookup_steps(options, Tally()) == selection_steps(options, Tally()) == []
    assert [one["step"] for one in steps_of(options, Tally())] == [
        *("read", "probe", "settle equal ids", "order", "limit", "encode", "write")
    ]


def test_each_failure_is_counted_in_the_step_that_found_it() -> None:
    steps = {one["step"]: one for one in steps_of(ExportOptions(output_dir="o"), Tally())}
    assert {name: one["failed"] for name, one in steps.items() if "failed" in one} == {
        "read": 1,
        "probe": 2,
        "encode": 1,
    }
    assert list(steps["read"]["skipped"].items()) == [(".md", 1), (".txt", 2)]
    assert steps["settle equal ids"]["renamed"] == 3
    assert steps["write"] == {"step": "write", "samples": 5, "shards": 2}


def test_remarks_stand_in_the_step_that_encodes() -> None:
    steps = steps_of(ExportOptions(output_dir="o"), Tally(), remarks={"damaged": 7})
    assert [one["step"] for one in steps if "damaged" in one] == ["encode"]


def test_names_of_columns_that_were_not_met_are_a_step() -> None:
    options = ExportOptions(output_dir="o", drop_columns="a,b*", text_columns="c,d")
    tally = Tally()
    assert lookup_steps(options, tally) == [
        {"step": "choose columns", "flag": "drop_columns", "unknown": ["a", "b*"]},
        {"step": "choose columns", "flag": "text_columns", "unknown": ["c", "d"]},
    ]
    tally.add(columns_named("b*"), 3)
    tally.add(columns_named("d"), 1)
    assert [step["unknown"] for step in lookup_steps(options, tally)] == [["a"], ["c"]]
    for name in "ac":
        tally.add(columns_named(name), 1)
    assert lookup_steps(options, tally) == []
    # Where all are left out, not all are looked at.
    everything = dataclasses.replace(options, drop_columns="x,*", text_columns=None)
    assert lookup_steps(everything, Tally()) == []


def test_rows_that_name_an_image_again_are_counted_apart() -> None:
    tally = Tally()
    tally.note("folder_tables", ["metadata.csv"])
    (step,) = lookup_steps(ExportOptions(output_dir="o"), tally)
    assert "rows_again" not in step
    tally.note("folder_rows_again", ["0.jpg"])
    (step,) = lookup_steps(ExportOptions(output_dir="o"), tally)
    assert (step["rows_again"], step["rows_again_examples"]) == (1, ["0.jpg"])


def test_lookups_count_what_matched_and_name_files_without_directories() -> None:
    options = ExportOptions(output_dir="o", ids="/a/b/i.txt", metadata="/a/t/,b/u.csv")
    tally = Tally()
    tally.add("ids", 1)
    tally.add("ids_dropped", 1234)
    tally.add("rows", 2)
    tally.note("rows_unmatched", ["x"])
    tally.add(of_table("rows", 1), 3)
    tally.add(of_table("samples_matched", 1), 4)
    assert lookup_steps(options, tally) == [
        {"step": "keep ids", "file": "i.txt", "ids": 1, "ids_unmatched": 0, "dropped": 1234},
        {
            "step": "join",
            "table": "t",
            "key": "image_id",
            "rows": 2,
            "samples_matched": 0,
            "samples_unmatched": 0,
            "rows_unmatched": 1,
            "rows_unmatched_examples": ["x"],
        },
        {
            "step": "join",
            "table": "u.csv",
            "key": "image_id",
            "rows": 3,
            "samples_matched": 4,
            "samples_unmatched": 0,
            "rows_unmatched": 0,
        },
    ]
