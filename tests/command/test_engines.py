"""The export on engines other than the local runner: the same bytes, the same words, lost workers.

An engine is a job server, a process of its own that is spoken to over the network; the workers are
processes too. Beam's reference job service needs nothing; the others are made by `make engines`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from PIL import Image
from support.devices import need_engine
from support.engines import ENGINES, ENVIRON, RETRYING, free_port, serving, wait_for
from support.exports import check_export, directory_hashes, left_over, make_images, picture
from support.runs import run_export

from beam_export import Sample, WriteShards
from beam_export.cli.flags import parse_export
from beam_export.pipeline.export import ExportImages
from beam_export.shards.output import Output

PER_TAR = 4
COUNT = 22
#: For all but the bytes of an export and lost workers: Spark is the slowest by far.
most_engines = pytest.mark.parametrize(
    "engine", [name for name in ENGINES if name != "spark"], indirect=True, scope="module"
)


@pytest.fixture(
    scope="module",
    params=[
        "reference",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ENGINES if name != "reference"),
    ],
)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def flags(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Flags that send an export to a running engine."""
    need_engine(engine)
    with serving(engine, tmp_path_factory.mktemp(engine) / "log") as server:
        yield server.flags


def in_threads(flags: list[str]) -> list[str]:
    """Returns the flags without processes for workers, which have a standard error of their own."""
    return [flag for flag in flags if "process_worker" not in flag]


def export(source: Path, out: Path, *flags: str, **environ: str) -> subprocess.Popen[str]:
    places = [f"--input={source}", f"--output_dir={out}", f"--images_per_tar={PER_TAR}"]
    return command("export", *places, *flags, **environ)


def command(*arguments: str, **environ: str) -> subprocess.Popen[str]:
    pipe, line = subprocess.PIPE, [sys.executable, "-m", "beam_export", *arguments]
    return subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, env=ENVIRON | environ)


