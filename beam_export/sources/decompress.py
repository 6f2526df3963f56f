"""Compressed files as a stream of bytes: gzip (RFC 1952), bzip2, xz and zstd (RFC 8878).

The modules of the standard library that read such files raise OSError for damage as well as for a
network that fails. Here reading and decompressing are apart: damage is a `CompressionError`.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, cast

import pyarrow as pa

__all__ = [
    "START",
    "CompressionError",
    "Decompressed",
    "Stream",
    "compression_of",
    "compression_of_file",
    "decompress",
    "decompressed_file",
]

#: Bytes from the start of a file that `compression_of` needs.
START = 10
_PIECE = 1 << 16
#: Memory for xz: to read what `xz -9` made takes 65 MiB; a hostile header asks for 4 GiB.
_XZ_MEMORY = 1 << 28

#: How compressed files begin. The digit of bzip2 is a size; six bytes of a block or an end follow.
_STARTS = {
    "gzip": (b"\x1f\x8b\x08",),
    "bzip2": (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"),
    "xz": (b"\xfd7zXZ\0",),
    # The second are frames to be skipped, with which several writers begin (RFC 8878, 3.1.2).
    "zstd": (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + low]) + b"\x2a\x4d\x18" for low in range(16))),
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
    """zlib with the interface of the other two: it keeps the input that it has not used."""

    def __init__(self) -> None:
        # 16 has zlib read the header and check the checksum of gzip.
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
    """Returns `gzip`, `bzip2`, `xz` or `zstd` by a file's first `START` bytes, or `""` if none."""
    for kind, marks in _STARTS.items():
        body = start[4:] if kind == "bzip2" and start.startswith(b"BZh") else start
        if body.startswith(marks):
            return kind
    return ""


def compression_of_file(fh: BinaryIO) -> str:
    """Returns what `compression_of` does for a file that can seek, which is left at its start."""
    start = fh.read(START)
    fh.seek(0)
    return compression_of(start)


class Stream(Protocol):
    """The content of a compressed file, front to back."""

    def read(self, size: int) -> bytes:
        """Returns up to `size` bytes, at least one unless the file is at its end.

        Raises:
            CompressionError: if the file is damaged, or breaks off.
            OSError: if the file cannot be read at present.
        """


def decompress(fh: BinaryIO, kind: str, start: bytes) -> Stream:
    """Returns the content of a compressed file, decompressed as it is read.

    Args:
        fh: read from its present position.
        kind: as `compression_of` returns it.
        start: what was read of the file already.
    """
    return _Zstd(fh, start) if kind == "zstd" else Decompressed(fh, kind, start)


class _Zstd:
    """Arrow's reader of zstd, which gives no more than is asked for; frames that follow are read.

    Memory is bounded by the window of a frame: 128 MiB, or it is refused.
    """

    def __init__(self, fh: BinaryIO, start: bytes) -> None:
        source = pa.PythonFile(cast(BinaryIO, _Rejoined(fh, start)), mode="r")
        self._stream = pa.CompressedInputStream(source, "zstd")

    def read(self, size: int) -> bytes:
        try:
            found: bytes = self._stream.read(size)
        except OSError as error:
            # Arrow's own errors have no number; those of a disk or a network do.
            if error.errno is not None:
                raise
            how = "breaks off" if "runcated" in str(error) else "is damaged"
            raise CompressionError(f"the zstd stream {how}") from error
        except (pa.ArrowException, MemoryError) as error:
            raise CompressionError("the zstd stream is damaged") from error
        return found


class _Rejoined(io.RawIOBase):
    """A file together with what was read of it already."""

    def __init__(self, fh: BinaryIO, start: bytes) -> None:
        super().__init__()
        self._fh, self._start = fh, start

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._start:
            start, self._start = self._start, b""
            return start
        return self._fh.read(size)


class Decompressed:
    """Reads the content of a compressed file, front to back, in pieces of bounded size.

    Files that were joined (`cat a.gz b.gz`) are read through, with zeros between and after them.
    """

    def __init__(self, fh: BinaryIO, kind: str, start: bytes) -> None:
        """Starts to read.

        Args:
            fh: read from its present position.
            kind: `gzip`, `bzip2` or `xz`.
            start: what was read of the file already.
        """
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
            # An OSError is bzip2's word for damage: the file is not read within this block.
            except (zlib.error, lzma.LZMAError, OSError, EOFError, MemoryError) as error:
                raise CompressionError(f"the {self._kind} stream is damaged") from error
            self._input = b""
            if found:
                return found

    def _next_part(self) -> bool:
        """Moves on to the stream that follows the one that has ended; returns whether one does."""
        rest = self._decoder.unused_data.lstrip(b"\0")
        while not rest:
            piece = self._fh.read(_PIECE)
            if not piece:
                return False
            rest = piece.lstrip(b"\0")
        self._input = rest
        self._decoder = _DECODERS[self._kind]()
        return True


class _DecompressedFile(io.RawIOBase):
    """The content of a compressed file, as a file object."""

    def __init__(self, inner: Stream) -> None:
        super().__init__()
        self._inner = inner

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def decompressed_file(file: BinaryIO) -> BinaryIO:
    """Returns the content of a file, decompressed if its first bytes say so, whatever its name."""
    if kind := compression_of_file(file):
        stream = _DecompressedFile(decompress(file, kind, b""))
        return cast(BinaryIO, io.BufferedReader(stream))
    return file
