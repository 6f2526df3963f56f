"""Chooses encoder, threads and GPU hints by the workers that a pipeline has.

A GPU is asked for in one of two ways, never both: as a hint of the step that writes, so that
planning stays on plain workers ("right fitting"), or for every worker, as a service option. The
hint is what `--gpu` sets; a user who asks in another way has it that way.

Worker machines have one GPU, which all processes of the machine share, one per core: Python's lock
keeps a single process from filling it. NVIDIA's MPS lets their work run side by side. Google
documents MPS for the service option, which it shows with the same words as the hint, and says
nothing of MPS in a hint; where it had no effect there, processes would take turns.

Source: cloud.google.com/dataflow/docs/guides/right-fitting, .../docs/gpu/use-gpus and
.../docs/gpu/use-nvidia-mps.
"""

from __future__ import annotations

import os
import re

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_export.errors import InputError
from beam_export.images.encoder import Encoder
from beam_export.images.factory import choose_encoder
from beam_export.images.idle_cores import Cores
from beam_export.options import ExportOptions

__all__ = [
    "ONE_PROCESS",
    "SHARDS_PER_WORKER",
    "accelerator",
    "asks_for_gpu",
    "count_ways",
    "encoder_for",
    "has_one_process",
    "on_gpu_workers",
    "runs_locally",
    "shares_gpus",
    "spreads",
    "threads_for",
    "workers_have_gpu",
]

#: Machines that an accelerator type can stand in; the others are attached to any N1 machine.
_MACHINES = {
    "nvidia-l4": "g2-standard-8",
    "nvidia-tesla-a100": "a2-highgpu-1g",
    "nvidia-a100-80gb": "a2-ultragpu-1g",
    "nvidia-h100-80gb": "a3-highgpu-1g",
}
_OTHER_MACHINE = "n1-standard-8"
_TYPE = re.compile(r"[a-z][a-z0-9-]*")
#: The driver: of the 5xx series, which both builds of the codecs need. Google has no finer choice.
_DRIVER = "install-nvidia-driver:5xx"
_MPS = "use_nvidia_mps"
#: Shards that a machine of one process writes at the same time: while one waits for its reads,
#: others encode.
SHARDS_PER_WORKER = 4
#: Experiment that makes a machine one process, which is what MPS must not have.
ONE_PROCESS = "no_use_multiple_sdk_containers"
_LOCAL = ("Direct", "FnApi", "Prism", "Interactive")


def encoder_for(
    options: ExportOptions, pipeline: beam.Pipeline, threads: int, cores: Cores | None = None
) -> Encoder:
    """Returns the encoder of an export, with `auto` resolved.

    Args:
        options: of the export.
        pipeline: that it is for.
        threads: images in work at the same time in each worker process.
        cores: what the worker processes share, if they are of this machine.

    Raises:
        InputError: if what is asked for is not there.
    """
    return choose_encoder(
        options.spec(),
        options.encoder,
        options.device,
        threads=threads,
        cores=cores,
        workers_have_gpu=workers_have_gpu(pipeline, options.gpu),
        gpu_processes=0 if shares_gpus(pipeline) else 1,
    )


def workers_have_gpu(pipeline: beam.Pipeline, gpu: str | None = None) -> bool | None:
    """Returns whether remote workers have a GPU, as the flags ask; None for a local runner."""
    if runs_locally(pipeline):
        return None
    return gpu is not None or asks_for_gpu(pipeline.options)


def shares_gpus(pipeline: beam.Pipeline) -> bool:
    """Returns whether a runner starts a process per core on a worker machine with a GPU."""
    return not runs_locally(pipeline) and not has_one_process(pipeline.options)


def count_ways(encoder: Encoder) -> None:
    """Adds to the runner's counters how many images went which way through an encoder.

    They stay out of the manifest, which is the same for a run that found its shards finished.
    """
    for way, count in encoder.take_counts().items():
        Metrics.counter("beam_export", f"{way}-images").inc(count)


def threads_for(pipeline: beam.Pipeline) -> int:
    """Returns how many threads should encode in each worker process.

    One process of the local runner has all cores to itself; elsewhere a worker's processes and
    their threads are the runner's to choose, and one thread per shard fills them.
    """
    name = type(pipeline.runner).__name__
    if "Direct" in name or "FnApi" in name:
        workers = pipeline.options.view_as(DirectOptions).direct_num_workers
        return (os.cpu_count() or 1) if workers == 1 else 1
    return 1


def spreads(pipeline: beam.Pipeline) -> bool:
    """Returns False if there is one worker only, so that nothing has to be dealt out to others."""
    # By its exact class: Beam's other local runners choose the number of workers by themselves.
    if type(pipeline.runner) is not FnApiRunner:
        return True
    return bool(pipeline.options.view_as(DirectOptions).direct_num_workers != 1)


def runs_locally(pipeline: beam.Pipeline) -> bool:
    """Returns True if the workers are processes of this machine, which end with the run."""
    name = type(pipeline.runner).__name__
    return any(name.startswith(known) or f"{known}Runner" in name for known in _LOCAL)


def accelerator(gpu: str, mps: bool = True) -> str:
    """Returns a GPU in the form that Dataflow expects.

    >>> accelerator("nvidia-l4", mps=False)
    'type:nvidia-l4;count:1;machine_type:g2-standard-8;install-nvidia-driver:5xx'

    Args:
        gpu: an accelerator type, or all of it (`type:...;count:...`), which is taken as it is.
        mps: whether processes share the GPU.

    Raises:
        InputError: if it is neither.
    """
    if gpu.startswith("type:"):
        return gpu
    if not _TYPE.fullmatch(gpu):
        raise InputError(
            f"--gpu={gpu!r} is no accelerator type: give one such as nvidia-l4 or nvidia-tesla-t4, "
            f"or all of it, 'type:nvidia-l4;count:1;{_DRIVER}'."
        )
    machine = _MACHINES.get(gpu, _OTHER_MACHINE)
    parts = [f"type:{gpu}", "count:1", f"machine_type:{machine}", _DRIVER, *([_MPS] if mps else ())]
    return ";".join(parts)


def asks_for_gpu(options: PipelineOptions) -> bool:
    """Returns whether Beam's own flags ask for GPUs, for every worker or every step."""
    values = [
        *(options.view_as(GoogleCloudOptions).dataflow_service_options or ()),
        *(options.view_as(DebugOptions).experiments or ()),
        *(options.view_as(StandardOptions).resource_hints or ()),
    ]
    return any("accelerator=" in str(value) for value in values)


def has_one_process(options: PipelineOptions) -> bool:
    """Returns whether the flags ask Dataflow for one process per machine, not one per core."""
    return bool(options.view_as(DebugOptions).lookup_experiment(ONE_PROCESS))


def on_gpu_workers(
    step: beam.ParDo, options: ExportOptions, pipeline: beam.Pipeline
) -> beam.PTransform:
    """Returns a step that encodes with the hint that it needs a GPU, if `--gpu` asks for one.

    It has to be a leaf: the number of bundles would add up over the steps of a composite. That
    number is given to machines of one process alone; with several, each writes a shard.
    """
    on_dataflow = type(pipeline.runner).__name__ == "DataflowRunner"
    if options.gpu is None or not on_dataflow or asks_for_gpu(pipeline.options):
        return step
    if has_one_process(pipeline.options):
        return step.with_resource_hints(
            accelerator=accelerator(options.gpu, mps=False),
            max_active_bundles_per_worker=str(SHARDS_PER_WORKER),
        )
    return step.with_resource_hints(accelerator=accelerator(options.gpu))
