"""Bytes of members: whole files, or ranges of larger ones.

What will not go away (no such file, no permission, another size than when it was listed) is the
sample's failure. What may go away is tried again, and then raised: the runner tries the bundle
again, so that a bad moment of a disk or a network never decides what is in a dataset.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import io
import itertools
import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import BinaryIO, TypeVar, cast

from apache_beam.io.filesystems import FileSystems

from beam_export.errors import SampleError
from beam_export.listing import is_local
from beam_export.samples import WHOLE, Member
from beam_export.tables.cells import Cells
from beam_export.tables.errors import TableError

__all__ = ["Reader", "is_lasting", "open_source", "patiently_opened"]

#: Errors that another try will not mend.
_LASTING = frozenset(
    getattr(errno, name)
    for name in ["ENOENT", "EACCES", "EPERM", "EISDIR", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "ENXIO"]
)
_TRIES = 3
_OPEN_FILES = 16
_PIECE = 1 << 20

_T = TypeVar("_T")


def patiently_opened(uri: str) -> contextlib.closing[BinaryIO]:
    """Opens a file that can seek and is not buffered; what fails for the moment is tried again.

    Raises:
        OSError: if it cannot be opened.
    """
    return contextlib.closing(cast(BinaryIO, _PatientFile(uri)))


class _PatientFile(io.RawIOBase):
    def __init__(self, uri: str) -> None:
        """Opens a file.

        Raises:
            OSError: if it cannot be opened.
        """
        super().__init__()
        self._uri = uri
        self._file: BinaryIO | None = None
        self._offset = 0
        _patiently(self._open)

    def _open(self) -> BinaryIO:
        if self._file is None:
            self._file = open_source(self._uri)
            self._file.seek(self._offset)
        return self._file

    def read(self, size: int = -1) -> bytes:
        """Returns up to `size` bytes, at least one unless the file is at its end.

        Raises:
            OSError: if they cannot be had at present.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_PIECE), b""))
        data = _patiently(lambda: self._read(size))
        self._offset += len(data)
        return data

    def _read(self, size: int) -> bytes:
        try:
            return self._open().read(size)
        except OSError:
            # A handle that has failed once (a stale one of a network's) may fail for ever.
            self._drop()
            raise

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Goes to a place, and returns it."""
        self._offset = self._open().seek(offset, whence)
        return self._offset

    def tell(self) -> int:
        """Returns the place that is read from next."""
        return self._offset

    def readable(self) -> bool:
        """Always True."""
        return True

    def seekable(self) -> bool:
        """Always True."""
        return True

    def close(self) -> None:
        """Closes the file."""
        self._drop()
        super().close()

    def _drop(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):
                file.close()


def _patiently(read: Callable[[], _T]) -> _T:
    """Returns what `read` returns; what fails for the moment is tried again."""
    for attempt in itertools.count(1):
        try:
            return read()
        except OSError as error:
            if is_lasting(error) or attempt == _TRIES:
                raise
            time.sleep(0.1 * 4**attempt)
    raise AssertionError


class Reader:
    """Reads members; keeps a few files open, as members of one file come one after another."""

    def __init__(self, max_bytes: int) -> None:
        """Makes a reader that refuses members of more than `max_bytes`."""
        self._max_bytes = max_bytes
        self._open: collections.OrderedDict[str, BinaryIO] = collections.OrderedDict()
        self._cells = Cells(open_source)

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._open:
            self._open.popitem()[1].close()
        self._cells.close()

    def read(self, member: Member) -> bytes:
        """Returns a member's bytes.

        Raises:
            SampleError: if they cannot be had, for good.
            OSError: if they cannot be had at present.
        """
        if member.data is not None:
            return member.data
        if member.size > self._max_bytes:
            raise SampleError(
                "read",
                "TooLarge",
                f"the .{member.ext} has {member.size} bytes, more than --max_image_bytes="
                f"{self._max_bytes}",
            )
        try:
            data = _patiently(lambda: self._read(member))
        except OSError as error:
            if not is_lasting(error):
                raise
            reason = f"the .{member.ext} cannot be read: {os.strerror(error.errno or 0)}"
            raise SampleError("read", "OSError", reason) from error
        if len(data) != member.size:
            raise SampleError(
                "read",
                "SourceChanged",
                f"the .{member.ext} had {member.size} bytes when it was listed, and has "
                f"{'more' if len(data) > member.size else len(data)} now",
            )
        return data

    def _read(self, member: Member) -> bytes:
        if member.column is not None:
            return self._read_cell(member, member.column)
        if member.offset != WHOLE:
            return self._read_range(member)
        # One byte more than there should be tells a file that has grown, and costs nothing.
        if is_local(member.uri):
            with open(member.uri, "rb", buffering=0) as source:
                return _read_up_to(source, member.size + 1)
        with _open_remote(member.uri) as source:
            return source.read(member.size + 1)

    def _read_range(self, member: Member) -> bytes:
        source = self._handle(member.uri)
        try:
            source.seek(member.offset)
            return source.read(member.size)
        except OSError:
            # A handle that has failed once (a stale one of a network's) may fail for ever.
            self._open.pop(member.uri).close()
            raise

    def _read_cell(self, member: Member, column: str) -> bytes:
        try:
            return self._cells.read(member.uri, column, member.offset) or b""
        except TableError as error:
            raise SampleError("read", "SourceChanged", f"its Parquet file {error}") from error
        except OSError:
            self._cells.forget(member.uri)
            raise

    def _handle(self, uri: str) -> BinaryIO:
        if uri in self._open:
            self._open.move_to_end(uri)
        else:
            if len(self._open) >= _OPEN_FILES:
                self._open.popitem(last=False)[1].close()
            self._open[uri] = (
                open(uri, "rb")  # noqa: SIM115 (closed in __exit__)
                if is_local(uri)
                else _open_remote(uri)
            )
        return self._open[uri]


def open_source(uri: str) -> BinaryIO:
    """Opens a file for reading, unbuffered if it is local.

    Raises:
        OSError: if it cannot be opened.
    """
    if is_local(uri):
        return cast(BinaryIO, open(uri, "rb", buffering=0))
    return _open_remote(uri)


def _open_remote(uri: str) -> BinaryIO:
    """Opens a file on a file system of Beam's.

    Raises:
        FileNotFoundError: if there is none; file systems say so each in its own way.
    """
    try:
        return FileSystems.open(uri, compression_type="uncompressed")
    except Exception as error:
        if FileSystems.exists(uri):
            raise
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri) from error


def _read_up_to(source: BinaryIO, size: int) -> bytes:
    """Reads until there is nothing more: one read of a raw file may return less than is there."""
    first = source.read(size)
    if not first or len(first) == size:
        return first
    parts = [first]
    left = size - len(first)
    while left and (part := source.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def is_lasting(error: OSError) -> bool:
    """Tells whether another try would not mend an error."""
    return error.errno in _LASTING
