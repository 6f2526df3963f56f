"""The whole chain on the local runner, held against format.md."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.exports import (
    Export,
    check_export,
    directory_hashes,
    left_over,
    make_images,
    picture,
    read_export,
)
from support.runs import run_export

from beam_export.cli import main as cli
from beam_export.errors import InputError, RunError
from beam_export.naming import key_of
from beam_export.pipeline import write_shards

COUNT = 11


def slow(*values: object) -> Any:
    """Marks a further case of what another goes through too."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"), COUNT)


@pytest.fixture(scope="module")
def plain(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """An export with every default but the size of a shard."""
    return run_export(images, tmp_path_factory.mktemp("plain") / "out", images_per_tar=4)


def source_ids(images: Path) -> list[str]:
    """Returns the ids of all images in source order."""
    found = [path.relative_to(images).as_posix() for path in images.rglob("*.*")]
    return [name.rpartition(".")[0] for name in sorted(found)]


def corrupt(path: Path) -> None:
    path.write_bytes(picture(1)[:60] + b"\0" * 40)


# Shards.


def test_source_order_and_every_column(plain: Export, images: Path) -> None:
    assert plain.ids == source_ids(images)
    assert plain.sizes == [4, 4, 3]
    check_export(plain.out, 4, "--samples", str(COUNT), "--source", str(images))
    for row in plain.rows:
        (source,) = images.glob(row["image_id"] + ".*")
        assert row["original_path"] == str(source)
        assert row["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
        assert row["encoding"] == ("copied" if source.suffix == ".jpg" else "encoded")
        assert row["member_name"] == key_of(row["image_id"]) + ".jpg"
    assert left_over(plain.out) == []


@pytest.mark.slow
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(count=st.integers(1, 14), per_tar=st.integers(1, 16))
def test_every_shard_is_exact_but_the_last(
    count: int, per_tar: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("exact")
    export = run_export(make_images(folder / "in", count), folder / "out", images_per_tar=per_tar)
    whole, rest = divmod(count, per_tar)
    assert export.sizes == [per_tar] * whole + [rest] * bool(rest)
    assert export.ids == source_ids(folder / "in")


@pytest.mark.parametrize("per_tar", [slow(1), slow(COUNT - 1), COUNT, slow(COUNT + 1)])
def test_sizes_around_the_number_of_images(images: Path, tmp_path: Path, per_tar: int) -> None:
    export = run_export(images, tmp_path / "out", images_per_tar=per_tar)
    assert sum(export.sizes) == COUNT
    assert set(export.sizes[:-1]) <= {per_tar}
    assert 0 < export.sizes[-1] <= per_tar
    numbers = [shard.tar.stem.rpartition("-")[2] for shard in export.shards]
    assert numbers == [f"{number:06d}" for number in range(len(numbers))]


@pytest.mark.slow
def test_shuffled_is_a_permutation_that_the_seed_names(images: Path, tmp_path: Path) -> None:
    def shuffled(name: str, seed: int) -> Export:
        return run_export(images, tmp_path / name, order="shuffled", seed=seed, images_per_tar=4)

    first, again, other = shuffled("a", 0), shuffled("b", 0), shuffled("c", 1)
    assert first.ids == again.ids
    assert directory_hashes(first.out) == directory_hashes(again.out)
    assert len({tuple(export.ids) for export in (first, other)} | {tuple(source_ids(images))}) == 3
    assert sorted(first.ids) == sorted(other.ids) == sorted(source_ids(images))
    assert first.hash != other.hash
    assert first.sizes == [4, 4, 3]


def test_limit_takes_the_first(images: Path, tmp_path: Path) -> None:
    export = run_export(images, tmp_path / "out", images_per_tar=4, limit=6)
    assert export.ids == source_ids(images)[:6]
    assert export.sizes == [4, 2]
    totals = export.manifest["totals"]
    assert (totals["read"], totals["limited"], totals["written"]) == (COUNT, COUNT - 6, 6)


def test_manifest_and_tables_agree_with_the_shards(plain: Export) -> None:
    totals = plain.manifest["totals"]
    assert totals["shards"] == 3
    assert totals["written"] == totals["read"] == COUNT
    assert totals["copied"] == sum(row["encoding"] == "copied" for row in plain.rows)
    assert totals["bytes"] == sum(shard.tar.stat().st_size for shard in plain.shards)
    tables = {table["name"]: table["sha256"] for table in plain.manifest["tables"]}
    assert tables == {
        name: digest for name, digest in directory_hashes(plain.out).items() if "_meta/" in name
    }
    (name,) = tables
    for row, shard in zip(pq.read_table(plain.out / name).to_pylist(), plain.shards, strict=True):
        assert row["tar_file"] == shard.tar.name
        assert row["tar_sha256"] == hashlib.sha256(shard.tar.read_bytes()).hexdigest()
        assert row["tar_sha256"] == shard.facts["beam_export.tar_sha256"]
        assert row["bytes"] == int(shard.facts["beam_export.tar_bytes"])
        parquet = shard.tar.with_suffix(".parquet").read_bytes()
        assert row["parquet_sha256"] == hashlib.sha256(parquet).hexdigest()
        assert row["plan"] == shard.facts["beam_export.plan"]
        assert row["samples"] == len(shard.rows)


def test_manifest_says_nothing_of_where_and_when(plain: Export, images: Path) -> None:
    text = json.dumps(plain.manifest)
    assert str(images) not in text
    assert str(plain.out) not in text
    assert plain.manifest["options"]["images_per_tar"] == 4
    assert plain.manifest["hash"] == plain.hash
    assert plain.manifest["software"]["encoder"] == "pillow"


# Names and ids.


@pytest.fixture
def equal_ids(tmp_path: Path) -> Path:
    """Three images of one id, and one whose id a renamed sample would like."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, name in enumerate(["a.jpeg", "a.jpg", "a.png", "a-1.jpg", "b.jpg"]):
        (folder / name).write_bytes(picture(number, "png" if name.endswith("png") else "jpg"))
    return folder


def test_equal_ids_are_an_error_that_names_pairs(equal_ids: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        run_export(equal_ids, tmp_path / "out")
    for part in ("a.jpeg", "a.jpg", "--duplicates=rename"):
        assert part in caught.value.sentence
    assert not list((tmp_path / "out").glob("images-*"))


def test_first_of_equal_ids(equal_ids: Path, tmp_path: Path) -> None:
    export = run_export(equal_ids, tmp_path / "out", duplicates="first")
    assert export.ids == ["a-1", "a", "b"]
    assert export.rows[1]["original_path"].endswith("a.jpeg")
    assert export.manifest["totals"]["duplicate"] == 2
    check_export(export.out, 1000)


def test_equal_ids_renamed_around_taken_names(equal_ids: Path, tmp_path: Path) -> None:
    export = run_export(equal_ids, tmp_path / "out", duplicates="rename")
    assert export.ids == ["a-1", "a", "a-2", "a-3", "b"]
    assert [Path(row["original_path"]).name for row in export.rows[1:4]] == [
        "a.jpeg",
        "a.jpg",
        "a.png",
    ]
    check_export(export.out, 1000)


def test_sequential_names_leave_gaps_where_images_fail(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "in", 6)
    corrupt(sorted(folder.rglob("*.*"))[2])
    export = run_export(
        folder,
        tmp_path / "out",
        member_names="sequential",
        images_per_tar=4,
        max_failed_fraction=0.5,
    )
    names = [row["member_name"] for row in export.rows]
    assert names == [f"{rank:09d}.jpg" for rank in (0, 1, 3, 4, 5)]
    assert export.sizes == [3, 2]


def test_token_instead_of_hash(images: Path, tmp_path: Path, plain: Export) -> None:
    export = run_export(images, tmp_path / "out", deterministic_name=False, images_per_tar=4)
    assert export.hash != plain.hash
    assert len(export.hash) == 12
    assert [shard.members for shard in export.shards] == [shard.members for shard in plain.shards]
    check_export(export.out, 4)


def test_odd_names(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    names = [
        "with space.jpg",
        "two.dots.v1.jpg",
        "ünï.jpg",
        "line\nbreak.jpg",
        "dots...jpg",
        "n" * 245 + ".jpg",
        "UPPER.JPG",
        "a/same.jpg",
        "b/same.jpg",
    ]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(number))
    (folder / "directory.jpg").mkdir()
    export = run_export(folder, tmp_path / "out", images_per_tar=4)
    assert sorted(export.ids) == sorted(name.rpartition(".")[0] for name in names)
    check_export(export.out, 4, "--samples", str(len(names)))


# Encoding.


@pytest.mark.parametrize("mode", ["always", "never"])
def test_encode(images: Path, tmp_path: Path, mode: str) -> None:
    export = run_export(images, tmp_path / "out", encode=mode, images_per_tar=4)
    expected = "encoded" if mode == "always" else "copied"
    assert {row["encoding"] for row in export.rows} == {expected}
    check_export(export.out, 4)
    for row in export.rows:
        (source,) = images.glob(row["image_id"] + ".*")
        if mode == "never":
            assert export.image(row) == source.read_bytes()
            assert row["member_name"].endswith(source.suffix)
        else:
            assert export.image(row)[:3] == b"\xff\xd8\xff"
            assert row["sha256"] != row["source_sha256"]


def test_resize_shapes_every_image(images: Path, tmp_path: Path, plain: Export) -> None:
    export = run_export(images, tmp_path / "out", resize=12, resize_mode="border")
    assert {(row["width"], row["height"]) for row in export.rows} == {(12, 12)}
    assert export.hash != plain.hash
    check_export(export.out, 1000)


# Failures.


def test_failed_images_are_listed_and_their_shard_is_short(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "in", 8)
    files = sorted(folder.rglob("*.*"))
    corrupt(files[1])
    files[6].write_bytes(b"")
    export = run_export(folder, tmp_path / "out", images_per_tar=4, max_failed_fraction=0.25)
    ids = source_ids(folder)
    assert export.sizes == [3, 3]
    assert export.ids == [ident for at, ident in enumerate(ids) if at not in (1, 6)]
    assert [failure["image_id"] for failure in export.failures] == sorted([ids[1], ids[6]])
    for failure in export.failures:
        assert failure["message"]
        assert failure["original_path"] in (str(files[1]), str(files[6]))
    assert {failure["stage"] for failure in export.failures} == {"decode", "read"}
    totals = export.manifest["totals"]
    assert (totals["read"], totals["written"], totals["failed"]) == (8, 6, 2)
    for shard, at in zip(export.shards, (1, 6), strict=True):
        (listed,) = json.loads(shard.facts["beam_export.failures"])
        assert listed["image_id"] == ids[at]
    check_export(export.out, 4, "--allow-short")


def test_budget_is_strict_and_failures_stay_to_be_read(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "in", 8)
    for path in sorted(folder.rglob("*.*"))[:3]:
        corrupt(path)
    with pytest.raises(RunError, match="3 of 8 images failed"):
        run_export(folder, tmp_path / "out", images_per_tar=8, max_failed_fraction=0.37)
    out = tmp_path / "out"
    assert not list(out.glob("*manifest.json"))
    (table,) = out.glob("_meta/*-failures.parquet")
    assert pq.read_table(table).num_rows == 3
    # Exactly the budget is not above it; and the same shards are kept.
    export = run_export(folder, out, images_per_tar=8, max_failed_fraction=0.375)
    assert export.manifest["totals"]["failed"] == 3


def test_a_shard_without_any_image_ends_the_run_with_all_failures_listed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of a table: what it names and is not there, and what fails in other shards, too."""
    folder = make_images(tmp_path / "in", 6)
    paths = sorted(folder.rglob("*.*"))
    for path in paths[1:4]:
        corrupt(path)
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["path", *map(str, paths), "missing.jpg"]))
    out = tmp_path / "out"
    flags = [f"-i={table}", f"-o={out}", "--images-per-tar=2", "--direct_num_workers=1"]
    assert cli.main([*flags, "--max_failed_fraction=1"]) == 1
    *_, early, said = capfd.readouterr().err.splitlines()
    assert early.startswith("beam-export: no image of shard 1 is left: 2 with ")
    (listed,) = out.glob("_meta/*-failures.parquet")
    assert "all 2 images of shard 1 failed" in said
    assert "of all 7 images 4 failed: " in said
    assert f"all are listed in {listed}: give --probe=full" in said
    assert "with OSError (" in said
    assert len(pq.read_table(listed)) == 4
    names = [path.name for path in out.glob("images-*")]
    assert len(names) == 4
    assert not any("000001" in name or "manifest" in name for name in names)


def test_nothing_to_export(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="holds no image"):
        run_export(tmp_path / "in", tmp_path / "out")


def test_images_that_change_after_they_were_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in its own way, in one run: every other one stays as it is."""
    folder = make_images(tmp_path / "in", 8)
    victims = sorted(folder.rglob("*.*"))[1::2]
    changes = dict(zip(map(str, victims), ["grown", "shrunk", "swapped", "vanished"], strict=True))
    wanted = {
        path: "OSError" if how == "vanished" else "SourceChanged" for path, how in changes.items()
    }
    find_finished = write_shards.find_finished

    def spoil(*given: Any, **named: Any) -> Any:
        while changes:
            path, change = changes.popitem()
            victim = Path(path)
            content, moment = victim.read_bytes(), victim.stat().st_mtime_ns + 1
            now = {"grown": content + b"more", "shrunk": content[:-4], "swapped": content[::-1]}
            victim.unlink()
            if change != "vanished":
                victim.write_bytes(now[change])
                os.utime(victim, ns=(moment, moment))
        return find_finished(*given, **named)

    monkeypatch.setattr(write_shards, "find_finished", spoil)
    export = run_export(folder, tmp_path / "out", images_per_tar=4, max_failed_fraction=0.5)
    assert export.sizes == [2, 2]
    assert {one["original_path"]: one["error"] for one in export.failures} == wanted
    assert {one["stage"] for one in export.failures} == {"read"}


# Sidecars and metadata.


def write_sample(folder: Path, name: str, content: object, number: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.jpg").write_bytes(picture(number))
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / f"{name}.json").write_text(text)


def test_sidecars_travel_and_their_json_becomes_columns(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_sample(folder, "a", {"score": 1, "tags": ["x"], "box": {"w": 1}, "width": "wide"})
    write_sample(folder, "b", {"score": 0.5, "tags": [], "box": {"h": 2.5}, "big": 1 << 40}, 1)
    (folder / "a.txt").write_text("a cat")
    (folder / "a.CLS").write_text("7")
    (folder / "orphan.txt").write_text("belongs to nobody")
    export = run_export(folder, tmp_path / "out")
    (shard,) = export.shards
    assert list(shard.members) == ["a.jpg", "a.cls", "a.json", "a.txt", "b.jpg", "b.json"]
    assert shard.members["a.json"] == (folder / "a.json").read_bytes()
    assert shard.members["a.cls"] == b"7"
    types = {field.name: field.type for field in shard.table.schema}
    assert types["score"] == pa.float64()
    assert types["tags"] == pa.list_(pa.string())
    assert types["box"] == pa.struct([("h", pa.float64()), ("w", pa.int64())])
    assert types["big"] == pa.int64()
    assert types["input_width"] == pa.string()
    first, second = shard.rows
    assert (first["score"], second["score"]) == (1.0, 0.5)
    assert (first["big"], second["big"]) == (None, 1 << 40)
    assert first["input_width"] == "wide"
    assert second["box"] == {"h": 2.5, "w": None}
    (read,) = [step for step in export.manifest["steps"] if step["step"] == "read"]
    assert read["skipped"] == {".txt": 1}
    check_export(export.out, 1000, "--columns", "score:double,big:int64")


def test_one_schema_for_all_shards(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for number, content in enumerate([{"a": 1}, {"b": "x"}, {"a": 2.5}, {}]):
        write_sample(folder, f"s{number}", content, number)
    export = run_export(folder, tmp_path / "out", images_per_tar=1)
    schemas = {str(shard.table.schema.remove_metadata()) for shard in export.shards}
    assert len(schemas) == 1
    assert [row["a"] for row in export.rows] == [1.0, None, 2.5, None]
    check_export(export.out, 1)


def test_sidecar_that_cannot_be_read_is_a_failure_and_a_large_one_travels(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_sample(folder, "bad", "{not json")
    write_sample(folder, "good", {"score": 1}, 1)
    write_sample(folder, "large", json.dumps({"score": "x" * (1 << 20)}), 2)
    export = run_export(folder, tmp_path / "out", max_failed_fraction=0.5)
    assert export.ids == ["good", "large"]
    assert [row["score"] for row in export.rows] == [1, None]
    assert len(export.shards[0].members["large.json"]) > 1 << 20
    (failure,) = export.failures
    assert (failure["image_id"], failure["stage"]) == ("bad", "list")
    assert failure["error"] == "ValueError"
    assert export.manifest["totals"]["read"] == 3


def test_types_that_nothing_unites_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_sample(folder, "a", {"score": 1})
    write_sample(folder, "b", {"score": "high"}, 1)
    with pytest.raises(InputError) as caught:
        run_export(folder, tmp_path / "out")
    for part in ("'score'", "a.jpg", "b.jpg"):
        assert part in caught.value.sentence
    assert not list((tmp_path / "out").glob("images-*"))


# The output directory.


def test_output_inside_the_input(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "in", 5)
    first = run_export(folder, folder / "out", images_per_tar=2)
    hashes = directory_hashes(folder / "out")
    again = run_export(folder, folder / "out", images_per_tar=2)
    assert len(first.rows) == len(again.rows) == 5
    assert directory_hashes(folder / "out") == hashes


@pytest.mark.parametrize("name", [slow("out"), "o[u]t"])
def test_another_dataset_in_the_output(tmp_path: Path, name: str) -> None:
    folder = make_images(tmp_path / "in", 3)
    first = run_export(folder, tmp_path / name)
    hashes = directory_hashes(first.out)
    with pytest.raises(InputError, match=r"holds 5 files .* of another dataset .* --clean"):
        run_export(folder, tmp_path / name, images_per_tar=2)
    assert directory_hashes(first.out).items() >= hashes.items()


def test_the_same_again_keeps_every_shard(images: Path, tmp_path: Path, plain: Export) -> None:
    out = shutil.copytree(plain.out, tmp_path / "out")
    tars = {path: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    run_export(images, out, images_per_tar=4)
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.tar")} == tars
    assert directory_hashes(out) == directory_hashes(plain.out)
    assert left_over(out) == []


def test_what_was_damaged_is_written_again(images: Path, tmp_path: Path, plain: Export) -> None:
    out = shutil.copytree(plain.out, tmp_path / "out")
    tars = sorted(out.glob("*.tar"))
    tars[0].unlink()
    tars[1].write_bytes(tars[1].read_bytes()[:-512])
    sorted(out.glob("*.parquet"))[2].unlink()
    run_export(images, out, images_per_tar=4)
    assert directory_hashes(out) == directory_hashes(plain.out)


def test_an_image_edited_at_equal_size_is_written_again(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "in", 4)
    first = run_export(folder, tmp_path / "out", images_per_tar=2, encode="never")
    edited = sorted(folder.rglob("*.*"))[3]
    content = edited.read_bytes()[:-1] + b"!"
    edited.write_bytes(content)
    second = run_export(folder, tmp_path / "out", images_per_tar=2, encode="never")
    assert second.hash == first.hash
    assert second.image(second.rows[3]) == content
    assert second.shards[0].members == first.shards[0].members


def test_somebodys_readme_stays(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "README.md").write_text("mine")
    (out / "notes.txt").write_text("mine too")
    run_export(images, out)
    assert (out / "README.md").read_text() == "mine"
    assert (out / "notes.txt").read_text() == "mine too"


def test_our_readme_shows_the_dataset(plain: Export) -> None:
    text = (plain.out / "README.md").read_text()
    assert plain.hash in text
    assert f"{COUNT:,} images" in text


# Crashes and retries.


class CrashError(Exception):
    """Stands for a machine that is gone."""


@pytest.fixture
def crash_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Makes the publishing of a file with that suffix fail, after what came before it."""
    replace = os.replace

    def arrange(suffix: str) -> None:
        def crash(temporary: str, final: str, **folders: int) -> None:
            if final.endswith(suffix):
                raise CrashError(final)
            replace(temporary, final, **folders)

        monkeypatch.setattr(os, "replace", crash)

    return arrange


@pytest.mark.parametrize(
    "suffix",
    [
        *("-000001.parquet", "manifest.json"),
        *(slow("-000001.tar"), slow("-shards.parquet"), slow("README.md")),
    ],
)
def test_crash_leaves_nothing_half_done_and_a_second_run_ends_the_same(
    images: Path,
    tmp_path: Path,
    plain: Export,
    crash_at: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
) -> None:
    wanted = directory_hashes(plain.out)
    crash_at(suffix)
    with pytest.raises(CrashError, match=suffix.replace(".", r"\.")):
        run_export(images, tmp_path / "out", images_per_tar=4)
    left = directory_hashes(tmp_path / "out")
    finals = {name: digest for name, digest in left.items() if not name.startswith("_tmp/")}
    assert finals.items() <= wanted.items()
    finished = [name for name in finals if re.search(r"-\d{6}\.parquet$", name)]
    assert {name.replace(".parquet", ".tar") for name in finished} <= finals.keys()
    assert not any(name.endswith("manifest.json") for name in finals)
    monkeypatch.undo()
    run_export(images, tmp_path / "out", images_per_tar=4)
    made = directory_hashes(tmp_path / "out")
    assert {name: made[name] for name in made if not name.startswith("_tmp/")} == wanted


def test_crash_while_a_kept_export_is_mended_leaves_no_manifest(
    images: Path, tmp_path: Path, plain: Export, crash_at: Callable[[str], None]
) -> None:
    out = shutil.copytree(plain.out, tmp_path / "out")
    sorted(out.glob("*.parquet"))[1].unlink()
    crash_at("-000001.parquet")
    with pytest.raises(CrashError):
        run_export(images, out, images_per_tar=4)
    assert not list(out.glob("*manifest.json"))


def test_read_export_is_independent(plain: Export) -> None:
    assert read_export(plain.out).rows == plain.rows
