"""The images of `templates/`, built without Docker, and what runs in them: workers, the launcher.

The Dockerfile's own steps are run, on stand-ins for what it begins with (`support.base_images`).
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.base_images import BASES
from support.dataflow_jobs import Described
from support.devices import IMAGES, need_images
from support.exports import ROOT, directory_hashes, make_images
from support.gcs import Emulator
from support.images import Builder, Image
from support.runs import run_export

DOCKERFILE = ROOT / "templates" / "Dockerfile"
CPU, GPU = "us-docker.pkg.dev/p/r/beam_export:1-cpu", "us-docker.pkg.dev/p/r/beam_export:1-gpu"
L4 = "type:nvidia-l4;count:1;machine_type:g2-standard-8;install-nvidia-driver:5xx;use_nvidia_mps"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def builder() -> Builder:
    need_images()
    return Builder(DOCKERFILE.read_text(), context=ROOT, cache=IMAGES, bases=BASES)


@pytest.fixture(scope="module")
def worker(builder: Builder) -> Image:
    return builder.build("worker")


@pytest.fixture(scope="module")
def template(builder: Builder) -> Image:
    return builder.build("template", CPU_IMAGE=CPU, GPU_IMAGE=GPU)


def test_workers_of_the_image_export_the_same_bytes_without_a_network(
    worker: Image, tmp_path: Path
) -> None:
    images = make_images(tmp_path / "in", 22)
    run_export(images, tmp_path / "here", images_per_tar=4)
    flags = [f"--input={images}", "--output_dir=/data/out", "--images_per_tar=4"]
    # The same path as here: it stands in no file of an export, but in its log.
    folders = {tmp_path: "/data", images: str(images), ROOT / "tests/support": "/support"}
    with worker.container() as container:
        said = container.run("/support/pool_run.sh", "/data/pool.log", *flags, folders=folders)
        assert "22 images in 6 shards" in said, said
        container.run("beam-export", "verify", "/data/out", "--decode", folders=folders)
    assert directory_hashes(tmp_path / "out") == directory_hashes(tmp_path / "here")
    # Beam's `boot` has started them, each of its own.
    log = (tmp_path / "pool.log").read_text()
    assert "Starting worker pool" in log
    assert "Starting worker with command ['/opt/apache/beam/boot', '--id=" in log


def test_the_image_for_gpus_has_dali(builder: Builder, tmp_path: Path) -> None:
    """On the CPU: nothing but the driver is not in it."""
    images = make_images(tmp_path / "in", 6)
    image = builder.build("worker", VARIANT="gpu")
    assert image.environ["LD_LIBRARY_PATH"] == "/usr/local/nvidia/lib64"
    flags = ["--input=/data/in", "--output_dir=/data/out", "--encoder=dali", "--device=cpu"]
    with image.container() as container:
        folders = {images.parent: "/data"}
        said = container.run("beam-export", "export", *flags, "--encode=always", folders=folders)
    assert "6 images in 1 shard" in said


def test_the_entry_of_a_worker_is_that_of_beam(worker: Image) -> None:
    assert worker.entrypoint == ("/opt/apache/beam/boot",)
    with worker.container() as container, pytest.raises(RuntimeError, match="No id provided"):
        container.run(*worker.entrypoint)


def launched(
    template: Image, emulator: Emulator, folder: Path, launch: dict[str, Any]
) -> subprocess.CompletedProcess[str]:
    """Runs the template's entry as Dataflow's launcher machine does."""
    credentials = folder / "credentials.json"
    emulator.write_credentials(credentials)
    environ = {**emulator.environ, "GOOGLE_APPLICATION_CREDENTIALS": "/run/secret/credentials.json"}
    argument = f"--template-container-args={json.dumps(launch)}"
    with template.container() as container:
        process = container.start(
            *template.entrypoint,
            argument,
            environ=environ,
            folders={folder: "/run/secret"},
            offline=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, errors = process.communicate(timeout=900)
    return subprocess.CompletedProcess(argument, process.returncode, out, errors)


def launch_of(bucket: str, **parameters: str) -> dict[str, Any]:
    """Returns what a launch is called with, by a user who gives these parameters."""
    return {
        "jobName": "export-1",
        "projectId": "test-project",
        "jobObjectLocation": f"{bucket}/staging/template_launches/1/job_object",
        "parameters": {
            "input": f"{bucket}/photos",
            "output_dir": f"{bucket}/shards",
            "images_per_tar": "4",
            **parameters,
        },
        "environment": {
            "region": "us-central1",
            "stagingLocation": f"{bucket}/staging",
            "tempLocation": f"{bucket}/temp",
            "machineType": "n2-standard-4",
            "maxWorkers": 8,
            "serviceAccountEmail": "exports@test-project.iam.gserviceaccount.com",
            "additionalUserLabels": {"goog-dataflow-provided-template-type": "flex"},
        },
    }


def described_in(emulator: Emulator, bucket: str) -> Described:
    """Returns the job that the launcher has left for Dataflow."""
    from apache_beam.portability.api import beam_runner_api_pb2 as beam_api

    job = json.loads(emulator.get(f"{bucket}/staging/template_launches/1/job_object"))
    data = emulator.get(job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"])
    return Described(job, beam_api.Pipeline.FromString(data), len(data))


def test_a_launch_ends_with_a_job_on_workers_with_gpus(
    template: Image, emulator: Emulator, bucket: str, tmp_path: Path
) -> None:
    done = launched(template, emulator, tmp_path, launch_of(bucket, gpu="nvidia-l4"))
    assert done.returncode == 0, done.stdout + done.stderr
    described = described_in(emulator, bucket)
    workers = described.workers
    containers = workers["sdkHarnessContainerImages"]
    # One of the plain workers, one of those with a GPU.
    assert [one["containerImage"] for one in containers] == 2 * [GPU]
    assert described.hints() == {"Export/Export/WriteShards/WriteShard": {"accelerator": L4}}
    assert workers["machineType"] == "n2-standard-4"
    assert workers["diskSizeGb"] == 100
    assert workers["autoscalingSettings"]["maxNumWorkers"] == 8
    environment = described.environment
    assert "use_multiple_sdk_containers" in environment["experiments"]
    assert "no_use_multiple_sdk_containers" not in environment["experiments"]
    assert environment["serviceAccountEmail"].startswith("exports@")
    assert environment["tempStoragePrefix"].startswith("storage.googleapis.com/bucket/temp/")
    # Workers run what the image has: a list of packages for the log is all that is staged.
    packages = {package["name"] for package in workers["packages"]}
    assert packages == {"submission_environment_dependencies.txt"}
    assert described.job["name"] == "export-1"
    assert described.job["labels"]["goog-dataflow-provided-template-type"] == "flex"


def test_a_launch_without_gpus_gets_the_small_image(
    template: Image, emulator: Emulator, bucket: str, tmp_path: Path
) -> None:
    done = launched(template, emulator, tmp_path, launch_of(bucket))
    assert done.returncode == 0, done.stdout + done.stderr
    described = described_in(emulator, bucket)
    assert described.hints() == {}
    (container,) = described.workers["sdkHarnessContainerImages"]
    assert container["containerImage"] == CPU


def test_a_launch_with_a_wrong_parameter_says_so_and_fails(
    template: Image, emulator: Emulator, bucket: str, tmp_path: Path
) -> None:
    done = launched(template, emulator, tmp_path, launch_of(bucket, qualty="80"))
    assert done.returncode == 2
    assert "--qualty" in done.stderr
    assert [uri for uri in emulator.list(f"{bucket}/") if uri.endswith("job_object")] == []
