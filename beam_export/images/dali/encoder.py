"""The DALI encoder: nvImageCodec decodes, DALI changes pixels, nvImageCodec encodes.

DALI itself has no JPEG encoder. On a GPU the pixels stay in its memory from the decoder to
nvJPEG. On a CPU the same code runs on libjpeg-turbo, and gives Pillow's bytes where nothing is
resized: that is how it is tested.

Bytes depend on the spec, the device and the versions that `identity` names; never on threads, on
how images fall into batches, or on what failed in between.
"""

from __future__ import annotations

import collections
import functools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from beam_export.errors import RunError
from beam_export.images.dali.device import HOW_TO_INSTALL, dali_is_installed, gpu_names, versions
from beam_export.images.dali.engine_pool import MOST_JOBS, Engine, Lanes, release, share, split
from beam_export.images.dali.routing import Job, route
from beam_export.images.encoder import EncodeSpec, ImageInput, Result, is_on_device
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.samples import EncodedImage

__all__ = ["DaliEncoder"]

#: Of all GPUs the first: a runner gives each worker the one that it is to see.
_GPU = 0

#: Sets of engines on a GPU: while one decodes on the host, the other's work is on the device.
_GPU_LANES = 2
_GPU_THREADS = 8
#: Pixels of a batch. On a GPU it takes some 15 bytes a pixel: 3 GB for both lanes.
_GPU_PIXELS = 100_000_000
_CPU_PIXELS = 25_000_000
#: Images of a batch on a CPU: few, so that all threads have work to the end.
_CPU_JOBS = 8


