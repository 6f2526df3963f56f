"""Files of any file system that Beam knows: `s3://`, `hdfs://`, and others that are registered."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import BinaryIO

from apache_beam.io.filesystem import BeamIOError, FileMetadata
from apache_beam.io.filesystems import FileSystems

from beam_export.storage.base import Stat
from beam_export.storage.local import read_up_to

__all__ = ["BeamStorage"]


class BeamStorage:
    """Reads through Beam's `FileSystems`, which tells no generations."""

    far = True
    ranged = False

    def stat(self, uri: str) -> Stat | None:
        """See `Storage.stat`."""
        # Not by a match: a bracket or a star in a name would be a pattern.
        system = FileSystems.get_filesystem(uri)
        try:
            return _stat(system.metadata(uri))
        except (OSError, BeamIOError):
            # Each file system says in its own way that there is no such file.
            if system.exists(uri):
                raise
            return None

    def list(self, prefix: str) -> Iterator[Stat]:
        """See `Storage.list`; Beam gives all of it at once, in no order."""
        (result,) = FileSystems.match([prefix + "**"])
        found = [_stat(file) for file in result.metadata_list]
        yield from sorted(found, key=lambda one: os.fsencode(one.uri))

    def open(self, uri: str) -> BinaryIO:
        """See `Storage.open`."""
        try:
            source: BinaryIO = FileSystems.open(uri, compression_type="uncompressed")
        except Exception as error:
            if FileSystems.exists(uri):
                raise
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri) from error
        return source

    def read(self, uri: str, start: int, size: int) -> bytes:
        """See `Storage.read`."""
        with self.open(uri) as source:
            if start:
                source.seek(start)
            return read_up_to(source, size)

    def read_whole(self, uri: str, size: int) -> bytes:
        """See `Storage.read_whole`."""
        # One byte more than there should be tells a file that has grown, and costs nothing.
        return self.read(uri, 0, size + 1)


def _stat(file: FileMetadata) -> Stat:
    return Stat(file.path, file.size_in_bytes, file.last_updated_in_seconds or 0.0)
