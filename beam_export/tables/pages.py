"""Headers of a Parquet file's pages, as far as Arrow does not tell what they say.

A header is a Thrift struct in the compact protocol (parquet-format, `PageHeader`): its first two
fields are the page's type and its bytes when they are uncompressed, both 32-bit integers.
"""

from __future__ import annotations

from typing import BinaryIO

import pyarrow.parquet as pq

__all__ = ["dictionary_bytes"]

#: A field of the next number that is a 32-bit integer.
_NEXT_I32 = 0x15
_DICTIONARY = 2
#: Two fields' heads, and two varints of at most five bytes.
_HEAD = 12


def dictionary_bytes(fh: BinaryIO, chunk: pq.ColumnChunkMetaData) -> int:
    """Returns the uncompressed bytes of a column chunk's dictionary; 0 if it begins with none.

    Whether there is one is told by the page itself, as it is to who decodes it. What is no header
    has none; whoever reads the chunk will say so.
    """
    starts = [chunk.dictionary_page_offset, chunk.data_page_offset]
    fh.seek(max(0, min(start for start in starts if start)) if any(starts) else 0)
    head = fh.read(_HEAD)
    try:
        kind, at = _integer(head, 0)
        size, _ = _integer(head, at)
    except (IndexError, ValueError):
        return 0
    return max(0, size) if kind == _DICTIONARY else 0


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """Returns the value of a field that is an integer, a zigzag varint, and where it ends."""
    if data[at] != _NEXT_I32:
        raise ValueError
    value = shift = 0
    while True:
        at += 1
        value |= (data[at] & 0x7F) << shift
        shift += 7
        if data[at] < 0x80:
            return (value >> 1) ^ -(value & 1), at + 1
