"""Files on storages that have bad moments: what fails for one is tried again."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import BinaryIO, TypeVar, cast

from beam_export.storage.local_file import LocalFile, check_unchanged
from beam_export.storage.registry import ReplacedError, storage_of
from beam_export.storage.uris import is_local

__all__ = ["is_lasting", "open_source", "patiently", "patiently_opened", "unchanged"]

#: Errors that another try will not mend.
_LASTING = frozenset(
    getattr(errno, name)
    for name in ["ENOENT", "EACCES", "EPERM", "EISDIR", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "ENXIO"]
)
_TRIES = 3
_PIECE = 1 << 20

_T = TypeVar("_T")


def is_lasting(error: OSError) -> bool:
    """Tells whether another try would not mend an error."""
    return isinstance(error, ReplacedError) or error.errno in _LASTING


def open_source(uri: str) -> BinaryIO:
    """Opens a file for reading, unbuffered if it is local.

    Args:
        uri: pinned or not; `unchanged` tells whether what was read of it counts.

    Raises:
        OSError: if it cannot be opened.
    """
    if is_local(uri):
        return cast(BinaryIO, LocalFile(uri))
    return storage_of(uri).open(uri)


def unchanged(file: BinaryIO, items: Iterable[_T]) -> Iterator[_T]:
    """Yields what is made of an open file, as long as that is what it was when it was opened.

    Raises:
        ReplacedError: if it is not; what was made of it since the last item is not handed on.
    """
    made = iter(items)
    try:
        while True:
            try:
                item = next(made)
            except StopIteration:
                check_unchanged(file)
                return
            except Exception:
                # Half of one file and half of another is damaged: that is not what is to be told.
                check_unchanged(file)
                raise
            check_unchanged(file)
            yield item
    finally:
        if isinstance(made, Generator):
            made.close()  # while the file is open


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
        patiently(self._open)

    def _open(self) -> BinaryIO:
        if self._file is None:
            self._file = open_source(self._uri)
            if isinstance(self._file, LocalFile):
                # Should it have to be opened again: just this.
                self._uri = self._file.pinned
            self._file.seek(self._offset)
        return self._file

    @property
    def raw(self) -> BinaryIO | None:
        """What is open at present: see `check_unchanged`."""
        return self._file

    def read(self, size: int = -1) -> bytes:
        """Returns up to `size` bytes, at least one unless the file is at its end.

        Raises:
            OSError: if they cannot be had at present.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_PIECE), b""))
        data = patiently(lambda: self._read(size))
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


def patiently(read: Callable[[], _T]) -> _T:
    """Returns what `read` returns; what fails for the moment is tried again."""
    for attempt in itertools.count(1):
        try:
            return read()
        except OSError as error:
            if is_lasting(error) or attempt == _TRIES:
                raise
            time.sleep(0.1 * 4**attempt)
    raise AssertionError
