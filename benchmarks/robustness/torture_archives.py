"""Makes hostile tars, Parquet files and sidecars for `torture.py`: the same ones on every run.

Each is made into a directory and says what must become of it: how many of its samples are
exported, and which failures are listed under its path.
"""

from __future__ import annotations

import collections
import dataclasses
import gzip
import io
import json
import os
import pathlib
import pickle
import random
import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

__all__ = ["CANARY", "Canary", "Case", "Sizes", "accounted", "damaged", "make_archives"]

#: A pickled member makes this file in the working directory if anything ever loads it.
CANARY = "the-pickle-was-loaded"

_GIB = 1 << 30


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large the bombs are.

    Attributes:
        members: empty members of one tar.
        unpacked: bytes that a compressed tar unpacks to.
        sparse: bytes that a member claims to have, and that a file with holes has.
        levels: of nested JSON.
        rows, value: of a Parquet whose rows all hold one value of a dictionary, and its bytes.
        broken: Parquet files with damaged footers.
    """

    members: int = 250_000
    unpacked: int = 10 * _GIB
    sparse: int = 100 * _GIB
    levels: int = 100_000
    rows: int = 300
    value: int = 10 << 20
    broken: int = 300


@dataclasses.dataclass(frozen=True)
class Case:
    """A hostile file.

    Attributes:
        path: of it.
        exported: its samples that are exported; None for any number.
        failed: its failures by error; None for any that there are, at least one.
    """

    path: pathlib.Path
    exported: int | None
    failed: Mapping[str, int] | None


def make_archives(folder: pathlib.Path, sizes: Sizes, seed: int = 1) -> list[Case]:
    """Makes all of them in new directories, and returns what must become of each.

    Tars are in `tars`, and tables in `tables`: beside tars they would not be read.
    """
    tars, tables = folder / "tars", folder / "tables"
    for one in (tars, tables):
        one.mkdir(parents=True)
    cases = [*_tars(tars, sizes), *_members(tars, sizes), _foreign_beside(tars, sizes)]
    return [*cases, *_tables(tables, sizes), *_broken_tables(tables, sizes.broken, seed)]


def _photo(seed: int = 0, size: int = 24) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def _header(name: str, size: int = 0, kind: bytes = b"0", link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info.tobuf(tarfile.GNU_FORMAT)


def _member(name: str, data: bytes, kind: bytes = b"0") -> bytes:
    return _header(name, len(data), kind) + data + bytes(-len(data) % 512)


def _good(name: str) -> bytes:
    """Returns a good sample, so that there is one before each trap: it must not be lost."""
    return _member(f"{name}/good.jpg", _photo())


_END = bytes(1024)


# Tars as such.


def _tars(folder: pathlib.Path, sizes: Sizes) -> Iterator[Case]:
    path = folder / "size-that-lies.tar"
    path.write_bytes(_good("lies") + _header("lies/x.jpg", sizes.sparse) + bytes(5_000))
    yield Case(path, 1, {"Truncated": 1, "BrokenSource": 1})
    path = folder / "holes.tar"
    path.write_bytes(_good("holes") + _header("holes/x.jpg", sizes.sparse))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + sizes.sparse)
        file.seek(0, os.SEEK_END)
        file.write(_END)
    yield Case(path, 1, {"TooLarge": 1})
    path = folder / "sparse.tar"
    sparse = bytearray(_header("sparse/x.jpg", 512, b"S"))
    sparse[386:410] = b"00000000000\0" + b"00000001000\0"
    sparse[483:495] = struct.pack(">BxxxQ", 0x80, sizes.sparse)
    sparse[148:156] = b"%06o\0 " % (sum(sparse[:148]) + 256 + sum(sparse[156:512]))
    path.write_bytes(_good("sparse") + bytes(sparse) + bytes(512) + _END)
    yield Case(path, 1, {"SparseFile": 1})
    path = folder / "empty-members.tar"
    with path.open("wb") as file:
        file.write(_good("empty"))
        for number in range(sizes.members):
            file.write(_header(f"empty/{number:07d}.txt"))
        file.write(_END)
    yield Case(path, 1, {"NoImage": sizes.members})
    yield _compressed(folder, sizes)
    path = folder / "climbing.tar"
    names = [
        "../../up.jpg",
        "/abs.jpg",
        "a/../../b.jpg",
        "./c.jpg",
        "d\n.jpg",
        "~/e.jpg",
        "f\\g.jpg",
    ]
    path.write_bytes(b"".join(_member(name, _photo()) for name in names) + _END)
    yield Case(path, len(names), {})
    path = folder / "links.tar"
    links = [(b"1", "/etc/passwd"), (b"2", "/etc/passwd"), (b"2", "x2.jpg"), (b"3", ""), (b"6", "")]
    heads = [_header(f"links/x{n}.jpg", 0, *one) for n, one in enumerate(links, 1)]
    path.write_bytes(_good("links") + b"".join(heads) + _END)
    yield Case(path, 1, {"NotAFile": len(links)})


def _compressed(folder: pathlib.Path, sizes: Sizes) -> Case:
    path = folder / "unpacks.tar.gz"
    block = gzip.compress(bytes(64 << 20), mtime=0)
    whole, rest = divmod(sizes.unpacked, 64 << 20)
    start = _good("unpacks") + _header("unpacks/x.jpg", sizes.unpacked)
    # Gzip files that were joined are one file.
    parts = [gzip.compress(start, mtime=0), *[block] * whole]
    path.write_bytes(b"".join([*parts, gzip.compress(bytes(rest) + _END, mtime=0)]))
    limit = 256 << 20
    return Case(path, 1, {"TooLarge" if sizes.unpacked > limit else "UnidentifiedImageError": 1})


# What is in them.


class Canary:
    """Makes a file when its pickle is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.open, (CANARY, os.O_CREAT)


