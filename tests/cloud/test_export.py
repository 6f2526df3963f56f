"""Exports from and to Google Cloud Storage, by the command, on the emulator of the tests."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
from support.devices import need_gcp
from support.exports import (
    Export,
    check_export,
    directory_hashes,
    make_images,
    picture,
    read_export,
    same_but_for_paths,
)
from support.gcs import Emulator
from support.runs import run_export, run_pipeline

import beam_export
from beam_export.cli import main as cli

#: Google's client does not close what it has read an error from.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)

IN_MEMORY = "--direct_num_workers=1"
COUNT, A_SHARD = 23, 5


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_images(tmp_path_factory.mktemp("images"), COUNT)
    (folder / "img00000.json").write_text('{"score": 1.5}')
    (folder / "part1" / "img00001.txt").write_text("a caption")
    return folder


@pytest.fixture(scope="module")
def plain(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """What stands on a disk after an export from the disk."""
    return run_export(images, tmp_path_factory.mktemp("plain") / "out", images_per_tar=A_SHARD)


@pytest.fixture(scope="module")
def store(images: Path) -> Iterator[Emulator]:
    """An emulator that holds the images; a listing of them takes several pages."""
    need_gcp()
    with Emulator.start("--page_size=7") as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environ.items():
            patch.setenv(name, value)
        running.make_bucket("data")
        running.make_bucket("results")
        running.upload(images, "gs://data/in")
        yield running


@pytest.fixture
def out(store: Emulator, request: pytest.FixtureRequest) -> Iterator[str]:
    """A place that nothing stands in; nothing may be asked for that is not modelled."""
    store.forget()
    name = re.sub(r"\W+", "_", request.node.name)
    yield f"gs://results/{name}/out"
    store.calm()
    store.set_latency(0)
    assert [one["target"] for one in store.log() if one["status"] == 501] == []


def flags(source: Path | str, out: Path | str, *more: str) -> list[str]:
    return [f"--input={source}", f"--output_dir={out}", f"--images_per_tar={A_SHARD}", *more]


def export(source: Path | str, out: Path | str, *more: str) -> int:
    return cli.main([*flags(source, out, IN_MEMORY), *more])


def command(*arguments: str) -> subprocess.Popen[str]:
    """Starts the command as a user does, in a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "beam_export", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def left_in(store: Emulator, out: str) -> list[str]:
    """Returns what of temporary objects stands in an output."""
    return list(store.list(f"{out}/_tmp/"))


def generations(store: Emulator, out: str) -> dict[str, str]:
    return {uri: facts["generation"] for uri, facts in store.list(f"{out}/").items()}


# From a disk, from a bucket, and to both.


def test_from_a_disk_to_a_bucket(
    store: Emulator, images: Path, plain: Export, out: str, tmp_path: Path
) -> None:
    assert export(images, out) == 0
    assert left_in(store, out) == []
    copy = store.download(out, tmp_path / "copy")
    assert directory_hashes(copy) == directory_hashes(plain.out)
    check_export(copy, A_SHARD, "--samples", str(COUNT))


@pytest.mark.slow
def test_worker_processes_write_the_same_bytes(
    store: Emulator, images: Path, plain: Export, out: str, tmp_path: Path
) -> None:
    run = command(*flags(images, out, "--direct_num_workers=2"))
    said, errors = run.communicate(timeout=400)
    assert run.returncode == 0, errors
    assert f"{COUNT} images in 5 shards" in said
    copy = store.download(out, tmp_path / "copy")
    assert directory_hashes(copy) == directory_hashes(plain.out)


@pytest.fixture(scope="module")
def both(store: Emulator) -> str:
    """An export from a bucket to a bucket, which nobody changes."""
    assert export("gs://data/in", "gs://results/both") == 0
    return "gs://results/both"


def test_from_a_bucket_to_a_bucket(
    store: Emulator, both: str, plain: Export, tmp_path: Path
) -> None:
    assert left_in(store, both) == []
    copy = store.download(both, tmp_path / "copy")
    check_export(copy, A_SHARD, "--samples", str(COUNT))
    same_but_for_paths(read_export(copy), plain)
    paths = [row["original_path"] for row in read_export(copy).rows]
    assert paths == [
        row["original_path"].replace(str(plain_input(plain)), "gs://data/in") for row in plain.rows
    ]


