"""Made-up photographs: alike ones of 50 KB, and ones as different as those of the web."""

from __future__ import annotations

import io
import math
import multiprocessing
import pathlib
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

__all__ = ["make_large_photos", "make_photos", "make_web_photos"]

_SIZE = (640, 480)
_TARGET = 50_000
_TEXTURE = 2048
#: Images per folder.
_PER_FOLDER = 1000
_PER_TASK = 250

#: Megapixels and their weights, of images on web pages: most are small, few are whole photographs.
_WEB_MEGAPIXELS = ((0.05, 10), (0.2, 40), (0.35, 30), (0.8, 15), (2, 4), (6, 1))
_SPREAD = 0.18
_ASPECTS = ((4, 3),) * 5 + ((3, 2),) * 4 + ((16, 9),) * 2 + ((1, 1),) * 2 + ((5, 4),)
#: Of an image each: quality, chroma subsampling as Pillow numbers it (4:2:0 mostly).
_QUALITIES = (72, 95)
_SUBSAMPLING = (2, 2, 2, 1, 0)
_PROGRESSIVE, _OPTIMISED, _GRAY, _EXIF = 0.1, 0.5, 0.02, 0.15
_ORIENTATIONS = (1, 1, 1, 3, 6, 6, 8)
_LARGE = (4000, 3000)
#: How fast details weaken as they get smaller: so that files are as large as those of cameras.
_ALIKE_FALL, _WEB_FALL, _LARGE_FALL = 0.75, 0.55, 0.4


class _Task(NamedTuple):
    """Images `start` to `stop` of a folder, of which `make` makes one."""

    make: Callable[[Any, int], tuple[Image.Image, dict[str, Any]]]
    folder: str
    start: int
    stop: int


def make_photos(folder: pathlib.Path, count: int) -> None:
    """Makes `count` distinct JPEGs of 640x480 and about 50 KB, 1000 per directory."""
    _make_all(_alike, folder, count)


def make_web_photos(folder: pathlib.Path, count: int) -> None:
    """Makes `count` distinct JPEGs of about 50 KB on average, 1000 per directory.

    As in files of the web, sizes, quantisation and Huffman tables, chroma subsampling differ from
    file to file; some are progressive, gray or have EXIF.
    """
    _make_all(_of_the_web, folder, count)


def make_large_photos(folder: pathlib.Path, count: int) -> None:
    """Makes `count` distinct JPEGs of 12 megapixels, as telephones take them."""
    _make_all(_large, folder, count)


