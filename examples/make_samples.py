"""Makes a small dataset to try an export on: about 48 pictures as people have them.

A folder per class, captions beside the pictures, scores in a `metadata.csv`, and a few files that
are no pictures or that programs have left.

usage: python examples/make_samples.py DIR [--with-broken]

Everything is computed: landscapes, clouds, plasma, cells, Julia sets and shapes, most as JPEG of
several qualities, and one of each format that needs special care.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

Array = np.ndarray
Painter = Callable[[np.random.Generator, int, int], Array]

SIZES = [(320, 240), (240, 320), (400, 300), (512, 512), (640, 360), (199, 301)]
QUALITIES = [95, 90, 80, 60]
EXIF_ORIENTATION = 0x0112


def grid(width: int, height: int) -> tuple[Array, Array]:
    """Returns x and y of every pixel, 0 to 1 along the longer side; shapes (H, W)."""
    y, x = np.mgrid[:height, :width] / max(width, height)
    return x, y


def blend(t: Array, colours: Array) -> Array:
    """Maps values of 0 to 1, shape (H, W), to colours of a scale of shape (N, 3): (H, W, 3)."""
    stops = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(t, stops, colours[:, channel]) for channel in range(3)], axis=-1)


def palette(rng: np.random.Generator, count: int) -> Array:
    """Returns colours from dark to light, shape (count, 3), 0 to 255."""
    colours = rng.uniform(20, 235, (count, 3))
    return colours[np.argsort(colours.sum(axis=1))]


def noise(rng: np.random.Generator, width: int, height: int) -> Array:
    """Returns fractal noise of 0 to 1, shape (H, W): six octaves of smoothed random grids."""
    total = np.zeros((height, width))
    for octave in range(6):
        cells = 2 ** (octave + 1)
        coarse = Image.fromarray(rng.random((cells, cells)).astype(np.float32))
        smooth = coarse.resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(smooth) / 2**octave
    return (total - total.min()) / np.ptp(total)


def landscape(rng: np.random.Generator, width: int, height: int) -> Array:
    """Paints ranges of hills before a sunset, the nearer the darker."""
    x, y = grid(width, height)
    sky = palette(rng, 3)
    picture = blend(y / y.max(), sky)
    sun = np.hypot(x - rng.uniform(0.2, 0.8) * x.max(), y - 0.35 * y.max())
    picture += 120 * np.exp(-60 * sun**2)[..., None]
    for layer in range(5):
        ridge = noise(rng, width, 64)[32] * 0.3 * height + (0.35 + 0.12 * layer) * height
        hill = np.arange(height)[:, None] > ridge[None, :]
        picture[hill] = sky[0] * (1 - layer / 5) + sky[2] * 0.3 * (1 - layer / 5)
    return picture


def clouds(rng: np.random.Generator, width: int, height: int) -> Array:
    """Paints fractal noise, folded by itself."""
    folded = np.abs(noise(rng, width, height) * 2 - 1) * noise(rng, width, height)
    return blend(folded / folded.max(), palette(rng, 5))


def plasma(rng: np.random.Generator, width: int, height: int) -> Array:
    """Paints sums of waves from several places, one sum a channel."""
    x, y = grid(width, height)
    channels = []
    for _ in range(3):
        centres = rng.uniform(0, 1, (4, 2))
        waves = [np.sin(rng.uniform(8, 40) * np.hypot(x - cx, y - cy)) for cx, cy in centres]
        channels.append(127.5 + 31.8 * sum(waves))
    return np.stack(channels, axis=-1)


def cells(rng: np.random.Generator, width: int, height: int) -> Array:
    """Paints a Voronoi diagram whose cells grow dark towards their borders."""
    x, y = grid(width, height)
    points = rng.uniform(0, 1, (40, 2)) * [x.max(), y.max()]
    far = np.stack([np.hypot(x - px, y - py) for px, py in points])
    nearest = np.sort(far, axis=0)[:2]
    shade = np.clip((nearest[1] - nearest[0]) * 25, 0.1, 1)
    return rng.uniform(60, 255, (40, 3))[far.argmin(axis=0)] * shade[..., None]


def julia(rng: np.random.Generator, width: int, height: int) -> Array:
    """Paints a Julia set by the number of steps until a point escapes."""
    x, y = grid(width, height)
    z = 3 * (x - x.max() / 2) + 3j * (y - y.max() / 2)
    c = 0.7885 * np.exp(1j * rng.uniform(0, 2 * np.pi))
    steps = np.zeros(z.shape)
    for _ in range(60):
        inside = np.abs(z) < 2
        z[inside] = z[inside] ** 2 + c
        steps += inside
    return blend(np.sqrt(steps / 60), palette(rng, 6))


def shapes(rng: np.random.Generator, width: int, height: int) -> Array:
    """Paints discs and boxes over each other, at four times the size, so that edges are smooth."""
    big = Image.new("RGB", (4 * width, 4 * height), tuple(palette(rng, 4)[3].astype(int)))
    draw = ImageDraw.Draw(big)
    for _ in range(24):
        left, top = rng.uniform(-0.1, 0.9, 2) * big.size
        size = rng.uniform(0.05, 0.35) * min(big.size)
        box = (left, top, left + size, top + size * rng.uniform(0.6, 1.4))
        colour = tuple(rng.integers(0, 256, 3).tolist())
        if rng.random() < 0.6:
            draw.ellipse(box, fill=colour)
        else:
            draw.rectangle(box, fill=colour)
    return np.asarray(big.resize((width, height), Image.Resampling.LANCZOS), dtype=float)


PAINTERS: dict[str, tuple[Painter, str]] = {
    "nature/hills": (landscape, "hills before a sunset"),
    "nature/clouds": (clouds, "clouds in several colours"),
    "abstract/plasma": (plasma, "waves that run through each other"),
    "abstract/cells": (cells, "a mosaic of dark-edged cells"),
    "abstract/julia": (julia, "a Julia set"),
    "abstract/shapes": (shapes, "discs and boxes over each other"),
}


def paint(painter: Painter, seed: list[int], size: tuple[int, int]) -> Image.Image:
    """Returns the RGB picture of that seed; size is (width, height)."""
    pixels = painter(np.random.default_rng(seed), *size)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def save_series(root: Path) -> list[dict[str, object]]:
    """Saves seven JPEGs of each painter with captions; returns a row of scores for each."""
    rows: list[dict[str, object]] = []
    for kind, (name, (painter, caption)) in enumerate(PAINTERS.items()):
        for number in range(7):
            picture = paint(painter, [kind, number], SIZES[(kind + number) % len(SIZES)])
            path = root / name / f"{number:03d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path, quality=QUALITIES[number % 4], progressive=number % 3 == 2)
            path.with_suffix(".txt").write_text(f"{caption}, number {number}\n", encoding="utf-8")
            rows.append({"file_name": path.relative_to(root).as_posix(), **scores_of(picture)})
    return rows


def scores_of(picture: Image.Image) -> dict[str, object]:
    """Returns what a model could say of a picture."""
    pixels = np.asarray(picture, dtype=float)
    return {
        "aesthetic_score": round(min(1.0, pixels.std() / 80), 4),
        "brightness": round(pixels.mean() / 255, 4),
    }


def save_metadata(root: Path, rows: list[dict[str, object]]) -> None:
    """Saves scores as Hugging Face's imagefolder has them: a column `file_name`, then the rest."""
    with (root / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def save_odd_files(root: Path) -> None:
    """Saves what lies about in folders of pictures: notes, and files that programs hide."""
    (root / "notes.md").write_text("# Where these come from\n\nComputed.\n", encoding="utf-8")
    (root / "nature" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (root / "nature" / "hills" / "._000.jpg").write_bytes(b"\x00\x05\x16\x07")
    backup = root / ".thumbnails" / "000.jpg"
    backup.parent.mkdir(exist_ok=True)
    paint(clouds, [0], (32, 24)).save(backup)


def save_formats(root: Path) -> int:
    """Saves one picture of each format that is not copied as it is, each with a caption."""
    folder = root / "formats"
    folder.mkdir(parents=True, exist_ok=True)
    hills, waves, discs = (
        paint(painter, [99], (360, 240)) for painter in (landscape, plasma, shapes)
    )
    cut_out = discs.convert("RGBA")
    cut_out.putalpha(Image.radial_gradient("L").resize(discs.size).point(lambda value: 255 - value))
    cut_out.save(folder / "alpha.png")
    hills.save(folder / "webp.webp", quality=85)
    steps = [waves.rotate(10 * step).quantize(64) for step in range(3)]
    steps[0].save(folder / "animation.gif", save_all=True, append_images=steps[1:], duration=200)
    deep = noise(np.random.default_rng(7), 360, 240) * 65535
    Image.fromarray(deep.astype(np.uint16)).save(folder / "gray-16-bit.png")
    waves.convert("CMYK").save(folder / "cmyk.jpg", quality=90)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    hills.transpose(Image.Transpose.ROTATE_90).save(folder / "rotated.jpg", quality=90, exif=exif)
    pictures = [path for path in folder.iterdir() if path.suffix != ".txt"]
    for path in pictures:
        caption = path.stem.replace("-", " ")
        path.with_suffix(".txt").write_text(f"{caption}\n", encoding="utf-8")
    return len(pictures)


def save_broken(root: Path) -> int:
    """Saves the first half of a JPEG, as a broken download leaves it."""
    whole = io.BytesIO()
    paint(clouds, [123], (320, 240)).save(whole, "JPEG", quality=90)
    folder = root / "broken"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "truncated.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    return 1


def main() -> None:
    """Reads the command line and makes the dataset."""
    parser = argparse.ArgumentParser(description="Makes a small dataset to try an export on.")
    parser.add_argument("dir", type=Path, help="where to put the pictures; made if missing")
    parser.add_argument(
        "--with-broken",
        action="store_true",
        help="adds a truncated JPEG: an export needs --max_failed_fraction 0.05 to go on",
    )
    args = parser.parse_args()
    rows = save_series(args.dir)
    save_metadata(args.dir, rows)
    save_odd_files(args.dir)
    count = len(rows) + save_formats(args.dir)
    if args.with_broken:
        count += save_broken(args.dir)
    print(f"{count} pictures in {args.dir}")


if __name__ == "__main__":
    main()
