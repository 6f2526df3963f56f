"""`--split`: shards of its own for each split, whatever the source, the order and the limit."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.exports import (
    Export,
    check_export,
    directory_hashes,
    make_images,
    picture,
    read_export,
)
from support.runs import run_export, run_pipeline
from support.tars import make_tar

from beam_export import Sample, WriteShards
from beam_export.cli import main as cli
from beam_export.errors import InputError
from beam_export.planning import order
from beam_export.text import quantity

RULE = "train=0.7,val=0.3"
IN_MEMORY = "--direct_num_workers=1"
PER_TAR = 4


def by_hash(ident: str) -> str:
    """Returns the split of an id under `RULE`, by another way than the package's."""
    digest = hashlib.sha256(b"split:" + ident.encode()).hexdigest()
    return "train" if Fraction(int(digest, 16), 2**256) < Fraction(7, 10) else "val"


def make_folder(folder: Path, numbers: Iterable[int]) -> Path:
    for number in numbers:
        path = folder / f"{'ab'[number % 2]}/{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return folder


def make_tars(folder: Path, numbers: Iterable[int]) -> Path:
    folder.mkdir()
    for part in range(2):
        names = [number for number in numbers if number % 2 == part]
        members = [(f"{'ab'[part]}/{number:03d}.jpg", picture(number)) for number in names]
        (folder / f"{part}.tar").write_bytes(make_tar(*members))
    return folder


