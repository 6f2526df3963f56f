"""Files of the local file system."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from beam_export.storage.base import Stat, Terms
from beam_export.storage.local_file import LocalFile, read_range
from beam_export.uris import unpin_file

__all__ = ["LocalStorage", "LocalTarget"]

#: Bytes that are written before the disk is asked to take them.
_STRIDE = 8 << 20


class LocalStorage:
    """Reads local files; a path is taken by the letter, whatever it holds."""

    far = False
    ranged = False

    def stat(self, uri: str) -> Stat | None:
        """See `Storage.stat`."""
        path, pinned = unpin_file(uri)
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        found = Stat(path, status.st_size, status.st_mtime, moment=status.st_mtime_ns)
        return None if pinned and found.pinned != uri else found

    def list(self, prefix: str) -> Iterator[Stat]:
        """See `Storage.list`; links to directories are not followed."""
        for path in sorted(_files(prefix), key=os.fsencode):
            # Who else works there may have removed it since.
            if (known := self.stat(path)) is not None:
                yield known

    def open(self, uri: str) -> BinaryIO:
        """See `Storage.open`."""
        return io.BufferedReader(LocalFile(uri))

    def read(self, uri: str, start: int, size: int) -> bytes:
        """See `Storage.read`."""
        return read_range(uri, start, size)

    def read_whole(self, uri: str, size: int) -> bytes:
        """See `Storage.read_whole`."""
        # One byte more than there should be tells a file that has grown, and costs nothing.
        return self.read(uri, 0, size + 1)


def _files(prefix: str) -> Iterator[str]:
    """Yields the files whose paths begin so; no directory is entered that cannot hold one."""
    try:
        with os.scandir(os.path.dirname(prefix) or ".") as entries:
            found = [entry for entry in entries if entry.path.startswith(prefix)]
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path + "/")
        elif entry.is_file():
            yield entry.path


class _Outgoing(io.FileIO):
    """A new file that goes to the disk while it is written, so that its end is not waited for."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "xb")
        self._written = self._sent = 0

    def write(self, data: Any, /) -> int:
        """Writes as `io.FileIO` does."""
        count = super().write(data)
        self._written += count
        if self._written - self._sent >= _STRIDE and hasattr(os, "posix_fadvise"):
            # Of bytes that are not on the disk yet, Linux takes this as a request to write them;
            # they stay in memory. Where it is not taken, fsync has more to do.
            span = (self._sent, self._written - self._sent)
            with contextlib.suppress(OSError):
                os.posix_fadvise(self.fileno(), *span, os.POSIX_FADV_DONTNEED)
            self._sent = self._written
        return count


class LocalTarget:
    """Writes local files: under another name first, then they are renamed."""

    @contextlib.contextmanager
    def create(self, path: str) -> Iterator[BinaryIO]:
        """See `Target.create`."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with io.BufferedWriter(_Outgoing(path)) as target:
            yield target

    @contextlib.contextmanager
    def publish(self, path: str, temporary: str, terms: Terms) -> Iterator[BinaryIO]:
        """See `Target.publish`; what stands there is replaced by its like."""
        try:
            with self.create(temporary) as target:
                yield target
                # So that a file's bytes outlive a crash of the machine, as its name will.
                target.flush()
                os.fsync(target.fileno())
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.replace(temporary, path)
        except BaseException:
            # What is wrong is to be told, not that the rest of it cannot be removed either.
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def delete(self, paths: Iterable[str]) -> None:
        """See `Target.delete`."""
        for path in paths:
            # Another attempt at the same shard may have been faster.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def delete_seen(self, seen: Stat) -> None:
        """See `Target.delete_seen`; files have no generations here."""
        self.delete([seen.uri])

    def tidy(self, folder: str) -> None:
        """See `Target.tidy`."""
        # Another run's temporary files may be there, or that run may just have removed it.
        with contextlib.suppress(OSError):
            os.rmdir(folder)
