"""Files of any file system that Beam knows: `s3://`, `hdfs://`, and others that are registered."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem
from apache_beam.io.filesystems import FileSystems

from beam_export.storage.base import Stat, Terms, read_up_to

__all__ = ["BeamStorage", "BeamTarget", "schemes"]


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


class BeamTarget:
    """Writes through Beam's `FileSystems`, which knows no terms: a rename replaces like by like."""

    marks = False

    @contextlib.contextmanager
    def create(self, path: str, owner: str = "") -> Iterator[BinaryIO]:
        """See `Target.create`."""
        target = FileSystems.create(
            path, mime_type="application/octet-stream", compression_type="uncompressed"
        )
        with target as opened:
            yield opened

    @contextlib.contextmanager
    def publish(self, path: str, temporary: str, terms: Terms) -> Iterator[BinaryIO]:
        """See `Target.publish`."""
        try:
            with self.create(temporary) as target:
                yield target
            FileSystems.rename([temporary], [path])
        except BaseException:
            # What is wrong is to be told, not that the rest of it cannot be removed either.
            with contextlib.suppress(OSError):
                self.delete([temporary])
            raise

    def delete(self, paths: Iterable[str]) -> None:
        """See `Target.delete`."""
        for path in paths:
            try:
                FileSystems.delete([path])
            except OSError:
                # Each file system says in its own way that there is no such file.
                if FileSystems.exists(path):
                    raise

    def delete_seen(self, seen: Stat) -> None:
        """See `Target.delete_seen`; files have no generations here."""
        self.delete([seen.uri])

    def tidy(self, folder: str) -> None:
        """See `Target.tidy`: there is nothing to do."""


def schemes() -> set[str | None]:
    """Returns the schemes that have a file system here."""
    return {system.scheme() for system in FileSystem.get_all_subclasses()}
