"""Joins, filters, lists of ids and captions, in real runs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.exports import Export, check_export, directory_hashes, picture, read_export
from support.runs import run_export
from support.runs import run_pipeline as run_in_pipeline

import beam_export
from beam_export.cli import main as cli
from beam_export.errors import InputError
from beam_export.pipeline import select_samples

COUNT = 24
IDS = [f"part{number % 2}/img{number:02d}" for number in range(COUNT)]
#: These are in a list of what is left out.
BROKEN = [IDS[1], IDS[2]]
#: Only these have a row; the 5 last have none.
WITH_ROW = sorted(IDS)[:-5]
SCORES = {ident: number / 16 for number, ident in enumerate(WITH_ROW)}
MOMENT = np.datetime64("2024-05-01T12:00:00.123456789")
FILTER = "score >= 0.25 and width > 12"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number, ident in enumerate(IDS):
        path = folder / f"{ident}.{'png' if number % 4 == 3 else 'jpg'}"
        path.parent.mkdir(exist_ok=True)
        # What is left out is not looked at: it would be a failure.
        bad = ident in BROKEN
        path.write_bytes(b"no image" if bad else picture(number, path.suffix[1:]))
        path.with_suffix(".json").write_text(json.dumps({"own": number}), encoding="utf-8")
    return folder


def table() -> pa.Table:
    """A row for most of the images, and one for none of them; every third key has a suffix."""
    keys = [f"{ident}.JPG" if n % 3 == 0 else ident for n, ident in enumerate(WITH_ROW)] + ["zebra"]
    count = len(keys)
    return pa.table(
        {
            "key": keys,
            "score": pa.array([*SCORES.values(), 1.0], pa.float32()),
            "seen": pa.array([MOMENT] * count, pa.timestamp("ns")),
            "embedding": pa.array([[0.5, n] for n in range(count)], pa.list_(pa.float32())),
            "caption": pa.array(
                [None if n % 5 == 0 else f"räksmörgås {n}" for n in range(count)], pa.large_string()
            ),
        }
    )


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the table as Parquet, and lists of ids."""
    folder = tmp_path_factory.mktemp("lists")
    pq.write_table(table(), folder / "scores.parquet", row_group_size=7)
    pq.write_table(pa.table({"n": [1, 2], "image_id": BROKEN}), folder / "not.parquet")
    (folder / "ids.txt").write_text("\r\n".join([*sorted(IDS)[1:], "", "yak"]), encoding="utf-8")
    return folder


def run(source: Path, out: Path, lists: Path, **options: Any) -> Export:
    given = {
        "images_per_tar": 5,
        "metadata": str(lists / "scores.parquet"),
        "metadata_key": "key",
        "ids": str(lists / "ids.txt"),
        "exclude_ids": str(lists / "not.parquet"),
        "filter": FILTER,
        "caption_column": "caption",
    }
    return run_export(source, out, **{**given, **options})


