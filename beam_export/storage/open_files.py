"""Files opened for reading, on any storage: with retries, and checked against changes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Iterator
from typing import BinaryIO, TypeVar, cast

from beam_export.storage.base import SeekableReader
from beam_export.storage.local_file import LocalFile, check_unchanged
from beam_export.storage.registry import storage_of
from beam_export.storage.retry import with_retries
from beam_export.storage.uris import is_local

__all__ = ["open_source", "open_with_retries", "unchanged"]

#: Bytes per read where all of a file is asked for.
_PIECE = 1 << 20

_T = TypeVar("_T")


def open_source(uri: str) -> BinaryIO:
    """Opens a file for reading, unbuffered if it is local.

    Args:
        uri: pinned or not. What is read counts only if `unchanged` or `check_unchanged` finds that
            the file is the same afterwards.

    Raises:
        OSError: if it cannot be opened.
    """
    if is_local(uri):
        return cast(BinaryIO, LocalFile(uri))
    return storage_of(uri).open(uri)


def unchanged(file: BinaryIO, items: Iterable[_T]) -> Iterator[_T]:
    """Yields items that are parsed from an open file, each after a check that it has not changed.

    Raises:
        ReplacedError: if the file has changed; what was parsed since the last item is not yielded.
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
                # Half of one content and half of another does not parse: the change is the error
                # to report, and not the damage that it looks like.
                check_unchanged(file)
                raise
            check_unchanged(file)
            yield item
    finally:
        if isinstance(made, Generator):
            made.close()  # while the file is open


def open_with_retries(uri: str) -> contextlib.closing[BinaryIO]:
    """Opens a seekable, unbuffered file, each of whose reads is retried after transient errors.

    Raises:
        OSError: if it cannot be opened.
    """
    return contextlib.closing(cast(BinaryIO, _RetryingFile(uri)))


class _RetryingFile(SeekableReader):
    """A file that is opened again, at the same place, after a read has failed."""

    def __init__(self, uri: str) -> None:
        super().__init__()
        self._uri = uri
        self._file: BinaryIO | None = None
        with_retries(self._open)

    def _open(self) -> BinaryIO:
        if self._file is None:
            self._file = open_source(self._uri)
            if isinstance(self._file, LocalFile):
                # Should it have to be opened again, then only the same content.
                self._uri = self._file.pinned
            self._file.seek(self._offset)
        return self._file

    @property
    def raw(self) -> BinaryIO | None:
        """The file that is open at present, for `check_unchanged`."""
        return self._file

    def read(self, size: int = -1) -> bytes:
        """Returns up to `size` bytes, at least one unless the file is at its end.

        Raises:
            OSError: if three attempts have failed.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_PIECE), b""))
        data = with_retries(lambda: self._read(size))
        self._offset += len(data)
        return data

    def _read(self, size: int) -> bytes:
        try:
            return self._open().read(size)
        except OSError:
            # A handle that has failed once (a stale one of a network mount) may fail for ever.
            self._drop()
            raise

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a position, and returns it."""
        self._offset = self._open().seek(offset, whence)
        return self._offset

    def close(self) -> None:
        """Closes the file."""
        self._drop()
        super().close()

    def _drop(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):
                file.close()
