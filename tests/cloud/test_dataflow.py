"""What Dataflow gets: the job's description and the pipeline, made without a network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions
from support.dataflow_jobs import IMAGE, Described, Service, flags_in, read_described
from support.devices import need_gcp
from support.exports import ROOT, directory_hashes, make_images, picture
from support.runs import run_export

import beam_export
from beam_export.cli import main as cli
from beam_export.cli import remote
from beam_export.cli.flags import parse_export
from beam_export.errors import InputError
from beam_export.pipeline import resources
from beam_export.pipeline.resources import workers_have_gpu

PLACES = ["--input=gs://bucket/in", "--output_dir=gs://bucket/out"]
ON_DATAFLOW = ["--runner=DataflowRunner", "--project=p", "--region=r", IMAGE]
L4 = "type:nvidia-l4;count:1;machine_type:g2-standard-8;install-nvidia-driver:5xx"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"), 7)


@pytest.fixture
def describe(images: Path, tmp_path: Path) -> Callable[..., Described]:
    """Returns a function that gives what Dataflow would get with some flags."""
    need_gcp()

    def description(*flags: str) -> Described:
        places = [f"--input={images}", f"--output_dir={tmp_path}/out"]
        template = f"--template_location={tmp_path}/job.json"
        given = [*places, *flags_in(tmp_path), template, IMAGE, *flags]
        assert cli.main(given) == 0
        return read_described(tmp_path)

    return description


def test_gpus_for_the_step_that_writes_alone(describe: Callable[..., Described]) -> None:
    described = describe("--gpu=nvidia-l4", "--worker_machine_type=n2-standard-4")
    # Nothing may limit what processes that share a GPU by MPS do side by side.
    assert described.hints() == {
        "Export/Export/WriteShards/WriteShard": {"accelerator": f"{L4};use_nvidia_mps"}
    }
    assert "serviceOptions" not in described.environment
    assert "use_multiple_sdk_containers" in described.environment["experiments"]
    assert "no_use_multiple_sdk_containers" not in described.environment["experiments"]
    workers = described.workers
    assert workers["machineType"] == "n2-standard-4"
    assert "numThreadsPerWorker" not in workers
    assert workers["diskSizeGb"] == 100
    # One of the plain workers, one of those with a GPU.
    containers = workers["sdkHarnessContainerImages"]
    assert [one["containerImage"] for one in containers] == 2 * [IMAGE.partition("=")[2]]
    assert described.job["labels"]["beam_export_version"] == "0-1-0"
    assert described.job["name"].startswith("beam-export-")
    # Dataflow takes 20 MB; what grows with the input has no place in here.
    assert described.bytes < 1_000_000


def test_a_machine_of_one_process_shares_its_gpu_with_nobody(
    describe: Callable[..., Described],
) -> None:
    described = describe("--gpu=nvidia-l4", "--experiments=no_use_multiple_sdk_containers")
    (hints,) = described.hints().values()
    assert hints == {"accelerator": L4, "max_active_bundles_per_worker": "4"}
    assert described.workers["numThreadsPerWorker"] == 4


def test_what_the_user_gives_is_not_touched(describe: Callable[..., Described]) -> None:
    described = describe(
        "--gpu=type:nvidia-tesla-t4;count:2;install-nvidia-driver:5xx",
        "--number_of_worker_harness_threads=8",
        "--disk_size_gb=250",
        "--experiments=use_multiple_sdk_containers",
        "--job_name=mine",
        "--label=team=vision",
        "--dataflow_service_options=enable_prime",
    )
    (hints,) = described.hints().values()
    assert hints["accelerator"] == "type:nvidia-tesla-t4;count:2;install-nvidia-driver:5xx"
    assert described.workers["numThreadsPerWorker"] == 8
    assert described.workers["diskSizeGb"] == 250
    assert "no_use_multiple_sdk_containers" not in described.environment["experiments"]
    assert described.environment["serviceOptions"] == ["enable_prime"]
    assert described.job["name"] == "mine"
    assert described.job["labels"] == {"team": "vision", "beam_export_version": "0-1-0"}


def test_gpus_for_all_workers_are_not_asked_for_twice(describe: Callable[..., Described]) -> None:
    option = "worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver"
    described = describe(
        "--gpu=nvidia-l4",
        f"--dataflow_service_options={option}",
        "--worker_machine_type=g2-standard-8",
    )
    assert described.hints() == {}
    assert described.environment["serviceOptions"] == [option]
    assert len(described.workers["sdkHarnessContainerImages"]) == 1
    assert "numThreadsPerWorker" not in described.workers


def test_without_gpus_there_is_one_kind_of_worker(describe: Callable[..., Described]) -> None:
    described = describe()
    assert described.hints() == {}
    assert len(described.workers["sdkHarnessContainerImages"]) == 1
    assert "numThreadsPerWorker" not in described.workers
    assert described.options["save_main_session"] is False


def test_samples_of_a_pipeline_are_encoded_on_gpus_before_they_are_spilled(tmp_path: Path) -> None:
    need_gcp()
    flags = [*flags_in(tmp_path), f"--template_location={tmp_path}/job.json", IMAGE]
    with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
        images = pipeline | beam.Create([beam_export.Sample("a", picture(1))])
        images | beam_export.WriteShards(str(tmp_path / "out"), gpu="nvidia-l4")
    write, spill = sorted(read_described(tmp_path).hints())
    assert "SpillSamples" in spill
    assert write.endswith("/WriteShards/WriteShard")


def test_nothing_of_main_is_pickled(images: Path, tmp_path: Path) -> None:
    """As the launcher of a Flex Template calls: flags alone, and nothing is waited for."""
    need_gcp()
    program = ROOT / "templates" / "main.py"
    command = [
        *(sys.executable, str(program), f"--input={images}", f"--output_dir={tmp_path}/out"),
        *flags_in(tmp_path),
        *(f"--template_location={tmp_path}/job.json", IMAGE, "--job_name=launched"),
        *("--gpu=nvidia-l4", "--verbose=false", "--images_per_tar=10"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "nothing was started" in done.stdout
    described = read_described(tmp_path)
    assert described.job["name"] == "launched"
    pickles = described.pickles()
    assert any(b"beam_export.pipeline.write_shards" in data for data in pickles)
    assert [data for data in pickles if b"__main__" in data] == []


@pytest.mark.parametrize("own", [[], ["--save_main_session"]])
def test_workers_of_a_job_load_nothing_of_the_program_that_submits_it(own: list[str]) -> None:
    """On Google's own endpoint Beam would have them do so; that of the other tests is another."""
    flags = flags_for(IMAGE, *own)
    assert PipelineOptions(flags).view_as(SetupOptions).save_main_session is bool(own)


