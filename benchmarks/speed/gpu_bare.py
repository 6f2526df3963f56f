"""Checks and rates of nvImageCodec alone: what any encoder on the same device can be held to."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from beam_export.errors import SampleError
from beam_export.images.dali.encoder import DaliEncoder
from beam_export.images.dali.libraries import Libraries, load_libraries
from beam_export.images.encoder import EncodeSpec
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.samples import EncodedImage
from benchmarks.speed.gpu_images import (
    Setting,
    cut_files,
    decibels,
    photograph_files,
    pixels_of,
    stored,
)
from benchmarks.speed.gpu_rates import rate

__all__ = ["BareEngine", "Layout", "cut", "layouts", "rates", "repeatability"]

_QUALITY = 92
#: Threads of an engine's codecs at most, as our encoder has them.
_THREADS = 8
_GIB = 1 << 30
#: Sizes whose bytes are compared: nvJPEG decodes by other kernels above a megapixel or so.
_COMPARED = ("640x480", "1280x960", "1920x1080", "4000x3000")


class BareEngine:
    """Decodes and encodes with nvImageCodec, and does nothing else.

    Args:
        libraries: of the device.
        stream: on which it works; 0 is the one that all share.
        threads: of its codecs, on the host.
    """

    def __init__(self, libraries: Libraries, *, stream: int = 0, threads: int = 1) -> None:
        codec: Any = libraries.codec
        self._codec, self._stream, self._on_gpu = codec, stream, libraries.on_gpu
        names = ("GPU_ONLY", "HYBRID_CPU_GPU") if self._on_gpu else ("CPU_ONLY",)
        place = libraries.device_id
        options = {
            "device_id": codec.NVIMGCODEC_DEVICE_CPU_ONLY if place is None else place,
            "max_num_cpu_threads": threads,
            "backends": [codec.Backend(getattr(codec, name)) for name in names],
        }
        self._decoder = codec.Decoder(**options, options=":fancy_upsampling=1")
        self._encoder = codec.Encoder(**options)
        self._to_pixels = codec.DecodeParams(
            apply_exif_orientation=False,
            color_spec=codec.ColorSpec.SRGB,
            sample_format=codec.SampleFormat.I_AUTO_COMPONENTS,
        )
        self._to_jpeg = codec.EncodeParams(
            quality_type=codec.QualityType.QUALITY,
            quality_value=_QUALITY,
            chroma_subsampling=codec.CSS_420,
            jpeg_encode_params=codec.JpegEncodeParams(progressive=False, optimized_huffman=False),
        )

    def decode(self, files: Sequence[bytes]) -> list[Any]:
        """Returns the images of files on the device, None where there is none."""
        sources = [self._codec.CodeStream(data) for data in files]
        made = self._decoder.decode(sources, params=self._to_pixels, cuda_stream=self._stream)
        return list(made)

    def encode(self, images: Sequence[Any]) -> list[bytes | None]:
        """Returns the JPEGs of images."""
        made = self._encoder.encode(
            list(images), "jpeg", params=self._to_jpeg, cuda_stream=self._stream
        )
        return [None if one is None else bytes(one) for one in made]

    def transcode(self, files: Sequence[bytes]) -> list[bytes]:
        """Returns files encoded again.

        Raises:
            RuntimeError: if the device does not decode or encode one of them.
        """
        images = self.decode(files)
        if any(image is None for image in images):
            raise RuntimeError("nvImageCodec does not decode an image that is whole")
        made = [data for data in self.encode(images) if data is not None]
        if len(made) < len(files):
            raise RuntimeError("nvImageCodec does not encode an image that it has decoded")
        return made

    def on_host(self, image: Any) -> np.ndarray:
        """Returns an image's pixels in the host's memory."""
        return np.asarray(image.cpu() if self._on_gpu else image)


def _libraries(setting: Setting) -> Libraries:
    return load_libraries(0 if setting.on_gpu else None)


def _threads(setting: Setting) -> int:
    return max(1, min(_THREADS, (os.cpu_count() or 1) - 1)) if setting.on_gpu else 1


# Cut files: refused, or filled with gray?


def cut(setting: Setting) -> Iterator[tuple[str, Any]]:
    """Yields what becomes of files that lack their end: by the codec, by Pillow, by our encoder."""
    engine = BareEngine(_libraries(setting), threads=_threads(setting))
    ours = DaliEncoder(EncodeSpec(mode="always"), setting.device, changes_pixels=False)
    pillow = PillowEncoder(ours.spec)
    only_ours: list[str] = []
    for kind, whole, cuts in cut_files():
        (shown,) = engine.decode([whole])
        judged: dict[str, str] = {}
        for name, data in cuts.items():
            (image,) = engine.decode([data])
            near = 0.0 if image is None else decibels(engine.on_host(image), engine.on_host(shown))
            (mine,), (other,) = ours.encode_batch([data]), pillow.encode_batch([data])
            if isinstance(mine, EncodedImage) and isinstance(other, SampleError):
                only_ours.append(f"{kind}: {name}")
            judged[name] = ", ".join(
                [
                    "codec: refused" if image is None else f"codec: decoded, {near} dB",
                    f"Pillow: {'refused' if isinstance(other, SampleError) else 'encoded'}",
                    f"ours: {'refused' if isinstance(mine, SampleError) else 'encoded'}",
                ]
            )
        yield kind, judged
    yield "encoded by ours, refused by Pillow", only_ours
    ours.close()


# The same bytes twice?


def repeatability(setting: Setting) -> Iterator[tuple[str, Any]]:
    """Yields by size whether bytes are the same in any batch, engine and thread; and their error.

    The error is that of decoding against Pillow's, and that of the JPEG against its pixels, with
    what Pillow's JPEG of the same pixels has.
    """
    libraries = _libraries(setting)
    for size in _COMPARED[:2] if setting.small else _COMPARED:
        files = photograph_files(setting, size)
        found: dict[str, Any] = _same_bytes(libraries, files, _threads(setting))
        engine = BareEngine(libraries, threads=_threads(setting))
        (image,) = engine.decode(files[:1])
        pixels = engine.on_host(image)
        (made,) = engine.transcode(files[:1])
        pillows = stored(Image.fromarray(pixels), quality=_QUALITY, subsampling="4:2:0")
        found["decoding, dB to Pillow's"] = decibels(pixels, pixels_of(files[0]))
        found["encoding, dB to the pixels"] = decibels(pixels_of(made), pixels)
        found["Pillow's encoding, dB to the pixels"] = decibels(pixels_of(pillows), pixels)
        found["bytes to Pillow's"] = round(len(made) / len(pillows), 3)
        yield size, found


def _same_bytes(libraries: Libraries, files: Sequence[bytes], threads: int) -> dict[str, Any]:
    """Returns whether files become the same bytes however they are put together."""

    def new() -> BareEngine:
        stream = libraries.driver.new_stream() if libraries.driver else 0
        return BareEngine(libraries, stream=stream, threads=threads)

    engine, other = new(), new()
    wanted = _digest(engine.transcode(files))
    single = BareEngine(libraries, threads=1)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda one: one.transcode(files), (engine, other)))
    return {
        "a second time": _digest(engine.transcode(files)) == wanted,
        "in reverse": _digest(engine.transcode(files[::-1])[::-1]) == wanted,
        "one by one": _digest([engine.transcode([data])[0] for data in files]) == wanted,
        "on stream 0 with one thread": _digest(single.transcode(files)) == wanted,
        "two engines at once": [_digest(made) for made in both] == [wanted, wanted],
    }


def _digest(files: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in files)).hexdigest()


# How fast?


class Layout(NamedTuple):
    """How bare engines are laid out.

    Attributes:
        engines: at work at the same time, each in a thread of its own.
        own_streams: whether each has a stream of its own, else all use stream 0.
        kept: bytes of freed memory that the device's pool keeps.
        batch: images that an engine gets at once.
        threads: of each engine's codecs.
    """

    engines: int
    own_streams: bool
    kept: int
    batch: int
    threads: int

    def __str__(self) -> str:
        stream = "own streams" if self.own_streams else "stream 0"
        return (
            f"{self.engines} engines, {stream}, {self.kept // _GIB} GiB kept, "
            f"batches of {self.batch}, {self.threads} threads"
        )


def layouts(setting: Setting, cores: int) -> list[Layout]:
    """Returns the layouts to be measured; on a CPU there are neither streams nor pools."""
    threads = _threads(setting)
    if not setting.on_gpu:
        counts = sorted({1, cores})
        return [
            Layout(engines=engines, own_streams=False, kept=0, batch=batch, threads=threads)
            for engines, batch in itertools.product(counts, (8,) if setting.small else (32, 128))
        ]
    counts, batches = ((1, 2), (32,)) if setting.small else ((1, 2, 4), (32, 128))
    return [
        Layout(engines=engines, own_streams=own, kept=kept, batch=batch, threads=threads)
        for engines, own, kept, batch in itertools.product(
            counts, (False, True), (0, 4 * _GIB), batches
        )
    ]


def rates(setting: Setting) -> Iterator[tuple[str, Any]]:
    """Yields images a second of bare engines: at the first size by each layout, then by the best.

    At each size the best layout's decoding and encoding are measured alone too.
    """
    libraries = _libraries(setting)
    cores = os.cpu_count() or 1
    chosen = layouts(setting, cores)
    for size in setting.sizes:
        files = photograph_files(setting, size)
        figures: dict[Layout, float] = {}
        for layout in chosen:
            if size == "4000x3000":
                layout = layout._replace(batch=min(layout.batch, 16))
            row = measured(libraries, layout, files, setting.seconds)
            figures[layout] = row.get("images/s", 0.0)
            yield f"{size}: {layout}", {"size": size, **row}
        best = max(figures, key=lambda layout: figures[layout])
        for what in ("decode", "encode"):
            row = measured(libraries, best, files, setting.seconds, what=what)
            yield f"{size}: {what} alone, {best}", {"size": size, **row}
        if size == setting.sizes[0]:
            chosen = _around(best, cores) if setting.on_gpu else chosen[-1:]


def _around(best: Layout, cores: int) -> list[Layout]:
    """Returns the best layout, and it with other numbers of threads and engines."""
    found = [best]
    found += [best._replace(threads=count) for count in (2, 4, 16) if count < cores]
    found += [best._replace(engines=count) for count in (1, 2, 4)]
    return list(dict.fromkeys(found))


def measured(
    libraries: Libraries,
    layout: Layout,
    files: Sequence[bytes],
    seconds: float,
    *,
    what: str = "transcode",
) -> dict[str, Any]:
    """Returns a layout and its images a second, or why the device refuses it.

    Args:
        libraries: of the device.
        layout: of the engines.
        files: that are encoded again and again.
        seconds: for which it is measured.
        what: `transcode`, or `decode` or `encode` alone.
    """
    row: dict[str, Any] = {**layout._asdict(), "what": what}
    try:
        if libraries.driver is not None:
            libraries.driver.keep_freed(layout.kept)
        row["images/s"] = rate(_work(libraries, layout, files, what), layout.engines, seconds)
    except (RuntimeError, MemoryError) as error:
        # Four engines with large batches may be more than a device has room for.
        row["failed"] = " ".join(str(error).split())[:300] or type(error).__name__
    return row


def _work(
    libraries: Libraries, layout: Layout, files: Sequence[bytes], what: str
) -> Callable[[int], int]:
    """Returns a function that has the engine of a number work on a batch."""
    driver = libraries.driver if layout.own_streams else None
    engines = [
        BareEngine(libraries, stream=driver.new_stream() if driver else 0, threads=layout.threads)
        for _ in range(layout.engines)
    ]
    batch = [files[number % len(files)] for number in range(layout.batch)]
    if what == "encode":
        images = [engine.decode(batch) for engine in engines]
        return lambda number: len(engines[number].encode(images[number]))
    if what == "decode":
        return lambda number: len(engines[number].decode(batch))
    return lambda number: len(engines[number].transcode(batch))
