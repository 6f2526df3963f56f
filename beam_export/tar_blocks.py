"""The blocks that every tar is made of: 512 bytes each (POSIX.1-2017, pax)."""

from __future__ import annotations

__all__ = ["BLOCK", "whole_blocks"]

#: Bytes of a block, and of a member's header.
BLOCK = 512


def whole_blocks(size: int) -> int:
    """Returns a number of bytes, rounded up to whole blocks.

    >>> whole_blocks(0), whole_blocks(1), whole_blocks(512)
    (0, 512, 512)
    """
    return size + -size % BLOCK
