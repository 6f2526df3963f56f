"""Flags and messages for Google Cloud Dataflow, so that users need not know its settings.

Source: cloud.google.com/dataflow/docs/guides/right-fitting and .../docs/gpu/use-gpus.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    WorkerOptions,
)

from beam_export._version import __version__
from beam_export.errors import InputError
from beam_export.options import ExportOptions
from beam_export.pipeline.resources import (
    ONE_PROCESS,
    SHARDS_PER_WORKER,
    accelerator,
    has_one_process,
)
from beam_export.storage.uris import is_local
from beam_export.text import shown

__all__ = ["dataflow_flags", "job_message"]

#: Gigabytes of disk per worker: the image with DALI takes 2 of them, unpacked.
_DISK = 100
_MPS = "use_nvidia_mps"


def dataflow_flags(input: str, options: ExportOptions, flags: Sequence[str]) -> list[str]:
    """Returns Beam's flags: the user's own, and those that Dataflow needs and they leave out.

    Args:
        input: as `--input`.
        options: of the export.
        flags: the user's own of Beam.

    Raises:
        InputError: if they cannot work on Dataflow: local paths, workers without this package.
    """
    given = PipelineOptions(list(flags))
    _check(input, options, given)
    return [*flags, *_for_any(given, flags), *(_for_gpu(given, options) if options.gpu else ())]


def _for_any(given: PipelineOptions, flags: Sequence[str]) -> Iterator[str]:
    if given.view_as(GoogleCloudOptions).job_name is None:
        yield f"--job_name=beam-export-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    # Beam refuses single labels beside labels that are given as one JSON object.
    if not any("{" in label for label in given.view_as(GoogleCloudOptions).labels or ()):
        yield f"--label=beam_export_version={__version__.replace('.', '-')}"
    # Else Beam pickles whatever program submits the job, and each worker imports what that did.
    if given.view_as(SetupOptions).save_main_session is None:
        yield "--no_save_main_session"


def _for_gpu(given: PipelineOptions, options: ExportOptions) -> Iterator[str]:
    workers = given.view_as(WorkerOptions)
    accelerator(options.gpu or "")
    threads = given.view_as(DebugOptions).number_of_worker_harness_threads
    # A machine of several processes writes a shard in each; MPS takes no limit of theirs.
    if threads is None and has_one_process(given):
        yield f"--number_of_worker_harness_threads={SHARDS_PER_WORKER}"
    if workers.disk_size_gb is None:
        yield f"--disk_size_gb={_DISK}"


def _check(input: str, options: ExportOptions, given: PipelineOptions) -> None:
    cloud, setup = given.view_as(GoogleCloudOptions), given.view_as(SetupOptions)
    # Beam itself takes such an endpoint for a test, where local paths are allowed.
    if not (cloud.dataflow_endpoint or "").startswith("http://localhost"):
        paths = [("--output_dir", options.output_dir)]
        paths += [("--input", part) for part in input.split(",")]
        for flag, path in paths:
            if is_local(path):
                raise InputError(
                    f"{flag}={path} is a path of this machine, which Dataflow's workers cannot "
                    "see: give gs://bucket/prefix."
                )
    image = given.view_as(WorkerOptions).sdk_container_image
    installs = setup.setup_file or setup.extra_packages or setup.requirements_file
    if not (image or installs):
        raise InputError(
            "--runner=DataflowRunner without --sdk_container_image leaves the workers without "
            "beam_export: build the image in templates/ and name it, or give --setup_file or "
            "--extra_package."
        )
    if options.gpu and not image:
        raise InputError(
            f"--gpu={options.gpu} needs --sdk_container_image, an image with CUDA and DALI: name "
            "one."
        )
    asked = f"{options.gpu} {' '.join(cloud.dataflow_service_options or ())}"
    if _MPS in asked and has_one_process(given):
        raise InputError(
            f"{_MPS} with --experiments={ONE_PROCESS} contradict each other, since MPS shares a "
            "GPU among processes: drop one of the two."
        )
    if options.gpu and cloud.flexrs_goal:
        raise InputError(
            f"--gpu={options.gpu} with --flexrs_goal={cloud.flexrs_goal} contradict each other, "
            "since FlexRS gives no step machines of its own: drop one, or ask for GPUs on all "
            "workers with --dataflow_service_options=worker_accelerator=..."
        )


def job_message(options: PipelineOptions, job_id: str | None) -> str:
    """Returns the message about a submitted job: its id, its page and the commands for it."""
    cloud = options.view_as(GoogleCloudOptions)
    if job_id is None:
        return f"the job's description is in {cloud.template_location}; nothing was started"
    place = f"--region={cloud.region} --project={cloud.project}"
    lines = (
        f"submitted as Dataflow job {job_id} ({cloud.job_name})",
        f"  https://console.cloud.google.com/dataflow/jobs/{cloud.region}/{job_id}"
        f"?project={cloud.project}",
        f"  gcloud dataflow jobs describe {job_id} {place}",
        f"  gcloud dataflow jobs cancel {job_id} {place}",
    )
    return "\n".join(map(shown, lines))
