"""Runs batches through DALI's pipelines, and keeps those whose memory is within a limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from beam_export.images.dali.graph import Kind, pipe_arguments
from beam_export.images.dali.libraries import Libraries, Pipe
from beam_export.images.dali.routing import DaliImage

__all__ = ["Pipelines"]


class Pipelines:
    """Pipelines of one engine, built for the first image of their kind.

    Each keeps the memory of its largest batch. Those that were not used for longest are freed
    before all together would keep more than `most_pixels`.

    Args:
        libraries: of the device.
        stream: in whose order the pixels come; 0 on a CPU.
        threads: CPU threads of each pipeline.
        most: most images of a batch.
        most_pixels: most pixels that all pipelines keep, unless one batch alone has more.
    """

    def __init__(
        self, libraries: Libraries, *, stream: int, threads: int, most: int, most_pixels: int
    ) -> None:
        self._libraries, self._stream = libraries, stream
        self._threads, self._most, self._most_pixels = threads, most, most_pixels
        #: By kind, the one that was used last at the end: the pipeline, and the pixels it keeps.
        self._built: dict[Kind, tuple[Pipe, int]] = {}

    def run(self, kind: Kind, jobs: Sequence[DaliImage], pixels: Sequence[Any]) -> list[Any]:
        """Returns the pixels ready to be encoded, each of shape (H, W, 1 | 3).

        They are in the device's memory, and valid until the next call.

        Args:
            kind: kind of all jobs.
            jobs: one per image.
            pixels: decoded, of shape (H, W, C); on a GPU, in its memory.

        Raises:
            RuntimeError: if the device fails; the next call builds the pipeline anew.
        """
        pipeline, kept = self._built.pop(kind, None) or (None, 0)
        held = max(kept, sum(job.pixels for job in jobs))
        self._make_room(held)
        if pipeline is None:
            pipeline = self._libraries.build(
                kind, device_id=self._libraries.device_id, threads=self._threads, most=self._most
            )
        # In the order of the engine's stream: the copy comes after the decoding.
        order = {"cuda_stream": self._stream} if self._libraries.on_gpu else {}
        pipeline.feed_input("pixels", list(pixels), layout="HWC", **order)
        for name, values in pipe_arguments(kind, jobs).items():
            pipeline.feed_input(name, values)
        # So are the outputs: without a stream given, this would wait for the device.
        (done,) = pipeline.run(*order.values())
        # Kept only after success: a pipeline that has raised is broken.
        self._built[kind] = pipeline, held
        return [done[at] for at in range(len(jobs))]

    def _make_room(self, pixels: int) -> None:
        """Frees pipelines until another one may keep so many pixels."""
        while self._built and sum(k for _, k in self._built.values()) + pixels > self._most_pixels:
            del self._built[next(iter(self._built))]
