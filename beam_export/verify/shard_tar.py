"""Checks a tar of ours byte by byte: each header must be the very one that the writer makes.

The dialect is that of format.md, part 4.1: strict ustar, nothing between the members and nothing
behind the two zero blocks at the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from beam_export.shards.tar import header
from beam_export.sources.tar.headers import HeaderError, parse_header
from beam_export.sources.tar.webdataset import split_member
from beam_export.tar_blocks import BLOCK, END_SIZE
from beam_export.verify.findings import Faults

__all__ = ["StrictMember", "StrictSample", "StrictTar"]

_CHUNK = 1 << 20

#: The fields of a header, to name the wrong one: (name, first byte, end).
_FIELDS = (
    ("name", 0, 100),
    ("mode", 100, 108),
    ("uid", 108, 116),
    ("gid", 116, 124),
    ("size", 124, 136),
    ("mtime", 136, 148),
    ("checksum", 148, 156),
    ("type", 156, 157),
    ("link name", 157, 257),
    ("magic", 257, 263),
    ("version", 263, 265),
    ("user name", 265, 297),
    ("group name", 297, 329),
    ("device", 329, 345),
    ("prefix", 345, 500),
    ("rest of the block", 500, 512),
)


class StrictMember(NamedTuple):
    """A member: where its data lie, their digest, and the data if they were asked for."""

    name: str
    offset: int
    size: int
    sha256: str
    data: bytes | None


class StrictSample(NamedTuple):
    """A sample of our dialect: adjacent members of one key; the first should be the image."""

    key: str
    members: list[StrictMember]


class StrictTar:
    """Reads a tar front to back, once, and adds a fault wherever it leaves the dialect.

    `sha256` and `size` are of the whole file, once `samples` has come to its end.
    """

    def __init__(
        self,
        fh: BinaryIO,
        file: str,
        faults: Faults,
        wants: Callable[[str, int], bool] = lambda name, size: False,
    ) -> None:
        """Starts at the file object's present position.

        Args:
            fh: the tar.
            file: its name, for the faults.
            faults: gets what is found.
            wants: whether the data of a member of that name and size are to be kept.
        """
        self._fh, self._file, self._faults, self._wants = fh, file, faults, wants
        self._hash = hashlib.sha256()
        #: Gets all that is read too, if it is set before.
        self.md5: hashlib._Hash | None = None
        self.size = 0

    @property
    def sha256(self) -> str:
        """Hex, of what was read so far."""
        return self._hash.hexdigest()

    def samples(self) -> Iterator[StrictSample]:
        """Yields the samples, and adds faults on the way.

        Raises:
            OSError: if the file cannot be read.
        """
        seen: set[str] = set()
        sample: StrictSample | None = None
        for member in self._members():
            # A name that does not split is a sample of its own here; its header is the fault.
            key = (split_member(member.name) or (member.name, ""))[0]
            if sample is not None and key == sample.key:
                sample.members.append(member)
                continue
            if sample is not None:
                yield self._checked(sample, seen)
            sample = StrictSample(key, [member])
        if sample is not None:
            yield self._checked(sample, seen)
        # After damage too: the sizes and digests that are stated are of the whole file.
        self._drain()

    def _checked(self, sample: StrictSample, seen: set[str]) -> StrictSample:
        """Checks the order of a sample's members."""
        first, *rest = [member.name for member in sample.members]
        if sample.key in seen:
            self._add("its members are not adjacent, or its key comes twice", first)
        seen.add(sample.key)
        if rest != sorted(rest):
            self._add("the members behind the image are not sorted by name", first)
        if len({first, *rest}) != len(sample.members):
            self._add("a member comes twice", first)
        return sample

    def _members(self) -> Iterator[StrictMember]:
        while True:
            start = self.size
            block = self._read(BLOCK)
            if len(block) < BLOCK:
                self._add("it ends without the two zero blocks of an archive's end")
                return
            if not block.strip(b"\0"):
                self._end()
                return
            member = self._member(block, start)
            if member is None:
                return
            yield member

    def _member(self, block: bytes, start: int) -> StrictMember | None:
        """Returns the member of a header, or None if its end is unknown."""
        try:
            found = parse_header(block)
        except HeaderError as error:
            self._add(f"the header at byte {start} is damaged: {error}")
            return None
        # The first field alone: the dialect leaves the prefix field empty (format.md, part 4.1).
        name = block[:100].partition(b"\0")[0].decode("utf-8", "surrogateescape")
        self._check_header(block=block, name=name, size=found.size, start=start)
        member = self._data(name, found.size)
        if member is None:
            self._add(f"it ends within the data of the member at byte {start}", name)
            return None
        if self._read(-found.size % BLOCK).strip(b"\0"):
            self._add("the padding behind its data is not zero", name)
        return member

    def _check_header(self, block: bytes, name: str, size: int, start: int) -> None:
        try:
            wanted = header(name, size)
        except (ValueError, UnicodeEncodeError):
            self._add(f"the member at byte {start} has a name that no member may have", name)
            return
        # The whole block, and the fields only to name what differs: no byte is left unchecked.
        if block != wanted:
            wrong = [what for what, a, b in _FIELDS if block[a:b] != wanted[a:b]]
            self._add(f"its header at byte {start} is wrong in: {', '.join(wrong)}", name)

    def _data(self, name: str, size: int) -> StrictMember | None:
        digest = hashlib.sha256()
        keep: list[bytes] | None = [] if self._wants(name, size) else None
        offset, left = self.size, size
        while left:
            # In parts: the size is the header's word, and may be far larger than the file.
            data = self._read(min(left, _CHUNK))
            if not data:
                return None
            digest.update(data)
            left -= len(data)
            if keep is not None:
                keep.append(data)
        whole = b"".join(keep) if keep is not None else None
        return StrictMember(name, offset, size, digest.hexdigest(), whole)

    def _end(self) -> None:
        rest = self._read(END_SIZE - BLOCK)
        if len(rest) < END_SIZE - BLOCK or rest.strip(b"\0"):
            self._add("it ends without the two zero blocks of an archive's end")
        end = self.size
        self._drain()
        if self.size > end:
            self._add(f"{self.size - end} bytes lie behind its end")

    def _drain(self) -> None:
        while self._read(_CHUNK):
            pass

    def _read(self, size: int) -> bytes:
        """Reads that many bytes, fewer only at the end of the file."""
        parts: list[bytes] = []
        # In a loop: a file object may give less than it is asked for before its end.
        while size and (part := self._fh.read(size)):
            self._hash.update(part)
            if self.md5 is not None:
                self.md5.update(part)
            parts.append(part)
            size -= len(part)
            self.size += len(part)
        return b"".join(parts)

    def _add(self, problem: str, member: str = "") -> None:
        self._faults.add(self._file, problem, member)