class DaliEncoder:
    """Encodes with DALI on a GPU or a CPU; what is not for DALI goes the Pillow way, counted.

    Args:
        spec: what is asked for.
        device: `cpu` or `gpu`.
        threads: images, on a GPU batches, in work at the same time.

    Raises:
        ValueError: if an argument is none of these.
    """

    def __init__(self, spec: EncodeSpec, device: str, threads: int = 1) -> None:
        if device not in ("cpu", "gpu"):
            raise ValueError(f"device is {device!r}; it must be cpu or gpu")
        self.spec, self.device, self.threads = spec, device, threads
        self._pillow = PillowEncoder(spec)
        self._forget()

    def _forget(self) -> None:
        self._lock, self._opening = threading.Lock(), threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()
        self._lanes: Lanes | None = None
        self._pool: ThreadPoolExecutor | None = None

    def __getstate__(self) -> dict[str, object]:
        return {"spec": self.spec, "device": self.device, "threads": self.threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def open(self) -> None:
        """Makes the engines and tries them; a second call does nothing.

        Raises:
            RunError: if this machine lacks what was chosen where the pipeline was made.
        """
        with self._opening:
            if self._lanes is None:
                self._check_machine()
                self._pillow.open()
                self._lanes = self._take_lanes()
                workers = max(self.threads, _GPU_LANES if self.device == "gpu" else 1)
                if workers > 1:
                    self._pool = ThreadPoolExecutor(workers, thread_name_prefix="encode")

    def _check_machine(self) -> None:
        if not dali_is_installed():
            raise RunError(f"this worker has no NVIDIA DALI: {HOW_TO_INSTALL} there.")
        if self.device == "gpu" and not gpu_names():
            raise RunError(
                "this worker has no NVIDIA GPU, and --device=gpu was chosen: give the workers one, "
                "or give --device=cpu or --encoder=pillow."
            )

    def _take_lanes(self) -> Lanes:
        """Returns lanes that were tried: on a GPU the process's, else new ones."""
        if self.device == "cpu":
            lanes = self._make_lanes()
            _try_out(lanes)
            return lanes
        lanes = share(self._key, self._make_lanes)
        try:
            _try_out(lanes)
        except BaseException:
            release(self._key)
            raise
        return lanes

    def close(self) -> None:
        """Lets go of the engines; `open` makes new ones."""
        if self._pool is not None:
            self._pool.shutdown()
        if self._lanes is not None and self.device == "gpu":
            release(self._key)
        self._lanes = self._pool = None
        self._pillow.close()

    @property
    def _key(self) -> tuple[EncodeSpec, int]:
        return self.spec, _GPU

    def _make_lanes(self) -> Lanes:
        if self.device == "gpu":
            threads = max(1, min(_GPU_THREADS, (os.cpu_count() or 1) - 1))
            return Lanes(lambda: self._engine(_GPU, threads), _GPU_LANES, _GPU_PIXELS, "the GPU")
        # As many as can work at all: a runner may have more threads than there are cores.
        count = max(self.threads, os.cpu_count() or 1)
        return Lanes(lambda: self._engine(None, 1), count, _CPU_PIXELS, "the CPU")

    def _engine(self, device_id: int | None, threads: int) -> Engine:
        from beam_export.images.dali.engine import DaliEngine

        return DaliEngine(self.spec, device_id, threads, MOST_JOBS)

    def encode_batch(self, images: Sequence[ImageInput]) -> list[Result]:
        """Encodes images, each on its own: as many results as images, in their order.

        Raises:
            RunError: if the device fails, or this machine has none.
            MemoryError: if an image within the limits does not fit into the host's memory.
        """
        self.open()
        run: Callable[..., Any] = map if self._pool is None else self._pool.map
        on_gpu = self.device == "gpu"
        # A JPEG's data is read for it: decoders on a GPU do not tell of damage.
        routes = list(run(lambda image: route(image, self.spec, on_gpu), images))
        jobs = [(at, job) for at, job in enumerate(routes) if isinstance(job, Job)]
        others = [(at, why) for at, why in enumerate(routes) if isinstance(why, str)]
        results: dict[int, Result] = {}
        steps = [*self._dali_steps(jobs, images), *self._pillow_steps(others, images)]
        for made in run(lambda step: step(), steps):
            results.update(made)
        return [results[at] for at in range(len(images))]

    def identity(self) -> dict[str, str]:
        """Returns what shapes the bytes: device, versions, and Pillow's for what goes its way."""
        names = gpu_names() if self.device == "gpu" else ()
        return {
            **self._pillow.identity(),
            "encoder": "dali",
            # A machine without one, where the manifest is written, knows that it was a GPU.
            "device": names[_GPU] if names else self.device,
            **versions(self.device == "gpu"),
        }

    def take_counts(self) -> dict[str, int]:
        """Returns how many images went which way since the last call.

        `dali`: by DALI; `pipelined`: of these, through one of its pipelines; `pillow-...`: the
        Pillow way, for a reason of `dali_route`, or `undecoded` where DALI's decoder gave up.
        """
        with self._lock:
            counts, self._counts = self._counts, collections.Counter()
        return dict(counts)

    def _count(self, counts: collections.Counter[str]) -> None:
        with self._lock:
            self._counts += counts

    def _dali_steps(
        self, jobs: Sequence[tuple[int, Job]], images: Sequence[ImageInput]
    ) -> list[Callable[[], dict[int, Result]]]:
        lanes = self._lanes
        if lanes is None:
            raise RunError("the DALI encoder was closed while it was at work: run again.")
        most = MOST_JOBS if self.device == "gpu" else _CPU_JOBS
        batches = split([job for _, job in jobs], most, lanes.most_pixels)

        def step(batch: slice) -> dict[int, Result]:
            chosen = jobs[batch]
            made = lanes.encode([job for _, job in chosen])
            results: dict[int, Result] = {}
            for (at, job), data in zip(chosen, made, strict=True):
                if data is None:
                    results[at] = self._by_pillow(images[at], "undecoded")
                else:
                    results[at] = EncodedImage(data, "jpg", *job.size, "encoded")
            done = [job for (_, job), data in zip(chosen, made, strict=True) if data is not None]
            pipelined = sum(not job.is_plain for job in done)
            self._count(collections.Counter(dali=len(done), pipelined=pipelined))
            return results

        return [functools.partial(step, batch) for batch in batches]

    def _pillow_steps(
        self, others: Sequence[tuple[int, str]], images: Sequence[ImageInput]
    ) -> list[Callable[[], dict[int, Result]]]:
        def step(at: int, why: str) -> dict[int, Result]:
            return {at: self._by_pillow(images[at], why)}

        return [functools.partial(step, at, why) for at, why in others]

    def _by_pillow(self, image: ImageInput, why: str) -> Result:
        self._count(collections.Counter({f"pillow-{why}": 1}))
        if self.device == "gpu" and is_on_device(image):
            image = _to_host(image)
        (result,) = self._pillow.encode_batch([image])
        return result


def _to_host(pixels: Any) -> np.ndarray:
    from beam_export.images.dali.engine import to_host

    return to_host(pixels)


def _try_out(lanes: Lanes) -> None:
    """Sends a small picture of each kind through, so that a device that cannot is found at once.

    Raises:
        RunError: if the device cannot.
    """
    from beam_export.images.dali.engine import plain_jpeg

    jobs = [
        Job(plain_jpeg(64, 64, channels), "jpg", 64, 64, channels, orientation)
        for channels in (1, 3)
        for orientation in (1, 6)
    ]
    if None in lanes.encode(jobs):
        raise RunError(
            f"DALI on {lanes.name} does not decode a plain JPEG: see that its version and the "
            "driver's fit, or give --encoder=pillow."
        )
