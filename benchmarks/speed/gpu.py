"""Checks the DALI encoder on this machine's device (right, repeatable, sturdy), and its speed.

    python benchmarks/speed/gpu.py [--device auto|cpu|gpu] [--small] [--save NAME]

Needs DALI, nvImageCodec, Pillow and NumPy, and of this repository `beam_export` and `benchmarks`
alone; Beam is not asked for. CuPy and torchvision, where they are, serve as controls. It ends
within eight minutes: what would come later is left out, and listed. On a CPU (`--small`) it shows
that it works, and how near the two encoders are there.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import json
import math
import os
import pathlib
import random
import struct
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from beam_export.images.dali.device import gpu_names
from beam_export.images.dali.encoder import DaliEncoder
from beam_export.images.encoder import Encoder, EncodeSpec, Result
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.samples import EncodedImage
from benchmarks.common import machine, median, save

_MOST_SECONDS = 480
_SIZES = {"640x480": (640, 480), "1920x1080": (1920, 1080), "12 MP": (4000, 3000)}
_RESIZED = {"resize": 512, "resize_mode": "keep_ratio"}
_BEGAN = time.monotonic()


def photographs(size: tuple[int, int], count: int) -> list[Image.Image]:
    """Returns images with detail at every scale, as photographs have."""
    width, height = size
    total = np.zeros((height, width, 3), np.float32)
    dice = np.random.default_rng(width)
    cells = 4
    while cells <= width:
        noise = dice.integers(0, 256, (max(2, cells * height // width), cells, 3), dtype=np.uint8)
        layer = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
        total += (np.asarray(layer, dtype=np.float32) - 127.5) / cells**0.75
        cells *= 2
    total = (total - total.min()) * (255 / (total.max() - total.min()))
    pixels = total.astype(np.uint8)
    # Rolled by some pixels, each is another image to a codec.
    return [Image.fromarray(np.roll(pixels, n * 37, axis=(0, 1))) for n in range(count)]


def stored(im: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    im.save(buffer, kind, **({"quality": 90} if kind == "JPEG" else {}) | options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def kinds() -> dict[str, bytes]:
    """Returns an image of every kind, by name."""
    (rgb,) = photographs((641, 479), 1)
    rgba = Image.merge("RGBA", [*rgb.split(), Image.linear_gradient("L").resize(rgb.size)])
    return {
        **{f"subsampling {n}": stored(rgb, subsampling=n) for n in (0, 1, 2)},
        **{f"orientation {n}": stored(rgb, exif=exif(n)) for n in range(1, 9)},
        "progressive": stored(rgb, progressive=True),
        "gray": stored(rgb.convert("L")),
        "cmyk": stored(rgb.convert("CMYK")),
        "odd 17x33": stored(rgb.crop((0, 0, 17, 33))),
        "1x1": stored(rgb.crop((0, 0, 1, 1))),
        "png": stored(rgb, "PNG"),
        "png gray": stored(rgb.convert("L"), "PNG"),
        "png palette": stored(rgb.quantize(64), "PNG"),
        "png alpha": stored(rgba, "PNG"),
        "webp alpha": stored(rgba, "WEBP"),
        "gif": stored(rgb.quantize(64), "GIF"),
    }


def psnr(one: bytes, other: bytes) -> float:
    """Returns dB between two JPEGs; infinite for equal pixels, 0 for other sizes."""
    a, b = (np.asarray(Image.open(io.BytesIO(data))).astype(float) for data in (one, other))
    if a.shape != b.shape:
        return 0.0
    error = float(np.mean((a - b) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255 * 255 / error)


def open_dali(device: str, threads: int = 1, **options: Any) -> DaliEncoder:
    encoder = DaliEncoder(EncodeSpec(mode="always", **options), device, threads)
    encoder.open()
    return encoder


def contract(device: str) -> dict[str, Any]:
    """Returns how near the results are to Pillow's: the worst kind, and the share of equal ones."""
    found: dict[str, Any] = {}
    images = kinds()
    for name, options in (("recode", {}), ("resize", _RESIZED)):
        encoder = open_dali(device, **options)
        results = encoder.encode_batch(list(images.values()))
        wanted = PillowEncoder(encoder.spec).encode_batch(list(images.values()))
        near = {
            kind: (round(psnr(a.data, b.data), 1), round(len(a.data) / len(b.data), 3))
            for kind, a, b in zip(images, results, wanted, strict=True)
            if isinstance(a, EncodedImage) and isinstance(b, EncodedImage)
        }
        equal = sum(a == b for a, b in zip(results, wanted, strict=True))
        worst = sorted(near.items(), key=lambda item: item[1][0])[:5]
        found[name] = {
            "kinds": len(images),
            "encoded": len(near),
            "equal bytes": equal,
            "worst (dB to Pillow, size to Pillow's)": {k: list(map(str, v)) for k, v in worst},
            "ways": encoder.take_counts(),
        }
        encoder.close()
    return found


