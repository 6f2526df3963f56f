"""Images a second of our encoder on a GPU or a CPU, of Pillow's, and of what else there is."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from beam_export.images.dali.encoder import DaliEncoder
from beam_export.images.encoder import Encoder, EncodeSpec
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.samples import EncodedImage
from benchmarks.common import median
from benchmarks.speed.gpu_images import SIZES, Setting, photograph_files, photographs

__all__ = [
    "RESIZED",
    "alternately",
    "encoders",
    "on_device",
    "open_dali",
    "processes",
    "rate",
    "ratios",
    "resizing",
]

RESIZED = {"resize": 512, "resize_mode": "keep_ratio"}
#: Seconds that processes wait for each other to be ready.
_READY = 60.0


def open_dali(setting: Setting, threads: int = 1, **options: Any) -> DaliEncoder:
    """Returns our encoder, ready to encode."""
    processes = options.pop("processes", 1)
    encoder = DaliEncoder(
        EncodeSpec(mode="always", **options),
        setting.device,
        threads,
        processes=processes,
        changes_pixels=not setting.codec_only,
    )
    encoder.open()
    return encoder


def rate(work: Callable[[int], int], callers: int, seconds: float) -> float:
    """Returns images a second of `callers` threads that call `work` with their number, again
    and again; the first calls, in which memory is taken, do not count."""
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(work, range(callers)))
        began = time.perf_counter()
        end = began + seconds

        def call(number: int) -> int:
            done = 0
            while time.perf_counter() < end:
                done += work(number)
            return done

        done = sum(pool.map(call, range(callers)))
        return round(done / (time.perf_counter() - began), 1)


def encoding(encoder: Encoder, images: Sequence[Any], batch: int) -> Callable[[int], int]:
    """Returns a function that encodes a batch of the images, each time the next ones."""
    turn = iter(range(1 << 60))

    def work(_: int) -> int:
        at = next(turn) * batch
        chosen = [images[(at + n) % len(images)] for n in range(batch)]
        results = encoder.encode_batch(chosen)
        if not all(isinstance(result, EncodedImage) for result in results):
            raise RuntimeError(f"an image that is whole was not encoded: {results[0]}")
        return batch

    return work


def _row(size: str, work: Callable[[int], int], callers: int, setting: Setting) -> dict[str, Any]:
    figure = rate(work, callers, setting.seconds)
    return {"size": size, "callers": callers, "images/s": figure}


def encoders(setting: Setting, **options: Any) -> Iterator[tuple[str, Any]]:
    """Yields images a second of Pillow's encoder on one core and on all, and of ours."""
    cores = os.cpu_count() or 1
    spec = EncodeSpec(mode="always", **options)
    batches, callers = ((128, 512), (1, 4)) if setting.on_gpu else ((8, 32), (1, 4))
    if setting.small:
        batches, callers = (16,), (1,)
    for size in setting.sizes:
        files = photograph_files(setting, size)
        with contextlib.closing(open_dali(setting, 1 if setting.on_gpu else cores, **options)) as e:
            for batch in batches:
                for many in callers:
                    row = _row(size, encoding(e, files, batch), many, setting)
                    yield f"{size}: ours, batches of {batch}, {many} callers", row
            yield f"{size}: ours, ways", e.take_counts()
        for threads in sorted({1, cores}):
            with contextlib.closing(PillowEncoder(spec, threads)) as pillow:
                pillow.open()
                row = _row(size, encoding(pillow, files, 4 * threads), 1, setting)
                yield f"{size}: Pillow on {threads} threads", row


def resizing(setting: Setting) -> Iterator[tuple[str, Any]]:
    """Yields the same where images are resized, which takes DALI."""
    yield from encoders(setting, **RESIZED)


# Several processes, as a run has them.


def processes(setting: Setting) -> Iterator[tuple[str, Any]]:
    """Yields images a second of several processes together that share the device."""
    for size in setting.sizes[:2]:
        photograph_files(setting, size)
        for count in (1, 2) if setting.small else (1, 2, 4):
            figure = _together(setting, size, count)
            yield f"{size}: {count} processes", {"size": size, "images/s": figure}


def _together(setting: Setting, size: str, count: int) -> float:
    """Returns images a second of processes that begin at the same time.

    Raises:
        RuntimeError: if one of them fails.
    """
    # A forked process cannot use the device.
    start = multiprocessing.get_context("spawn")
    barrier, done = start.Barrier(count), start.Queue()
    workers = [
        start.Process(target=_encode, args=(setting, size, count, barrier, done), daemon=True)
        for _ in range(count)
    ]
    for worker in workers:
        worker.start()
    try:
        figures = [done.get(timeout=_READY + 10 * setting.seconds) for _ in workers]
    except queue.Empty:
        raise RuntimeError(f"of {count} processes, not all have encoded") from None
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    return round(sum(figures), 1)


