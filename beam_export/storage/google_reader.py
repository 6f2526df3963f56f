"""Objects of Google Cloud Storage, read by ranges, and just those that were listed.

A URI that bears a generation (`uris.pin`) is read at that generation alone: if the object was
replaced since, that is an error, unless its bucket keeps old versions. What is read whole is held
against the object's crc32c; of ranges there is no checksum, and their length is.
"""

from __future__ import annotations

import base64
import errno
import io
import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar, cast

import google_crc32c
from google.api_core import exceptions
from google.cloud import storage

from beam_export.storage.base import ReplacedError, Stat
from beam_export.storage.google_client import RETRY, TIMEOUT, blob_of, bucket_of, client, told
from beam_export.storage.uris import pin, unpin

__all__ = ["OWNER", "GoogleStorage", "crc32c_of"]

#: Name of the mark that tells whose an object is, in its metadata.
OWNER = "beam-export-run"

#: What a listing tells of an object: a page of a thousand is read in a fifth of the time.
_FIELDS = "items(name,size,timeCreated,generation,metadata),nextPageToken"
#: Bytes of the first request of an open file, and of those that follow one another.
_LEAST, _MOST = 64 << 10, 8 << 20
#: Bytes that are rather read in vain than asked around, as in `spans`.
_GAP = 1 << 20
_TRIES = 3

_T = TypeVar("_T")


class GoogleStorage:
    """Reads objects with the process's client, which tries again what may go away."""

    far = True
    ranged = True

    def stat(self, uri: str) -> Stat | None:
        """See `Storage.stat`; of a pinned URI, of that generation alone."""
        blob = blob_of(uri)
        with told(uri):
            try:
                blob.reload(timeout=TIMEOUT, retry=RETRY)
            except exceptions.NotFound:
                return None
        return _stat(unpin(uri)[0], blob)

    def list(self, prefix: str) -> Iterator[Stat]:
        """See `Storage.list`; by pages, of which one is held at a time.

        Raises:
            FileNotFoundError: if there is no such bucket.
        """
        bucket, start = bucket_of(prefix)
        with told(prefix):
            blobs = client().list_blobs(
                bucket, prefix=start or None, fields=_FIELDS, timeout=TIMEOUT, retry=RETRY
            )
            for blob in blobs:
                yield _stat(f"gs://{bucket.name}/{blob.name}", blob)

    def open(self, uri: str) -> BinaryIO:
        """See `Storage.open`; what is open stays the content that it was."""
        known = self.stat(uri)
        if known is None:
            raise _gone(uri)
        return cast(BinaryIO, io.BufferedReader(_OpenObject(known), _LEAST))

    def read(self, uri: str, start: int, size: int) -> bytes:
        """See `Storage.read`."""
        return _again(lambda: self._read(uri, start, size))

    def _read(self, uri: str, start: int, size: int) -> bytes:
        data = _download(uri, start, size)[0]
        if len(data) < size:
            # The end of the object, or of somebody's patience? Who reads what was listed is never
            # here, so that this one request more is seldom made.
            known = self.stat(uri)
            if known is not None and start + len(data) < min(known.size, start + size):
                raise OSError(errno.EIO, "fewer bytes came than were asked for", uri)
        return data

    def read_whole(self, uri: str, size: int) -> bytes:
        """See `Storage.read_whole`."""
        return _again(lambda: _read_whole(uri, size))


def _read_whole(uri: str, size: int) -> bytes:
    # By a range, or all of what has taken its place came, however large. One byte more than there
    # should be tells what has grown.
    data, crc32c = _download(uri, 0, size + 1)
    if len(data) <= size and crc32c is not None and crc32c_of(data) != crc32c:
        raise OSError(errno.EIO, "its bytes do not have the checksum of the object", uri)
    return data


def _download(uri: str, start: int, size: int) -> tuple[bytes, str | None]:
    """Returns bytes of an object, and the crc32c of all of it in base64."""
    if size <= 0:
        return b"", None
    blob = blob_of(uri)
    with told(uri):
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
            return b"", None  # it begins behind the end
        except exceptions.NotFound:
            raise _gone(uri) from None
    return data, blob.crc32c


def _gone(uri: str) -> OSError:
    """Returns what to raise of an object that is not there: is another in its place?"""
    plain, generation = unpin(uri)
    if generation and GoogleStorage().stat(plain) is not None:
        return ReplacedError(uri)
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)


def _again(read: Callable[[], _T]) -> _T:
    """Returns what `read` returns; what came damaged is asked for again.

    All else the client has tried again already.
    """
    for _ in range(_TRIES - 1):
        try:
            return read()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
    return read()


def _stat(uri: str, blob: storage.Blob) -> Stat:
    owner = (blob.metadata or {}).get(OWNER, "")
    # Not `updated`: that changes with an object's metadata too.
    moment = blob.time_created.timestamp() if blob.time_created else 0.0
    return Stat(uri, blob.size or 0, moment, blob.generation or 0, owner)


def crc32c_of(data: bytes) -> str:
    """Returns a crc32c in base64, as the storage tells it."""
    return base64.b64encode(google_crc32c.Checksum(data).digest()).decode()


class _OpenObject(io.RawIOBase):
    """One content of an object; requests grow while they follow one another."""

    def __init__(self, known: Stat) -> None:
        super().__init__()
        self._uri = pin(known.uri, known.generation)
        self._size = known.size
        self._offset = 0
        self._block, self._start, self._ask = b"", 0, _LEAST

    def readinto(self, buffer: Any) -> int:
        """Reads as many bytes as there is room for, or as there are."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """Returns `size` bytes or, at the end, what there is of them.

        Raises:
            OSError: if they cannot be had.
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
        """Returns all that is left."""
        return self.read(-1)

    def _fetch(self, size: int) -> None:
        """Gets a block from the present place on."""
        ahead = self._offset - (self._start + len(self._block))
        follows = bool(self._block) and -len(self._block) <= ahead <= _GAP
        self._ask = min(self._ask * 2, _MOST) if follows else _LEAST
        wanted = min(max(size, self._ask), self._size - self._offset)
        block = GoogleStorage().read(self._uri, self._offset, wanted)
        if len(block) < wanted:
            raise ReplacedError(self._uri)
        self._block, self._start = block, self._offset

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Goes to a place, and returns it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._offset = base + offset
        return self._offset

    def tell(self) -> int:
        """Returns the place that is read from next."""
        return self._offset

    def readable(self) -> bool:
        """Always True."""
        return True

    def seekable(self) -> bool:
        """Always True."""
        return True
