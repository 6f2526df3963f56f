"""Writes objects of Google Cloud Storage: complete, or not at all.

An object appears when the last byte of its upload has arrived, so there is no temporary name and no
rename. Bytes are collected on this machine first (8 MiB in memory, more on its disk): size and
crc32c are known before the upload begins, the storage refuses anything else, and a broken upload
begins anew. A process that dies leaves no object, but at most an unfinished upload, which the
storage drops within a week.

A `WriteCondition` is a precondition on the generation: of two writers at the same time the first
wins, and the second gets a 412. The answer to a successful upload may get lost, and then its retry
gets a 412 too. So after a 412 the existing object is compared, and the same size and crc32c count
as success, even if another process wrote it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

import google_crc32c
from google.api_core import exceptions

from beam_export.errors import RunError
from beam_export.storage.base import CONCURRENT_REQUESTS, ReplacedError, Stat, WriteCondition
from beam_export.storage.google_client import (
    OWNER,
    RETRY,
    TIMEOUT,
    as_os_errors,
    blob_of,
    crc32c_text,
    existing_blob,
    is_broken_transfer,
)
from beam_export.storage.retry import with_retries

__all__ = ["GoogleWriter"]

#: Bytes of an object that are held in memory; more go to a temporary file.
_IN_MEMORY = 8 << 20
#: Bytes per request of a large upload, held in memory; a multiple of 256 KiB.
_CHUNK = 16 << 20


class GoogleWriter:
    """Writes objects with the process's client."""

    keeps_owner = True

    @contextlib.contextmanager
    def create(self, path: str, owner: str = "") -> Iterator[BinaryIO]:
        """See `StorageWriter.create`."""
        with self.publish(path, "", WriteCondition(owner, 0)) as target:
            yield target

    @contextlib.contextmanager
    def publish(self, path: str, temporary: str, condition: WriteCondition) -> Iterator[BinaryIO]:
        """See `StorageWriter.publish`; it needs no temporary name."""
        with _Spool() as spool:
            yield cast(BinaryIO, spool)
            _upload(path, spool, condition)

    def delete(self, paths: Iterable[str]) -> None:
        """See `StorageWriter.delete`; many at the same time.

        Of a pinned path, that generation alone is deleted.
        """
        with concurrent.futures.ThreadPoolExecutor(CONCURRENT_REQUESTS, "delete") as lanes:
            for _ in lanes.map(_delete, paths):
                pass

    def delete_if_unchanged(self, seen: Stat) -> None:
        """See `StorageWriter.delete_if_unchanged`."""
        _delete(seen.uri, seen.generation)

    def remove_if_empty(self, folder: str) -> None:
        """See `StorageWriter.remove_if_empty`: there are no directories."""


class _Spool:
    """The bytes of an object before its upload, with their checksum."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 (closed on leaving)
        self._crc32c = google_crc32c.Checksum()
        self.size = 0

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> int:
        """Writes all of `data`.

        Raises:
            RunError: if the disk of this machine is full.
        """
        try:
            self._file.write(data)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise RunError(
                f"{tempfile.gettempdir()} of the machine that writes has no room left for what is "
                "to be uploaded: give it a larger disk (--disk_size_gb on Dataflow), or name "
                "another directory in TMPDIR."
            ) from error
        view = memoryview(data)
        self._crc32c.update(data if isinstance(data, bytes) else bytes(view))
        self.size += view.nbytes
        return view.nbytes

    def flush(self) -> None:
        """Does nothing: nothing is visible before the upload."""

    def tell(self) -> int:
        """Returns how many bytes were written."""
        return self.size

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._file.closed

    @property
    def crc32c(self) -> str:
        """The checksum of all that was written, in base64."""
        return crc32c_text(self._crc32c)

    def rewound(self) -> BinaryIO:
        """Returns a file with all that was written, at its start."""
        self._file.seek(0)
        return cast(BinaryIO, self._file)


def _upload(path: str, spool: _Spool, condition: WriteCondition) -> None:
    """Uploads an object; an upload that breaks off for good begins anew."""
    try:
        with_retries(
            lambda: _upload_once(path, spool, condition), retriable=is_broken_transfer, wait=0
        )
    except ReplacedError:
        if not _is_there(path, spool):
            raise


def _upload_once(path: str, spool: _Spool, condition: WriteCondition) -> None:
    blob = blob_of(path, chunk_size=_CHUNK)
    # The storage compares it, so that bytes that the local disk has damaged are refused.
    blob.crc32c = spool.crc32c
    if condition.owner:
        blob.metadata = {OWNER: condition.owner}
    with as_os_errors(path):
        blob.upload_from_file(
            spool.rewound(),
            size=spool.size,
            content_type="application/octet-stream",
            if_generation_match=condition.generation,
            checksum=None,
            timeout=TIMEOUT,
            retry=RETRY,
        )
    if (blob.size, blob.crc32c) != (spool.size, spool.crc32c):
        raise OSError(errno.EIO, "another checksum came back than that of what was sent", path)


def _is_there(path: str, spool: _Spool) -> bool:
    """Returns whether an object has the content that was to be written."""
    blob = existing_blob(path)
    return blob is not None and (blob.size, blob.crc32c) == (spool.size, spool.crc32c)


def _delete(path: str, generation: int = 0) -> None:
    blob = blob_of(path)
    with as_os_errors(path), contextlib.suppress(exceptions.NotFound):
        blob.delete(if_generation_match=generation or None, timeout=TIMEOUT, retry=RETRY)
