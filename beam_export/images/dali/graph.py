"""DALI pipelines that change pixels between decoding and encoding, on GPU or CPU.

They composite alpha on white, turn upright, scale, and take the window. A batch is of one kind, so
that its pipeline has no branches. Steps and order are those of `pillow_encoder`, and so are the
results: to the last bit without scaling, as near as float arithmetic comes with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from beam_export.images.dali.routing import DaliImage

__all__ = ["Kind", "build_pipeline", "graph_kind", "pipe_arguments"]

#: (horizontal, vertical) flips that make an image upright by its orientation, after a transposition
#: if that is 5 or more (CIPA DC-008, 4.6.5).
_FLIPS = {
    1: (0, 0),
    2: (1, 0),
    3: (1, 1),
    4: (0, 1),
    5: (0, 0),
    6: (1, 0),
    7: (1, 1),
    8: (0, 1),
}


class Kind(NamedTuple):
    """A kind of jobs that one pipeline serves."""

    channels: int
    turned: bool
    resized: bool


def graph_kind(job: DaliImage) -> Kind:
    """Returns the kind of pipeline that a job's pixels go through."""
    return Kind(job.channels, job.turned, job.plan is not None)


def build_pipeline(kind: Kind, *, device_id: int | None, threads: int, most: int) -> Any:
    """Returns DALI's pipeline for a kind of images.

    Args:
        kind: of all images of its batches.
        device_id: number of the GPU; None for the CPU.
        threads: CPU threads.
        most: most images of a batch.
    """
    from nvidia.dali import fn, types
    from nvidia.dali.pipeline import Pipeline

    pipeline = Pipeline(
        batch_size=most,
        num_threads=threads,
        device_id=device_id,
        # One batch in, the same batch out.
        prefetch_queue_depth=1,
    )
    with pipeline:
        pixels = fn.external_source(
            name="pixels",
            device="cpu" if device_id is None else "gpu",
            dtype=types.UINT8,
            ndim=3,
            layout="HWC",
        )
        pipeline.set_outputs(_graph(kind=kind, pixels=pixels, fn=fn, types=types))
    pipeline.build()
    return pipeline


def _graph(kind: Kind, pixels: Any, fn: Any, types: Any) -> Any:
    """Returns the graph from `pixels` to the result; its arguments are those of `pipe_arguments`.

    Pillow scales rows first, then columns, and rounds to 8 bits in between. Done likewise instead
    of in one pass, the result is some 15 dB nearer to Pillow's. Rows are transposed before they
    are scaled: on a CPU DALI is four times as fast with columns, and a transposition costs less.
    """

    def source(name: str, dtype: Any, ndim: int) -> Any:
        return fn.external_source(name=name, dtype=dtype, ndim=ndim)

    def turn(image: Any) -> Any:
        # The layout stays HWC: what were columns are rows now.
        return fn.transpose(image, perm=[1, 0, 2], transpose_layout=False, output_layout="HWC")

    def scale(image: Any, name: str) -> Any:
        size = source(name, types.FLOAT, 1)
        return fn.resize(image, size=size, interp_type=types.INTERP_LANCZOS3, antialias=True)

    if kind.channels == 4:
        pixels = _on_white(pixels, fn, types)
    if kind.turned != kind.resized:
        pixels = turn(pixels)
    flips = [source(name, types.INT32, 0) for name in ("flip", "flop")]
    pixels = fn.flip(pixels, horizontal=flips[0], vertical=flips[1])
    if not kind.resized:
        return pixels
    pixels = scale(turn(scale(pixels, "widened")), "scaled")
    corner, shape = (source(name, types.INT32, 1) for name in ("corner", "shape"))
    return fn.slice(pixels, corner, shape, axes=[0, 1], out_of_bounds_policy="pad", fill_values=255)


def _on_white(pixels: Any, fn: Any, types: Any) -> Any:
    """Composites RGBA on white: round(c * a / 255 + 255 - a), which never is a half."""
    color, alpha = (
        fn.cast(fn.slice(pixels, first, count, axes=[2]), dtype=types.FLOAT)
        for first, count in ((0, 3), (3, 1))
    )
    return fn.cast((color - 255.0) * alpha / 255.0 + 255.0, dtype=types.UINT8)


def pipe_arguments(kind: Kind, jobs: Sequence[DaliImage]) -> dict[str, list[np.ndarray]]:
    """Returns the arguments of a batch: one array per job, by the name of its source."""
    # A transposed image is flipped the other way.
    flips = [_FLIPS[job.orientation][:: -1 if kind.resized else 1] for job in jobs]
    values: dict[str, list[np.ndarray]] = {
        "flip": [np.array(flip, np.int32) for flip, _ in flips],
        "flop": [np.array(flop, np.int32) for _, flop in flips],
    }
    if not kind.resized:
        return values
    plans = [job.plan for job in jobs if job.plan is not None]
    heights = [job.width if job.turned else job.height for job in jobs]
    widened = [(p.scaled_width, height) for p, height in zip(plans, heights, strict=True)]
    for name, kind_of_number, pairs in (
        ("widened", np.float32, widened),
        ("scaled", np.float32, [(p.scaled_height, p.scaled_width) for p in plans]),
        ("corner", np.int32, [(p.top, p.left) for p in plans]),
        ("shape", np.int32, [(p.height, p.width) for p in plans]),
    ):
        values[name] = [np.array(pair, kind_of_number) for pair in pairs]
    return values
