"""A deterministic POSIX ustar writer: equal members give equal bytes.

The dialect is the one of format.md, part 4.1. The layout of a header is that of POSIX.1-2017,
pax, "ustar Interchange Format": a block of 512 bytes, then the data, padded to whole blocks.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

from beam_export import naming
from beam_export.tar_blocks import BLOCK, END_SIZE, MTIME, OWNER, TAIL, whole_blocks

__all__ = ["MAX_SIZE", "TarWriter", "header", "padded"]

#: Largest member: the size field has 11 octal digits.
MAX_SIZE = 8**11 - 1

_NAME = re.compile(
    rf"(?=.{{1,{naming.MAX_MEMBER_NAME}}}\Z){naming.KEY_PATTERN}\.{naming.EXT_PATTERN}", re.ASCII
)

# The checksum is the sum of the header's bytes, its own field counted as 8 spaces.
_FIXED_SUM = sum(OWNER + MTIME + TAIL) + 8 * ord(" ")

# Up to this size one write of a copy is cheaper than two writes.
_JOINED = 1 << 12

_PADDING = tuple(bytes(-size % BLOCK) for size in range(BLOCK))


class _Writable(Protocol):
    def write(self, data: bytes, /) -> Any: ...


class TarWriter:
    """Writes an archive to a binary file object, front to back.

    The file object takes every `write` whole, as a buffered file does, and stays the caller's to
    close. Names are checked one by one; that members of a sample are adjacent and that no name
    comes twice is for the caller to see to.
    """

    def __init__(self, fh: _Writable) -> None:
        """Starts an archive at the file object's present position."""
        self._fh = fh
        self._offset = 0
        self._closed = False
        #: Of the last member, written with the next header: a write less for each.
        self._padding = b""

    @property
    def offset(self) -> int:
        """Bytes of the members so far; after `close`, the archive's size."""
        return self._offset

    def add(self, name: str, data: bytes) -> int:
        """Writes one member and returns the offset of its data in the archive.

        Raises:
            ValueError: if the name is not a key and an extension of the dialect, if the data is
                larger than `MAX_SIZE`, or if the archive is closed.
        """
        if self._closed:
            raise ValueError(f"{name!r} cannot be added: the archive is closed")
        size = len(data)
        head = self._padding + header(name, size)
        self._padding = padding = _PADDING[size % BLOCK]
        if size <= _JOINED:
            self._fh.write(head + data)
        else:
            self._fh.write(head)
            self._fh.write(data)
        start = self._offset + BLOCK
        self._offset = start + size + len(padding)
        return start

    def close(self) -> None:
        """Writes the end of the archive; a second call does nothing."""
        if not self._closed:
            self._fh.write(self._padding + bytes(END_SIZE))
            self._offset += END_SIZE
            self._closed = True


def padded(size: int) -> int:
    """Returns the bytes that a member of `size` bytes takes: header, data and padding.

    >>> padded(0), padded(1), padded(512), padded(513)
    (512, 1024, 1024, 1536)
    """
    return BLOCK + whole_blocks(size)


def header(name: str, size: int) -> bytes:
    r"""Returns the one header that a member of that name and size has: 512 bytes.

    >>> head = header("cat.jpg", 700)
    >>> head[:7], head[124:136], len(head)
    (b'cat.jpg', b'00000001274\x00', 512)

    Raises:
        ValueError: if the name is not of the dialect, or the size above `MAX_SIZE`.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a member's name: a key of at most {naming.MAX_MEMBER_NAME} bytes "
            "with its extension, made by naming.key_of and naming.clean_ext, is"
        )
    if size > MAX_SIZE:
        raise ValueError(
            f"{name!r} has {size} bytes and a member has at most {MAX_SIZE}: leave it out"
        )
    field = name.encode("ascii")
    digits = b"%011o" % size
    checksum = _FIXED_SUM + sum(field) + sum(digits)
    return b"%b%b%b\0%b%06o\0 %b" % (
        field.ljust(naming.MAX_MEMBER_NAME, b"\0"),
        OWNER,
        digits,
        MTIME,
        checksum,
        TAIL,
    )
