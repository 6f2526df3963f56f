"""Compressed files as a stream of bytes: gzip (RFC 1952), bzip2 and xz.

The modules of the standard library that read such files raise OSError for damage as well as for a
network that fails. Here reading and decompressing are apart: damage is a `CompressionError`.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol

__all__ = ["CompressionError", "Decompressed", "compression_of"]

_PIECE = 1 << 16
#: Memory for xz: to read what `xz -9` made takes 65 MiB; a hostile header asks for 4 GiB.
_XZ_MEMORY = 1 << 28

#: How compressed files begin. The digit of bzip2 is a size; six bytes of a block or an end follow.
_STARTS = {
    "gzip": (b"\x1f\x8b\x08",),
    "bzip2": (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"),
    "xz": (b"\xfd7zXZ\0",),
    "zstd": (b"\x28\xb5\x2f\xfd",),
}


class CompressionError(Exception):
    """A compressed file is damaged, or of a kind that is not read; the text says how."""


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib with the manners of the other two: it keeps the input that it has not used."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        found = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.needs_input = not self._inner.unconsumed_tail
        return found


def _xz() -> _Decoder:
    return lzma.LZMADecompressor(memlimit=_XZ_MEMORY)


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gzip": _Gzip,
    "bzip2": bz2.BZ2Decompressor,
    "xz": _xz,
}


def compression_of(start: bytes) -> str:
    """Returns `gzip`, `bzip2`, `xz` or `zstd` by a file's first 10 bytes, or `""` if none."""
    for kind, marks in _STARTS.items():
        body = start[4:] if kind == "bzip2" and start.startswith(b"BZh") else start
        if body.startswith(marks):
            return kind
    return ""


class Decompressed:
    """Reads what a compressed file holds, front to back, in pieces of bounded size.

    Files that were joined (`cat a.gz b.gz`) are read through, with zeros between and after them.
    """

    def __init__(self, fh: BinaryIO, kind: str, start: bytes) -> None:
        """Starts to read.

        Args:
            fh: read from its present position.
            kind: as `compression_of` returns it.
            start: what was read of the file already.

        Raises:
            CompressionError: if files of that kind cannot be read.
        """
        if kind not in _DECODERS:
            raise CompressionError(
                f"it is compressed with {kind}, which is not read: use gzip, or no compression"
            )
        self._fh = fh
        self._kind = kind
        self._input = start
        self._decoder = _DECODERS[kind]()

    def read(self, size: int) -> bytes:
        """Returns up to `size` bytes, at least one unless the file is at its end.

        Raises:
            CompressionError: if the file is damaged, or breaks off.
            OSError: if the file cannot be read at present.
        """
        while True:
            if self._decoder.eof and not self._next_part():
                return b""
            if self._decoder.needs_input and not self._input:
                self._input = self._fh.read(_PIECE)
                if not self._input:
                    raise CompressionError(f"the {self._kind} stream breaks off")
            try:
                found = self._decoder.decompress(self._input, size)
            except (zlib.error, lzma.LZMAError, OSError, EOFError, MemoryError) as error:
                raise CompressionError(f"the {self._kind} stream is damaged") from error
            self._input = b""
            if found:
                return found

    def _next_part(self) -> bool:
        """Moves on to a stream that follows the one that has ended; tells whether one does."""
        rest = self._decoder.unused_data.lstrip(b"\0")
        while not rest:
            piece = self._fh.read(_PIECE)
            if not piece:
                return False
            rest = piece.lstrip(b"\0")
        self._input = rest
        self._decoder = _DECODERS[self._kind]()
        return True
