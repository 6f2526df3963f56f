"""Reads and writes files on any file system that Beam knows: `s3://`, `hdfs://`, and others."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem
from apache_beam.io.filesystems import FileSystems

from beam_export.storage.base import Stat, WriteCondition, read_up_to

__all__ = ["BeamStorage", "BeamWriter", "schemes"]


class BeamStorage:
    """Reads through Beam's `FileSystems`, which has no generations."""

    remote = True
    ranged = False

    def stat(self, uri: str) -> Stat | None:
        """See `Storage.stat`."""
        # Not by `match`, for which a bracket or a star in a name would be a pattern.
        system = FileSystems.get_filesystem(uri)
        try:
            return _stat(system.metadata(uri))
        except (OSError, BeamIOError):
            # Each file system raises an error of its own if there is no such file.
            if system.exists(uri):
                raise
            return None

    def list(self, prefix: str) -> Iterator[Stat]:
        """See `Storage.list`; Beam lists all at once, in no order, so all is held and sorted."""
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
        # One byte more than expected shows that the file has grown.
        return self.read(uri, 0, size + 1)


def _stat(file: FileMetadata) -> Stat:
    return Stat(file.path, file.size_in_bytes, file.last_updated_in_seconds or 0.0)


class BeamWriter:
    """Writes through Beam's `FileSystems`, which has no conditions: a rename always replaces."""

    keeps_owner = False

    @contextlib.contextmanager
    def create(self, path: str, owner: str = "") -> Iterator[BinaryIO]:
        """See `StorageWriter.create`."""
        target = FileSystems.create(
            path, mime_type="application/octet-stream", compression_type="uncompressed"
        )
        with target as opened:
            yield opened

    @contextlib.contextmanager
    def publish(self, path: str, temporary: str, condition: WriteCondition) -> Iterator[BinaryIO]:
        """See `StorageWriter.publish`."""
        try:
            with self.create(temporary) as target:
                yield target
            FileSystems.rename([temporary], [path])
        except BaseException:
            # The first error is the one to report, not that the rest cannot be removed.
            with contextlib.suppress(OSError):
                self.delete([temporary])
            raise

    def delete(self, paths: Iterable[str]) -> None:
        """See `StorageWriter.delete`."""
        for path in paths:
            try:
                FileSystems.delete([path])
            except OSError:
                # Each file system raises an error of its own if there is no such file.
                if FileSystems.exists(path):
                    raise

    def delete_if_unchanged(self, seen: Stat) -> None:
        """See `StorageWriter.delete_if_unchanged`; files have no generations here."""
        self.delete([seen.uri])

    def remove_if_empty(self, folder: str) -> None:
        """See `StorageWriter.remove_if_empty`: there is nothing to do."""


def schemes() -> set[str | None]:
    """Returns the URI schemes that Beam's installed file systems serve."""
    return {system.scheme() for system in FileSystem.get_all_subclasses()}
