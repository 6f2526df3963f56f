"""The encoder that a pipeline gets: what was asked for, on what its workers will have."""

from __future__ import annotations

import os

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import DirectOptions

from beam_export.cli.dataflow import asks_for_gpu
from beam_export.images.encoder import Encoder
from beam_export.images.factory import choose_encoder
from beam_export.images.idle_cores import Cores
from beam_export.options import ExportOptions

__all__ = ["count_ways", "encoder_for", "is_local", "threads_for", "workers_have_gpu"]

_LOCAL = ("Direct", "FnApi", "Prism", "Interactive")


def encoder_for(
    options: ExportOptions, pipeline: beam.Pipeline, threads: int, cores: Cores | None = None
) -> Encoder:
    """Returns the encoder of an export, with `auto` settled.

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
    )


def workers_have_gpu(pipeline: beam.Pipeline, gpu: str | None = None) -> bool | None:
    """Tells if workers elsewhere are asked for with a GPU; None if they are of this machine."""
    if is_local(pipeline):
        return None
    return gpu is not None or asks_for_gpu(pipeline.options)


def count_ways(encoder: Encoder) -> None:
    """Adds to the runner's counters how many images went which way through an encoder.

    They stay out of the manifest, which is the same for a run that found its shards finished.
    """
    for way, count in encoder.take_counts().items():
        Metrics.counter("beam_export", f"{way}-images").inc(count)


def threads_for(pipeline: beam.Pipeline) -> int:
    """Returns how many threads should encode in each worker process.

    One process of the local runner has all cores to itself; elsewhere a worker's processes and
    their threads are the runner's to choose, and one thread a shard fills them.
    """
    name = type(pipeline.runner).__name__
    if "Direct" in name or "FnApi" in name:
        workers = pipeline.options.view_as(DirectOptions).direct_num_workers
        return (os.cpu_count() or 1) if workers == 1 else 1
    return 1


def is_local(pipeline: beam.Pipeline) -> bool:
    """Tells whether the workers are of this machine, and end with whoever started them."""
    name = type(pipeline.runner).__name__
    return any(name.startswith(known) or f"{known}Runner" in name for known in _LOCAL)
