"""Makes odd and broken files for `torture.py`: the same ones on every run."""

from __future__ import annotations

import io
import json
import os
import pathlib
import pickle
import random
import struct
import tarfile
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from benchmarks.robustness.torture_archives import Canary

__all__ = ["make_files", "unpack_images"]

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".avif")
_MOST_BYTES = 3 << 20


def unpack_images(sdist: pathlib.Path, folder: pathlib.Path) -> int:
    """Writes the test images of a source package flat into `folder`; returns how many."""
    folder.mkdir(parents=True)
    count = 0
    with tarfile.open(sdist) as tar:
        for member in tar:
            suffix = pathlib.PurePosixPath(member.name).suffix.lower()
            if member.isfile() and "/Tests/" in member.name and suffix in _SUFFIXES:
                source = tar.extractfile(member)
                assert source is not None
                name = f"{count:04d}-{pathlib.PurePosixPath(member.name).name}"
                (folder / name).write_bytes(source.read())
                count += 1
    return count


def make_files(folder: pathlib.Path, photos: pathlib.Path | None, count: int, seed: int) -> None:
    """Writes `count` damaged images into `folder`, and some dozen traps beside them.

    Args:
        folder: new directory.
        photos: directory of images to damage; None for made ones.
        count: how many damaged images.
        seed: of the damage.
    """
    dice = random.Random(seed)
    folder.mkdir(parents=True)
    whole = _photographs(photos, dice) if photos else [*_made_images()]
    for number in range(count):
        suffix, data = whole[number % len(whole)]
        kind = _DAMAGES[number // len(whole) % len(_DAMAGES)]
        name = f"{number:05d}-{kind.__name__.strip('_')}{suffix}"
        (folder / name).write_bytes(kind(data, dice))
    for name, data in _traps(dice):
        path = folder / "traps" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    _make_links(folder / "links", folder / "traps" / "good.jpg")


def _photographs(photos: pathlib.Path, dice: random.Random) -> list[tuple[str, bytes]]:
    """Returns small images of every suffix."""
    found: list[tuple[str, bytes]] = []
    for suffix in _SUFFIXES:
        paths = sorted(photos.rglob(f"*{suffix}"))
        small = [path for path in paths if path.stat().st_size <= _MOST_BYTES]
        chosen = dice.sample(small, min(8, len(small)))
        found += [(suffix, path.read_bytes()) for path in chosen]
    return found


def _made_images() -> Iterator[tuple[str, bytes]]:
    texture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    rgb = Image.fromarray(texture).resize((320, 240), Image.Resampling.BICUBIC)
    alpha = rgb.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(rgb.size))
    for suffix, kind, im in (
        (".jpg", "JPEG", rgb),
        (".jpeg", "JPEG", rgb.convert("L")),
        (".jpg", "JPEG", rgb.convert("CMYK")),
        (".png", "PNG", alpha),
        (".png", "PNG", rgb.quantize(32)),
        (".webp", "WEBP", alpha),
        (".gif", "GIF", rgb.quantize(64)),
        (".tif", "TIFF", rgb),
        (".bmp", "BMP", rgb),
    ):
        buffer = io.BytesIO()
        im.save(buffer, kind)
        yield suffix, buffer.getvalue()


# Damage: bytes of an image in, other bytes out.


def _whole(data: bytes, dice: random.Random) -> bytes:
    return data


def _cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def _flipped(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice([1, 1, 4, 20, 200])):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _bad_head(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice([1, 2, 8])):
        changed[dice.randrange(min(200, len(changed)))] = dice.randrange(256)
    return bytes(changed)


def _zeroed(data: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(data))
    length = min(dice.choice([16, 512, 65_536]), len(data) - start)
    return data[:start] + bytes(length) + data[start + length :]


def _hole(data: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(data))
    return data[:start] + data[start + dice.choice([1, 100, 5_000]) :]


def _doubled(data: bytes, dice: random.Random) -> bytes:
    return data + data


def _with_tail(data: bytes, dice: random.Random) -> bytes:
    return data + dice.randbytes(dice.choice([1, 512, 100_000]))


_DAMAGES = (_whole, _cut, _flipped, _bad_head, _zeroed, _hole, _cut, _flipped, _doubled, _with_tail)


# Traps: files that lie, and files that explode.


