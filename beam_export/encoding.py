"""The encoder that a pipeline gets: what was asked for, on what its workers will have."""

from __future__ import annotations

import os

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import DirectOptions

from beam_export.encoders import Encoder
from beam_export.encoders.choose import choose_encoder
from beam_export.options import ExportOptions

__all__ = ["count_ways", "encoder_for", "threads_for", "workers_have_gpu"]

_LOCAL = ("Direct", "FnApi", "Prism", "Interactive")

#: Flags in whose values a GPU is asked for, as `worker_accelerator=...` or `accelerator=...`.
_ASKING = ("dataflow_service_options", "experiments", "resource_hints")


def encoder_for(options: ExportOptions, pipeline: beam.Pipeline, threads: int) -> Encoder:
    """Returns the encoder of an export, with `auto` settled.

    Raises:
        InputError: if what is asked for is not there.
    """
    return choose_encoder(
        options.spec(),
        options.encoder,
        options.device,
        threads=threads,
        workers_have_gpu=workers_have_gpu(pipeline),
    )


def workers_have_gpu(pipeline: beam.Pipeline) -> bool | None:
    """Tells if workers elsewhere are asked for with a GPU; None if they are of this machine."""
    if _is_local(pipeline):
        return None
    given = pipeline.options.get_all_options()
    values = [str(value) for name in _ASKING for value in given.get(name) or ()]
    return any("accelerator=" in value for value in values)


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


def _is_local(pipeline: beam.Pipeline) -> bool:
    name = type(pipeline.runner).__name__
    return any(name.startswith(known) or f"{known}Runner" in name for known in _LOCAL)
