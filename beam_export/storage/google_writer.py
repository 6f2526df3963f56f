"""Objects of Google Cloud Storage, written: whole, or not at all.

An object appears when the last byte of its upload has come, so there is no temporary name and no
rename. What is written is kept on this machine first (a few MiB in memory, more on its disk): its
size and its crc32c are known before anything is sent, the storage refuses anything else, and an
upload that broke begins again. A process that dies leaves no object, but at most an upload that
was never ended, which the storage forgets within a week.

Terms are preconditions on generations, so that of two who write at the same time the first wins
and the other is told (412). An answer may get lost: then the second try fails on the object of the
first. So after a 412 what is there is looked at, and the same size and crc32c are success, whoever
it was.
"""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import errno
import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

import google_crc32c
from google.api_core import exceptions

from beam_export.errors import RunError
from beam_export.storage.base import LANES, ReplacedError, Stat, Terms
from beam_export.storage.google_client import RETRY, TIMEOUT, blob_of, told
from beam_export.storage.google_reader import OWNER

__all__ = ["GoogleTarget"]

#: Bytes of an object that are held in memory; more go to a temporary file.
_IN_MEMORY = 8 << 20
#: Bytes a request of a large upload; a multiple of 256 KiB. It is held in memory.
_CHUNK = 16 << 20
_TRIES = 3


class GoogleTarget:
    """Writes objects with the process's client."""

    marks = True

    @contextlib.contextmanager
    def create(self, path: str, owner: str = "") -> Iterator[BinaryIO]:
        """See `Target.create`."""
        with self.publish(path, "", Terms(owner, 0)) as target:
            yield target

    @contextlib.contextmanager
    def publish(self, path: str, temporary: str, terms: Terms) -> Iterator[BinaryIO]:
        """See `Target.publish`; it needs no temporary name."""
        with _Spool() as spool:
            yield cast(BinaryIO, spool)
            _upload(path, spool, terms)

    def delete(self, paths: Iterable[str]) -> None:
        """See `Target.delete`; many at the same time, and of a pinned path that object alone."""
        with concurrent.futures.ThreadPoolExecutor(LANES, "delete") as lanes:
            for _ in lanes.map(_delete, paths):
                pass

    def delete_seen(self, seen: Stat) -> None:
        """See `Target.delete_seen`."""
        _delete(seen.uri, seen.generation)

    def tidy(self, folder: str) -> None:
        """See `Target.tidy`: there are no directories."""


class _Spool:
    """What will be uploaded, and its checksum."""

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
            RunError: if this machine has no room for it.
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
        """Does nothing: nobody sees it yet."""

    def tell(self) -> int:
        """Returns how much was written."""
        return self.size

    @property
    def closed(self) -> bool:
        """Whether it is done with."""
        return self._file.closed

    @property
    def crc32c(self) -> str:
        """The checksum of what was written, in base64."""
        return base64.b64encode(self._crc32c.digest()).decode()

    def rewound(self) -> BinaryIO:
        """Returns what was written, to be read from its start."""
        self._file.seek(0)
        return cast(BinaryIO, self._file)


def _upload(path: str, spool: _Spool, terms: Terms) -> None:
    """Makes an object of what was written; an upload that breaks for good begins again."""
    for attempt in range(1, _TRIES + 1):
        try:
            _upload_once(path, spool, terms)
            return
        except ReplacedError:
            if not _is_there(path, spool):
                raise
            return
        except OSError as error:
            if error.errno != errno.EIO or attempt == _TRIES:
                raise


def _upload_once(path: str, spool: _Spool, terms: Terms) -> None:
    blob = blob_of(path, chunk_size=_CHUNK)
    # The storage takes it only if what comes is what was written, and not what a disk made of it.
    blob.crc32c = spool.crc32c
    if terms.owner:
        blob.metadata = {OWNER: terms.owner}
    with told(path):
        blob.upload_from_file(
            spool.rewound(),
            size=spool.size,
            content_type="application/octet-stream",
            if_generation_match=terms.generation,
            checksum=None,
            timeout=TIMEOUT,
            retry=RETRY,
        )
    if (blob.size, blob.crc32c) != (spool.size, spool.crc32c):
        raise OSError(errno.EIO, "another checksum came back than that of what was sent", path)


def _is_there(path: str, spool: _Spool) -> bool:
    """Tells whether an object has the content that was to be written."""
    blob = blob_of(path)
    with told(path):
        try:
            blob.reload(timeout=TIMEOUT, retry=RETRY)
        except exceptions.NotFound:
            return False
    return (blob.size, blob.crc32c) == (spool.size, spool.crc32c)


def _delete(path: str, generation: int = 0) -> None:
    blob = blob_of(path)
    with told(path), contextlib.suppress(exceptions.NotFound):
        blob.delete(if_generation_match=generation or None, timeout=TIMEOUT, retry=RETRY)
