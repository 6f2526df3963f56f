"""Local files that are read: opened without ever waiting, and held to what they were.

A path may have come to name a FIFO, whose opening waits for a writer, or another file of the same
size. So what is opened is looked at before it is read: it has to be a regular file, of the size and
the modification time that its URI is pinned to (`uris.pin_file`). What was read of it counts if the
file is the same afterwards: its inode too, which a network's mount may number anew between two
openings, but not while the file is open.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from typing import BinaryIO

from beam_export.storage.base import IrregularError, ReplacedError
from beam_export.storage.uris import pin_file, unpin_file

__all__ = [
    "LocalFile",
    "check_unchanged",
    "irregular_kind",
    "kind_of_mode",
    "read_at",
    "read_range",
]

_KINDS = {
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


def kind_of_mode(mode: int) -> str:
    """Returns what is neither a regular file nor a directory, in a word or two; else `""`."""
    return _KINDS.get(stat.S_IFMT(mode), "")


def irregular_kind(path: str) -> str:
    """Returns what stands under a path, as `kind_of_mode` does; `""` if that cannot be told."""
    try:
        return kind_of_mode(os.stat(path).st_mode)
    except (OSError, ValueError):
        return ""


class LocalFile(io.FileIO):
    """A local file, open for reading, unbuffered.

    Attributes:
        pinned: the URI of just what was opened.
    """

    def __init__(self, uri: str) -> None:
        """Opens a file.

        Args:
            uri: a path, pinned or not.

        Raises:
            ReplacedError: if it is pinned, and what is there now is something else.
            IrregularError: if it is not pinned, and no regular file is there.
            OSError: if it cannot be opened.
        """
        handle, status = _opened(uri)
        super().__init__(handle, "rb")
        self._path = unpin_file(uri)[0]
        self._known = _identity(status)
        self.pinned = pin_file(self._path, status.st_size, status.st_mtime_ns)

    def check(self) -> None:
        """Makes sure that the file is what it was when it was opened.

        Raises:
            ReplacedError: if it is not.
        """
        _check(self.fileno(), self._known, self._path)


def check_unchanged(file: BinaryIO) -> None:
    """Makes sure that what was read of an open file so far is of what was opened, and nothing else.

    Local files are looked at; whatever else is open stays what it was by its storage's own care.

    Raises:
        ReplacedError: if it is not.
    """
    inner = getattr(file, "raw", file)
    if isinstance(inner, LocalFile):
        inner.check()


def read_range(uri: str, start: int, size: int) -> bytes:
    """Returns `size` bytes of a file from `start` on, or as many as there are.

    Raises:
        OSError: as opening a `LocalFile` does; `ReplacedError` also if it changes meanwhile.
    """
    handle, status = _opened(uri)
    try:
        data = read_at(handle, start, min(size, max(0, status.st_size - start)))
        _check(handle, _identity(status), uri)
    finally:
        os.close(handle)
    return data


def read_at(handle: int, start: int, size: int) -> bytes:
    """Returns `size` bytes of an open file from `start` on, or as many as there are."""
    data = os.pread(handle, size, start)
    while 0 < len(data) < size and (part := os.pread(handle, size - len(data), start + len(data))):
        data += part
    return data


def _opened(uri: str) -> tuple[int, os.stat_result]:
    path, pinned = unpin_file(uri)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # of a socket, and of a device that is not there
            raise _irregular(path, pinned, irregular_kind(path) or "device") from error
        raise
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise _irregular(path, pinned, kind_of_mode(status.st_mode))
        if pinned and uri != pin_file(path, status.st_size, status.st_mtime_ns):
            raise ReplacedError(path)
    except BaseException:
        os.close(handle)
        raise
    return handle, status


def _irregular(path: str, pinned: bool, kind: str) -> OSError:
    if pinned:
        return ReplacedError(path)
    if kind:
        return IrregularError(kind, path)
    return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _check(handle: int, known: tuple[int, ...], uri: str) -> None:
    try:
        status = os.fstat(handle)
    except OSError as error:
        if error.errno == errno.ESTALE:  # a network's file that is gone
            raise ReplacedError(unpin_file(uri)[0]) from error
        raise
    if _identity(status) != known:
        raise ReplacedError(unpin_file(uri)[0])