def make_table(folder: Path, numbers: Iterable[int]) -> Path:
    folder.mkdir()
    rows = [
        {
            "id": f"{'ab'[number % 2]}/{number:03d}",
            "image": picture(number),
            "subset": ["test", "dev"][number % 3 == 0],
            "split": f"old{number % 2}",
            "fold": number % 2,
        }
        for number in numbers
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet", row_group_size=9)
    return folder


SOURCES: dict[str, Callable[[Path, Iterable[int]], Path]] = {
    "folder": make_folder,
    "tar": make_tars,
    "table": make_table,
}


def slow(kind: str) -> Any:
    """Marks a further kind of source, where what is tested comes after all are read alike."""
    return pytest.param(kind, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_table(tmp_path_factory.mktemp("table") / "in", range(30))


def splits_of(export: Export) -> dict[str, str]:
    return {row["image_id"]: row["split"] for row in export.rows}


def check_splits(export: Export, per_tar: int = PER_TAR, *, exact: bool = True) -> None:
    """Holds the shards of each split, and what manifest and card say of them, to the rows."""
    following = 0
    for stated in export.manifest["splits"]:
        assert stated["first_shard"] == following
        following += stated["shards"]
        held = export.shards[stated["first_shard"] : following]
        assert {row["split"] for shard in held for row in shard.rows} <= {stated["name"]}
        sizes = [len(shard.rows) for shard in held]
        assert sum(sizes) == stated["samples"]
        assert sum(shard.tar.stat().st_size for shard in held) == stated["bytes"]
        if exact:
            assert sizes[:-1] == [per_tar] * (len(sizes) - 1)
        assert all(0 < size <= per_tar for size in sizes)
        card = (export.out / "README.md").read_text()
        assert (f'split: "{stated["key"]}"' in card) == bool(stated["shards"])
    assert following == len(export.shards)


def verify(out: Path, *flags: str) -> int:
    return cli.main(["verify", str(out), IN_MEMORY, *flags])


# Fractions.


@pytest.mark.parametrize(
    ("kind", "by"),
    [
        *(("tar", "shuffled"), ("table", "source")),
        pytest.param("folder", "source", marks=pytest.mark.slow),
        pytest.param("folder", "shuffled", marks=pytest.mark.slow),
    ],
)
def test_each_split_has_exact_shards_in_the_order(kind: str, by: str, tmp_path: Path) -> None:
    source = SOURCES[kind](tmp_path / "in", range(30))
    export = run_export(source, tmp_path / "out", split=RULE, order=by, images_per_tar=PER_TAR)
    plain = run_export(source, tmp_path / "plain", order=by, images_per_tar=PER_TAR)
    check_splits(export)
    check_export(export.out, PER_TAR, "--samples", "30", "--allow-short")
    assert splits_of(export) == {ident: by_hash(ident) for ident in plain.ids}
    # Within a split the order is that of the whole.
    assert export.ids == sorted(plain.ids, key=by_hash)
    assert verify(export.out, "--against", str(source), "--decode") == 0
    assert export.hash != plain.hash
    assert "splits" not in plain.manifest


def test_no_sample_moves_as_the_dataset_grows(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", range(0, 30, 2))
    before = run_export(source, tmp_path / "one", split=RULE, order="shuffled")
    make_folder(source, range(30))
    after = run_export(source, tmp_path / "two", split=RULE, order="shuffled", seed=9)
    assert splits_of(before).items() < splits_of(after).items()
    assert len(after.rows) == 30
    assert {"train", "val"} == set(splits_of(before).values())


def test_a_renamed_sample_is_where_its_id_was(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", range(20))
    for path in list(source.rglob("*.jpg")):
        path.with_suffix(".jpeg").write_bytes(picture(int(path.stem) + 100))
    export = run_export(source, tmp_path / "out", split=RULE, duplicates="rename")
    assert splits_of(export) == {one: by_hash(one.removesuffix("-1")) for one in export.ids}
    assert sum(one.endswith("-1") for one in export.ids) == 20
    assert any(by_hash(one) != by_hash(one[:-2]) for one in export.ids if one.endswith("-1"))
    assert verify(export.out, "--against", str(source)) == 0


@pytest.mark.parametrize("kept", ["first", "last"])
def test_splits_come_after_the_limit_and_empty_ones_are_said(
    kept: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_folder(tmp_path / "in", range(30))
    names = sorted(
        path.relative_to(source).with_suffix("").as_posix() for path in source.rglob("*.jpg")
    )
    rule = "no=0,train=0.7,none=0.00,val=0.3" if kept == "first" else "no=0.0,val=0,all=1"
    flags = [f"--split={rule}", "--limit=7", "--images_per_tar=2", "--member_names=sequential"]
    given = ["--input", str(source), "--output_dir", str(tmp_path / "out"), IN_MEMORY, *flags]
    assert cli.main(["export", "--dry_run", *given]) == 0
    planned = capsys.readouterr().out
    assert cli.main(["export", *given]) == 0
    said = capsys.readouterr().out
    export = read_export(tmp_path / "out")
    assert sorted(export.ids) == names[:7]
    check_splits(export, 2)
    (step,) = (one for one in export.manifest["steps"] if one["step"] == "split")
    if kept == "first":
        counts = {"train": 0, "val": 0}
        for name in names[:7]:
            counts[by_hash(name)] += 1
        assert step["samples"] == {"no": 0, "none": 0, **counts}
        told = "  no sample falls into the splits no, none: they are left out of card and indexes"
        shards = {name: -(-count // 2) for name, count in counts.items()}
        cut = {name: quantity(shard, "shard") for name, shard in shards.items()}
        line = ", ".join(f"{name} {counts[name]} in {cut[name]}" for name in counts)
        assert f"  splits: {line}" in said
        assert f"  splits: {line}" in planned
    else:
        told = "  no sample falls into the splits no, val: they are left out of card and indexes"
        keys = "under another name in card and indexes, which loaders take: all is all_5ef5ef03"
        assert keys in said
        assert keys in planned
    assert told in said
    assert told in planned
    # Ranks over the whole dataset, in the final order.
    keys = [row["member_name"] for row in export.rows]
    assert keys == [f"{rank:09d}.jpg" for rank in range(7)]
    assert verify(export.out, "--against", str(source)) == 0


def test_shards_are_cut_by_size_within_each_split(tmp_path: Path) -> None:
    source = make_images(tmp_path / "in", 30)
    export = run_export(
        source,
        tmp_path / "out",
        split="a=0.5,b=0.5",
        encode="never",
        max_tar_bytes=7000,
        images_per_tar=5,
        order="shuffled",
        limit=27,
    )
    check_splits(export, 5, exact=False)
    assert len(export.rows) == 27
    starts = {one["first_shard"] for one in export.manifest["splits"]}
    for shard, following in zip(export.shards, export.shards[1:], strict=False):
        size = shard.tar.stat().st_size
        assert size <= 7000
        number = export.shards.index(following)
        # Greedy: the first sample of a shard would not have fitted into the one before.
        more = 512 + -(-following.rows[0]["size"] // 512) * 512
        assert number in starts or len(shard.rows) == 5 or size + more > 7000
    assert verify(export.out) == 0


@pytest.mark.parametrize(
    "cut", [pytest.param({}, marks=pytest.mark.slow), {"max_tar_bytes": 7000, "encode": "never"}]
)
def test_shards_do_not_depend_on_buckets(
    cut: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_images(tmp_path / "in", 40)
    options: dict[str, Any] = {"split": "a=0.6,b=0,c=0.4", "images_per_tar": 5, "limit": 33, **cut}
    run_export(source, tmp_path / "one", order="shuffled", **options)
    monkeypatch.setattr(order, "_BUCKET_KEYS", 3)
    run_export(source, tmp_path / "many", order="shuffled", **options)
    assert directory_hashes(tmp_path / "many") == directory_hashes(tmp_path / "one")


@pytest.mark.slow  # as tests/contract/test_identical.py does with a folder
@pytest.mark.parametrize("kind", SOURCES)
def test_the_bytes_are_those_of_two_workers(kind: str, tmp_path: Path) -> None:
    source = SOURCES[kind](tmp_path / "in", range(40))
    options: dict[str, Any] = {"split": RULE, "order": "shuffled", "images_per_tar": 5}
    for workers in (1, 2):
        run_export(source, tmp_path / str(workers), workers=workers, **options)
    one, two = (directory_hashes(tmp_path / str(workers)) for workers in (1, 2))
    assert one == two


def test_finished_shards_are_kept(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", range(30))
    options: dict[str, Any] = {"split": RULE, "images_per_tar": PER_TAR}
    export = run_export(source, tmp_path / "out", **options)
    before = directory_hashes(export.out)
    (export.out / f"images-{export.hash}-manifest.json").unlink()
    lost = export.shards[-1].tar
    for path in (lost, lost.with_suffix(".parquet")):
        path.unlink()
    times = {path: path.stat().st_mtime_ns for path in export.out.glob("*.tar")}
    run_export(source, export.out, **options)
    assert directory_hashes(export.out) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times


# Columns and folders.


def test_values_of_a_column_are_splits(table: Path, tmp_path: Path) -> None:
    export = run_export(table, tmp_path / "out", split="subset", images_per_tar=PER_TAR)
    check_splits(export)
    assert [one["name"] for one in export.manifest["splits"]] == ["dev", "test"]
    assert all(row["split"] == row["subset"] for row in export.rows)
    # The input's column of that name is kept beside the one that is made.
    assert {row["input_split"] for row in export.rows} == {"old0", "old1"}
    assert verify(export.out, "--against", str(table)) == 0


def test_the_inputs_own_split_can_be_meant(table: Path, tmp_path: Path) -> None:
    export = run_export(
        table,
        tmp_path / "out",
        split="split",
        filter="split = 'old1' or image_id < 'a/02'",
        caption_column="split",
        images_per_tar=PER_TAR,
    )
    check_splits(export)
    assert [one["name"] for one in export.manifest["splits"]] == ["old0", "old1"]
    assert all(row["split"] == row["input_split"] for row in export.rows)
    assert 15 < len(export.rows) < 30
    assert verify(export.out, "--against", str(table)) == 0


def test_an_export_with_splits_is_exported_again_by_them(table: Path, tmp_path: Path) -> None:
    first = run_export(table, tmp_path / "one", split=RULE, images_per_tar=PER_TAR)
    again = run_export(
        first.out, tmp_path / "two", split="split", drop_columns="input_split", images_per_tar=3
    )
    assert splits_of(again) == splits_of(first)
    assert again.ids == first.ids
    check_splits(again, 3)
    assert all(row["input_split"] == row["split"] for row in again.rows)
    assert verify(again.out, "--against", str(first.out)) == 0
    # Without `--split` it is a column like any other.
    plain = run_export(first.out, tmp_path / "three", images_per_tar=PER_TAR)
    assert splits_of(plain) == splits_of(first)
    with pytest.raises(InputError, match="leave one out by --drop_columns=input_split"):
        run_export(first.out, tmp_path / "four", split="split")


@pytest.mark.parametrize("kind", ["tar", *map(slow, ["folder", "table"])])
def test_first_folders_are_splits(kind: str, tmp_path: Path) -> None:
    source = SOURCES[kind](tmp_path / "in", range(20))
    export = run_export(
        source, tmp_path / "out", split="folder", order="shuffled", images_per_tar=3
    )
    check_splits(export, 3)
    assert splits_of(export) == {one: one[0] for one in export.ids}
    assert verify(export.out, "--against", str(source)) == 0


def test_labels_and_splits_stand_beside_each_other(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", range(20))
    export = run_export(source, tmp_path / "out", labels="folder", split="label", images_per_tar=3)
    check_splits(export, 3)
    assert {(row["label"], row["cls"], row["split"]) for row in export.rows} == {
        ("a", 0, "a"),
        ("b", 1, "b"),
    }
    assert verify(export.out, "--against", str(source)) == 0


def test_columns_of_json_are_known_while_the_export_runs(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", range(8))
    for path in list(source.rglob("*.jpg")):
        place = {"part": "xy"[int(path.stem) % 2], "split": 3}
        path.with_suffix(".json").write_text(json.dumps(place))
    export = run_export(source, tmp_path / "out", split="part", images_per_tar=3)
    check_splits(export, 3)
    assert splits_of(export) == {one: "xy"[int(one[-1]) % 2] for one in export.ids}
    assert {row["input_split"] for row in export.rows} == {3}
    assert verify(export.out, "--against", str(source)) == 0
    with pytest.raises(InputError, match="--split=split is of type int64"):
        run_export(source, tmp_path / "other", split="split")
    assert not list((tmp_path / "other").glob("images-*"))
    next(source.rglob("*.json")).unlink()
    with pytest.raises(InputError, match="has no text in that column"):
        run_export(source, tmp_path / "other", split="part")


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("train=0.9,val=0.2", "sums to 1.1, not to 1"),
        ("no_such", "--split=no_such: there is no such column"),
        ("fold", "--split=fold is of type int64"),
    ],
)
def test_what_cannot_be_split_by_is_exit_2_before_anything_runs(
    split: str, said: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--input", str(table), "--output_dir", str(tmp_path / "out"), f"--split={split}"]
    assert cli.main([*given, IN_MEMORY]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("out/images-*"))


def test_an_image_without_a_folder_is_exit_2_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_folder(tmp_path / "in", range(6))
    (source / "alone.jpg").write_bytes(picture(7))
    given = ["--input", str(source), "--output_dir", str(tmp_path / "out"), "--split=folder"]
    assert cli.main([*given, IN_MEMORY]) == 2
    assert "sample 'alone'" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/images-*"))


# Failures, the library, damage.


def test_a_failure_leaves_its_shard_short_and_is_counted(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", range(20))
    (source / "a/004.jpg").write_bytes(picture(4)[:60])
    export = run_export(
        source, tmp_path / "out", split=RULE, images_per_tar=PER_TAR, max_failed_fraction=0.5
    )
    check_splits(export, exact=False)
    (step,) = (one for one in export.manifest["steps"] if one["step"] == "split")
    assert sum(step["samples"].values()) == 20
    assert sum(one["samples"] for one in export.manifest["splits"]) == 19
    assert verify(export.out) == 0


def test_samples_of_a_pipeline_are_split(tmp_path: Path) -> None:
    kinds = ["x", "y"]
    samples = [
        Sample(id=f"s{at}", image=picture(at), metadata={"kind": kinds[at % 2], "n": at})
        for at in range(12)
    ]

    def export(name: str, **options: Any) -> Export:
        out = tmp_path / name
        write = WriteShards(str(out), images_per_tar=PER_TAR, **options)
        run_pipeline(lambda p: p | beam.Create(samples) | write)
        return read_export(out)

    by_fraction = export("fractions", split=RULE)
    check_splits(by_fraction)
    assert splits_of(by_fraction) == {one.id: by_hash(one.id) for one in samples}
    schema = pa.schema([("n", pa.int16()), ("kind", pa.string())])
    by_column = export("column", split="kind", schema=schema, order="shuffled")
    check_splits(by_column)
    assert splits_of(by_column) == {one.id: one.metadata["kind"] for one in samples}
    assert by_column.shards[0].table.schema.names[-3:] == ["n", "kind", "split"]
    for one in (by_fraction, by_column):
        assert verify(one.out) == 0
    with pytest.raises(InputError, match="--split=n is of type int16"):
        export("wrong", split="n", schema=schema)


def test_a_row_in_the_wrong_split_is_found(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = run_export(table, tmp_path / "out", split=RULE, images_per_tar=PER_TAR)
    path = export.shards[0].tar.with_suffix(".parquet")
    meta = pq.read_schema(path).metadata
    found = pq.read_table(path)
    at = found.schema.names.index("split")
    other = found.set_column(at, "split", pa.array(["val"] * len(found)))
    pq.write_table(other.replace_schema_metadata(meta), path)
    assert verify(export.out) == 1
    said = capsys.readouterr().out
    assert "its split is 'val', and the manifest has its shard in 'train'" in said
    assert "its split is 'val', and --split=train=0.7,val=0.3 makes it 'train'" in said


def test_two_exports_of_other_rules_do_not_meet(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", range(10))
    rules = (RULE, "train=0.70, val=0.3", "val=0.3,train=0.7", "folder")
    hashes = [
        run_export(source, tmp_path / str(at), split=one).hash for at, one in enumerate(rules)
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3
    shutil.rmtree(source / "b")
    assert run_export(source, tmp_path / "more", split=RULE).hash not in hashes