@pytest.fixture(scope="module")
def export(images: Path, lists: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    return run(images, tmp_path_factory.mktemp("out") / "out", lists)


def width(ident: str, images: Path) -> int:
    (path,) = (one for one in images.glob(f"{ident}.*") if one.suffix != ".json")
    with Image.open(path) as image:
        return image.width


def expected(images: Path) -> list[str]:
    listed = set(sorted(IDS)[1:]) - set(BROKEN)
    chosen = [i for i in WITH_ROW if i in listed and SCORES[i] >= 0.25]
    return sorted(ident for ident in chosen if width(ident, images) > 12)


def test_what_is_kept_is_what_was_asked_for(export: Export, images: Path) -> None:
    assert export.ids == expected(images)
    assert not export.failures
    assert 5 < len(export.ids) < 15
    assert export.sizes[:-1] == [5] * (len(export.sizes) - 1)
    check_export(export.out, 5)


def test_columns_of_the_table_come_with_their_types(export: Export) -> None:
    schema = export.shards[0].table.schema
    assert schema.field("score").type == pa.float32()
    assert schema.field("seen").type == pa.timestamp("ns")
    assert schema.field("embedding").type == pa.list_(pa.float32())
    assert schema.field("own").type == pa.int64()
    assert "key" not in schema.names
    places = {ident: place for place, ident in enumerate(WITH_ROW)}
    for shard in export.shards:
        assert set(shard.table.column("seen").to_numpy()) == {MOMENT}
        for row in shard.rows:
            assert row["score"] == SCORES[row["image_id"]]
            assert row["embedding"] == [0.5, places[row["image_id"]]]
            assert row["own"] == int(row["image_id"][-2:])


def test_captions_are_members_and_empty_where_there_is_none(export: Export) -> None:
    seen = set()
    for shard in export.shards:
        for row in shard.rows:
            stem = row["member_name"].rpartition(".")[0]
            text = shard.members[f"{stem}.txt"].decode()
            assert text == (row["caption"] or "")
            seen.add(bool(text))
            assert [n for n in shard.members if n.startswith(f"{stem}.")] == [
                f"{stem}.jpg",
                f"{stem}.json",
                f"{stem}.txt",
            ]
    assert seen == {True, False}


def test_manifest_and_card_tell_what_was_done(export: Export) -> None:
    steps = {step["step"]: step for step in export.manifest["steps"]}
    kept = len(export.ids)
    assert steps["keep ids"] == {
        "step": "keep ids",
        "file": "ids.txt",
        "ids": COUNT,
        "ids_unmatched": 1,
        "ids_unmatched_examples": ["yak"],
        "dropped": 1,
    }
    assert steps["leave out ids"]["dropped"] == 2
    assert steps["join"]["table"] == "scores.parquet"
    assert steps["join"]["rows"] == len(WITH_ROW) + 1
    assert steps["join"]["rows_unmatched_examples"] == ["zebra"]
    assert steps["join"]["samples_unmatched"] == 5
    assert steps["join"]["samples_unmatched_examples"] == sorted(IDS)[-5:]
    assert steps["join"]["samples_matched"] == COUNT - 3 - 5
    assert steps["filter"] == {"step": "filter", "filter": FILTER, "dropped": COUNT - 3 - kept}
    assert steps["probe"]["probe"] == "header"
    totals = export.manifest["totals"]
    assert (totals["read"], totals["filtered"], totals["written"]) == (COUNT, COUNT - kept, kept)
    assert export.manifest["options"]["filter"] == FILTER
    assert "duckdb" in export.manifest["software"]
    card = (export.out / "README.md").read_text(encoding="utf-8")
    assert f"kept where {FILTER}; left out {COUNT - 3 - kept} samples" in card
    assert "5 without, like part1/img15" in card
    assert "(1 of which match no sample, like yak)" in card


@pytest.mark.slow
def test_the_same_whatever_the_order_of_rows_and_the_number_of_workers(
    export: Export, images: Path, lists: Path, tmp_path: Path
) -> None:
    other = tmp_path / "lists"
    other.mkdir()
    rows = table()
    pq.write_table(rows.take(list(reversed(range(len(rows))))), other / "scores.parquet")
    (other / "ids.txt").write_text("\n".join(["yak", *sorted(IDS)[:0:-1]]), encoding="utf-8")
    (other / "not.parquet").write_bytes((lists / "not.parquet").read_bytes())
    again = run(images, tmp_path / "out", other, workers=2)
    assert directory_hashes(again.out) == directory_hashes(export.out)


def as_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path.with_suffix(".csv")


def as_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.with_suffix(".jsonl").write_text(text, encoding="utf-8")
    return path.with_suffix(".jsonl")


@pytest.mark.parametrize("write", [as_csv, pytest.param(as_jsonl, marks=pytest.mark.slow)])
def test_other_tables_give_the_same(
    write: Callable[[Path, list[dict[str, Any]]], Path], images: Path, lists: Path, tmp_path: Path
) -> None:
    rows = [
        {"image_id": ident, "n": n, "x": n if n % 2 else n + 0.5, "code": f"{n:03d}"}
        for n, ident in enumerate(sorted(IDS)[:-1])
    ]
    folder = tmp_path / "tables"
    folder.mkdir()
    write(folder / "one", rows[:9])
    write(folder / "two", rows[9:])
    made = run_export(
        images,
        tmp_path / "out",
        metadata=str(folder),
        exclude_ids=str(lists / "not.parquet"),
        images_per_tar=50,
    )
    schema = made.shards[0].table.schema
    assert [schema.field(name).type for name in ("n", "x", "code")] == [
        pa.int64(),
        pa.float64(),
        pa.string(),
    ]
    found = [{name: row[name] for name in rows[0]} for row in made.rows]
    kept = [row for row in rows if row["image_id"] not in BROKEN]
    assert found == [*kept, {"image_id": max(IDS), "n": None, "x": None, "code": None}]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"filter": "scor > 1"}, "names 'scor', and the columns are image_id (string)"),
        ({"filter": "score > 99"}, "no sample is left to export after --filter"),
        ({"metadata_key": "image_id"}, "has no column 'image_id' to find samples by, but key"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_written(
    options: dict[str, Any], said: str, images: Path, lists: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        run(images, tmp_path / "out", lists, **options)
    assert said in caught.value.sentence
    assert not list((tmp_path / "out").glob("images-*"))


def test_table_with_a_key_twice_is_named_on_the_command_line(
    images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = as_csv(tmp_path / "t", [{"image_id": ident} for ident in [*IDS, IDS[3], IDS[5], IDS[5]]])
    flags = [f"--input={images}", f"--output_dir={tmp_path / 'out'}", "--direct_num_workers=1"]
    assert cli.main([*flags, f"--metadata={path}"]) == 2
    assert capfd.readouterr().err.splitlines()[-1] == (
        f"beam-export: --metadata={path} has more than one row for {IDS[3]!r}, {IDS[5]!r}: "
        "keep one row for each id."
    )


def test_dry_run_tells_what_is_left_out(
    images: Path, lists: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--input={images}", f"--output_dir={tmp_path}", "--dry_run", "--filter=own < 10"]
    assert cli.main([*flags, f"--ids={lists / 'ids.txt'}"]) == 0
    said = capfd.readouterr().out
    assert "would write 9 images" in said
    assert f"{COUNT - 9} left out by --ids, --exclude_ids or --filter; nothing was written" in said
    assert not list(tmp_path.iterdir())


def write_samples(out: Path, lists: Path, order: list[int]) -> Export:
    def build(pipeline: beam.Pipeline) -> object:
        samples = [
            beam_export.Sample(IDS[number], picture(number), metadata={"own": number})
            for number in order
        ]
        return (
            pipeline
            | beam.Create(samples)
            | beam_export.WriteShards(
                str(out),
                images_per_tar=4,
                order="shuffled",
                metadata=str(lists / "scores.parquet"),
                metadata_key="key",
                filter="score > 0.25 and height > 8",
                exclude_ids=str(lists / "not.parquet"),
                caption_column="caption",
            )
        )

    run_in_pipeline(build)
    return read_export(out)


def test_samples_of_a_pipeline_of_ones_own(lists: Path, tmp_path: Path) -> None:
    one = write_samples(tmp_path / "one", lists, list(range(COUNT)))
    other = write_samples(tmp_path / "other", lists, list(reversed(range(COUNT))))
    assert directory_hashes(one.out) == directory_hashes(other.out)
    wanted = {ident for ident in WITH_ROW if SCORES[ident] > 0.25} - set(BROKEN)
    assert set(one.ids) <= wanted
    assert len(one.ids) > 5
    assert all(row["height"] > 8 for row in one.rows)
    assert one.ids != sorted(one.ids)
    check_export(one.out, 4)


def test_nothing_is_added_to_a_run_that_selects_nothing() -> None:
    options = beam_export.ExportOptions(output_dir="out")
    pipeline = beam.Pipeline()
    blocks = pipeline | beam.Create([b""])
    joined = blocks | select_samples.JoinTables(options, ())
    selected = joined.blocks | select_samples.SelectSamples(options, blocks, joined.tallies)
    assert selected.blocks is joined.blocks is blocks
    assert selected.tallies == joined.tallies == ()


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        pytest.param(["--ids={ids}", "cat-1"], ["cat-1"], marks=pytest.mark.slow),
        (["--ids={ids}", "cat"], ["cat", "cat-1", "cat-2"]),
        (["--exclude_ids={ids}", "cat-1"], ["cat", "cat-2"]),
        (["--ids={ids}", "cat-2", "--order=shuffled", "--split=a=0.5,b=0.5"], ["cat-2"]),
    ],
)
def test_a_sample_keeps_the_name_that_a_list_knows_it_by(
    tmp_path: Path, flags: list[str], names: list[str]
) -> None:
    inputs = []
    for number in range(3):
        (tmp_path / f"in{number}").mkdir()
        (tmp_path / f"in{number}/cat.jpg").write_bytes(picture(number))
        inputs.append(f"{tmp_path}/in{number}")
    ids = tmp_path / "ids.txt"
    ids.write_text(f"{flags[1]}\n")
    given = [one.format(ids=ids) for one in (flags[0], *flags[2:])]
    line = ["export", f"--input={','.join(inputs)}", "--duplicates=rename", *given]
    assert cli.main([*line, f"--output_dir={tmp_path}/out", "--direct_num_workers=1"]) == 0
    found = read_export(tmp_path / "out")
    assert sorted(row["image_id"] for row in found.rows) == names
    check_export(tmp_path / "out", 1000)
    # The image of that name, whose own is the same.
    for row in found.rows:
        number = int(row["image_id"].partition("-")[2] or 0)
        assert row["original_path"] == f"{tmp_path}/in{number}/cat.jpg"
    # The same samples under other names are another dataset.
    ids.write_text("cat\n")
    last = [line[0], f"--input={inputs[-1]}", *line[2:], f"--output_dir={tmp_path}/other"]
    if not flags[0].startswith("--exclude"):
        assert cli.main([*last, "--direct_num_workers=1"]) == 0
        assert found.manifest["hash"] != read_export(tmp_path / "other").manifest["hash"]