def plain_input(plain: Export) -> Path:
    """Returns the directory that an export of files was made of."""
    first = plain.rows[0]
    return Path(first["original_path"].rpartition(first["image_id"])[0].rstrip("/"))


@pytest.mark.slow
def test_from_a_bucket_to_a_disk(both: str, store: Emulator, out: str, tmp_path: Path) -> None:
    assert export("gs://data/in", tmp_path / "out") == 0
    copy = store.download(both, tmp_path / "copy")
    assert directory_hashes(tmp_path / "out") == directory_hashes(copy)


@pytest.mark.slow
def test_patterns_and_names_that_need_quoting(store: Emulator, out: str, tmp_path: Path) -> None:
    names = ["a b.jpg", "ü/[1]*.jpg", "c#7.jpg", "d%41?x=1&y.png", "plus+.jpg"]
    for number, name in enumerate(names):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number, path.suffix[1:]))
    store.upload(tmp_path / "in", "gs://data/odd")
    # As the console makes them, so that there are "folders".
    store.put("gs://data/odd/", b"")
    store.put("gs://data/odd/ü/", b"")
    assert export("gs://data/odd", out) == 0
    assert export(tmp_path / "in", tmp_path / "local") == 0
    found = read_export(store.download(out, tmp_path / "copy"))
    same_but_for_paths(found, read_export(tmp_path / "local"))
    assert sorted(row["original_path"] for row in found.rows) == sorted(
        f"gs://data/odd/{name}" for name in names
    )


@pytest.mark.slow
def test_globs_and_ranges(store: Emulator, images: Path, out: str, tmp_path: Path) -> None:
    for number, pattern in enumerate(["part{0..1}/*.jpg", "part2/img*", "**.png"]):
        assert export(f"gs://data/in/{pattern}", f"{out}{number}") == 0
        assert export(images / pattern, tmp_path / f"local{number}") == 0
        copy = store.download(f"{out}{number}", tmp_path / f"copy{number}")
        same_but_for_paths(read_export(copy), read_export(tmp_path / f"local{number}"))


