"""A new local file that a thread writes in large pieces, past the system's page cache if asked to.

Bytes that pass the page cache (`O_DIRECT`) are copied once less, take no memory of the machine's,
and are on the disk by the time that `fsync` is called. Positions, sizes and addresses of such
writes must be multiples of a block, so pieces are whole buffers of that alignment and the last
bytes of a file are written in the usual way. Where a file system refuses, all of it is.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import fcntl
import io
import mmap
import os
from typing import Any

__all__ = ["OutgoingFile"]

#: Bytes of a piece, and of each of the two buffers of a file.
_PIECE = 2 << 20
#: What positions of direct writes are multiples of: no disk has larger blocks.
_ALIGNED = 4096
#: Where the system has no such flag, none is set.
_DIRECT: int = getattr(os, "O_DIRECT", 0)

#: Buffers that no file uses: new memory would have to be cleared by the system first.
_spare: list[memoryview] = []
_MOST_SPARE = 4


class OutgoingFile(io.BufferedIOBase):
    """A new file, written front to back; one buffer fills while a thread writes another.

    Every `write` takes all of its data. An error of the thread's is raised by the next call.
    """

    def __init__(self, handle: int, *, direct: bool) -> None:
        """Makes the file object of an empty file.

        Args:
            handle: descriptor of the file, open for writing; `close` closes it.
            direct: whether it may pass the page cache, as what nobody reads soon does best.
        """
        self._handle = handle
        self._may_be_direct = direct and _DIRECT != 0
        self._is_direct = False
        self._buffer = _take_buffer()
        #: Bytes in the buffer, and how many of them the system has; where it begins in the file.
        self._filled = self._flushed = self._start = 0
        self._thread: concurrent.futures.ThreadPoolExecutor | None = None
        self._passing: tuple[concurrent.futures.Future[None], memoryview] | None = None

    def writable(self) -> bool:
        """Returns True."""
        return True

    def fileno(self) -> int:
        """Returns the file's descriptor."""
        return self._handle

    def write(self, data: Any, /) -> int:
        """Takes all of `data`, and returns its size in bytes."""
        if self.closed:
            raise ValueError("write to closed file")
        rest = data if isinstance(data, bytes) else memoryview(data).cast("B")
        size = len(rest)
        end = self._filled + size
        if end >= _PIECE:
            rest = self._fill(memoryview(rest))
            end = self._filled + len(rest)
        self._buffer[self._filled : end] = rest
        self._filled = end
        return size

    def _fill(self, rest: memoryview) -> memoryview:
        """Takes whole pieces, and returns what is left."""
        while len(rest) >= (room := _PIECE - self._filled):
            self._buffer[self._filled :] = rest[:room]
            rest = rest[room:]
            self._send()
        return rest

    def flush(self) -> None:
        """Hands all that was taken to the system."""
        if self.closed or (self._filled == self._flushed and self._passing is None):
            return
        self._await_piece()
        whole = self._filled - self._filled % _ALIGNED if self._start else 0
        self._put(self._buffer[:whole], self._start)
        self._set_direct(False)
        # It stays in the buffer: what follows makes it a whole piece, written again at one go.
        self._put(self._buffer[whole : self._filled], self._start + whole)
        self._flushed = self._filled

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        if self.closed:
            return
        try:
            super().close()  # flushes
        finally:
            self._release()

    def _release(self) -> None:
        # The thread reads a buffer until it is done, also after an error here.
        if self._thread is not None:
            self._thread.shutdown()
        os.close(self._handle)
        _spare.append(self._buffer)
        if self._passing is not None:
            _spare.append(self._passing[1])
        del _spare[_MOST_SPARE:]

    def _send(self) -> None:
        """Has the thread write the full buffer, when it has written the one before."""
        self._await_piece()
        self._set_direct(self._may_be_direct)
        if self._thread is None:
            self._thread = concurrent.futures.ThreadPoolExecutor(1, "write-behind")
        writing = self._thread.submit(self._put_behind, self._buffer, self._start)
        self._passing = writing, self._buffer
        self._start += _PIECE
        self._filled = self._flushed = 0
        self._buffer = _take_buffer()

    def _await_piece(self) -> None:
        """Waits for the piece that the thread writes, if there is one.

        Raises:
            OSError: that the thread has met.
        """
        if self._passing is not None:
            writing, buffer = self._passing
            writing.result()
            self._passing = None
            _spare.append(buffer)

    def _put_behind(self, piece: memoryview, start: int) -> None:
        self._put(piece, start)
        if not self._is_direct and hasattr(os, "posix_fadvise"):
            # For bytes that are not on the disk yet, Linux starts to write them back and keeps
            # them in memory. Where it does not, fsync has more to do.
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._handle, start, len(piece), os.POSIX_FADV_DONTNEED)

    def _put(self, piece: memoryview, start: int) -> None:
        """Writes all of a piece at its place."""
        while piece:
            try:
                count = os.pwrite(self._handle, piece, start)
            except OSError as error:
                # Refused by the file system, or no whole block any more after a short write.
                if error.errno != errno.EINVAL or not self._is_direct:
                    raise
                self._may_be_direct = False
                self._set_direct(False)
                continue
            piece, start = piece[count:], start + count

    def _set_direct(self, direct: bool) -> None:
        """Has the next writes pass the page cache, or not; no other write may be going on."""
        if direct == self._is_direct:
            return
        flags = fcntl.fcntl(self._handle, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self._handle, fcntl.F_SETFL, flags ^ _DIRECT)
        except OSError:
            if not direct:
                raise
            # A file system without it says so here.
            self._may_be_direct = False
            return
        self._is_direct = direct


def _take_buffer() -> memoryview:
    try:
        return _spare.pop()
    except IndexError:
        # Of its own for each process: by default a child would share it.
        return memoryview(mmap.mmap(-1, _PIECE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
