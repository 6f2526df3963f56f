"""Shards for tests of indexes, and readers of the formats that share nothing with the package."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import tarfile

from support.tars import make_tar

from beam_export.index_kinds import KINDS
from beam_export.shards.indexes.shard import ShardIndexer, index_tar

#: What NVIDIA's `wds2idx` of DALI 2.4.0 made of a tar with two samples.
BY_HAND = (
    b"v1.2 2\n"
    b"jpg 512 631 000000.jpg json 2048 8 000000.json txt 3072 5 000000.txt\n"
    b"jpg 4096 512 a/b/000001.jpg\n"
)
MEMBERS = (
    ("000000.jpg", bytes(631)),
    ("000000.json", b'{"a": 1}'),
    ("000000.txt", b"a cat"),
    ("a/b/000001.jpg", bytes(512)),
)


def indexed(
    *members: tuple[str, bytes], kinds: tuple[str, ...] = KINDS
) -> tuple[bytes, ShardIndexer]:
    """Returns a tar of those members, and what its indexes are made of."""
    tar = make_tar(*members)
    sha256 = hashlib.sha256(tar).hexdigest()
    return tar, index_tar(io.BytesIO(tar), kinds, sha256=sha256)


def members_of(tar: bytes) -> dict[str, list[tuple[str, int, int]]]:
    """Returns (extension, offset, size) of the members of each sample, as Python's tarfile has."""
    found: dict[str, list[tuple[str, int, int]]] = {}
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        for member in opened:
            parts = re.fullmatch(r"((?:.*/|)[^.]+)[.]([^/]*)", member.name)
            assert parts
            found.setdefault(parts[1], []).append((parts[2], member.offset_data, member.size))
    return found


def read_dali(index: bytes) -> dict[str, list[tuple[str, int, int]]]:
    """Returns the same of an index of DALI's, which is split at blanks as its C++ does."""
    version, count, *words = index.decode().split()
    assert version == "v1.2"
    found: dict[str, list[tuple[str, int, int]]] = {}
    for at in range(0, len(words), 4):
        ext, offset, size, name = words[at : at + 4]
        found.setdefault(name.removesuffix(f".{ext}"), []).append((ext, int(offset), int(size)))
    assert len(found) == int(count) == index.count(b"\n") - 1
    return found


def read_energon(index: bytes) -> list[int]:
    """Returns the offsets of an index of Energon's."""
    return [one for (one,) in struct.iter_unpack("<Q", index)]