def _members(folder: pathlib.Path, sizes: Sizes) -> Iterator[Case]:
    path = folder / "pickled.tar"
    exts = ("pickle", "pkl", "pyd", "pth", "pt", "npy", "npz", "joblib")
    fields = b"".join(_member(f"pickled/good.{ext}", pickle.dumps(Canary())) for ext in exts)
    path.write_bytes(_good("pickled") + fields + _END)
    yield Case(path, 1, {})
    levels = sizes.levels
    texts = {
        "deep": b"[" * levels + b"]" * levels,
        "object": b'{"a":' * levels + b"1" + b"}" * levels,
        "digits": b'{"n": ' + b"9" * levels + b"}",
        "broken": b'{"a": ',
        "integer": b'{"n": ' + b"9" * 30 + b"}",
        "levels": b'{"n": ' + b"[" * 500 + b"]" * 500 + b"}",
        "float": b'{"n": 1e99999}',
        "wide": json.dumps({"w": "x" * (2 << 20)}).encode(),
    }
    path = folder / "json.tar"
    samples = [
        _member(f"json/{k}.jpg", _photo()) + _member(f"json/{k}.json", v) for k, v in texts.items()
    ]
    path.write_bytes(b"".join(samples) + _END)
    # The one above 1 MiB travels without columns.
    yield Case(path, 2, {"ValueError": 6})
    path = folder / "chunks.tar"
    chunks = {"itxt.png": _png_with_text(100 << 20), "app1.jpg": _jpeg_with_app(100 << 20)}
    heads = {"gigapixel.png": _png_head(1 << 16, 1 << 16), "gigapixel.gif": _GIF_HEAD}
    whole = {**chunks, **heads}
    path.write_bytes(b"".join(_member(f"chunks/{k}", v) for k, v in whole.items()) + _END)
    yield Case(path, None, None)