def _traps(dice: random.Random) -> Iterator[tuple[str, bytes]]:
    good = next(data for _, data in _made_images())
    yield "good.jpg", good
    yield "empty.jpg", b""
    yield "zeros.png", bytes(100_000)
    yield "random.webp", dice.randbytes(50_000)
    yield "text.jpg", b"<html>404 not found</html>"
    yield "a jpeg named.png", good
    yield from (
        ("gigapixel.png", _png(100_000, 100_000, b"")),
        ("wide.png", _png(2**31 - 1, 1, b"")),
        ("bomb-256-mp.png", _png(16_000, 16_001, zlib.compress(bytes(1 << 20)))),
        ("bomb-100-mp.png", _png(10_000, 10_000, _zeros(10_000 * (10_000 + 1)))),
        ("gigapixel.jpg", _with_sof_size(good, 65_500, 65_500)),
        ("gigapixel.gif", b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b";"),
        ("gigapixel.bmp", _bmp(1 << 20, 1 << 20)),
        ("gigapixel.webp", _webp(1 << 14, 1 << 14)),
        ("gigapixel.tif", _tiff(1 << 20, 1 << 20)),
        ("strips.tif", _tiff(4, 4, strip_size=0xFFFFFFF0)),
        ("profile-100-mb.png", _png(8, 8, _zeros(72), [(b"iCCP", b"x\0\0" + _zeros(100 << 20))])),
        ("text-100-mb.png", _png(8, 8, _zeros(72), [(b"zTXt", b"x\0\0" + _zeros(100 << 20))])),
        ("plain-text-100-mb.png", _png(8, 8, _zeros(72), [(b"tEXt", b"x\0" + bytes(100 << 20))])),
        ("comments-60-mb.jpg", good[:2] + b"\xff\xfe\xff\xff" * 1 + bytes(65_533) + good[2:]),
        ("many-comments.jpg", good[:2] + (b"\xff\xfe\xff\xff" + bytes(65_533)) * 900 + good[2:]),
        ("scans.jpg", _many_scans(300)),
    )
    yield from _sidecars(good)


def _sidecars(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Yields images whose sidecars are the trap."""
    trap = {"__reduce__": "never loaded"}
    for stem, suffix, data in (
        ("deep", ".json", b"[" * 200_000 + b"]" * 200_000),
        ("deep-object", ".json", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        ("not", ".json", b"{not json"),
        ("huge", ".json", json.dumps({"text": "x" * (20 << 20)}).encode()),
        ("numbers", ".json", b'{"big": ' + b"9" * 5_000 + b', "nan": NaN, "inf": 1e999}'),
        ("latin", ".json", '{"name": "caf\xe9"}'.encode("latin-1")),
        ("surrogate", ".json", b'{"name": "\\ud800"}'),
        ("pickled", ".pkl", pickle.dumps(Canary())),
        ("pickled-too", ".pyd", pickle.dumps(trap)),
        ("text", ".txt", b"\xff\xfe\x00"),
    ):
        yield f"sidecar-{stem}.jpg", good
        yield f"sidecar-{stem}{suffix}", data


def _zeros(count: int) -> bytes:
    """Returns `count` zeros, deflated: a thousandth of it."""
    squeeze = zlib.compressobj(9)
    parts = [squeeze.compress(bytes(min(1 << 24, count - at))) for at in range(0, count, 1 << 24)]
    return b"".join([*parts, squeeze.flush()])


def _png(width: int, height: int, data: bytes, before: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Returns an 8-bit gray PNG with right checksums (PNG specification, part 5)."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), *before, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def _with_sof_size(data: bytes, width: int, height: int) -> bytes:
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def _bmp(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def _webp(width: int, height: int) -> bytes:
    sizes = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4) + sizes
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _tiff(width: int, height: int, strip_size: int = 16) -> bytes:
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
    entries += [(273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, strip_size)]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4)


def _many_scans(count: int) -> bytes:
    """Returns a progressive JPEG whose last scan comes `count` times more."""
    im = Image.effect_noise((512, 512), 64).convert("RGB")
    buffer = io.BytesIO()
    im.save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + data[-2:]


def _make_links(folder: pathlib.Path, target: pathlib.Path) -> None:
    """Makes what is no plain file: links that loop, lead nowhere and out, a pipe, a directory."""
    folder.mkdir()
    (folder / "to-itself.jpg").symlink_to("to-itself.jpg")
    (folder / "to-nowhere.jpg").symlink_to("nowhere.jpg")
    (folder / "to-a-good-one.jpg").symlink_to(os.path.relpath(target, folder))
    (folder / "up").symlink_to("..")
    (folder / "device.jpg").symlink_to("/dev/zero")
    (folder / "directory.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