def _make_all(make: Any, folder: pathlib.Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, count, _PER_TASK)
    tasks = [_Task(make, str(folder), at, min(at + _PER_TASK, count)) for at in starts]
    if count < _PER_TASK:
        cores = multiprocessing.cpu_count()
        tasks = [
            _Task(make, str(folder), count * part // cores, count * (part + 1) // cores)
            for part in range(cores)
        ]
    with multiprocessing.Pool() as pool:
        pool.map(_make_some, tasks, chunksize=1)
        pool.close()
        pool.join()


def _make_some(task: _Task) -> None:
    for number in range(task.start, task.stop):
        path = pathlib.Path(task.folder, f"{number // _PER_FOLDER:04d}", f"photo_{number:08d}.jpg")
        path.parent.mkdir(exist_ok=True)
        image, settings = task.make(_of_process, number)
        image.save(path, "JPEG", **settings)


class _Textures:
    """The textures of a process, each made when it is first asked for."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, int, float], Image.Image] = {}
        self._zoomed: dict[int, Image.Image] = {}
        self._quality = 0

    def get(self, seed: int, size: int = _TEXTURE, fall: float = _WEB_FALL) -> Image.Image:
        """Returns the texture of a seed, `size` pixels wide and high."""
        key = (seed, size, fall)
        if key not in self._made:
            self._made[key] = Image.fromarray(_texture(*key))
        return self._made[key]

    def zoomed(self, seed: int) -> Image.Image:
        """Returns a texture of twice the size, as of a photograph that was enlarged."""
        if seed not in self._zoomed:
            size = (2 * _TEXTURE, 2 * _TEXTURE)
            self._zoomed[seed] = self.get(seed).resize(size, Image.Resampling.BICUBIC)
        return self._zoomed[seed]

    def quality(self) -> int:
        """Returns the quality at which a crop has about 50 KB."""
        if not self._quality:
            self._quality = _quality(self.get(0, fall=_ALIKE_FALL))
        return self._quality


_of_process = _Textures()


def _alike(textures: _Textures, number: int) -> tuple[Image.Image, dict[str, Any]]:
    rng = np.random.default_rng(1_000_000 + number)
    left, top = (int(x) for x in rng.integers(0, _TEXTURE - max(_SIZE), 2))
    crop = textures.get(number % 4, fall=_ALIKE_FALL).crop(
        (left, top, left + _SIZE[0], top + _SIZE[1])
    )
    return crop, {"quality": textures.quality()}


def _of_the_web(textures: _Textures, number: int) -> tuple[Image.Image, dict[str, Any]]:
    chance = random.Random(f"web {number}")
    sizes, weights = zip(*_WEB_MEGAPIXELS, strict=True)
    (base,) = chance.choices(sizes, weights)
    pixels = base * math.exp(chance.gauss(0, _SPREAD)) * 1e6
    across, down = chance.choice(_ASPECTS)
    if chance.random() < 0.35:
        across, down = down, across
    width = round(math.sqrt(pixels * across / down))
    height = round(width * down / across)
    enlarged = chance.random() < 0.5 or max(width, height) > _TEXTURE
    texture = textures.zoomed(number % 2) if enlarged else textures.get(number % 2)
    image = _crop(texture, width, height, chance)
    settings: dict[str, Any] = {
        "quality": chance.randint(*_QUALITIES),
        "subsampling": chance.choice(_SUBSAMPLING),
        "progressive": chance.random() < _PROGRESSIVE,
        "optimize": chance.random() < _OPTIMISED,
    }
    if chance.random() < _GRAY:
        image = image.convert("L")
    if chance.random() < _EXIF:
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = chance.choice(_ORIENTATIONS), f"Maker {number % 9}"
        settings["exif"] = exif.tobytes()
    return image, settings


def _large(textures: _Textures, number: int) -> tuple[Image.Image, dict[str, Any]]:
    chance = random.Random(f"large {number}")
    # Details down to one pixel: an enlarged texture would decode faster than photographs do.
    image = _crop(textures.get(0, 2 * _TEXTURE, _LARGE_FALL), *_LARGE, chance)
    return image, {"quality": chance.randint(85, 93), "subsampling": 2}


def _crop(texture: Image.Image, width: int, height: int, chance: random.Random) -> Image.Image:
    left = chance.randint(0, texture.width - width)
    top = chance.randint(0, texture.height - height)
    crop = texture.crop((left, top, left + width, top + height))
    flip = chance.choice((None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180))
    return crop if flip is None else crop.transpose(flip)


def _texture(seed: int, size: int, fall: float) -> np.ndarray:
    """Returns pixels with detail at every scale, as photographs have: shape (size, size, 3)."""
    random = np.random.default_rng(seed)
    total = np.zeros((size, size, 3), np.float32)
    cells = 4
    while cells <= size:
        noise = random.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        layer = Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)
        total += (np.asarray(layer, np.float32) - 127.5) / cells**fall
        cells *= 2
    total -= total.min()
    return (total * (255 / total.max())).astype(np.uint8)


def _quality(texture: Image.Image) -> int:
    """Returns the quality at which a crop has about 50 KB."""
    crop = texture.crop((0, 0, *_SIZE))
    for quality in range(60, 97):
        buffer = io.BytesIO()
        crop.save(buffer, "JPEG", quality=quality)
        if buffer.tell() >= _TARGET:
            return quality
    return 96
