"""All that happens to pixels between decoding and encoding, as DALI pipelines on either device.

A batch is of one kind, so that a pipeline has no branches: alpha onto white, upright, scaled, the
window taken. The steps and their order are Pillow's (module `pillow`), and so are the results:
without scaling to the last bit, with it as near as float arithmetic comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from beam_export.images.dali.routing import Job

__all__ = ["Kind", "Pipelines", "kind_of"]

#: (horizontal, vertical) flips that make an image upright, after rows and columns have changed
#: places if its orientation is 5 or more (CIPA DC-008, 4.6.5).
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
    """What a pipeline is built for: one is kept for each kind that comes by."""

    channels: int
    turned: bool
    resized: bool


def kind_of(job: Job) -> Kind:
    """Returns the kind of pipeline that a job's pixels go through."""
    return Kind(job.channels, job.turned, job.plan is not None)


class Pipelines:
    """Pipelines of one engine, built when the first image of their kind comes.

    Args:
        device_id: of the GPU; None for the CPU.
        threads: of the CPU, for each pipeline.
        most: images in a batch, at most.
    """

    def __init__(self, device_id: int | None, threads: int, most: int) -> None:
        self._device_id, self._threads, self._most = device_id, threads, most
        self._built: dict[Kind, Any] = {}

    def run(self, kind: Kind, jobs: Sequence[Job], pixels: Sequence[Any]) -> list[Any]:
        """Returns the pixels as they are to be encoded, each of shape (H, W, 1 | 3).

        They are on the pipelines' device, and good until the next call for the same kind.

        Args:
            kind: of all jobs.
            jobs: what is to be done.
            pixels: decoded, of shape (H, W, C); on a GPU, in its memory.

        Raises:
            RuntimeError: if the device cannot; the pipeline is then built anew at the next call.
        """
        pipeline = self._built.pop(kind, None) or self._build(kind)
        on_gpu = self._device_id is not None
        # The device copies in its own order of work: behind the decoder, which uses stream 0 too.
        stream = {"cuda_stream": 0} if on_gpu else {}
        pipeline.feed_input("pixels", list(pixels), layout="HWC", **stream)
        for name, values in _arguments(kind, jobs).items():
            pipeline.feed_input(name, values)
        # Without a stream of ours, it waits for the device before it returns.
        (done,) = pipeline.run()
        # Kept only if it went well: a pipeline that has raised is broken.
        self._built[kind] = pipeline
        return [done[at] for at in range(len(jobs))]

    def _build(self, kind: Kind) -> Any:
        from nvidia.dali import fn, types
        from nvidia.dali.pipeline import Pipeline

        on_gpu = self._device_id is not None
        pipeline = Pipeline(
            batch_size=self._most,
            num_threads=self._threads,
            device_id=self._device_id,
            # One batch in, the same batch out.
            prefetch_queue_depth=1,
        )
        with pipeline:
            pixels = fn.external_source(
                name="pixels",
                device="gpu" if on_gpu else "cpu",
                dtype=types.UINT8,
                ndim=3,
                layout="HWC",
            )
            pipeline.set_outputs(_graph(kind, pixels, fn, types))
        pipeline.build()
        return pipeline


def _graph(kind: Kind, pixels: Any, fn: Any, types: Any) -> Any:
    """Returns what becomes of `pixels`; the arguments are those of `_arguments`.

    Pillow scales the rows first, then the columns, and rounds to 8 bits in between. Done so, and
    not in one pass, the result is some 15 dB nearer to Pillow's. Rows are scaled lying on their
    side: on a CPU DALI is four times as fast with columns, and a turn costs less.
    """

    def source(name: str, dtype: Any, ndim: int) -> Any:
        return fn.external_source(name=name, dtype=dtype, ndim=ndim)

    def turn(image: Any) -> Any:
        # The names of the axes stay where they are: rows are rows again.
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


def _arguments(kind: Kind, jobs: Sequence[Job]) -> dict[str, list[np.ndarray]]:
    """Returns the arguments of a batch: one array a job, by the name of its source."""
    # Lying on its side, an image is flipped the other way.
    flips = [_FLIPS[job.orientation][:: -1 if kind.resized else 1] for job in jobs]
    arguments: dict[str, list[np.ndarray]] = {
        "flip": [np.array(flip, np.int32) for flip, _ in flips],
        "flop": [np.array(flop, np.int32) for _, flop in flips],
    }
    if not kind.resized:
        return arguments
    plans = [job.plan for job in jobs if job.plan is not None]
    heights = [job.width if job.turned else job.height for job in jobs]
    widened = [(p.scaled_width, height) for p, height in zip(plans, heights, strict=True)]
    for name, kind_of_number, pairs in (
        ("widened", np.float32, widened),
        ("scaled", np.float32, [(p.scaled_height, p.scaled_width) for p in plans]),
        ("corner", np.int32, [(p.top, p.left) for p in plans]),
        ("shape", np.int32, [(p.height, p.width) for p in plans]),
    ):
        arguments[name] = [np.array(pair, kind_of_number) for pair in pairs]
    return arguments
