"""Runs that find something in the output: resume, leftovers, locks, temporary files."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import multiprocessing
import os
import random
import shutil
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
from support.exports import (
    ROOT,
    Export,
    check_export,
    directory_hashes,
    left_over,
    make_images,
    picture,
)
from support.runs import run_export, run_pipeline

import beam_export
from beam_export.cli import main as cli
from beam_export.errors import InputError
from beam_export.shards import lock
from beam_export.shards.output import Output

sys.path.insert(0, str(ROOT))

from benchmarks.robustness import damages

IN_MEMORY = "--direct_running_mode=in_memory"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("in"), 10)


@pytest.fixture(scope="module")
def plain(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    return run_export(images, tmp_path_factory.mktemp("plain") / "out", images_per_tar=4)


@pytest.fixture
def out(plain: Export, tmp_path: Path) -> Path:
    """A complete export, with the times of its files."""
    return shutil.copytree(plain.out, tmp_path / "out")


def export(images: Path, out: Path, *flags: str) -> int:
    given = ["--input", str(images), "--output_dir", str(out), "--images_per_tar=4", IN_MEMORY]
    return cli.main([*given, *flags])


def identities(out: Path) -> dict[str, tuple[int, int]]:
    """Returns what changes with every writing of a file."""
    return {
        path.relative_to(out).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in out.rglob("*")
        if path.is_file()
    }


# Resume.


def test_a_complete_export_is_left_alone_and_said_so(
    images: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = identities(out)
    assert export(images, out) == 0
    said = capsys.readouterr().out.splitlines()[0]
    assert "complete already, and nothing was written" in said
    # What that rests on: bytes of an image that were changed in place are for `verify` to find.
    assert "Parquet files, tables and manifest fit their digests, tars their sizes" in said
    assert "beam-export verify" in said
    assert identities(out) == before


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def overwrite(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(path.stat().st_size))


SHARD = ["-000001.tar", "-000001.parquet"]
BESIDE = ["-shards.parquet", "-failures.parquet", "-manifest.json", "-run.json"]


@pytest.fixture(scope="module")
def lossy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Images of which one is broken, and their export."""
    source = make_images(tmp_path_factory.mktemp("lossy"), 10)
    (source / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    out = tmp_path_factory.mktemp("lossy-out") / "out"
    run_export(source, out, images_per_tar=4, max_failed_fraction=0.5)
    return source, out


OTHER_DAMAGES = [
    *((Path.unlink, name) for name in (SHARD[1], BESIDE[0])),
    *((empty, name) for name in SHARD),
    *((shorten, SHARD[1]), (overwrite, SHARD[1])),
    *((shorten, name) for name in BESIDE),
    *((flip, name) for name in BESIDE[1:]),
    *((Path.unlink, name) for name in BESIDE[1:]),
]


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        *((Path.unlink, name) for name in (SHARD[0], "README.md")),
        *((shorten, SHARD[0]), (flip, SHARD[1]), (flip, BESIDE[0])),
        *(pytest.param(*given, marks=pytest.mark.slow) for given in OTHER_DAMAGES),
    ],
)
def test_what_is_missing_or_damaged_is_written_anew_and_nothing_else(
    lossy: tuple[Path, Path],
    tmp_path: Path,
    damage: Any,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images, sound = lossy
    out = Path(shutil.copytree(sound, tmp_path / "out"))
    (path,) = [path for path in out.rglob("*") if path.name.endswith(name)]
    before = identities(out)
    damage(path)
    assert export(images, out, "--max_failed_fraction=0.5") == 0
    said = capsys.readouterr().out
    assert "complete already" not in said
    assert "written anew, as" in said
    assert directory_hashes(out) == directory_hashes(sound)
    after = identities(out)
    # A tar goes with its Parquet, and the manifest while one of the two is not there.
    mended = {path.name, *(["-000001.tar", "-000001.parquet"] if name in SHARD else [])}
    mended |= {"-manifest.json", "-run.json"} if name in SHARD else set()
    kept = [one for one in before if not one.endswith(tuple(mended))]
    assert {one: after[one] for one in kept} == {one: before[one] for one in kept}
    assert cli.main(["verify", str(out), "--direct_num_workers=1"]) == 0
    assert export(images, out, "--max_failed_fraction=0.5") == 0
    assert "complete already" in capsys.readouterr().out


@pytest.mark.parametrize("sealed", [True, False])
def test_a_table_of_shards_that_lies_is_written_anew(
    images: Path, out: Path, plain: Export, sealed: bool
) -> None:
    files = damages.read_files(out)
    (name,) = [name for name in files if name.endswith("-shards.parquet")]
    column = {1: "parquet_sha256", 0: "samples"}
    for row, value in ((1, "0" * 64), (0, 7)):
        files[name] = damages.edited(files[name], row, column[row], value)
    if sealed:
        manifest_name = next(name for name in files if name.endswith("-manifest.json"))
        manifest = damages.unseal(files[manifest_name])
        manifest["tables"][0]["sha256"] = hashlib.sha256(files[name]).hexdigest()
        files[manifest_name] = damages.seal(manifest)
    damages.write_files(files, out)
    assert export(images, out) == 0
    assert directory_hashes(out) == directory_hashes(plain.out)


@pytest.mark.parametrize("column", ["encoding", "image_id"])
def test_a_forged_parquet_is_written_anew(
    images: Path, out: Path, plain: Export, column: str
) -> None:
    """As long as the manifest tells what it was."""
    path = next(out.glob("*-000001.parquet"))
    path.write_bytes(damages.edited(path.read_bytes(), 2, column, "neither"))
    assert export(images, out) == 0
    assert directory_hashes(out) == directory_hashes(plain.out)


@pytest.mark.parametrize("column", ["width", "sha256", "original_path"])
def test_what_a_killed_run_left_is_held_against_its_checksums(
    images: Path, out: Path, plain: Export, column: str
) -> None:
    """No digest of a shard is known before the tables stand: its pages have their own."""
    path = next(out.glob("*-000001.parquet"))
    chunk = pq.ParquetFile(path).metadata.row_group(0)
    at = chunk.column(pq.read_schema(path).get_field_index(column))
    data = bytearray(path.read_bytes())
    data[at.data_page_offset + at.total_compressed_size - 2] ^= 1
    path.write_bytes(data)
    for one in [*out.glob("*manifest.json"), *out.glob("_meta/*")]:
        one.unlink()
    assert export(images, out) == 0
    assert directory_hashes(out) == directory_hashes(plain.out)


def test_a_killed_run_goes_on(images: Path, out: Path, plain: Export) -> None:
    for path in [*out.glob("*manifest.json"), *out.glob("_meta/*"), *out.glob("*-000002*")]:
        path.unlink()
    dead = Output(str(out), "0123456789abcdef" * 2)
    dead.prepare()
    with dead.spilling() as (_, half):
        half.write(b"half")
    before = identities(out)
    assert export(images, out) == 0
    assert directory_hashes(out) == directory_hashes(plain.out)
    after = identities(out)
    assert all(after[name] == before[name] for name in before if "-00000" in name)
    assert left_over(out) == []


# What is there and not to be resumed.


def test_resume_false_refuses_what_is_there(
    images: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = identities(out)
    assert export(images, out, "--resume=false") == 2
    said = capsys.readouterr().err
    assert "holds 9 files" in said
    assert "--clean" in said
    assert identities(out) == before
    assert left_over(out) == []


def test_another_dataset_is_named_and_removed_only_by_clean(
    images: Path, out: Path, plain: Export, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "notes.txt").write_text("mine")
    before = identities(out)
    assert export(images, out, "--quality=50") == 2
    said = capsys.readouterr().err
    assert "holds 9 files" in said
    assert f"images-{plain.hash}-000000.parquet" in said
    assert "--clean" in said
    assert identities(out) == before
    assert export(images, out, "--quality=50", "--clean") == 0
    assert not [name for name in identities(out) if plain.hash in name]
    assert (out / "notes.txt").read_text() == "mine"
    (out / "notes.txt").unlink()
    check_export(out, 4)


def test_clean_writes_everything_again(images: Path, out: Path, plain: Export) -> None:
    before = identities(out)
    assert export(images, out, "--resume=false", "--clean") == 0
    after = identities(out)
    assert directory_hashes(out) == directory_hashes(plain.out)
    assert not [name for name in before if before[name] == after[name]]


def test_clean_leaves_what_is_not_ours(
    images: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another tool names its shards alike, and a README may be anybody's."""
    foreign = "images-0123456789ab-000000"
    table = pq.read_table(next(out.glob("*-000000.parquet")))
    pq.write_table(table.replace_schema_metadata({}), out / f"{foreign}.parquet")
    (out / f"{foreign}.tar").write_bytes(b"\0" * 1024)
    (out / "README.md").write_text("mine")
    before = identities(out)
    assert export(images, out, "--clean") == 2
    assert "2 files" in capsys.readouterr().err
    # Nothing is removed before all is known to be in order.
    assert identities(out) == before
    for name in (f"{foreign}.parquet", f"{foreign}.tar"):
        (out / name).unlink()
    assert export(images, out, "--clean") == 0
    assert "README.md is not this tool's" in capsys.readouterr().out
    assert (out / "README.md").read_text() == "mine"


def test_a_mistyped_input_cleans_nothing(out: Path) -> None:
    before = identities(out)
    assert export(out.parent / "nowhere", out, "--clean") == 2
    assert identities(out) == before


# Who writes.


def hold(out: str, ready: Any, done: Any) -> None:
    options = beam_export.ExportOptions(output_dir=out)
    output = lock.prepare_output(options, bound=True)
    with output.spilling() as (_, target):
        target.write(b"alive")
    ready.set()
    done.wait(60)
    lock.release_output(output)


def test_a_second_run_refuses_and_leaves_the_first_alone(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    out = tmp_path / "out"
    first = context.Process(target=hold, args=(str(out), ready, done))
    first.start()
    try:
        assert ready.wait(60)
        assert export(images, out) == 2
        assert "is being written to by another run" in capsys.readouterr().err
        assert len(list(out.glob("_tmp/*/spill-*"))) == 1
        assert {path.name for path in out.glob("_tmp/*") if len(path.name) != 32} == {
            "lock",
            "beam_export",
        }
    finally:
        done.set()
        first.join(60)
    assert first.exitcode == 0
    assert export(images, out) == 0
    assert left_over(out) == []


# A pipeline of one's own.


def samples(count: int = 10, edited: bool = False) -> list[beam_export.Sample]:
    made = [beam_export.Sample(f"s{n:02d}", picture(n), metadata={"n": n}) for n in range(count)]
    text = b"edited" if edited else b"before"
    made[5] = dataclasses.replace(made[5], fields={"txt": text})
    return made


def write(out: Path, given: list[beam_export.Sample], **options: Any) -> None:
    write = beam_export.WriteShards(str(out), images_per_tar=4, **options)
    run_pipeline(lambda p: p | beam.Create(given) | write)


def test_a_pipelines_finished_shards_are_kept_unless_their_content_changed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, samples())
    before, hashes = identities(out), directory_hashes(out)
    write(out, samples())
    assert identities(out) == before
    next(out.glob("*-000002.parquet")).unlink()
    write(out, samples())
    assert directory_hashes(out) == hashes
    assert (
        identities(out).items()
        >= {
            name: one for name, one in before.items() if "-000000" in name or "-000001" in name
        }.items()
    )
    # Sizes are equal, and with them the plan; the content of one sample is not.
    write(out, samples(edited=True))
    after = identities(out)
    changed = {name for name in before if "-00000" in name and after[name] != before[name]}
    assert {name.rpartition("-")[2] for name in changed} == {
        *("000001.tar", "000001.parquet"),
        "000002.parquet",
        "000002.tar",
    }
    tar = next(out.glob("*-000001.tar")).read_bytes()
    assert b"edited" in tar
    with pytest.raises(InputError, match="--clean"):
        write(out, samples(), resume=False)
    write(out, samples(), resume=False, clean=True)
    assert directory_hashes(out) == hashes


def test_a_failed_pipeline_leaves_no_temporary_files(tmp_path: Path) -> None:
    bad = [beam_export.Sample("bad", b"no image"), *samples()]
    with pytest.raises(Exception, match="max_failed_fraction"), beam.Pipeline() as pipeline:
        pipeline | beam.Create(bad) | beam_export.WriteShards(str(tmp_path / "out"))
    assert left_over(tmp_path / "out") == []


@pytest.mark.slow
def test_a_compressed_tar_that_was_edited_is_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # What a run spills of it is new each time, and nothing but its time tells of the edit.
    source, out = tmp_path / "in#1" / "a.tar.gz", tmp_path / "out"
    source.parent.mkdir()

    def write(caption: bytes) -> None:
        with tarfile.open(source, "w:gz") as tar:
            for name, data in ("x#y.jpg", picture(0)), ("x#y.txt", caption):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))

    def captions() -> list[bytes]:
        (path,) = out.glob("images-*.tar")
        with tarfile.open(path) as tar:
            return [tar.extractfile(one).read() for one in tar if one.name.endswith(".txt")]

    write(b"red")
    assert export(source, out) == 0
    assert export(source, out) == 0
    assert "complete already" in capsys.readouterr().out
    write(b"tan")
    os.utime(source, (time.time() + 10,) * 2)
    assert export(source, out) == 0
    assert captions() == [b"tan"]