def _encode(setting: Setting, size: str, count: int, barrier: Any, done: Any) -> None:
    files = photograph_files(setting, size)
    encoder = open_dali(setting, processes=count)
    work = encoding(encoder, files, 128 if setting.on_gpu else 8)
    work(0)
    barrier.wait(_READY)
    done.put(rate(work, 2 if setting.on_gpu else 1, 2 * setting.seconds))
    done.close()
    done.join_thread()
    encoder.close()


# Pixels that are on the device already.


def on_device(setting: Setting) -> Iterator[tuple[str, Any]]:
    """Yields images a second of arrays on the GPU: by our encoder, and by torchvision's."""
    if not setting.on_gpu:
        yield "left out", "there is no GPU"
        return
    size = setting.sizes[0]
    chosen = [np.asarray(im) for im in photographs(*SIZES[size])]
    for what, make in (
        ("CuPy arrays, by our encoder", functools.partial(_cupy, setting)),
        ("torch tensors, by torchvision", _torchvision),
    ):
        try:
            work = make(chosen)
        except ImportError as error:
            yield f"{size}: {what}", {"not installed": str(error)}
        else:
            yield f"{size}: {what}", _row(size, work, 1, setting)


def _cupy(setting: Setting, chosen: Sequence[np.ndarray]) -> Callable[[int], int]:
    import cupy

    arrays = [cupy.asarray(pixels) for pixels in chosen]
    return encoding(open_dali(setting), arrays, 128)


def _torchvision(chosen: Sequence[np.ndarray]) -> Callable[[int], int]:
    import torch
    import torchvision.io as vision

    tensors = [torch.from_numpy(one.transpose(2, 0, 1).copy()).cuda() for one in chosen]
    batch = [tensors[number % len(tensors)] for number in range(128)]
    return lambda _: len([one.cpu() for one in vision.encode_jpeg(batch, quality=92)])


# Compared.


def alternately(setting: Setting) -> Iterator[tuple[str, Any]]:
    """Yields images a second on all cores, the two encoders by turns, so that both have the noise.

    The share is the median over the rounds, each round's DALI to its Pillow.
    """
    cores = os.cpu_count() or 1
    for size in setting.sizes[:2]:
        files = photograph_files(setting, size)
        pillow = PillowEncoder(EncodeSpec(mode="always"), cores)
        pillow.open()
        dali = open_dali(setting, cores)
        rounds = [
            [rate(encoding(encoder, files, 32), 1, setting.seconds) for encoder in (pillow, dali)]
            for _ in range(5)
        ]
        pillow.close()
        dali.close()
        yield (
            size,
            {
                "Pillow": [one for one, _ in rounds],
                "ours": [other for _, other in rounds],
                "share": median([other / one for one, other in rounds]),
            },
        )


def ratios(steps: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Returns how fast our encoder is to the best bare engines, and to Pillow's on one core.

    >>> bare = {"a": {"size": "8x8", "what": "transcode", "images/s": 100.0}}
    >>> ours = {"8x8: ours, 1": {"images/s": 90.0}, "8x8: Pillow on 1 threads": {"images/s": 9.0}}
    >>> ratios({"bare": bare, "ours": ours})
    {'8x8: ours to the best bare engines': 0.9, '8x8: ours to Pillow on one core': 10.0}
    """
    found: dict[str, float] = {}
    bare = [row for row in steps.get("bare", {}).values() if row["what"] == "transcode"]
    for size in SIZES | {row["size"]: None for row in bare}:
        ours = _best(steps.get("ours", {}), f"{size}: ours,")
        several = _best(steps.get("processes", {}), f"{size}: ")
        floor = max((row.get("images/s", 0) for row in bare if row["size"] == size), default=0)
        core = _best(steps.get("ours", {}), f"{size}: Pillow on 1 threads")
        for who, figure in (("ours", ours), ("ours in several processes", several)):
            for what, other in (("the best bare engines", floor), ("Pillow on one core", core)):
                if figure and other:
                    found[f"{size}: {who} to {what}"] = round(figure / other, 2)
    return found


def _best(rows: Mapping[str, Any], beginning: str) -> float:
    figures = [row.get("images/s", 0) for name, row in rows.items() if name.startswith(beginning)]
    return max(figures, default=0.0)
