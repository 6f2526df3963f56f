"""Images to try and to measure GPUs with: photographs, every kind, cut and damaged ones."""

from __future__ import annotations

import io
import math
import pathlib
import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

__all__ = [
    "SIZES",
    "Setting",
    "bomb",
    "cut_files",
    "damaged",
    "decibels",
    "kinds",
    "photograph_files",
    "photographs",
    "pixels_of",
    "stored",
]

#: Sizes that are measured, with the number of photographs of each: the one in the middle first,
#: since the others may be left out.
SIZES = {
    "1920x1080": ((1920, 1080), 16),
    "640x480": ((640, 480), 32),
    "1280x960": ((1280, 960), 8),
    "4000x3000": ((4000, 3000), 8),
}
#: Shares of a scan that are left of a file, in percent.
_CUTS = (5, 20, 50, 80, 95, 99)
#: Stands for equal pixels, which are infinitely near.
_EQUAL = 99.0


class Setting(NamedTuple):
    """What a run was asked for.

    Attributes:
        device: `cpu` or `gpu`.
        codec_only: whether nvImageCodec is used alone, without DALI.
        small: whether it is only to be seen that all works.
        images: folder where photographs are kept once they are made.
        photos: folder of photographs of one's own.
    """

    device: str
    codec_only: bool
    small: bool
    images: pathlib.Path
    photos: pathlib.Path | None = None

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU."""
        return self.device == "gpu"

    @property
    def seconds(self) -> float:
        """Seconds for which a rate is measured."""
        return 0.4 if self.small else 1.5

    @property
    def sizes(self) -> list[str]:
        """The sizes whose rates are measured."""
        return ["640x480"] if self.small else ["1920x1080", "640x480", "4000x3000"]


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


def photograph_files(setting: Setting, size: str) -> list[bytes]:
    """Returns JPEGs of a size; they are made once, since that takes longer than to encode them."""
    place = setting.images / size
    if not place.exists():
        half_done = setting.images / f"{size}.part"
        half_done.mkdir(parents=True, exist_ok=True)
        for number, im in enumerate(photographs(*SIZES[size])):
            (half_done / f"{number:03}.jpg").write_bytes(stored(im))
        half_done.rename(place)
    return [path.read_bytes() for path in sorted(place.iterdir())]


def stored(im: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """Returns an image as a file of a format."""
    buffer = io.BytesIO()
    im.save(buffer, kind, **({"quality": 90} if kind == "JPEG" else {}) | options)
    return buffer.getvalue()


def _exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def kinds() -> dict[str, bytes]:
    """Returns an image of every kind, by name."""
    (rgb,) = photographs((641, 479), 1)
    rgba = Image.merge("RGBA", [*rgb.split(), Image.linear_gradient("L").resize(rgb.size)])
    return {
        **{f"subsampling {n}": stored(rgb, subsampling=n) for n in (0, 1, 2)},
        **{f"orientation {n}": stored(rgb, exif=_exif(n)) for n in range(1, 9)},
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


def cut_files() -> Iterator[tuple[str, bytes, dict[str, bytes]]]:
    """Yields JPEGs: their kind, the whole file, and the file with less and less of its scans."""
    (small,) = photographs((640, 480), 1)
    (large,) = photographs((1920, 1080), 1)
    wholes = {
        "640x480": stored(small),
        "640x480, 4:4:4": stored(small, subsampling=0),
        "640x480, gray": stored(small.convert("L")),
        "640x480, progressive": stored(small, progressive=True),
        "640x480, restart markers": stored(small, restart_marker_rows=4),
        "1920x1080": stored(large),
        "1920x1080, progressive": stored(large, progressive=True),
    }
    for kind, whole in wholes.items():
        first = whole.index(b"\xff\xda")
        cuts = {"end marker missing": whole[:-2]}
        for part in _CUTS:
            left = whole[: first + (len(whole) - first) * part // 100]
            cuts[f"{part} % left"] = left
            cuts[f"{part} % left, end marker put back"] = left + b"\xff\xd9"
        yield kind, whole, cuts


def bomb() -> bytes:
    """Returns a PNG of some bytes that declares 3.6 gigapixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data


def damaged(count: int) -> Iterator[bytes]:
    """Yields whole, cut, hostile and bit-flipped images of all kinds, the same ones each time."""
    dice = random.Random(7)
    good = list(kinds().values())
    whole = good[2]
    bad = [whole[: len(whole) * part // 10] for part in range(10)] + [bomb(), b"junk"]
    for _ in range(count):
        data = bytearray(dice.choice(good + bad))
        for _ in range(dice.choice([0, 0, 0, 1, 5]) if data else 0):
            data[dice.randrange(len(data))] = dice.randrange(256)
        yield bytes(data)


def pixels_of(data: bytes) -> np.ndarray:
    """Returns a file's pixels as Pillow decodes them, of shape (H, W, 3)."""
    with Image.open(io.BytesIO(data)) as im:
        return np.asarray(im.convert("RGB"))


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    """Returns dB between pixels: 99 for equal ones, 0 for those of another size."""
    if one.shape != other.shape:
        return 0.0
    error = float(np.mean((one.astype(np.float32) - other) ** 2))
    return round(min(_EQUAL, 10 * math.log10(255 * 255 / error)), 1) if error else _EQUAL