def digest(results: Sequence[Result]) -> str:
    return hashlib.sha256(str(results).encode()).hexdigest()


def determinism(device: str, count: int) -> dict[str, bool]:
    """Returns whether bytes are the same twice, one by one, and from many threads."""
    images = [stored(im) for im in photographs((640, 480), count)] + list(kinds().values())
    one, two = open_dali(device), open_dali(device, threads=4)
    expected = digest(one.encode_batch(images))
    with ThreadPoolExecutor(16) as pool:
        threaded = list(pool.map(lambda image: two.encode_batch([image])[0], images))
    found = {
        "a second run": digest(one.encode_batch(images)) == expected,
        "another encoder": digest(two.encode_batch(images)) == expected,
        "one by one": digest([one.encode_batch([image])[0] for image in images]) == expected,
        "16 threads": digest(threaded) == expected,
        "in reverse": digest(one.encode_batch(images[::-1])[::-1]) == expected,
    }
    one.close()
    two.close()
    return found


def bomb() -> bytes:
    """Returns a PNG of some bytes that declares 3.6 gigapixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data


def faults(device: str, count: int) -> dict[str, Any]:
    """Returns what becomes of damaged images among good ones, against Pillow's judgement."""
    dice = random.Random(7)
    good = list(kinds().values())
    whole = good[2]
    bad = [whole[: len(whole) * part // 10] for part in range(10)] + [bomb(), b"junk"]
    images: list[bytes] = []
    while len(images) < count:
        data = bytearray(dice.choice(good + bad))
        for _ in range(dice.choice([0, 0, 0, 1, 5]) if data else 0):
            data[dice.randrange(len(data))] = dice.randrange(256)
        images.append(bytes(data))
    encoder = open_dali(device, threads=os.cpu_count() or 1)
    began = time.perf_counter()
    results = [r for at in range(0, count, 64) for r in encoder.encode_batch(images[at : at + 64])]
    seconds = time.perf_counter() - began
    wanted = PillowEncoder(encoder.spec).encode_batch(images)
    fine = [isinstance(r, EncodedImage) for r in results]
    pillow = [isinstance(r, EncodedImage) for r in wanted]
    ways = encoder.take_counts()
    encoder.close()
    return {
        "images": count,
        "results": len(results),
        "encoded": sum(fine),
        "encoded by Pillow": sum(pillow),
        "only by Pillow": sum(p and not f for p, f in zip(pillow, fine, strict=True)),
        "only by DALI": sum(f and not p for p, f in zip(pillow, fine, strict=True)),
        "images/s": round(count / seconds),
        "ways": ways,
    }


def rate(work: Callable[[int], int], callers: int, seconds: float) -> float:
    """Returns images a second of `callers` threads that call `work` again and again."""
    work(0)
    end = time.perf_counter() + seconds

    def call(number: int) -> int:
        done = 0
        while time.perf_counter() < end:
            done += work(number)
        return done

    began = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
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


def bare(device: str, images: Sequence[bytes], batch: int) -> Callable[[int], int]:
    """Returns a function that decodes and encodes with nvImageCodec and does nothing else."""
    from nvidia import nvimgcodec as codec

    on_gpu = device == "gpu"
    place = 0 if on_gpu else codec.NVIMGCODEC_DEVICE_CPU_ONLY
    names = ("GPU_ONLY", "HYBRID_CPU_GPU") if on_gpu else ("CPU_ONLY",)
    options = {
        "device_id": place,
        "max_num_cpu_threads": max(1, min(8, (os.cpu_count() or 1) - 1)) if on_gpu else 1,
        "backends": [codec.Backend(getattr(codec, name)) for name in names],
    }
    decoder = codec.Decoder(**options, options=":fancy_upsampling=1")
    encoder = codec.Encoder(**options)
    params = codec.EncodeParams(
        quality_type=codec.QualityType.QUALITY,
        quality_value=92,
        chroma_subsampling=codec.CSS_420,
    )
    chosen = [images[n % len(images)] for n in range(batch)]

    def work(_: int) -> int:
        pixels = decoder.decode([codec.CodeStream(data) for data in chosen])
        return len([bytes(one) for one in encoder.encode(pixels, "jpeg", params=params)])

    return work


def on_device(images: Sequence[Image.Image], batch: int) -> dict[str, Callable[[int], int]]:
    """Returns what encodes pixels that are on the GPU already: ours, and torchvision's."""
    found: dict[str, Callable[[int], int]] = {}
    chosen = [np.asarray(images[n % len(images)]) for n in range(batch)]
    try:
        import cupy

        arrays = [cupy.asarray(pixels) for pixels in chosen]
        found["CuPy arrays, encoded by DaliEncoder"] = encoding(open_dali("gpu"), arrays, batch)
    except ImportError as error:
        print(f"without CuPy: {error}")
    try:
        import torch
        import torchvision.io as vision

        tensors = [torch.from_numpy(one.transpose(2, 0, 1).copy()).cuda() for one in chosen]
        found["torch tensors, encoded by torchvision"] = lambda _: len(
            [one.cpu() for one in vision.encode_jpeg(tensors, quality=92)]
        )
    except ImportError as error:
        print(f"without torchvision: {error}")
    return found


class Table:
    """Rows of figures; measures only as long as there is time."""

    def __init__(self, seconds: float) -> None:
        self.rows: list[dict[str, Any]] = []
        self.left_out: list[str] = []
        self._seconds = seconds

    def add(
        self,
        size: str,
        task: str,
        what: str,
        callers: int,
        make: Callable[[], Callable[[int], int]],
    ) -> None:
        name = f"{size:>10} {task:<7} {what:<40} callers {callers}"
        if time.monotonic() - _BEGAN > _MOST_SECONDS:
            self.left_out.append(name)
            return
        figure = rate(make(), callers, self._seconds)
        row = {"size": size, "task": task, "what": what, "callers": callers, "images/s": figure}
        self.rows.append(row)
        print(f"{name} {figure:>10.1f} images/s", flush=True)

    def best(self, size: str, task: str, what: str) -> float | None:
        figures = [
            row["images/s"]
            for row in self.rows
            if (row["size"], row["task"]) == (size, task) and row["what"].startswith(what)
        ]
        return max(figures) if figures else None


def throughput(device: str, small: bool) -> dict[str, Any]:
    """Measures, one size after the other, so that what is compared ran close together."""
    cores = os.cpu_count() or 1
    table = Table(1.5 if small else 2.0)
    for size, sides in list(_SIZES.items())[: 2 if small else 3]:
        pictures = photographs(sides, 8 if small else 32)
        images = [stored(im) for im in pictures]
        batches, callers = ([16], [1]) if small else ([8, 32, 64], [1, 4])
        for task, options in (("recode", {}), ("resize", _RESIZED)):
            spec = EncodeSpec(mode="always", **options)
            for threads in sorted({1, cores}):
                pillow = PillowEncoder(spec, threads)
                pillow.open()
                make = functools.partial(encoding, pillow, images, 4 * threads)
                table.add(size, task, f"Pillow on {threads} threads", 1, make)
                pillow.close()
            encoder = open_dali(device, cores if device == "cpu" else 1, **options)
            for batch in batches:
                for many in callers:
                    make = functools.partial(encoding, encoder, images, batch)
                    table.add(size, task, f"DALI, batches of {batch}", many, make)
            encoder.close()
        for batch in batches:
            make = functools.partial(bare, device, images, batch)
            table.add(size, "recode", f"nvImageCodec alone, batches of {batch}", 1, make)
        if device == "gpu":
            for what, work in on_device(pictures, 32).items():
                table.add(size, "encode", what, 1, lambda work=work: work)
    return {"rows": table.rows, "left out": table.left_out, "ratios": ratios(table, device)}


def alternately(device: str, rounds: int) -> dict[str, Any]:
    """Returns images a second on all cores, the two encoders by turns, so that both have the noise.

    The share is the median over the rounds, each round's DALI to its Pillow.
    """
    cores = os.cpu_count() or 1
    found: dict[str, Any] = {}
    for size in ("640x480", "1920x1080"):
        images = [stored(im) for im in photographs(_SIZES[size], 16)]
        spec = EncodeSpec(mode="always")
        pillow, dali = PillowEncoder(spec, cores), open_dali(device, cores)
        pillow.open()
        figures = [
            [rate(encoding(encoder, images, 32), 1, 1.0) for encoder in (pillow, dali)]
            for _ in range(rounds)
        ]
        found[size] = {
            "Pillow": [one for one, _ in figures],
            "DALI": [other for _, other in figures],
            "share": median([other / one for one, other in figures]),
        }
        pillow.close()
        dali.close()
    return found


def ratios(table: Table, device: str) -> dict[str, float]:
    """Returns what is asked of the encoder: against Pillow, and against the bare codec."""
    found: dict[str, float] = {}
    cores = os.cpu_count() or 1
    for size in _SIZES:
        for task in ("recode", "resize"):
            dali = table.best(size, task, "DALI")
            for what in dict.fromkeys(("Pillow on 1 threads", f"Pillow on {cores} threads")):
                other = table.best(size, task, what)
                if dali and other:
                    found[f"{size} {task}: DALI to {what}"] = round(dali / other, 2)
            other = table.best(size, task, "nvImageCodec alone")
            if dali and other and device == "gpu":
                found[f"{size} {task}: DALI to nvImageCodec alone"] = round(dali / other, 2)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto")
    parser.add_argument("--small", action="store_true", help="half a minute or so, for a CPU")
    parser.add_argument("--save", metavar="NAME", help="write benchmarks/results/NAME.json")
    given = parser.parse_args()
    device = given.device
    if device == "auto":
        device = "gpu" if gpu_names() else "cpu"
    encoder = open_dali(device)
    content = {"device": encoder.identity()["device"], "versions": encoder.identity()}
    encoder.close()
    content["contract"] = contract(device)
    content["determinism"] = determinism(device, 16 if given.small else 128)
    content["faults"] = faults(device, 500 if given.small else 10_000)
    content["throughput"] = throughput(device, given.small)
    content["alternately"] = alternately(device, 5)
    content["seconds"] = round(time.monotonic() - _BEGAN, 1)
    if given.save:
        save(given.save, content)
    else:
        print(json.dumps({"machine": machine(), **content}, indent=2))
    sound = all(content["determinism"].values()) and content["faults"]["only by Pillow"] == 0
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
