"""Reads and lists files of the local file system."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import BinaryIO

from beam_export.storage.base import Stat
from beam_export.storage.local_file import LocalFile, read_range
from beam_export.storage.uris import unpin_file

__all__ = ["LocalStorage"]


class LocalStorage:
    """Reads local files; no character of a path has a special meaning."""

    remote = False
    ranged = False

    def stat(self, uri: str) -> Stat | None:
        """See `Storage.stat`."""
        path, pinned = unpin_file(uri)
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        found = Stat(path, status.st_size, status.st_mtime, modified_ns=status.st_mtime_ns)
        return None if pinned and found.pinned != uri else found

    def list(self, prefix: str) -> Iterator[Stat]:
        """See `Storage.list`; links to directories are not followed."""
        for path in sorted(_files(prefix), key=os.fsencode):
            # Another process may have removed it since.
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
        # One byte more than expected shows that the file has grown.
        return self.read(uri, 0, size + 1)


def _files(prefix: str) -> Iterator[str]:
    """Yields the files whose paths begin with `prefix`; skips directories that cannot hold one."""
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