# A job that is followed.


@pytest.fixture
def submit(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    need_gcp()

    def submission(source: Path, *flags: str) -> tuple[int, str, str, list[str]]:
        with Service() as service:
            given = [f"--input={source}", f"--output_dir={tmp_path}/out", "--images_per_tar=3"]
            code = cli.main([*given, *flags_in(tmp_path, service.url), IMAGE, *flags])
            said = capsys.readouterr()
            return code, said.out, said.err, service.requests

    return submission


def test_a_job_is_submitted_and_left(submit: Any, images: Path) -> None:
    code, said, _, requests = submit(images)
    assert code == 0
    assert "submitted as Dataflow job 2026-01-01_00_00_00-1 (beam-export-" in said
    assert "dataflow/jobs/us-central1/2026-01-01_00_00_00-1?project=test-project" in said
    assert "images in" not in said
    assert [request.split()[0] for request in requests].count("POST") == 1


@pytest.mark.slow
def test_a_job_is_followed_and_gives_the_same_bytes(
    submit: Any, images: Path, tmp_path: Path
) -> None:
    code, said, errors, _ = submit(images, "--wait")
    assert code == 0, errors
    assert "7 images in 3 shards" in said
    run_export(images, tmp_path / "local", images_per_tar=3)
    assert directory_hashes(tmp_path / "out") == directory_hashes(tmp_path / "local")


@pytest.mark.slow
def test_a_job_that_fails_says_why(submit: Any, tmp_path: Path) -> None:
    folder = make_images(tmp_path / "in", 2)
    (folder / "broken.jpg").write_bytes(picture(1)[:60])
    code, _, errors, _ = submit(folder, "--wait")
    assert code == 1
    assert "beam-export: 1 of 3 images failed, more than --max_failed_fraction" in errors


# What cannot work.


def flags_for(*flags: str, places: list[str] = PLACES) -> list[str]:
    command = parse_export([*places, *flags])
    return remote.flags_for(command, "DataflowRunner")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--project=p"], "without --sdk_container_image leaves the workers without beam_export"),
        (["--setup_file=s", "--gpu=nvidia-l4"], "needs --sdk_container_image"),
        ([IMAGE, "--gpu=NVIDIA L4"], "'NVIDIA L4' is no accelerator type"),
        ([IMAGE, "--gpu=nvidia-l4", "--flexrs_goal=COST_OPTIMIZED"], "FlexRS"),
        (
            [
                IMAGE,
                "--gpu=type:nvidia-l4;count:1;install-nvidia-driver:5xx;use_nvidia_mps",
                "--experiments=no_use_multiple_sdk_containers",
            ],
            "use_nvidia_mps with --experiments=no_use_multiple_sdk_containers contradict",
        ),
    ],
)
def test_what_cannot_work_on_dataflow(flags: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        flags_for(*flags)


@pytest.mark.parametrize(
    ("places", "flag"),
    [
        (["--input=gs://b/in,in", "--output_dir=gs://b/out"], "--input=in"),
        (["--input=gs://b/in", "--output_dir=/out"], "--output_dir=/out"),
    ],
)
def test_paths_of_this_machine(places: list[str], flag: str) -> None:
    with pytest.raises(InputError, match=f"{flag} is a path of this machine"):
        flags_for(IMAGE, places=places)


def test_gpu_on_another_runner() -> None:
    command = parse_export([*PLACES, "--gpu=nvidia-l4"])
    for refuse in (remote.check_local, lambda command: remote.flags_for(command, "FlinkRunner")):
        with pytest.raises(InputError, match="--runner is not DataflowRunner") as caught:
            refuse(command)
        assert "give --encoder=dali --device=gpu, since auto is Pillow" in caught.value.sentence


@pytest.mark.parametrize(
    ("flags", "device"), [([], "cpu"), (["--encoder=dali", "--device=gpu"], "gpu")]
)
def test_workers_elsewhere_use_gpus_only_if_told_so(flags: list[str], device: str) -> None:
    """What the sentence about `--gpu` with other runners says."""

    class Elsewhere:
        runner = object()
        options = PipelineOptions([])

    made = resources.encoder_for(parse_export([*PLACES, *flags]).options, Elsewhere(), threads=1)
    assert getattr(made, "device", "cpu") == device


@pytest.mark.parametrize(
    ("gpu", "words"),
    [
        ("nvidia-l4", L4),
        ("nvidia-tesla-a100", "type:nvidia-tesla-a100;count:1;machine_type:a2-highgpu-1g;"),
        ("nvidia-tesla-t4", "type:nvidia-tesla-t4;count:1;machine_type:n1-standard-8;"),
        ("type:x;count:2", "type:x;count:2"),
    ],
)
def test_words_for_accelerators(gpu: str, words: str) -> None:
    assert resources.accelerator(gpu).startswith(words)


def test_workers_with_a_gpu_are_known() -> None:
    class Elsewhere:
        runner = object()
        options = PipelineOptions([])

    assert workers_have_gpu(Elsewhere(), "nvidia-l4") is True
    assert workers_have_gpu(Elsewhere(), None) is False
    Elsewhere.options = PipelineOptions(["--resource_hints=accelerator=type:x;count:1"])
    assert workers_have_gpu(Elsewhere(), None) is True
