"""Files of the local file system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from beam_export.storage.base import Stat

__all__ = ["LocalStorage", "read_up_to"]


class LocalStorage:
    """Reads local files; a path is taken by the letter, whatever it holds."""

    far = False
    ranged = False

    def stat(self, uri: str) -> Stat | None:
        """See `Storage.stat`."""
        try:
            status = os.stat(uri)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Stat(uri, status.st_size, status.st_mtime)

    def list(self, prefix: str) -> Iterator[Stat]:
        """See `Storage.list`; links to directories are not followed."""
        for path in sorted(_files(prefix), key=os.fsencode):
            # Who else works there may have removed it since.
            if (known := self.stat(path)) is not None:
                yield known

    def open(self, uri: str) -> BinaryIO:
        """See `Storage.open`."""
        return open(uri, "rb")

    def read(self, uri: str, start: int, size: int) -> bytes:
        """See `Storage.read`."""
        with open(uri, "rb", buffering=0) as source:
            if start:
                source.seek(start)
            return read_up_to(source, size)

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


def read_up_to(source: BinaryIO, size: int) -> bytes:
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
