"""Reads objects of Google Cloud Storage, whole or by ranges, at the generation that was listed.

A URI that bears a generation (`uris.pin`) is read at that generation alone: if the object was
replaced since, that is an error, unless its bucket keeps old versions. Whole objects are checked
against their crc32c; ranges have no checksum, and their length is checked.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import google_crc32c
from google.api_core import exceptions
from google.cloud import storage

from beam_export.storage.base import ReplacedError, SeekableReader, Stat
from beam_export.storage.google_client import (
    OWNER,
    RETRY,
    TIMEOUT,
    as_os_errors,
    blob_of,
    client,
    crc32c_text,
    existing_blob,
    is_broken_transfer,
    split_bucket,
)
from beam_export.storage.retry import with_retries
from beam_export.storage.uris import pin, unpin

__all__ = ["GoogleStorage"]

#: Attributes that a listing asks for: a page of a thousand objects takes a fifth of the time.
_FIELDS = "items(name,size,timeCreated,generation,metadata),nextPageToken"
#: Bytes of the first request of an open file, and of the largest of requests in sequence.
_LEAST, _MOST = 64 << 10, 8 << 20
#: Largest gap that still counts as sequential reading: one more request costs about as much.
_GAP = 1 << 20


class GoogleStorage:
    """Reads objects with the process's client, which retries transient errors."""

    remote = True
    ranged = True

    def stat(self, uri: str) -> Stat | None:
        """See `Storage.stat`; of a pinned URI, of that generation alone."""
        blob = existing_blob(uri)
        return None if blob is None else _stat(unpin(uri)[0], blob)

    def list(self, prefix: str) -> Iterator[Stat]:
        """See `Storage.list`; one page of a thousand objects is held at a time.

        Raises:
            FileNotFoundError: if there is no such bucket.
        """
        bucket, start = split_bucket(prefix)
        with as_os_errors(prefix):
            blobs = client().list_blobs(
                bucket, prefix=start or None, fields=_FIELDS, timeout=TIMEOUT, retry=RETRY
            )
            for blob in blobs:
                yield _stat(f"gs://{bucket.name}/{blob.name}", blob)

    def open(self, uri: str) -> BinaryIO:
        """See `Storage.open`; an open file stays at the generation that it was opened at."""
        known = self.stat(uri)
        if known is None:
            raise _gone(uri)
        return cast(BinaryIO, io.BufferedReader(_OpenObject(known), _LEAST))

    def read(self, uri: str, start: int, size: int) -> bytes:
        """See `Storage.read`."""
        return with_retries(
            lambda: self._read(uri, start, size), retriable=is_broken_transfer, wait=0
        )

    def _read(self, uri: str, start: int, size: int) -> bytes:
        data = _download(uri, start, size)[0]
        if len(data) < size:
            # The object may end here, or the transfer was cut short. Reads of what was listed never
            # go past the end, so that this further request is rare.
            known = self.stat(uri)
            if known is not None and start + len(data) < min(known.size, start + size):
                raise OSError(errno.EIO, "fewer bytes came than were asked for", uri)
        return data

    def read_whole(self, uri: str, size: int) -> bytes:
        """See `Storage.read_whole`."""
        return with_retries(lambda: _read_whole(uri, size), retriable=is_broken_transfer, wait=0)


def _read_whole(uri: str, size: int) -> bytes:
    # By a range, since an object that has replaced it may be of any size. One byte more than
    # expected shows that it has grown.
    data, expected = _download(uri, 0, size + 1)
    crc32c = crc32c_text(google_crc32c.Checksum(data))
    if len(data) <= size and expected is not None and crc32c != expected:
        raise OSError(errno.EIO, "its bytes do not have the checksum of the object", uri)
    return data


def _download(uri: str, start: int, size: int) -> tuple[bytes, str | None]:
    """Returns a range of an object, and the crc32c of the whole object in base64."""
    if size <= 0:
        return b"", None
    blob = blob_of(uri)
    with as_os_errors(uri):
        try:
            data = blob.download_as_bytes(
                start=start,
                end=start + size - 1,
                raw_download=True,
                checksum=None,
                single_shot_download=True,
                timeout=TIMEOUT,
                retry=RETRY,
            )
        except exceptions.RequestRangeNotSatisfiable:
            return b"", None  # the range begins behind the end
        except exceptions.NotFound:
            raise _gone(uri) from None
    return data, blob.crc32c


def _gone(uri: str) -> OSError:
    """Returns the error of an object that is not there: was it replaced, or deleted?"""
    plain, generation = unpin(uri)
    if generation and GoogleStorage().stat(plain) is not None:
        return ReplacedError(uri)
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)


def _stat(uri: str, blob: storage.Blob) -> Stat:
    owner = (blob.metadata or {}).get(OWNER, "")
    # Not `blob.updated`, which changes with an object's metadata too.
    updated = blob.time_created.timestamp() if blob.time_created else 0.0
    return Stat(
        uri=uri, size=blob.size or 0, updated=updated, generation=blob.generation or 0, owner=owner
    )


class _OpenObject(SeekableReader):
    """One generation of an object; the requests of sequential reads double in size."""

    def __init__(self, known: Stat) -> None:
        super().__init__()
        self._uri = pin(known.uri, known.generation)
        self._size = known.size
        self._block, self._start, self._ask = b"", 0, _LEAST

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer, as far as there are bytes, and returns how many were read."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """Returns `size` bytes, or all that are left.

        Raises:
            OSError: if the request fails.
        """
        left = max(self._size - self._offset, 0)
        size = left if size < 0 else min(size, left)
        begin = self._offset - self._start
        if size and not 0 <= begin <= len(self._block) - size:
            self._fetch(size)
            begin = 0
        data = self._block[begin : begin + size]
        self._offset += len(data)
        return data

    def readall(self) -> bytes:
        """Returns all bytes that are left."""
        return self.read(-1)

    def _fetch(self, size: int) -> None:
        """Requests a block from the present position on."""
        ahead = self._offset - (self._start + len(self._block))
        follows = bool(self._block) and -len(self._block) <= ahead <= _GAP
        self._ask = min(self._ask * 2, _MOST) if follows else _LEAST
        wanted = min(max(size, self._ask), self._size - self._offset)
        block = GoogleStorage().read(self._uri, self._offset, wanted)
        if len(block) < wanted:
            raise ReplacedError(self._uri)
        self._block, self._start = block, self._offset

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a position, and returns it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._offset = base + offset
        return self._offset