@pytest.mark.slow
def test_tars_and_tables(store: Emulator, images: Path, out: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "00000.tar", "w") as tar:
        for path in sorted(images.rglob("*.jpg"))[:6]:
            tar.add(path, path.name)
    lines = ["path,score", *(f"{path.name},{path.stat().st_size}" for path in images.glob("*.*g"))]
    for path in images.glob("*.*g"):
        (tmp_path / "in" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "in" / "t.csv").write_text("\n".join(lines))
    store.upload(tmp_path / "in", "gs://data/mixed")
    for name in ("00000.tar", "t.csv"):
        assert export(f"gs://data/mixed/{name}", f"{out}/{name}") == 0
        assert export(tmp_path / "in" / name, tmp_path / "local" / name) == 0
        copy = store.download(f"{out}/{name}", tmp_path / "copy" / name)
        check_export(copy, A_SHARD)
        same_but_for_paths(read_export(copy), read_export(tmp_path / "local" / name))


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["", "/", "/**"], ids=["folder", "slash", "glob"])
def test_what_is_passed_by_and_joined_is_the_same_on_a_disk_and_in_a_bucket(
    store: Emulator, out: str, tmp_path: Path, pattern: str
) -> None:
    folder = tmp_path / "in"
    names = ["0.jpg", "a/1.jpg", "._0.jpg", ".thumbnails/0.jpg", "a/@eaDir/1.jpg", "__MACOSX/0.jpg"]
    for number, name in enumerate([*names, "a/.ipynb_checkpoints/1-checkpoint.jpg"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(number))
    run_export(folder / "a", folder / "inner")
    for name, text in [
        ("notes.md", "x"),
        ("captions.csv", "image_id,t\n0,x\n"),
        ("metadata.csv", "file_name,n\n0.jpg,1\n0.jpg,2\na/1.jpg,3\n"),
        ("a/metadata.csv", "file_name,n\n"),
        ("a/metadata.jsonl", ""),
    ]:
        (folder / name).write_text(text)
    store.upload(folder, "gs://data/passed")
    here = run_export(f"{folder}{pattern}", tmp_path / "plain", images_per_tar=A_SHARD)
    assert export(f"gs://data/passed{pattern}", out) == 0
    store.download(out, tmp_path / "fetched")
    found = read_export(tmp_path / "fetched")
    same_but_for_paths(here, found)
    assert found.manifest["steps"] == here.manifest["steps"]
    assert [(row["image_id"], row["n"]) for row in found.rows] == [("0", 1), ("a/1", 3)]
    read = found.manifest["steps"][0]
    assert read["skipped"] == {
        "(an export)": 5,
        "(hidden)": 5,
        "(several metadata tables in one folder)": 2,
        ".csv": 1,
        ".md": 1,
    }
    assert (
        len(read["tables_not_joined_examples"]) == len(read["tables_beside_images_examples"]) == 1
    )


def test_samples_of_a_pipeline_spill_to_the_bucket(
    store: Emulator, out: str, tmp_path: Path
) -> None:
    store.put("gs://data/x.jpg", picture(2))
    samples = [
        beam_export.Sample("bytes", picture(1)),
        beam_export.Sample("path", None, "gs://data/x.jpg"),
        beam_export.Sample("gone", None, "gs://data/none.jpg"),
    ]

    def build(pipeline: beam.Pipeline) -> None:
        made = pipeline | beam.Create(samples, reshuffle=False)
        made | beam_export.WriteShards(out, max_failed_fraction=0.5)

    run_pipeline(build)
    assert left_in(store, out) == []
    copy = store.download(out, tmp_path / "copy")
    check_export(copy, 1000, "--samples", "2")
    assert [one["image_id"] for one in read_export(copy).failures] == ["gone"]


# Faults.


def test_one_of_twenty_requests_fails(
    store: Emulator, both: str, out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Statuses, resets, lost answers, cut bodies: not one sample is lost, and none comes twice."""
    store.fail_at_random(0.05, seed=3)
    assert export("gs://data/in", out) == 0
    store.calm()
    assert "failed 0" in capsys.readouterr().out
    assert store.counts()["faults"] >= 3
    assert left_in(store, out) == []
    calm = directory_hashes(store.download(both, tmp_path / "calm"))
    assert directory_hashes(store.download(out, tmp_path / "copy")) == calm


@pytest.mark.slow
def test_one_of_twenty_requests_fails_in_larger_runs(
    store: Emulator, out: str, tmp_path: Path
) -> None:
    """By the command with worker processes, for several draws of what fails."""
    make_images(tmp_path / "in", 120)
    store.upload(tmp_path / "in", "gs://data/more")
    assert export("gs://data/more", f"{out}/calm") == 0
    calm = directory_hashes(store.download(f"{out}/calm", tmp_path / "calm"))
    for seed in range(3):
        store.forget()
        store.fail_at_random(0.05, seed)
        run = command(*flags("gs://data/more", f"{out}/{seed}", "--direct_num_workers=2"))
        said, errors = run.communicate(timeout=580)
        assert run.returncode == 0, errors
        assert "failed 0" in said
        counts = store.counts()
        assert counts["faults"] > counts["requests"] / 50
        assert counts["refused"] == 0
        store.calm()
        assert left_in(store, f"{out}/{seed}") == []
        copy = store.download(f"{out}/{seed}", tmp_path / f"copy{seed}")
        assert directory_hashes(copy) == calm
        check_export(copy, A_SHARD, "--samples", "120")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lost", "late_status", "interrupted"])
def test_a_writer_knows_its_own_lost_answers(
    store: Emulator, images: Path, plain: Export, out: str, tmp_path: Path, kind: str
) -> None:
    """What it made before the answer was lost is no conflict with somebody else."""
    store.fail(kind, method="POST", path=r"uploadType=multipart", count=4, size=100)
    store.fail(kind, method="PUT", path=r"upload_id", count=4, size=100)
    assert export(images, out) == 0
    assert store.counts()["faults"] >= 4
    assert directory_hashes(store.download(out, tmp_path / "copy")) == directory_hashes(plain.out)


# A source that changes.


def test_an_image_that_is_replaced_during_the_run_is_listed(
    store: Emulator, out: str, plain: Export, tmp_path: Path
) -> None:
    """Its size and its name stay; what was listed is not there any more."""
    store.upload(plain_input(plain), "gs://data/changing")
    store.fail("replaced", method="GET", path=r"changing/part0/img00009\.jpg.*alt=media")
    assert export("gs://data/changing", out, "--max_failed_fraction=0.1") == 0
    assert store.counts()["faults"] == 1
    found = read_export(store.download(out, tmp_path / "copy"))
    check_export(found.out, A_SHARD, "--allow-short")
    (failure,) = found.failures
    assert failure["image_id"] == "part0/img00009"
    assert failure["stage"] == "read"
    assert found.ids == [one for one in plain.ids if one != "part0/img00009"]


@pytest.mark.slow
def test_a_tar_that_is_replaced_during_the_run_gives_no_mixed_images(
    store: Emulator, out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for number in range(12):
            member = tarfile.TarInfo(f"{number:04d}.jpg")
            data = picture(number)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    store.put("gs://data/t/00000.tar", file.getvalue())
    # The first read is of the planning, by which the samples are known.
    store.fail("replaced", method="GET", path=r"t/00000\.tar.*alt=media", skip=1)
    assert export("gs://data/t", out, "--max_failed_fraction=1") == 1
    assert store.counts()["faults"] == 1
    assert [uri for uri in store.list(f"{out}/") if "manifest" in uri] == []
    capsys.readouterr()


# Again, and after a death.


def test_again_is_nothing_to_do(
    store: Emulator, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "gs://data/in/part0"
    assert export(source, out) == 0
    before = generations(store, out)
    capsys.readouterr()
    assert export(source, out) == 0
    assert "complete" in capsys.readouterr().out
    assert generations(store, out) == before
    assert export(source, out, "--resume=false") == 2
    assert "--clean" in capsys.readouterr().err
    # Another dataset is not put beside it.
    assert export(source, out, "--quality=50") == 2
    assert "of another dataset" in capsys.readouterr().err
    assert generations(store, out) == before


@pytest.mark.slow
def test_clean_writes_another_dataset_in_place_of_what_is_there(
    store: Emulator, out: str, tmp_path: Path
) -> None:
    source = "gs://data/in/part0"
    assert export(source, out) == 0
    before = generations(store, out)
    store.put(f"{out}/mine.txt", b"not of this tool")
    assert export(source, out, "--clean", "--quality=50") == 0
    after = generations(store, out)
    assert not set(after.values()) & set(before.values())
    assert store.get(f"{out}/mine.txt") == b"not of this tool"
    store.remove(f"{out}/mine.txt")
    check_export(store.download(out, tmp_path / "copy"), A_SHARD)


def wait_until(run: subprocess.Popen[str], store: Emulator, pattern: str, count: int) -> None:
    deadline = time.monotonic() + 120
    prefix, _, ending = pattern.partition("*")
    while sum(uri.endswith(ending) for uri in store.list(prefix)) < count:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_run_goes_on(
    store: Emulator, images: Path, plain: Export, out: str, tmp_path: Path
) -> None:
    store.set_latency(0.03)
    run = command(*flags(images, out, "--direct_num_workers=2"))
    wait_until(run, store, f"{out}/images-*.parquet", 2)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate(timeout=60)
    store.set_latency(0)
    before = generations(store, out)
    # All that bears a final name is whole.
    names = {uri.removeprefix(f"{out}/") for uri in before if "/_tmp/" not in uri}
    halfway = directory_hashes(store.download(out, tmp_path / "halfway"))
    whole = directory_hashes(plain.out)
    assert {name: halfway[name] for name in names} == {name: whole[name] for name in names}
    assert not any(name.endswith("manifest.json") for name in names)
    assert export(images, out) == 0
    after = generations(store, out)
    finished = [uri for uri in before if uri.endswith(".parquet") and "/_" not in uri]
    assert len(finished) >= 2
    assert {uri: after[uri] for uri in finished} == {uri: before[uri] for uri in finished}
    copy = store.download(out, tmp_path / "copy")
    ours = {name: sum_ for name, sum_ in directory_hashes(copy).items() if "_tmp" not in name}
    assert ours == whole


@pytest.mark.slow
def test_two_runs_at_the_same_time(
    store: Emulator, images: Path, plain: Export, out: str, tmp_path: Path
) -> None:
    store.set_latency(0.01)
    runs = [command(*flags(images, out, IN_MEMORY)) for _ in range(2)]
    said = [run.communicate(timeout=240) for run in runs]
    codes = sorted(run.returncode for run in runs)
    assert codes in ([0, 0], [0, 2]), said
    assert "Traceback" not in "".join(errors for _, errors in said)
    copy = store.download(out, tmp_path / "copy")
    assert directory_hashes(copy) == directory_hashes(plain.out)


# Verifying.


def test_verify(store: Emulator, both: str, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", both, "--decode", "--against=gs://data/in", IN_MEMORY]) == 0
    assert f"{COUNT} samples in 5 shards" in capsys.readouterr().out


@pytest.mark.slow
def test_verify_finds_what_is_wrong(
    store: Emulator, both: str, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for uri in store.list(f"{both}/"):
        store.put(uri.replace(both, out), store.get(uri))
    tar = next(uri for uri in store.list(f"{out}/images-") if uri.endswith("000002.tar"))
    data = bytearray(store.get(tar))
    data[700] ^= 1
    store.put(tar, bytes(data))
    table = tar.replace("000002.tar", "000003.parquet")
    store.remove(table)
    assert cli.main(["verify", out, IN_MEMORY]) == 1
    said = capsys.readouterr().out
    assert tar.rpartition("/")[2] in said
    assert table.rpartition("/")[2] in said


@pytest.mark.slow
def test_verify_against_an_input_that_has_changed(
    store: Emulator, images: Path, both: str, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store.upload(images, "gs://data/other")
    store.put("gs://data/other/part1/img00001.jpg", picture(99))
    store.put("gs://data/other/part1/new.jpg", picture(98))
    assert cli.main(["verify", both, "--against=gs://data/other", IN_MEMORY]) == 1
    said = capsys.readouterr().out
    assert "part1/img00001" in said
    assert "part1/new" in said


@pytest.mark.slow
def test_verify_with_faults(
    store: Emulator, both: str, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store.fail_at_random(0.05, 5, kinds=("status", "reset", "truncated"))
    assert cli.main(["verify", both, "--decode", "--against=gs://data/in", IN_MEMORY]) == 0
    assert f"{COUNT} samples in 5 shards" in capsys.readouterr().out


# What cannot work.


@pytest.mark.parametrize(
    ("source", "target"),
    [("gs://nowhere/in", None), ("gs://data/none", None), (None, "gs://nowhere/out")],
)
def test_what_is_not_there(
    store: Emulator,
    images: Path,
    out: str,
    source: str | None,
    target: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert export(source or images, target or out) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert (source or target) in said


@pytest.mark.slow
def test_a_table_of_scores_in_a_bucket(
    store: Emulator, images: Path, out: str, tmp_path: Path
) -> None:
    ids = [path.relative_to(images).with_suffix("").as_posix() for path in images.rglob("*.*g")]
    rows = ["image_id,aesthetic", *(f"{one},{number}" for number, one in enumerate(ids))]
    store.put("gs://data/scores.csv", "\n".join(rows).encode())
    chosen = ["--metadata=gs://data/scores.csv", "--filter=aesthetic >= 10"]
    assert export("gs://data/in", out, *chosen) == 0
    found = read_export(store.download(out, tmp_path / "copy"))
    assert sorted(found.ids) == sorted(ids[10:])
    tables = [pq.read_table(shard.tar.with_suffix(".parquet")) for shard in found.shards]
    assert all(str(table.schema.field("aesthetic").type) == "int64" for table in tables)
