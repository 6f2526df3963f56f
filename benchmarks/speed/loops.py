"""Bare loops on all cores, to hold an export against: no Beam, no checks, no failures.

    python benchmarks/speed/loops.py copy SOURCE OUT
    python benchmarks/speed/loops.py encode SOURCE [--keep_blocks]
    python benchmarks/speed/loops.py resize SOURCE [--thumbnail]

`copy` writes what an export of the same folder writes: tars with the same bytes, a Parquet beside
each, SHA-256 of images and tars, all of it on the disk at the end. The others write nothing.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import json
import multiprocessing
import os
import pathlib
from typing import BinaryIO, NamedTuple

from PIL import Image

_PER_SHARD = 1000
_BLOCK = 512
_BUFFER = 4 << 20
_SIDE = 512


class _File(NamedTuple):
    """A JPEG below the source: its path from there, and its size in bytes."""

    name: str
    path: str
    size: int


def find_files(source: str) -> list[_File]:
    """Returns the JPEGs below a folder, sorted by their paths."""
    found: list[_File] = []
    folders = [source]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.path)
                elif entry.name.endswith(".jpg"):
                    name = os.path.relpath(entry.path, source)
                    found.append(_File(name, entry.path, entry.stat().st_size))
    return sorted(found)


# Copying.

_BEFORE_SIZE = b"0000644\0" + 2 * b"0000000\0"
_MTIME = b"00000000000\0"
_AFTER_SUM = (b"0" + bytes(100) + b"ustar\0" + b"00" + bytes(64) + 2 * b"0000000\0").ljust(
    356, b"\0"
)
_FIXED_SUM = sum(_BEFORE_SIZE + _MTIME + _AFTER_SUM) + 8 * ord(" ")


def tar_header(name: str, size: int) -> bytes:
    """Returns the header of a member (POSIX.1-2017, pax, "ustar Interchange Format")."""
    field, digits = name.encode("ascii"), b"%011o" % size
    total = _FIXED_SUM + sum(field) + sum(digits)
    start = field.ljust(100, b"\0") + _BEFORE_SIZE + digits + b"\0" + _MTIME
    return start + b"%06o\0 " % total + _AFTER_SUM


def jpeg_size(data: memoryview) -> tuple[int, int]:
    """Returns width and height of a JPEG (ITU-T T.81, B.2.2: the first frame header)."""
    at = 2
    while True:
        marker, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return data[at + 7] << 8 | data[at + 8], data[at + 5] << 8 | data[at + 6]
        at += 2 + length


class _Tar:
    """A tar that is made in one buffer, which is hashed and written whenever it is full."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._sum = file, hashlib.sha256()
        self._buffer = memoryview(bytearray(_BUFFER))
        self._held = self._written = 0

    def add(self, file: _File) -> tuple[int, memoryview]:
        """Reads a file to its place; returns its offset in the tar, and its bytes."""
        padding = -file.size % _BLOCK
        whole = _BLOCK + file.size + padding
        if self._held + whole > len(self._buffer):
            self._flush()
        if whole > len(self._buffer):
            self._buffer = memoryview(bytearray(whole))
        at, start = self._held, self._held + _BLOCK
        self._buffer[at:start] = tar_header(file.name, file.size)
        data = self._buffer[start : start + file.size]
        source = os.open(file.path, os.O_RDONLY)
        try:
            if os.readv(source, [data]) != file.size:
                raise OSError(f"{file.path} has changed")
        finally:
            os.close(source)
        self._buffer[start + file.size : at + whole] = bytes(padding)
        self._held = at + whole
        return self._written + start, data

    def close(self) -> str:
        """Writes the end of the archive; returns the tar's sum."""
        self._flush()
        self._buffer[: 2 * _BLOCK] = bytes(2 * _BLOCK)
        self._held = 2 * _BLOCK
        self._flush()
        _sync(self._file)
        return self._sum.hexdigest()

    def _flush(self) -> None:
        part = self._buffer[: self._held]
        self._sum.update(part)
        self._file.write(part)
        self._written += self._held
        self._held = 0


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def write_shard(out: str, task: tuple[int, list[_File]]) -> str:
    """Writes one tar and its Parquet; returns the tar's sum."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number, files = task
    tar_name = f"images-{number:06d}.tar"
    columns: dict[str, list[object]] = {name: [] for name in _COLUMNS}
    with open(f"{out}/{tar_name}", "wb", buffering=0) as file:
        tar = _Tar(file)
        for one in files:
            offset, data = tar.add(one)
            digest = hashlib.sha256(data).hexdigest()
            size = (offset, one.size, *jpeg_size(data))
            stem = one.name.removesuffix(".jpg")
            row = (stem, tar_name, one.name, one.path, *size, digest, digest, "copied")
            for name, value in zip(_COLUMNS, row, strict=True):
                columns[name].append(value)
        digest = tar.close()
    with open(f"{out}/images-{number:06d}.parquet", "wb") as file:
        pq.write_table(pa.table(columns), file, compression="zstd")
        _sync(file)
    return digest


_COLUMNS = (
    *("image_id", "tar_file", "member_name", "original_path", "offset", "size", "width", "height"),
    *("sha256", "source_sha256", "encoding"),
)


def copy(source: str, out: str) -> None:
    """Exports the JPEGs below a folder, 1000 per shard; the tars' sums go into `sums.json`."""
    files = find_files(source)
    tasks = [
        (at // _PER_SHARD, files[at : at + _PER_SHARD]) for at in range(0, len(files), _PER_SHARD)
    ]
    with multiprocessing.Pool() as pool:
        sums = pool.map(functools.partial(write_shard, out), tasks, chunksize=1)
        pool.close()
        pool.join()
    pathlib.Path(out, "sums.json").write_text(json.dumps(sums))


# Encoding and resizing.


def encode_one(path: str) -> int:
    """Decodes and encodes a JPEG as people write it; returns its size."""
    with Image.open(path) as image:
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=92, subsampling="4:2:0")
    return buffer.tell()


def resize_one(path: str, thumbnail: bool) -> int:
    """Resizes a JPEG to a longest side of 512, as people write it; returns its size."""
    with Image.open(path) as image:
        if thumbnail:
            image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
            resized = image.convert("RGB")
        else:
            scale = _SIDE / max(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            resized = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        resized.save(buffer, "JPEG", quality=92, subsampling="4:2:0")
    return buffer.tell()


def keep_blocks(wanted: bool) -> None:
    """Has Pillow keep the memory of images for the next ones, if that is wanted."""
    if wanted:
        Image.core.set_blocks_max(8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["copy", "encode", "resize"])
    parser.add_argument("source")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--keep_blocks", action="store_true", help="Pillow keeps memory")
    parser.add_argument("--thumbnail", action="store_true", help="Image.thumbnail, not resize")
    given = parser.parse_args()
    if given.what == "copy":
        copy(given.source, given.out)
        return
    work = encode_one
    if given.what == "resize":
        work = functools.partial(resize_one, thumbnail=given.thumbnail)
    paths = [file.path for file in find_files(given.source)]
    with multiprocessing.Pool(initializer=keep_blocks, initargs=(given.keep_blocks,)) as pool:
        for _ in pool.imap_unordered(work, paths, chunksize=max(1, min(32, len(paths) // 16))):
            pass
        pool.close()
        pool.join()


if __name__ == "__main__":
    main()