_GIF_HEAD = b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b";"


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png_head(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IEND", b"")


def _png_with_text(size: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    data = buffer.getvalue()
    return data[:33] + _chunk(b"iTXt", b"a\0\0\0\0\0" + bytes(size)) + data[33:]


def _jpeg_with_app(size: int) -> bytes:
    data = _photo()
    segment = b"\xff\xe1\xff\xff" + b"Exif\0\0" + bytes(65_527)
    return data[:2] + segment * (size // len(segment)) + data[2:]


# Parquet.


def _tables(folder: pathlib.Path, sizes: Sizes) -> Iterator[Case]:
    path = folder / "one-value.parquet"
    # Its stored schema would tell that it is a dictionary; a hostile file does not.
    value = b"\xff\xd8" + bytes(sizes.value)
    indices = pa.array(np.zeros(sizes.rows, np.int32))
    images = pa.DictionaryArray.from_arrays(indices, pa.array([value], pa.binary()))
    ids = [f"value/{number}" for number in range(sizes.rows)]
    _write(path, {"image": images, "id": ids}, dictionary_pagesize_limit=1 << 30)
    yield Case(path, 0, None)
    path = folder / "nulls.parquet"
    nulls = sizes.members // 10
    _write(path, {"image": pa.nulls(nulls, pa.binary())})
    yield Case(path, 0, None)
    good = [_photo(number) for number in range(20)]
    ids = [f"stats/{number}" for number in range(20)]
    path = folder / "statistics-that-lie.parquet"
    _write(path, {"image": good, "id": ids, "score": [float(n) for n in range(20)]})
    data = path.read_bytes()
    # The largest score is 19, and is said to be 0, as the smallest is; in every place.
    path.write_bytes(data.replace(struct.pack("<d", 19.0), struct.pack("<d", 0.0)))
    yield Case(path, 20, {})
    path = folder / "more-rows-than-there-are.parquet"
    _write(path, {"image": good, "id": [f"rows/{number}" for number in range(20)]})
    path.write_bytes(_with_row_count(path.read_bytes(), 20, 2_000_000_000))
    yield Case(path, None, None)


def _foreign_beside(folder: pathlib.Path, sizes: Sizes) -> Case:
    """Makes a tar of one image, and a Parquet of NeMo Curator's form with millions of rows."""
    tar = folder / "images-0123456789ab-000000.tar"
    tar.write_bytes(_member("beside/a.jpg", _photo()) + _END)
    lost = pa.nulls(max(sizes.members, 1_000_000) + 10_000, pa.string())
    names = ("image_id", "tar_file", "member_name", "original_path", "metadata")
    _write(tar.with_suffix(".parquet"), dict.fromkeys(names, lost))
    return Case(tar, 0, {"BrokenSource": 1})


def _write(path: pathlib.Path, columns: Mapping[str, object], **options: object) -> None:
    pq.write_table(pa.table(columns), path, compression="zstd", store_schema=False, **options)


def _with_row_count(data: bytes, before: int, after: int) -> bytes:
    """Returns a Parquet whose footer says another number of rows: zigzag varints of 64 bits."""
    (length,) = struct.unpack("<I", data[-8:-4])
    footer = data[-8 - length : -8].replace(b"\x16" + _zigzag(before), b"\x16" + _zigzag(after))
    return data[: -8 - length] + footer + struct.pack("<I", len(footer)) + b"PAR1"


def _zigzag(value: int) -> bytes:
    value, out = value << 1, bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _broken_tables(folder: pathlib.Path, count: int, seed: int) -> Iterator[Case]:
    """Yields Parquet files whose footers or pages were changed at random."""
    dice = random.Random(seed)
    score = [dice.random() for _ in range(40)]
    tags = [["a"] * (n % 3) for n in range(40)]
    for number in range(count):
        path = folder / "broken" / f"{number:04d}.parquet"
        path.parent.mkdir(exist_ok=True)
        ids = [f"broken/{number}/{row}" for row in range(40)]
        images = [_photo(row, 8) for row in range(40)]
        columns = {"image": images, "id": ids, "score": score, "tags": tags}
        _write(path, columns, row_group_size=dice.choice([7, 40]), use_dictionary=number % 2 == 0)
        path.write_bytes(damaged(path.read_bytes(), dice))
        yield Case(path, None, None)


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Returns a Parquet with some bytes of its footer, or of any part, changed."""
    changed = bytearray(data)
    (length,) = struct.unpack("<I", data[-8:-4])
    first = dice.choice([4, len(data) - 8 - length])
    for _ in range(dice.choice([1, 1, 2, 8])):
        at = dice.randrange(first, len(data) - 8)
        changed[at] = dice.choice([changed[at] ^ 1 << dice.randrange(8), dice.randrange(256), 0xFF])
    return bytes(changed)


def accounted(
    cases: Iterable[Case], found: Mapping[str, list[str]]
) -> tuple[list[str], dict[str, dict[str, int]]]:
    """Holds what was found against what must be.

    Args:
        cases: as `make_archives` returns them.
        found: of each `original_path`, `exported` or the failure's error.

    Returns:
        What is wrong, a line each, and by case how often each outcome came.
    """
    wrong, counts = [], {}
    for case in cases:
        own: collections.Counter[str] = collections.Counter()
        for path, outcomes in found.items():
            if path == str(case.path) or path.startswith(f"{case.path}#"):
                own.update(outcomes)
        exported = own.pop("exported", 0)
        counts[case.path.name] = {"exported": exported, **dict(sorted(own.items()))}
        if case.exported is not None and exported != case.exported:
            wrong.append(f"{case.path.name}: {counts[case.path.name]}, not {case.exported}")
        if case.failed is not None and dict(own) != dict(case.failed):
            wrong.append(f"{case.path.name}: failed {dict(own)}, not {dict(case.failed)}")
        if not exported and not own:
            wrong.append(f"{case.path.name}: nothing is known of it")
    return wrong, counts
