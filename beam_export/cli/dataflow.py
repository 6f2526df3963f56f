"""What a run on Google Cloud Dataflow needs that a user should not have to know.

A GPU is asked for in one of two ways, never both: as a hint of the step that writes, so that
planning stays on plain workers ("right fitting"), or for every worker, as a service option. The
hint is what `--gpu` sets; a user who asks in another way has it that way.

Source: cloud.google.com/dataflow/docs/guides/right-fitting and .../docs/gpu/use-gpus.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)

from beam_export._version import __version__
from beam_export.errors import InputError
from beam_export.options import ExportOptions
from beam_export.storage.paths import is_local
from beam_export.text import shown

__all__ = ["asks_for_gpu", "dataflow_flags", "on_gpu_workers", "whereabouts"]

#: Machines that an accelerator type can stand in; the others are attached to any N1 machine.
_MACHINES = {
    "nvidia-l4": "g2-standard-8",
    "nvidia-tesla-a100": "a2-highgpu-1g",
    "nvidia-a100-80gb": "a2-ultragpu-1g",
    "nvidia-h100-80gb": "a3-highgpu-1g",
}
_OTHER_MACHINE = "n1-standard-8"
_TYPE = re.compile(r"[a-z][a-z0-9-]*")
#: Shards that a GPU worker writes at the same time: while one waits for its reads, others encode.
_SHARDS_A_WORKER = 4
#: Gigabytes: an image with CUDA and DALI takes some 10 of them when it is unpacked.
_DISK = 100
_PROCESSES = ("no_use_multiple_sdk_containers", "use_multiple_sdk_containers")


def accelerator(gpu: str) -> str:
    """Returns Dataflow's words for a GPU.

    >>> accelerator("nvidia-l4")
    'type:nvidia-l4;count:1;machine_type:g2-standard-8;install-nvidia-driver'

    Args:
        gpu: an accelerator type, or all of it (`type:...;count:...`), which is taken as it is.

    Raises:
        InputError: if it is neither.
    """
    if gpu.startswith("type:"):
        return gpu
    if not _TYPE.fullmatch(gpu):
        raise InputError(
            f"--gpu={gpu!r} is no accelerator type: give one such as nvidia-l4 or nvidia-tesla-t4, "
            "or all of it, 'type:nvidia-l4;count:1;install-nvidia-driver'."
        )
    machine = _MACHINES.get(gpu, _OTHER_MACHINE)
    return f"type:{gpu};count:1;machine_type:{machine};install-nvidia-driver"


def asks_for_gpu(options: PipelineOptions) -> bool:
    """Tells whether GPUs are asked for by Beam's own flags, for every worker or every step."""
    values = [
        *(options.view_as(GoogleCloudOptions).dataflow_service_options or ()),
        *(options.view_as(DebugOptions).experiments or ()),
        *(options.view_as(StandardOptions).resource_hints or ()),
    ]
    return any("accelerator=" in str(value) for value in values)


def on_gpu_workers(
    step: beam.ParDo, options: ExportOptions, pipeline: beam.Pipeline
) -> beam.PTransform:
    """Returns a step that encodes with the hint that it needs a GPU, if `--gpu` asks for one.

    It has to be a leaf: the number of bundles would add up over the steps of a composite.
    """
    on_dataflow = type(pipeline.runner).__name__ == "DataflowRunner"
    if options.gpu is None or not on_dataflow or asks_for_gpu(pipeline.options):
        return step
    return step.with_resource_hints(
        accelerator=accelerator(options.gpu),
        max_active_bundles_per_worker=str(_SHARDS_A_WORKER),
    )


def dataflow_flags(input: str, options: ExportOptions, flags: Sequence[str]) -> list[str]:
    """Returns the flags that Beam gets: the user's own, and what they leave out.

    Args:
        input: as `--input`.
        options: of the export.
        flags: the user's own of Beam.

    Raises:
        InputError: if what is asked for cannot work on Dataflow.
    """
    given = PipelineOptions(list(flags))
    _check(input, options, given)
    return [*flags, *_for_any(given, flags), *(_for_gpu(given, options) if options.gpu else ())]


def _for_any(given: PipelineOptions, flags: Sequence[str]) -> Iterator[str]:
    if given.view_as(GoogleCloudOptions).job_name is None:
        yield f"--job_name=beam-export-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    # Labels as one JSON object cannot be had together with single ones.
    if not any("{" in label for label in given.view_as(GoogleCloudOptions).labels or ()):
        yield f"--labels=beam_export_version={__version__.replace('.', '-')}"


def _for_gpu(given: PipelineOptions, options: ExportOptions) -> Iterator[str]:
    workers, debug = given.view_as(WorkerOptions), given.view_as(DebugOptions)
    accelerator(options.gpu or "")
    if not any(debug.lookup_experiment(name) for name in _PROCESSES):
        # Else there is a process a core, each with its own copy of the encoder on the one GPU.
        yield "--experiments=no_use_multiple_sdk_containers"
    if debug.number_of_worker_harness_threads is None:
        yield f"--number_of_worker_harness_threads={_SHARDS_A_WORKER}"
    if workers.disk_size_gb is None:
        yield f"--disk_size_gb={_DISK}"


def _check(input: str, options: ExportOptions, given: PipelineOptions) -> None:
    cloud, setup = given.view_as(GoogleCloudOptions), given.view_as(SetupOptions)
    # Beam itself takes this endpoint for one of a test, and local paths for good ones.
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
    if options.gpu and cloud.flexrs_goal:
        raise InputError(
            f"--gpu={options.gpu} with --flexrs_goal={cloud.flexrs_goal} contradict each other, "
            "since FlexRS gives no step machines of its own: drop one, or ask for GPUs on all "
            "workers with --dataflow_service_options=worker_accelerator=..."
        )


def whereabouts(options: PipelineOptions, job_id: str | None) -> str:
    """Returns what to tell of a job that was submitted: its id and where to look."""
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
