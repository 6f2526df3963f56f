"""Indexes of tars that others made: they spare the walk over the headers.

Nothing in an index is taken on trust that a few reads can tell; whatever is wrong with it ends in
an `TarIndexError`, and the tar has to be walked.
"""

from __future__ import annotations

import re
from typing import BinaryIO, NamedTuple

from beam_export.sources.tar.headers import BLOCK
from beam_export.sources.tar.walk import TarMember, TarNote, walk
from beam_export.sources.tar.webdataset import split_member

__all__ = ["TarIndexError", "dali_members"]

#: Larger indexes are refused: they are held as a whole. This is some 10^6 samples.
_MAX_INDEX = 1 << 28
_FIRST_LINE = re.compile(rb"v1\.([12]) ([0-9]{1,12})")
_NUMBER = re.compile(r"[0-9]{1,19}")


class TarIndexError(Exception):
    """An index cannot be used; the text says why, in one clause."""


class _Gap(NamedTuple):
    """What lies between the end of one member's data and the data of the next."""

    start: int
    member: TarMember

    @property
    def size(self) -> int:
        """Bytes, the member's own header among them."""
        return self.member.offset - self.start


def dali_members(index: BinaryIO, tar: BinaryIO, size: int) -> list[TarMember]:
    """Returns the members that an index by DALI's `wds2idx` lists, in order.

    The format is that of DALI 2.4.0 (`tools/wds2idx.py`): a line `v1.2 SAMPLES`, then a line a
    sample with `EXT OFFSET SIZE NAME` for each of its members. All offsets are held against each
    other and against the tar's size. Headers are read of the first and the last member, and once
    for each distance between members, so that no member is passed by; the offsets that `wds2idx`
    gives for long names of GNU tar are wrong, and stand out by their distance.

    Args:
        index: the `.idx` file.
        tar: the uncompressed tar, which can seek.
        size: bytes of the tar.

    Raises:
        TarIndexError: if the index is not one, is not of this tar, or is of version 1.1, which has
            no names.
        OSError: if a file cannot be read at present.
    """
    members = _parse(index.read(_MAX_INDEX + 1))
    gaps = _gaps(members, size)
    checked: set[int] = set()
    for gap in gaps:
        ends = gap is gaps[0] or gap is gaps[-1]
        if ends or gap.size not in checked:
            if next(walk(tar, size, start=gap.start), None) != gap.member:
                raise TarIndexError(f"the tar has no such member at {gap.member.offset}")
            checked.add(gap.size)
    end = _padded(members[-1].offset + members[-1].size)
    if any(not isinstance(item, TarNote) for item in walk(tar, size, start=end)):
        raise TarIndexError("the tar goes on after the last member of the index")
    return members


def _parse(data: bytes) -> list[TarMember]:
    if len(data) > _MAX_INDEX:
        raise TarIndexError(f"it has more than {_MAX_INDEX} bytes")
    first, _, rest = data.partition(b"\n")
    found = _FIRST_LINE.fullmatch(first)
    if found is None:
        raise TarIndexError("it does not begin with the version of an index of DALI")
    if found[1] == b"1":
        raise TarIndexError("an index of version 1.1 has no names of members")
    lines = rest.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n")
    if len(lines) != int(found[2]):
        raise TarIndexError(f"it lists {len(lines)} samples and says {int(found[2])}")
    return [member for line in lines for member in _parse_line(line)]


def _parse_line(line: str) -> list[TarMember]:
    words = line.split(" ")
    if len(words) % 4:
        raise TarIndexError("a line of it is not made of extension, offset, size and name")
    return [_parse_member(*words[at : at + 4]) for at in range(0, len(words), 4)]


def _parse_member(ext: str, offset: str, size: str, name: str) -> TarMember:
    if not _NUMBER.fullmatch(offset) or not _NUMBER.fullmatch(size):
        raise TarIndexError("an offset or a size in it is not a number")
    split = split_member(name)
    # `tar --list`, which wds2idx reads, writes odd bytes of names as `\303`.
    if split is None or split[1] != ext or "\\" in name:
        raise TarIndexError("a name in it does not have its extension, or is not a plain one")
    return TarMember(name, int(offset), int(size))


def _gaps(members: list[TarMember], size: int) -> list[_Gap]:
    """Returns what lies before each member.

    Raises:
        TarIndexError: if the members do not lie one after the other in whole blocks of the file.
    """
    gaps = []
    end = 0
    for member in members:
        if member.offset % BLOCK or member.offset < end + BLOCK:
            raise TarIndexError(f"the offset {member.offset} in it is wrong")
        gaps.append(_Gap(end, member))
        end = _padded(member.offset + member.size)
    if members[-1].offset + members[-1].size > size:
        raise TarIndexError(f"it goes beyond the {size} bytes of the tar")
    return gaps


def _padded(end: int) -> int:
    return end + -end % BLOCK
