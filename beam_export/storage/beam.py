"""Reads and writes files on any file system that Beam knows: `s3://`, `hdfs://`, and others."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import S3Options

from beam_export.storage.base import Stat, WriteCondition, read_up_to
from beam_export.storage.reach import PATIENCE, why_unreachable

__all__ = ["BeamStorage", "BeamWriter", "s3_unreachable", "schemes"]


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
        # What would be a pattern in the prefix is meant as it is, and Beam has no way to quote it.
        plain = re.split(r"[*?[]", prefix, maxsplit=1)[0]
        (result,) = FileSystems.match([plain + "**"])
        found = [_stat(file) for file in result.metadata_list if file.path.startswith(prefix)]
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


def s3_unreachable(uri: str) -> str | None:
    """Returns why S3 cannot be reached, in a few words; None if it answers, whatever it says."""
    from botocore import exceptions

    client = _s3_client(uri)

    def ask() -> None:
        # An answer, or a name that no bucket has: the first request will say so.
        with contextlib.suppress(exceptions.ClientError, exceptions.ParamValidationError):
            client.head_bucket(Bucket=uri.removeprefix("s3://").partition("/")[0])

    connecting = (
        exceptions.EndpointConnectionError,
        exceptions.ConnectTimeoutError,
        exceptions.ProxyConnectionError,
        exceptions.SSLError,
    )
    try:
        return why_unreachable(ask, connecting)
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        return (
            "there are no credentials: give --s3_access_key_id and --s3_secret_access_key, or set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    except exceptions.BotoCoreError:
        return None


def _s3_client(uri: str) -> Any:
    """Returns a client of S3 as Beam makes it, which soon gives up and does not try again."""
    import boto3
    from botocore.config import Config

    # Those that Beam was given for the run (`FileSystems.set_options`).
    options = FileSystems.get_filesystem(uri)._options.view_as(S3Options)
    connect, read = PATIENCE
    return boto3.session.Session().client(
        "s3",
        region_name=options.s3_region_name,
        api_version=options.s3_api_version,
        use_ssl=not options.s3_disable_ssl,
        verify=options.s3_verify,
        endpoint_url=options.s3_endpoint_url,
        aws_access_key_id=options.s3_access_key_id,
        aws_secret_access_key=options.s3_secret_access_key,
        aws_session_token=options.s3_session_token,
        config=Config(
            connect_timeout=connect, read_timeout=read, retries={"total_max_attempts": 1}
        ),
    )
