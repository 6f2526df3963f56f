"""Reads the bytes of a tar front to back: of a file that can seek, or of a compressed one."""

from __future__ import annotations

import os
from typing import BinaryIO, Protocol

from beam_export.sources.decompress import (
    START,
    CompressionError,
    Stream,
    compression_of,
    decompress,
)
from beam_export.storage.base import read_up_to

__all__ = ["BrokenTarError", "SeekableTar", "StreamedTar", "TarBytes"]

#: Bytes that are read at a time where headers lie close together.
_CHUNK = 4096
#: Bytes that are read at a time of a stream.
_PIECE = 1 << 16


class BrokenTarError(Exception):
    """A tar cannot be read on from an offset; the reason says why."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(offset, reason)
        self.offset = offset
        self.reason = reason


class TarBytes(Protocol):
    """Bytes from front to back; `read` and `skip` fall short only at the end of the file.

    Attributes:
        offset: bytes that were read or skipped.
    """

    offset: int

    def read(self, size: int) -> bytes:
        """Returns the next `size` bytes, or fewer at the end of the file."""

    def skip(self, size: int) -> int:
        """Skips `size` bytes and returns how many there were."""


class SeekableTar:
    """An uncompressed tar in a file that can seek: what is skipped is not read."""

    def __init__(self, fh: BinaryIO, size: int | None, start: int) -> None:
        """Begins at `start`; the file has `size` bytes, found by seeking if None."""
        self._fh = fh
        self._size = fh.seek(0, os.SEEK_END) if size is None else size
        self.offset = start
        self._chunk = b""
        self._chunk_start = start

    def read(self, size: int) -> bytes:
        """Returns the next `size` bytes, or fewer at the end of the file.

        Raises:
            BrokenTarError: if the file is shorter than it was said to be.
        """
        begin = self.offset - self._chunk_start
        # The headers of small members lie in the chunk that is held: no read for each of them.
        if begin + size > len(self._chunk):
            self._fh.seek(self.offset)
            self._chunk_start = self.offset
            self._chunk = read_up_to(self._fh, max(size, _CHUNK))
            begin = 0
        data = self._chunk[begin : begin + size]
        self.offset += len(data)
        if len(data) < size and self.offset < self._size:
            raise BrokenTarError(self.offset, f"the file had {self._size} bytes when it was listed")
        return data

    def skip(self, size: int) -> int:
        """Skips `size` bytes and returns how many there were."""
        skipped = min(size, max(self._size - self.offset, 0))
        self.offset += skipped
        return skipped


class StreamedTar:
    """A tar that is read once, front to back; its compression is found by its first bytes."""

    def __init__(self, fh: BinaryIO) -> None:
        """Begins at the file's present position."""
        self.offset = 0
        self._fh: BinaryIO | Stream = fh
        self._chunk = read_up_to(fh, START)
        self._used = 0
        if kind := compression_of(self._chunk):
            # The decompressor takes these bytes over: they are none of the tar's.
            self._fh = decompress(fh, kind, self._chunk)
            self._chunk = b""

    def read(self, size: int) -> bytes:
        """Returns the next `size` bytes, or fewer at the end of the file.

        Raises:
            BrokenTarError: if the compression is damaged.
        """
        # In pieces of what there is: a header may ask for more than any memory has.
        parts = []
        left = size
        while left and (part := self._next(left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def skip(self, size: int) -> int:
        """Skips `size` bytes and returns how many there were.

        Raises:
            BrokenTarError: if the compression is damaged.
        """
        left = size
        while left and (part := self._next(left)):
            left -= len(part)
        return size - left

    def _next(self, size: int) -> bytes:
        """Returns up to `size` bytes, at least one unless there are no more."""
        if self._used == len(self._chunk):
            try:
                self._chunk = self._fh.read(_PIECE)
            except CompressionError as error:
                raise BrokenTarError(self.offset, str(error)) from error
            self._used = 0
        data = self._chunk[self._used : self._used + size]
        self._used += len(data)
        self.offset += len(data)
        return data
