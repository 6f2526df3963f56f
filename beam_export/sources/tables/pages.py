"""Reads the page headers of a Parquet file, to find those that unpack to too much.

Arrow allocates the memory that a header asks for, and unpacks all there is: a few bytes can become
gigabytes. The headers themselves are read, since the footer may state something else.

Source: parquet-format, `parquet.thrift` (`FileMetaData`, `ColumnMetaData`, `PageHeader`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from beam_export.sources.tables.thrift import Struct, read_struct
from beam_export.storage.base import read_up_to

__all__ = ["Chunk", "Page", "bomb", "chunks_of", "pages_of"]

#: Bytes that a page may unpack to, whatever it is made of, and times its own size beyond them:
#: photographs hardly shrink, and what does is seldom so large.
MOST_BYTES = 256 << 20
MOST_TIMES = 64
#: Read at first of a header, and at most: it can have the least and the greatest value in it.
_HEAD, _MOST_HEAD = 1 << 10, 64 << 20
#: Bytes by which old writers have counted a chunk too short.
_SLACK = 100
_MAGIC = b"PAR1"
_DICTIONARY = 2
#: Bytes of a value of each physical type; those of arrays are counted by their pages' bytes.
_WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8}
# Fields of the structs, by their names there.
_ROW_GROUPS, _COLUMNS, _META_DATA = 4, 1, 3
_TYPE, _PATH, _COMPRESSED, _DATA, _INDEX = 1, 3, 7, 9, 11
_PAGE_TYPE, _UNCOMPRESSED_SIZE, _COMPRESSED_SIZE = 1, 2, 3
#: Field of the header of each page type: data, index (empty), dictionary, data (version 2).
_KINDS = {0: 5, 1: 6, 2: 7, 3: 8}


class Chunk(NamedTuple):
    """The range of a file that holds a column of a row group.

    Attributes:
        path: its names, joined by dots.
        start, end: of its pages.
        width: bytes of a value; 0 if they have no fixed width.
    """

    path: str
    start: int
    end: int
    width: int


class Page(NamedTuple):
    """The header of a page.

    Attributes:
        is_dictionary: whether it holds the values that others repeat.
        packed, unpacked: its bytes, in the file and not.
        values: how many.
    """

    is_dictionary: bool
    packed: int
    unpacked: int
    values: int


def chunks_of(fh: BinaryIO) -> list[list[Chunk]]:
    """Returns the column chunks of each row group, as the footer states them.

    Raises:
        ValueError: if the footer is none.
    """
    size = fh.seek(0, 2)
    fh.seek(max(0, size - 8))
    tail = read_up_to(fh, 8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or length > size - 8:
        raise ValueError("it has no footer")
    fh.seek(size - 8 - length)
    footer, _ = read_struct(read_up_to(fh, length))
    try:
        return [[_chunk(column) for column in group[_COLUMNS]] for group in footer[_ROW_GROUPS]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("its footer does not say where columns are") from error


def _chunk(column: Struct) -> Chunk:
    facts = column[_META_DATA]
    path = ".".join(part.decode("utf-8", "replace") for part in facts[_PATH])
    starts = [place for place in (facts.get(_INDEX), facts[_DATA]) if place]
    start = min(starts, default=0)
    return Chunk(path, start, start + facts[_COMPRESSED], _WIDTHS.get(facts[_TYPE], 0))


def pages_of(fh: BinaryIO, chunk: Chunk) -> Iterator[Page]:
    """Yields the pages of a chunk; only their headers are read.

    Raises:
        ValueError: if the footer or a header says what cannot be, or a header is none.
    """
    at = chunk.start
    if not 0 <= at <= chunk.end <= fh.seek(0, 2) + _SLACK:
        raise ValueError("its footer says that a column lies where there is nothing")
    while at < chunk.end:
        header, length = _header(fh, at, chunk.end)
        sizes: list[Any] = [header.get(one) for one in (_COMPRESSED_SIZE, _UNCOMPRESSED_SIZE)]
        packed, unpacked = sizes
        kind: Any = header.get(_PAGE_TYPE)
        known = all(isinstance(one, int) for one in (packed, unpacked, kind))
        if not known or kind not in _KINDS:
            raise ValueError("a page's header says nothing of its size")
        if packed < 0 or unpacked < 0 or at + length + packed > chunk.end + _SLACK:
            raise ValueError("a page says that it is larger than there is room for")
        facts = header.get(_KINDS[kind], {})
        values = facts.get(1, 0) if isinstance(facts, dict) else 0
        yield Page(kind == _DICTIONARY, packed, unpacked, values)
        at += length + packed


def _header(fh: BinaryIO, at: int, end: int) -> tuple[Struct, int]:
    size = _HEAD
    while True:
        fh.seek(at)
        data = read_up_to(fh, min(size, end + _SLACK - at))
        try:
            return read_struct(data)
        except ValueError:
            if len(data) < size or size >= _MOST_HEAD:  # there is no more of it
                raise
        size *= 16


def bomb(page: Page, chunk: Chunk, is_list: bool) -> int:
    """Returns the unpacked bytes of a page that is far larger than it looks; 0 for any other.

    Args:
        page: of the chunk.
        chunk: that it is in.
        is_list: whether a row may hold many of its values, or all.
    """
    size = max(page.unpacked, page.values * max(1, chunk.width) if is_list else 0)
    return size if size > max(MOST_BYTES, MOST_TIMES * page.packed) else 0
