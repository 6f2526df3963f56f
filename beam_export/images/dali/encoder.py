"""Encodes images with NVIDIA DALI, on a GPU or a CPU.

nvImageCodec decodes, DALI changes pixels, and nvImageCodec encodes, since DALI has no JPEG encoder.
On a GPU the pixels stay in its memory from the decoder to nvJPEG. On a CPU the same code runs on
libjpeg-turbo and gives Pillow's bytes where nothing is resized, which is how it is tested.

Bytes depend on the spec, the device and the versions that `identity` names; never on threads, on
how images fall into batches, or on what failed in between.
"""

from __future__ import annotations

import collections
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from beam_export.errors import RunError
from beam_export.images.dali.device import (
    HOW_TO_INSTALL,
    codec_is_installed,
    dali_is_installed,
    gpu_names,
    versions,
)
from beam_export.images.dali.device_share import Share, own_share, pixels_for
from beam_export.images.dali.engine_pool import (
    MOST_JOBS,
    Engine,
    EnginePool,
    release_pool,
    share,
    split_jobs,
)
from beam_export.images.dali.libraries import Libraries, load_libraries
from beam_export.images.dali.routing import DaliImage, route
from beam_export.images.encoder import EncodeSpec, ImageInput, Result, is_on_device
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.images.uniform import RGB
from beam_export.samples import EncodedImage

__all__ = ["DaliEncoder"]

#: Engines on a GPU: while one decodes on the host, the other works on the device.
_GPU_ENGINES = 2
_GPU_THREADS = 8
#: Batches in work on a GPU: two in engines, and two whose images are being looked at.
_GPU_LANES = 4
_CPU_PIXELS = 25_000_000
#: Images of a batch on a CPU: few, so that all threads have work until the end.
_CPU_JOBS = 8