def finished(run: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Returns a run's exit code and what it said."""
    try:
        out, errors = run.communicate(timeout=600)
    except subprocess.TimeoutExpired:
        run.kill()
        raise
    return run.returncode, out, errors


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_images(tmp_path_factory.mktemp("images"), COUNT)
    (folder / "img00000.json").write_text('{"score": 0.5}')
    (folder / "broken.jpg").write_bytes(picture(7)[:70])
    return folder


@pytest.fixture(scope="module")
def local(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of an export in memory."""
    out = tmp_path_factory.mktemp("local") / "out"
    run_export(images, out, images_per_tar=PER_TAR, max_failed_fraction=0.1)
    return directory_hashes(out)


def test_the_same_bytes_and_the_same_summary(
    images: Path, local: dict[str, str], flags: list[str], tmp_path: Path
) -> None:
    code, said, errors = finished(
        export(images, tmp_path / "out", "--max_failed_fraction=0.1", *flags)
    )
    assert code == 0, errors
    assert directory_hashes(tmp_path / "out") == local
    assert said.startswith(f"{COUNT} images in 6 shards")
    assert left_over(tmp_path / "out") == []
    check_export(tmp_path / "out", PER_TAR, "--allow-short")


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[list[str]]:
    """Flags that have a pool of workers start them, as on the machines of a cluster."""
    port, environ = free_port(), {**ENVIRON}
    environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), environ["PATH"]))
    module = "apache_beam.runners.worker.worker_pool_main"
    command = [sys.executable, "-m", module, f"--service_port={port}"]
    with (tmp_path / "pool.log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    try:
        wait_for(port, process, tmp_path / "pool.log")
        yield ["--environment_type=EXTERNAL", f"--environment_config=localhost:{port}"]
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
@most_engines
def test_workers_of_a_pool_give_the_same_bytes(
    images: Path, local: dict[str, str], flags: list[str], pool: list[str], tmp_path: Path
) -> None:
    given = [flag for flag in flags if not flag.startswith(("--environment_type", "--experiments"))]
    run = export(images, tmp_path / "out", "--max_failed_fraction=0.1", *given, *pool)
    code, _, errors = finished(run)
    assert code == 0, errors
    assert directory_hashes(tmp_path / "out") == local


#: All that makes an export ready for training.
READY = [
    *("--index=all", "--json_columns=all", "--split=train=0.9,val=0.1", "--labels=folder"),
    *("--order=shuffled", "--ragged_fields=drop", "--ensure=upright,srgb,rgb"),
]


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two classes, some with a caption, and their scores."""
    folder = tmp_path_factory.mktemp("classes")
    for name in ("cat", "dog"):
        made = make_images(folder / name, COUNT)
        (made / "img00000.txt").write_text("the first")
    rows = [f"{name}/img{n:05d},{n / 7}" for name in ("cat", "dog") for n in range(COUNT)]
    (folder / "scores.csv").write_text("\n".join(["image_id,score", *rows]))
    return folder


@pytest.fixture(scope="module")
def ready(classes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of an export by one worker."""
    out = tmp_path_factory.mktemp("ready") / "out"
    hashes = exported_ready(classes, out, "--direct_num_workers=1")
    assert {"sizes.json", "nshards.txt"} <= hashes.keys()
    return hashes


def exported_ready(source: Path, out: Path, *flags: str) -> dict[str, str]:
    """Returns the hashes of an export that is ready for training."""
    given = [f"--metadata={source}/scores.csv", *READY, *flags]
    code, _, errors = finished(export(source, out, *given))
    assert code == 0, errors
    return directory_hashes(out)


@pytest.mark.slow
@most_engines
def test_what_is_ready_for_training_has_the_same_bytes_too(
    classes: Path, ready: dict[str, str], flags: list[str], tmp_path: Path
) -> None:
    assert exported_ready(classes, tmp_path / "out", *flags) == ready


@pytest.mark.slow
def test_what_two_workers_make_ready_has_the_same_bytes_too(
    classes: Path, ready: dict[str, str], tmp_path: Path
) -> None:
    assert exported_ready(classes, tmp_path / "out", "--direct_num_workers=2") == ready


@pytest.mark.slow
@most_engines
def test_a_proxy_that_never_answers_is_not_asked(
    images: Path, local: dict[str, str], flags: list[str], tmp_path: Path
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(100)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environ = dict.fromkeys(("grpc_proxy", "http_proxy", "https_proxy"), url)
        run = export(images, tmp_path / "out", "--max_failed_fraction=0.1", *flags, **environ)
        code, _, errors = finished(run)
    assert code == 0, errors
    assert directory_hashes(tmp_path / "out") == local


@pytest.mark.slow
@most_engines
def test_verify_is_a_pipeline_of_any_engine(images: Path, flags: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, errors = finished(export(images, out, "--max_failed_fraction=0.1"))
    assert code == 0, errors
    given = ["--decode", f"--against={images}", f"--temp_location={tmp_path}", *flags]
    code, said, errors = finished(command("verify", str(out), *given))
    assert code == 0, errors
    assert f"sound: {COUNT} samples in 6 shards" in said
    victim = sorted(out.glob("*.tar"))[2]
    victim.write_bytes(victim.read_bytes()[:-1])
    code, said, errors = finished(command("verify", str(out), *given))
    assert code == 1, errors
    assert said.startswith(victim.name)
    assert not list(tmp_path.glob("verify-*"))


@pytest.mark.slow
@most_engines
def test_a_job_that_fails_says_why_in_one_sentence(
    images: Path, flags: list[str], tmp_path: Path
) -> None:
    code, _, errors = finished(export(images, tmp_path / "out", *in_threads(flags)))
    assert code == 1
    assert errors.startswith("beam-export: 1 of 23 images failed")
    assert errors.count("\n") == 1
    assert left_over(tmp_path / "out") == []


@pytest.mark.slow
@most_engines
def test_wrong_input_is_told_from_a_run_that_failed(flags: list[str], tmp_path: Path) -> None:
    for suffix in ("jpg", "jpeg"):
        (tmp_path / f"same.{suffix}").write_bytes(picture(1))
    code, _, errors = finished(export(tmp_path, tmp_path / "out", *in_threads(flags)))
    assert code == 2
    assert errors.startswith("beam-export: 1 id comes more than once, 'same'")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that take so long to encode that a worker can be killed meanwhile."""
    folder = tmp_path_factory.mktemp("large")
    for number in range(24):
        noise = Image.effect_noise((1600, 1200), 20 + number)
        noise.save(folder / f"{number:03d}.png", compress_level=1)
    return folder


@pytest.mark.slow
def test_a_worker_that_is_killed_while_it_writes(
    engine: str, flags: list[str], large: Path, tmp_path: Path
) -> None:
    code, _, errors = finished(export(large, tmp_path / "local"))
    assert code == 0, errors
    out = tmp_path / "out"
    # With them engines in Java keep the dead too, and fail after all their tries.
    flags = [flag for flag in flags if not flag.startswith("--environment_cache")]
    run = export(large, out, *flags)
    killed = kill_a_worker_of(run, out)
    code, _, errors = finished(run)
    assert killed
    if engine not in RETRYING:
        # They try nothing a second time; the second run keeps what the first has finished.
        assert code == 1
        assert "beam-export: the run failed: a worker process was killed" in errors
        assert directory_hashes(out).items() <= directory_hashes(tmp_path / "local").items()
        assert list(out.glob("*.parquet"))
        assert not list(out.glob("*manifest.json"))
        code, _, errors = finished(export(large, out, *flags))
    assert code == 0, errors
    assert directory_hashes(out) == directory_hashes(tmp_path / "local")
    assert left_over(out) == []


def kill_a_worker_of(run: subprocess.Popen[str], out: Path) -> bool:
    """Kills the worker processes of a run that write, once a shard is finished.

    For one that is killed while it starts, engines in Java wait for ever.
    """
    while run.poll() is None:
        if list(out.glob("*.parquet")):
            workers = [worker for worker in workers_of(run.pid) if writes_to(worker, out)]
            for worker in workers:
                os.kill(worker, signal.SIGKILL)
            if workers:
                return True
        time.sleep(0.002)
    return False


def workers_of(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task").glob("*/children")
    found = [int(child) for file in children for child in file.read_text().split()]
    return [pid for pid in found if b"SdkHarness" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def writes_to(process: int, folder: Path) -> bool:
    """Returns whether a process has a file open below a folder."""
    for file in Path(f"/proc/{process}/fd").glob("*"):
        with contextlib.suppress(FileNotFoundError):
            if Path(os.readlink(file)).is_relative_to(folder):
                return True
    return False


SHUFFLES = ("beam:transform:group_by_key:v1", "beam:transform:reshuffle:v1")
EVERYTHING = [
    *("--order=shuffled", "--seed=1", "--probe=full", "--max_tar_bytes=10000000"),
    *("--filter=width > 1", "--metadata={}/scores.csv", "--metadata_key=id"),
    *("--ids={}/ids.txt", "--duplicates=rename", "--caption_column=caption"),
    *("--labels=folder", "--split=train=0.9,val=0.1", "--json_columns=all", "--index=all"),
    *("--ragged_fields=drop", "--ensure=upright,srgb,rgb"),
]


@pytest.mark.parametrize("flags", [[], EVERYTHING], ids=["plain", "everything"])
def test_no_shuffle_of_an_export_is_flattened(flags: list[str], tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("id,caption\n")
    (tmp_path / "ids.txt").write_text("a\n")
    given = [f"--input={tmp_path}", f"--output_dir={tmp_path}/out", "--images_per_tar=1", *flags]
    command = parse_export([flag.format(tmp_path) for flag in given])
    output = Output(command.options.output_dir, "token")
    pipeline = beam.Pipeline()
    pipeline | ExportImages(command.input, command.options, output=output)
    assert_no_shuffle_is_flattened(pipeline)


def test_no_shuffle_of_a_pipeline_of_ones_own_is_flattened(tmp_path: Path) -> None:
    pipeline = beam.Pipeline()
    samples = pipeline | beam.Create([Sample("a", picture(1))])
    samples | WriteShards(str(tmp_path / "out"), images_per_tar=1)
    assert_no_shuffle_is_flattened(pipeline)


def assert_no_shuffle_is_flattened(pipeline: beam.Pipeline) -> None:
    """Flink's fuser forgets to keep the other inputs of such a `Flatten`: see `Checkpoint`."""
    steps = pipeline.to_runner_api().components.transforms.values()
    shuffled = {
        found: step.unique_name
        for step in steps
        if step.spec.urn in SHUFFLES
        for found in step.outputs.values()
    }
    flattened = [step for step in steps if step.spec.urn == "beam:transform:flatten:v1"]
    assert len(shuffled) > 4
    assert flattened
    for step in flattened:
        assert not [shuffled[one] for one in step.inputs.values() if one in shuffled]


def test_a_job_server_that_is_not_there(images: Path, tmp_path: Path) -> None:
    flags = ["--runner=portable", f"--job_endpoint=localhost:{free_port()}"]
    code, _, errors = finished(export(images, tmp_path / "out", *flags, "--job_server_timeout=1"))
    assert code == 2
    assert "does not answer" in errors
    assert left_over(tmp_path / "out") == []
