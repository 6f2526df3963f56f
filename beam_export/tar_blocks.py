"""The blocks that every tar is made of: 512 bytes each (POSIX.1-2017, pax)."""

from __future__ import annotations

__all__ = ["BLOCK", "END_SIZE", "MTIME", "OWNER", "TAIL", "is_plain_header", "whole_blocks"]

#: Bytes of a block, and of a member's header.
BLOCK = 512

#: Bytes of the end of an archive of ours: two zero blocks.
END_SIZE = 2 * BLOCK

# The fields of each header of ours but for name (100 bytes), size (12) and checksum (8): mode, uid
# and gid; mtime; then typeflag, linkname, magic, version, uname, gname, devmajor, devminor, prefix
# and the rest of the block (format.md, part 4.1).
OWNER = b"0000644\0" + 2 * b"0000000\0"
MTIME = b"00000000000\0"
TAIL = (b"0" + 100 * b"\0" + b"ustar\0" + b"00" + 64 * b"\0" + 2 * b"0000000\0").ljust(356, b"\0")


def whole_blocks(size: int) -> int:
    """Returns a number of bytes, rounded up to whole blocks.

    >>> whole_blocks(0), whole_blocks(1), whole_blocks(512)
    (0, 512, 512)
    """
    return size + -size % BLOCK


def is_plain_header(block: bytes) -> bool:
    """Returns whether a block is a header as each of ours is, whatever its name and size."""
    fixed = (block[100:124], block[136:148], block[156:])
    return fixed == (OWNER, MTIME, TAIL) and block[148:156].endswith(b"\0 ")
