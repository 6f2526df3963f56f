"""Cuts samples out of a range of a tar of ours, and checks each against its row.

A header of our dialect follows from the name and size of its member (`shards.tar.header`), so that
any other 512 bytes are damage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from beam_export.shards.tar import header
from beam_export.tar_blocks import BLOCK, whole_blocks

__all__ = ["DamagedSampleError", "SamplePlace", "key_in", "members_in"]


class DamagedSampleError(Exception):
    """A sample in a tar is not what its row says; the text says how, in one clause."""


class SamplePlace(NamedTuple):
    """Where a sample lies in its tar, as the rows of the shard's Parquet say.

    Attributes:
        member: name of the image's member.
        offset, size: of the image's bytes.
        end: offset behind the last member of the sample.
        sha256: hex, of the image's bytes.
    """

    member: str
    offset: int
    size: int
    end: int
    sha256: str

    @property
    def start(self) -> int:
        """Offset of the header of the image, which is the first member."""
        return self.offset - BLOCK


def key_in(member: str) -> str:
    """Returns the key in a member's name: all before the first dot behind the last slash.

    >>> key_in("cats.v2/000123.seg.png")
    'cats.v2/000123'
    """
    folder, slash, name = member.rpartition("/")
    return folder + slash + name.partition(".")[0]


def members_in(data: bytes | memoryview, place: SamplePlace) -> dict[str, bytes]:
    """Returns the members of a sample by their extensions, the image first.

    Args:
        data: what the tar holds from `place.start` to `place.end`.
        place: of the sample.

    Raises:
        DamagedSampleError: if that is not what was written.
    """
    if len(data) != place.end - place.start:
        raise DamagedSampleError("its tar ends within it")
    start = len(key_in(place.member)) + 1
    found = {name[start:]: content for name, content in _walk(data, place)}
    image = found[place.member[start:]]
    if hashlib.sha256(image).hexdigest() != place.sha256:
        raise DamagedSampleError("the bytes of its image have changed")
    return found


def _walk(data: bytes | memoryview, place: SamplePlace) -> Iterator[tuple[str, bytes]]:
    """Yields name and content of each member."""
    prefix = f"{key_in(place.member)}."
    at = 0
    while at < len(data):
        name, size = _header(bytes(data[at : at + BLOCK]))
        begin, at = at + BLOCK, at + BLOCK + whole_blocks(size)
        expected = name.startswith(prefix) if begin > BLOCK else name == place.member
        if not expected or at > len(data) or (begin == BLOCK and size != place.size):
            raise DamagedSampleError("its tar has another member in its place")
        yield name, bytes(data[begin : begin + size])


def _header(block: bytes) -> tuple[str, int]:
    """Returns name and size of the member whose header it is."""
    try:
        name = block[:100].rstrip(b"\0").decode("ascii")
        size = int(block[124:135], 8)
        whole = header(name, size) == block
    except ValueError:
        whole = False
    if not whole:
        raise DamagedSampleError("its tar has no header where a member begins")
    return name, size
