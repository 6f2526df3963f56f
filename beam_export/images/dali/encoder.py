"""Encodes images with NVIDIA DALI, on a GPU or a CPU.

nvImageCodec decodes, DALI changes pixels, and nvImageCodec encodes, since DALI has no JPEG encoder.
On a GPU the pixels stay in its memory from the decoder to nvJPEG. On a CPU the same code runs on
libjpeg-turbo and gives Pillow's bytes where nothing is resized, which is how it is tested.

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
from beam_export.images.dali.engine_pool import MOST_JOBS, Engine, EnginePool, release, share, split
from beam_export.images.dali.routing import Job, route
from beam_export.images.encoder import EncodeSpec, ImageInput, Result, is_on_device
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.samples import EncodedImage

__all__ = ["DaliEncoder"]

#: The first GPU: a runner shows each worker the one that it is to use.
_GPU = 0

#: Engines on a GPU: while one decodes on the host, the other works on the device.
_GPU_ENGINES = 2
_GPU_THREADS = 8
#: Pixels of a batch. On a GPU they take some 15 bytes each: 3 GB for both engines.
_GPU_PIXELS = 100_000_000
_CPU_PIXELS = 25_000_000
#: Images of a batch on a CPU: few, so that all threads have work until the end.
_CPU_JOBS = 8


class DaliEncoder:
    """Encodes with DALI on a GPU or a CPU, and with Pillow what DALI does not take (`routing`).

    Args:
        spec: options.
        device: `cpu` or `gpu`.
        threads: images, on a GPU batches, that are encoded at the same time.

    Raises:
        ValueError: if an argument is out of range.
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
        self._engines: EnginePool | None = None
        self._pool: ThreadPoolExecutor | None = None

    def __getstate__(self) -> dict[str, object]:
        return {"spec": self.spec, "device": self.device, "threads": self.threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def open(self) -> None:
        """Makes the engines and tests them; a second call does nothing.

        Raises:
            RunError: if this machine has no DALI, or no GPU where one was chosen.
        """
        with self._opening:
            if self._engines is None:
                self._check_machine()
                self._pillow.open()
                self._engines = self._take_engines()
                workers = max(self.threads, _GPU_ENGINES if self.device == "gpu" else 1)
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

    def _take_engines(self) -> EnginePool:
        """Returns engines that were tested: on a GPU those of the process, else new ones."""
        if self.device == "cpu":
            engines = self._make_engines()
            _try_out(engines)
            return engines
        engines = share(self._key, self._make_engines)
        try:
            _try_out(engines)
        except BaseException:
            release(self._key)
            raise
        return engines

    def close(self) -> None:
        """Frees the engines; `open` makes new ones."""
        if self._pool is not None:
            self._pool.shutdown()
        if self._engines is not None and self.device == "gpu":
            release(self._key)
        self._engines = self._pool = None
        self._pillow.close()

    @property
    def _key(self) -> tuple[EncodeSpec, int]:
        return self.spec, _GPU

    def _make_engines(self) -> EnginePool:
        if self.device == "gpu":
            threads = max(1, min(_GPU_THREADS, (os.cpu_count() or 1) - 1))
            return EnginePool(
                lambda: self._engine(_GPU, threads),
                count=_GPU_ENGINES,
                most_pixels=_GPU_PIXELS,
                name="the GPU",
            )
        # As many as can ever work: a runner may have more threads than there are cores.
        count = max(self.threads, os.cpu_count() or 1)
        return EnginePool(
            lambda: self._engine(None, 1), count=count, most_pixels=_CPU_PIXELS, name="the CPU"
        )

    def _engine(self, device_id: int | None, threads: int) -> Engine:
        from beam_export.images.dali.engine import DaliEngine

        return DaliEngine(self.spec, device_id, threads=threads, most=MOST_JOBS)

    def encode_batch(self, images: Sequence[ImageInput]) -> list[Result]:
        """Encodes images, each on its own: as many results as images, in their order.

        Raises:
            RunError: if the device fails, or this machine has none.
            MemoryError: if an image within the limits does not fit into the host's memory.
        """
        self.open()
        run: Callable[..., Any] = map if self._pool is None else self._pool.map
        on_gpu = self.device == "gpu"
        # This decodes each JPEG once, since decoders on a GPU do not report damage.
        routes = list(run(lambda image: route(image, self.spec, on_gpu), images))
        jobs = [(at, job) for at, job in enumerate(routes) if isinstance(job, Job)]
        others = [(at, why) for at, why in enumerate(routes) if isinstance(why, str)]
        results: dict[int, Result] = {}
        steps = [*self._dali_steps(jobs, images), *self._pillow_steps(others, images)]
        for made in run(lambda step: step(), steps):
            results.update(made)
        return [results[at] for at in range(len(images))]

    def identity(self) -> dict[str, str]:
        """Returns what shapes the bytes: device and versions, Pillow's included."""
        names = gpu_names() if self.device == "gpu" else ()
        return {
            **self._pillow.identity(),
            "encoder": "dali",
            # The manifest may be written on a machine without a GPU.
            "device": names[_GPU] if names else self.device,
            **versions(self.device == "gpu"),
        }

    def take_counts(self) -> dict[str, int]:
        """Returns the number of images since the last call, by the way they were encoded.

        `dali`: by DALI; `pipelined`: of these, through one of its pipelines; `pillow-...`: by
        Pillow, for a reason of `routing`, or `undecoded` where DALI's decoder gave up.
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
        engines = self._engines
        if engines is None:
            raise RunError("the DALI encoder was closed while it was at work: run again.")
        most = MOST_JOBS if self.device == "gpu" else _CPU_JOBS
        batches = split([job for _, job in jobs], most, engines.most_pixels)

        def step(batch: slice) -> dict[int, Result]:
            chosen = jobs[batch]
            made = engines.encode([job for _, job in chosen])
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


def _try_out(engines: EnginePool) -> None:
    """Encodes a small picture of each kind, to find at once a device that cannot.

    Raises:
        RunError: if the device does not decode them.
    """
    from beam_export.images.dali.engine import plain_jpeg

    jobs = [
        Job(
            data=plain_jpeg(64, 64, channels),
            ext="jpg",
            width=64,
            height=64,
            channels=channels,
            orientation=orientation,
        )
        for channels in (1, 3)
        for orientation in (1, 6)
    ]
    if None in engines.encode(jobs):
        raise RunError(
            f"DALI on {engines.name} does not decode a plain JPEG: see that its version and the "
            "driver's fit, or give --encoder=pillow."
        )
