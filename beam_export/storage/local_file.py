"""Opens local files for reading, without blocking, and checks that their content is unchanged.

Since it was listed, a path may have become that of a FIFO, whose opening blocks until there is a
writer, or of another file of the same size. So an opened file is checked before it is read: it has
to be a regular file, of the size and the modification time that its URI is pinned to
(`uris.pin_file`). What was read of it counts only if the file is the same afterwards, its inode
too: a network mount may number inodes anew between two openings, but not while a file is open.
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
    "file_kind",
    "read_at",
    "read_range",
    "special_kind",
    "special_kind_at",
]

_PLAIN_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symbolic link",
}
_SPECIAL_KINDS = {
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


def file_kind(status: os.stat_result) -> str:
    """Returns `file`, `directory`, `symbolic link`, or `special file` for a pipe or a device."""
    return _PLAIN_KINDS.get(stat.S_IFMT(status.st_mode), "special file")


def special_kind(mode: int) -> str:
    """Returns the kind of a special file; "" of any other.

    >>> special_kind(stat.S_IFIFO | 0o644), special_kind(stat.S_IFREG | 0o644)
    ('FIFO', '')
    """
    return _SPECIAL_KINDS.get(stat.S_IFMT(mode), "")


def special_kind_at(path: str) -> str:
    """Returns the kind of the special file under a path; "" if there is another, or none."""
    try:
        return special_kind(os.stat(path).st_mode)
    except (OSError, ValueError):
        return ""


class LocalFile(io.FileIO):
    """A local file, open for reading, unbuffered.

    Attributes:
        pinned: the URI of exactly the content that was opened.
    """

    def __init__(self, uri: str) -> None:
        """Opens a file.

        Args:
            uri: a path, pinned or not.

        Raises:
            ReplacedError: if it is pinned, and something else is there now.
            IrregularError: if it is not pinned, and a special file is there.
            OSError: if it cannot be opened.
        """
        handle, status = _opened(uri)
        super().__init__(handle, "rb")
        self._path = unpin_file(uri)[0]
        self._known = _identity(status)
        self.pinned = pin_file(self._path, status.st_size, status.st_mtime_ns)

    def check(self) -> None:
        """Checks that the file has not changed since it was opened.

        Raises:
            ReplacedError: if it has.
        """
        _check(self.fileno(), self._known, self._path)


def check_unchanged(file: BinaryIO) -> None:
    """Checks that an open file has not changed, so that all that was read of it is of one content.

    Only local files need it: an object that is open stays at one generation.

    Raises:
        ReplacedError: if it has changed.
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
            raise _irregular(path, pinned, special_kind_at(path) or "device") from error
        raise
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise _irregular(path, pinned, special_kind(status.st_mode))
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
