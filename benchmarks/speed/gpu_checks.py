"""Checks of our encoder on a GPU or a CPU: near to Pillow, the same twice, nothing lost."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from beam_export.images.dali.device import gpu_memory, gpu_names
from beam_export.images.encoder import Result
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.samples import EncodedImage
from benchmarks.speed.gpu_images import (
    Setting,
    damaged,
    decibels,
    kinds,
    photograph_files,
    pixels_of,
)
from benchmarks.speed.gpu_rates import RESIZED, open_dali

__all__ = ["contract", "determinism", "device", "faults", "photos"]

#: Damaged images that are looked at between two figures.
_PART = 512


def device(setting: Setting) -> Iterator[tuple[str, Any]]:
    """Yields the device, its driver, and the versions of what shapes the bytes."""
    yield "GPUs, bytes of memory", list(zip(gpu_names(), gpu_memory(), strict=True))
    yield "driver's CUDA", _cuda_version()
    encoder = open_dali(setting)
    yield "identity", encoder.identity()
    encoder.close()


def _cuda_version() -> int | None:
    """Returns the version of CUDA that the driver speaks, 13000 for 13.0; None without a driver.

    Source: CUDA driver API, part 6.3 (version management).
    """
    version = ctypes.c_int()
    try:
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except OSError:
        return None
    return version.value


def contract(setting: Setting) -> Iterator[tuple[str, Any]]:
    """Yields how near the results are to Pillow's: the worst kinds, and how many are equal."""
    images = kinds()
    for name, options in (("recode", {}), ("resize", RESIZED)):
        encoder = open_dali(setting, **options)
        results = encoder.encode_batch(list(images.values()))
        wanted = PillowEncoder(encoder.spec).encode_batch(list(images.values()))
        pairs = dict(zip(images, zip(results, wanted, strict=True), strict=True))
        near = {kind: found for kind, (a, b) in pairs.items() if (found := _near(a, b)) is not None}
        worst = sorted(near.items(), key=lambda item: item[1]["dB to Pillow"])
        yield (
            name,
            {
                "kinds": len(images),
                "encoded": len(near),
                "equal bytes": sum(a == b for a, b in pairs.values()),
                "worst": dict(worst[:5]),
                "ways": encoder.take_counts(),
            },
        )
        encoder.close()


def _near(one: Result, other: Result) -> dict[str, float] | None:
    """Returns how near an image is to another; None if one of them was not encoded."""
    if not isinstance(one, EncodedImage) or not isinstance(other, EncodedImage):
        return None
    return {
        "dB to Pillow": decibels(pixels_of(one.data), pixels_of(other.data)),
        "size to Pillow's": round(len(one.data) / len(other.data), 3),
    }


def digest(results: Sequence[Result]) -> str:
    """Returns a sum over results, failures with their reasons included."""
    total = hashlib.sha256()
    for one in results:
        total.update(one.data if isinstance(one, EncodedImage) else str(one).encode())
        total.update(type(one).__name__.encode())
    return total.hexdigest()


def determinism(setting: Setting) -> Iterator[tuple[str, Any]]:
    """Yields whether our bytes are the same twice, one by one, and from many threads."""
    images = [*photograph_files(setting, setting.sizes[-1]), *kinds().values()]
    images += photograph_files(setting, "640x480")
    one, two = open_dali(setting), open_dali(setting, threads=4)
    expected = digest(one.encode_batch(images))
    yield "a second run", digest(one.encode_batch(images)) == expected
    yield "another encoder", digest(two.encode_batch(images)) == expected
    yield "one by one", digest([one.encode_batch([image])[0] for image in images]) == expected
    with ThreadPoolExecutor(16) as pool:
        threaded = list(pool.map(lambda image: two.encode_batch([image])[0], images))
    yield "16 threads", digest(threaded) == expected
    yield "in reverse", digest(one.encode_batch(images[::-1])[::-1]) == expected
    one.close()
    two.close()


def faults(setting: Setting) -> Iterator[tuple[str, Any]]:
    """Yields what becomes of damaged images among good ones, against Pillow's judgement."""
    count = 512 if setting.small else 10_000
    total = dict.fromkeys(
        ("images", "results", "encoded", "encoded by Pillow", "only by Pillow", "only by ours"), 0
    )
    seconds = 0.0
    images = damaged(count)
    cores = os.cpu_count() or 1
    with (
        contextlib.closing(open_dali(setting, cores)) as encoder,
        contextlib.closing(PillowEncoder(encoder.spec, cores)) as pillow,
    ):
        pillow.open()
        while part := list(itertools.islice(images, _PART)):
            began = time.perf_counter()
            results = encoder.encode_batch(part)
            seconds += time.perf_counter() - began
            fine = [isinstance(result, EncodedImage) for result in results]
            wanted = [isinstance(one, EncodedImage) for one in pillow.encode_batch(part)]
            total["images"] += len(part)
            total["results"] += len(results)
            total["encoded"] += sum(fine)
            total["encoded by Pillow"] += sum(wanted)
            pairs = list(zip(fine, wanted, strict=True))
            total["only by Pillow"] += pairs.count((False, True))
            total["only by ours"] += pairs.count((True, False))
            yield "so far", {**total, "images/s": round(total["images"] / seconds)}
        yield "ways", encoder.take_counts()


def photos(setting: Setting) -> Iterator[tuple[str, Any]]:
    """Yields how a folder of photographs is encoded, against Pillow: fast, near, and as many."""
    if setting.photos is None:
        raise ValueError("no --photos was given")
    files = [path.read_bytes() for path in sorted(setting.photos.rglob("*")) if path.is_file()]
    with contextlib.closing(open_dali(setting, threads=os.cpu_count() or 1)) as encoder:
        results = encoder.encode_batch(files)
        yield "ways", encoder.take_counts()
        began = time.perf_counter()
        again = encoder.encode_batch(files)
        yield "images/s", round(len(files) / (time.perf_counter() - began), 1)
        yield "the same twice", digest(again) == digest(results)
        wanted = PillowEncoder(encoder.spec).encode_batch(files)
    near = [found for a, b in zip(results, wanted, strict=True) if (found := _near(a, b))]
    yield "images", len(files)
    yield "encoded", sum(isinstance(result, EncodedImage) for result in results)
    yield "encoded by Pillow", sum(isinstance(result, EncodedImage) for result in wanted)
    if near:
        decibel = sorted(found["dB to Pillow"] for found in near)
        sizes = sorted(found["size to Pillow's"] for found in near)
        yield "dB to Pillow: least, median", [decibel[0], decibel[len(decibel) // 2]]
        yield "size to Pillow's: median, most", [sizes[len(sizes) // 2], sizes[-1]]