class DaliEncoder:
    """Encodes with DALI on a GPU or a CPU, and with Pillow what DALI does not take (`routing`).

    Args:
        spec: options.
        device: `cpu` or `gpu`.
        threads: batches that a CPU encodes at the same time.
        processes: that share a GPU, where no run on this machine says so; 0 for one per core.
        changes_pixels: whether there is DALI itself, and not nvImageCodec alone; without it, Pillow
            encodes what has to be turned, or composited on white.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        spec: EncodeSpec,
        device: str,
        threads: int = 1,
        *,
        processes: int = 1,
        changes_pixels: bool = True,
    ) -> None:
        if device not in ("cpu", "gpu"):
            raise ValueError(f"device is {device!r}; it must be cpu or gpu")
        self.spec, self.device, self.threads = spec, device, threads
        self.processes, self.changes_pixels = processes, changes_pixels
        self._on_gpu = device == "gpu"
        self._pillow = PillowEncoder(spec)
        self._forget()

    def _forget(self) -> None:
        self._lock, self._opening = threading.Lock(), threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()
        self._share = Share()
        self._engines: EnginePool | None = None
        self._lanes: ThreadPoolExecutor | None = None
        self._hands: ThreadPoolExecutor | None = None

    def __getstate__(self) -> dict[str, object]:
        names = ("spec", "device", "threads", "processes", "changes_pixels")
        return {name: getattr(self, name) for name in names}

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
                self._share = own_share(self.processes) if self._on_gpu else Share()
                self._engines = self._take_engines()
                lanes = _GPU_LANES if self._on_gpu else self.threads
                if lanes > 1:
                    self._lanes = ThreadPoolExecutor(lanes, thread_name_prefix="encode")
                if self._on_gpu:
                    hands = max(1, (os.cpu_count() or 1) // self._share.processes)
                    self._hands = ThreadPoolExecutor(hands, thread_name_prefix="encode-pillow")

    def _check_machine(self) -> None:
        if not (dali_is_installed() if self.changes_pixels else codec_is_installed()):
            raise RunError(f"this worker has no NVIDIA DALI: {HOW_TO_INSTALL} there.")
        if self._on_gpu and not gpu_names():
            raise RunError(
                "this worker has no NVIDIA GPU, and --device=gpu was chosen: give the workers one, "
                "or give --device=cpu or --encoder=pillow."
            )

    def _take_engines(self) -> EnginePool:
        """Returns engines that were tested: on a GPU those of the process, else new ones.

        Raises:
            RunError: if they do not encode a plain image.
        """
        try:
            engines = share(self._key, self._make_engines) if self._on_gpu else self._make_engines()
        except (RuntimeError, OSError) as error:
            raise RunError(
                f"the NVIDIA GPU of this worker does not answer ({error}): see that the driver "
                "works, or give --encoder=pillow."
            ) from error
        reason = engines.test()
        if reason is None:
            return engines
        if self._on_gpu:
            release_pool(self._key)
        raise RunError(
            f"DALI on {engines.name} does not work ({reason}): see that its version and the "
            "driver's fit, or give --encoder=pillow."
        )

    def close(self) -> None:
        """Frees the engines; `open` makes new ones."""
        for pool in (self._lanes, self._hands):
            if pool is not None:
                pool.shutdown()
        if self._engines is not None and self._on_gpu:
            release_pool(self._key)
        self._engines = self._lanes = self._hands = None
        self._pillow.close()

    @property
    def _key(self) -> tuple[EncodeSpec, int]:
        return self.spec, self._share.device

    def _make_engines(self) -> EnginePool:
        libraries = load_libraries(self._share.device if self._on_gpu else None)
        cores = os.cpu_count() or 1
        if libraries.driver is None:
            # As many as can ever work: a runner may have more threads than there are cores.
            count, threads, name = max(self.threads, cores), 1, "the CPU"
            most_pixels = _CPU_PIXELS
        else:
            count, threads, name = _GPU_ENGINES, max(1, min(_GPU_THREADS, cores - 1)), "the GPU"
            total = libraries.driver.memory()[1]
            pixels = pixels_for(total, self._share.processes)
            most_pixels = pixels // count
            # What was freed is what the next image needs; others get what is beyond the share.
            libraries.driver.keep_freed(total // self._share.processes)

        return EnginePool(
            lambda: self._engine(libraries, threads, most_pixels),
            count,
            most_pixels=most_pixels,
            name=name,
            probes=_plain_images(self.changes_pixels),
        )

    def _engine(self, libraries: Libraries, threads: int, most_pixels: int) -> Engine:
        from beam_export.images.dali.engine import DaliEngine

        return DaliEngine(
            self.spec, libraries, threads=threads, most=MOST_JOBS, most_pixels=most_pixels
        )

    def encode_batch(self, images: Sequence[ImageInput]) -> list[Result]:
        """Encodes images, each on its own: as many results as images, in their order.

        Raises:
            RunError: if the device fails, or this machine has none.
            MemoryError: if an image within the limits does not fit into the host's memory.
        """
        self.open()
        run: Callable[..., Any] = map if self._lanes is None else self._lanes.map
        most = MOST_JOBS if self._on_gpu else _CPU_JOBS
        parts = [images[at : at + most] for at in range(0, len(images), most)]
        return [result for made in run(self._encode_part, parts) for result in made]

    def identity(self) -> dict[str, str]:
        """Returns what shapes the bytes: device and versions, Pillow's included."""
        names = gpu_names() if self._on_gpu else ()
        return {
            **self._pillow.identity(),
            "encoder": "dali",
            # The manifest may be written on a machine without a GPU.
            "device": names[self._share.device] if names else self.device,
            **versions(self._on_gpu),
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

    def _encode_part(self, images: Sequence[ImageInput]) -> list[Result]:
        """Encodes some images in one lane, those of Pillow's while the device is at work."""
        routes = [self._route(image) for image in images]
        results: dict[int, Result | Future[Result]] = {
            at: self._by_pillow(images[at], why)
            for at, why in enumerate(routes)
            if isinstance(why, str)
        }
        jobs = [(at, job) for at, job in enumerate(routes) if isinstance(job, DaliImage)]
        results.update(self._by_dali(jobs, images))
        done = (results[at] for at in range(len(images)))
        return [one.result() if isinstance(one, Future) else one for one in done]

    def _route(self, image: ImageInput) -> DaliImage | str:
        # This decodes each JPEG once, since decoders on a GPU do not report damage.
        job = route(image, self.spec, self._on_gpu)
        if not self.changes_pixels and isinstance(job, DaliImage) and not job.is_plain:
            return "pixels"
        return job

    def _by_dali(
        self, jobs: Sequence[tuple[int, DaliImage]], images: Sequence[ImageInput]
    ) -> dict[int, Result | Future[Result]]:
        engines = self._engines
        if engines is None:
            raise RunError("the DALI encoder was closed while it was at work: run again.")
        most = MOST_JOBS if self._on_gpu else _CPU_JOBS
        results: dict[int, Result | Future[Result]] = {}
        for batch in split_jobs([job for _, job in jobs], most, engines.most_pixels):
            chosen = jobs[batch]
            counts: collections.Counter[str] = collections.Counter()
            made = engines.encode([job for _, job in chosen])
            for (at, job), data in zip(chosen, made, strict=True):
                if data is None:
                    results[at] = self._by_pillow(images[at], "undecoded")
                else:
                    lacks = (RGB,) if job.channels == 1 else ()
                    results[at] = EncodedImage(data, "jpg", *job.size, "encoded", lacks=lacks)
                    counts.update(dali=1, pipelined=not job.is_plain)
            self._count(+counts)
        return results

    def _by_pillow(self, image: ImageInput, why: str) -> Result | Future[Result]:
        """Returns the result of Pillow's encoder, on a GPU as a promise of it."""
        self._count(collections.Counter({f"pillow-{why}": 1}))
        if self._hands is None:
            return self._encode_one(image)
        return self._hands.submit(self._encode_one, image)

    def _encode_one(self, image: ImageInput) -> Result:
        if self._on_gpu and is_on_device(image):
            image = _to_host(image)
        (result,) = self._pillow.encode_batch([image])
        return result


def _to_host(pixels: Any) -> np.ndarray:
    from beam_export.images.dali.engine import to_host

    return to_host(pixels)


def _plain_images(changes_pixels: bool) -> list[DaliImage]:
    """Returns a small picture of each kind, to find at once a device that does not encode it."""
    from beam_export.images.dali.engine import plain_jpeg

    return [
        DaliImage(
            data=plain_jpeg(64, 64, channels),
            ext="jpg",
            width=64,
            height=64,
            channels=channels,
            orientation=orientation,
        )
        for channels in (1, 3)
        for orientation in ((1, 6) if changes_pixels else (1,))
    ]
