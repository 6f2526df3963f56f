"""Reads the bytes of samples' members: whole files, ranges of files, cells of Parquet.

A permanent error (no such file, no permission, another size or content than when it was listed) is
the sample's failure. A transient one is retried, and then raised: the runner tries the bundle
again, so that a bad moment of a disk or a network never decides what is in a dataset.
"""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import os
import stat
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, TypeVar

from beam_export.errors import InputError, SampleError
from beam_export.samples import SOURCE_CHANGED, WHOLE, Member
from beam_export.sources.spans import Span, coalesce
from beam_export.sources.tables.cells import Cells
from beam_export.sources.tables.formats import TableError
from beam_export.storage.base import CONCURRENT_REQUESTS, IrregularError, ReplacedError
from beam_export.storage.local_file import check_unchanged, read_at, read_range
from beam_export.storage.open_files import open_source
from beam_export.storage.registry import check_scheme, storage_of
from beam_export.storage.retry import is_permanent, with_retries
from beam_export.storage.uris import is_local, pin_file

__all__ = ["Reader", "locate"]

_OPEN_FILES = 16
#: Bytes and items that are read ahead together; the longer the window, the more ranges of one
#: file lie close enough in it to be read at one go.
_AHEAD = (64 << 20, 2048)

_T = TypeVar("_T")
#: Members of a span by their places.
_Parts = dict[int, bytes | SampleError]
_Key = tuple[str, int, int]


class Reader:
    """Reads members; keeps a few files open, since those of one file mostly follow one another."""

    def __init__(self, max_bytes: int) -> None:
        """Makes a reader that refuses members of more than `max_bytes`."""
        self._max_bytes = max_bytes
        self._open: collections.OrderedDict[str, BinaryIO] = collections.OrderedDict()
        self._changed: set[str] = set()
        self._cells = Cells(open_source)
        self._lock = threading.Lock()
        self._coming: dict[_Key, tuple[concurrent.futures.Future[_Parts], int]] = {}

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        while self._coming:
            self._coming.popitem()[1][0].cancel()
        while self._open:
            self._open.popitem()[1].close()
        self._cells.close()

    def read(self, member: Member) -> bytes:
        """Returns a member's bytes.

        Raises:
            SampleError: if they cannot be read, for good.
            OSError: if they cannot be read at present.
        """
        (data,) = self.read_all([member])
        if isinstance(data, SampleError):
            raise data
        return data

    def read_file(self, member: Member) -> bytes | None:
        """Returns all bytes of a local file, if the member is one that can be read at once.

        Returns:
            None for any other member, and if anything is odd: `read_all` says what.
        """
        if member.offset != WHOLE or member.data is not None or not is_local(member.uri):
            return None
        if member.size > self._max_bytes or member.crc is not None:
            return None
        try:
            data = read_range(member.uri, 0, member.size + 1)
        except OSError:
            return None
        return data if len(data) == member.size else None

    def read_all(self, members: Sequence[Member]) -> list[bytes | SampleError]:
        """Returns the bytes of each member, or the error if they cannot be read for good.

        On a remote storage they are read concurrently, and ranges of one file that touch or nearly
        touch are read together. Several threads may call this, on a remote storage concurrently.

        Raises:
            OSError: if a member cannot be read at present.
        """
        results: list[bytes | SampleError] = [self._known(one) for one in members]
        far: list[tuple[int, Member]] = []
        near: list[tuple[int, Member]] = []
        coming = []
        for place, member in enumerate(members):
            if member.data is None and not isinstance(results[place], SampleError):
                if begun := self._coming.pop(_key(member), None) if self._coming else None:
                    coming.append((place, begun))
                else:
                    (far if _is_far(member) else near).append((place, member))
        # Begun before the near ones are read, since remote reads mostly wait.
        reading = [_pool().submit(self._read_span, span) for span in coalesce(far)]
        # Handles, and the row groups of `Cells`, are for one thread at a time.
        with self._lock:
            for place, member in near:
                results[place] = self._read_near(member)
            self._replace_changed(near, results)
        for future in reading:
            for place, data in future.result().items():
                results[place] = data
        for place, (begun_reading, part) in coming:
            # Popped, so that what was read ahead is held no longer than until it is used.
            results[place] = begun_reading.result().pop(part)
        return results

    def ahead(self, items: Iterable[_T], members: Callable[[_T], Iterable[Member]]) -> Iterator[_T]:
        """Yields items, while their members on a remote storage are read ahead.

        Two windows of items are being read at a time: see `_AHEAD`.

        Args:
            items: in the order in which they will be read.
            members: returns the members of an item that will be read.
        """
        windows = _windows(iter(items), members)
        now = self._expect(next(windows, []), members)
        while now:
            # Before this window is used, so that the next is read meanwhile.
            following = self._expect(next(windows, []), members)
            yield from now
            now = following

    def _expect(self, items: list[_T], members: Callable[[_T], Iterable[Member]]) -> list[_T]:
        wanted = [
            one
            for item in items
            for one in members(item)
            if one.data is None and one.size <= self._max_bytes and _is_far(one)
        ]
        for span in coalesce(enumerate(wanted)):
            reading = _pool().submit(self._read_span, span)
            for place, member in span.parts:
                self._coming[_key(member)] = (reading, place)
        return items

    def _known(self, member: Member) -> bytes | SampleError:
        """Returns a member's bytes or error where no read is needed; empty if one is."""
        if member.data is not None:
            return member.data
        if member.size <= self._max_bytes:
            return b""
        return SampleError(
            "read",
            "TooLarge",
            f"the .{member.ext} has {member.size} bytes, more than --max_image_bytes="
            f"{self._max_bytes}",
        )

    def _read_span(self, span: Span) -> _Parts:
        """Returns the bytes of each part of a span, by its place."""
        storage = storage_of(span.uri)
        if span.offset == WHOLE:
            ((place, member),) = span.parts
            whole = functools.partial(storage.read_whole, span.uri, span.size)
            return {place: self._attempt(member, whole)}
        data = _fetch(span.parts[0][1], functools.partial(storage.read, *span[:3]))
        return {place: _part(member, data, span.offset) for place, member in span.parts}

    def _attempt(self, member: Member, read: Callable[[], bytes]) -> bytes | SampleError:
        data = _fetch(member, read)
        return data if isinstance(data, SampleError) else _checked(member, data)

    def _read_near(self, member: Member) -> bytes | SampleError:
        data = self._read_range(member)
        if data is None:
            return self._attempt(member, functools.partial(self._read, member))
        return data

    def _read_range(self, member: Member) -> bytes | None:
        """Returns the bytes of a range of an open local file: most members of tars are such.

        Returns:
            None for any other member, and if anything is odd: `_attempt` says what.
        """
        file = self._open.get(member.uri)
        if file is None or member.offset == WHOLE or member.column is not None:
            return None
        if member.crc is not None or not is_local(member.uri):
            return None
        try:
            data = os.pread(file.fileno(), member.size, member.offset)
        except OSError:
            return None
        if len(data) != member.size:
            return None
        # As `_handle` does: the file that was used last is the last to be closed.
        self._open.move_to_end(member.uri)
        return data

    def _read(self, member: Member) -> bytes:
        if member.column is not None:
            return self._read_cell(member, member.column)
        if member.offset == WHOLE:
            return storage_of(member.uri).read_whole(member.uri, member.size)
        source = self._handle(member.uri)
        try:
            if is_local(member.uri):
                return read_at(source.fileno(), member.offset, member.size)
            source.seek(member.offset)
            return source.read(member.size)
        except OSError:
            # A handle that has failed once (a stale one of a network's) may fail for ever.
            self._open.pop(member.uri).close()
            raise

    def _replace_changed(
        self, near: list[tuple[int, Member]], results: list[bytes | SampleError]
    ) -> None:
        """Replaces results by errors, of files that have changed since they were opened."""
        ranges = [(place, one) for place, one in near if one.column is None and one.offset != WHOLE]
        for uri in {one.uri for _, one in ranges} & self._open.keys():
            self._check(uri)
        if self._changed:
            for place, one in ranges:
                if one.uri in self._changed and isinstance(results[place], bytes):
                    results[place] = _replaced(one)
            self._changed.clear()

    def _check(self, uri: str) -> None:
        """Notes an open file that has changed, and closes it."""
        try:
            check_unchanged(self._open[uri])
        except ReplacedError:
            self._changed.add(uri)
            self._open.pop(uri).close()

    def _read_cell(self, member: Member, column: str) -> bytes:
        try:
            return self._cells.read(member.uri, column, member.offset) or b""
        except TableError as error:
            raise SampleError("read", SOURCE_CHANGED, f"its Parquet file {error}") from error
        except OSError:
            self._cells.forget(member.uri)
            raise

    def _handle(self, uri: str) -> BinaryIO:
        if uri in self._open:
            self._open.move_to_end(uri)
        else:
            if len(self._open) >= _OPEN_FILES:
                # Its bytes are in the results: a change has to be seen before it is closed.
                self._check(oldest := next(iter(self._open)))
                if oldest in self._open:
                    self._open.pop(oldest).close()
            self._open[uri] = storage_of(uri).open(uri)
        return self._open[uri]


@functools.cache
def _pool() -> concurrent.futures.ThreadPoolExecutor:
    """Returns the threads of this process that all readers share for remote storage."""
    return concurrent.futures.ThreadPoolExecutor(CONCURRENT_REQUESTS, "read")


def _windows(items: Iterator[_T], members: Callable[[_T], Iterable[Member]]) -> Iterator[list[_T]]:
    window: list[_T] = []
    held = 0
    for item in items:
        window.append(item)
        held += sum(member.size for member in members(item))
        if held >= _AHEAD[0] or len(window) >= _AHEAD[1]:
            yield window
            window, held = [], 0
    if window:
        yield window


def _key(member: Member) -> _Key:
    return member.uri, member.offset, member.size


def _is_far(member: Member) -> bool:
    """Returns whether a member is read by a request to a remote storage, without an open file."""
    if member.column is not None or is_local(member.uri):  # such a file is held open
        return False
    storage = storage_of(member.uri)
    return storage.ranged or (storage.remote and member.offset == WHOLE)


def _fetch(member: Member, read: Callable[[], bytes]) -> bytes | SampleError:
    """Reads with retries; returns a permanent error as the sample's."""
    try:
        return read() if storage_of(member.uri).ranged else with_retries(read)
    except SampleError as error:
        return error
    except ReplacedError:
        return _replaced(member)
    except OSError as error:
        if not is_permanent(error):
            raise
        why = error.strerror if isinstance(error, IrregularError) else os.strerror(error.errno or 0)
        return SampleError("read", "OSError", f"the .{member.ext} cannot be read: {why}")


def _replaced(member: Member) -> SampleError:
    reason = f"the .{member.ext} has been replaced since it was listed"
    return SampleError("read", SOURCE_CHANGED, reason)


def _part(member: Member, data: bytes | SampleError, offset: int) -> bytes | SampleError:
    """Returns a member's bytes, out of those of its file from `offset` on."""
    if isinstance(data, SampleError):
        return data
    start = member.offset - offset
    return _checked(member, data[start : start + member.size])


def _checked(member: Member, data: bytes) -> bytes | SampleError:
    if len(data) == member.size:
        if member.crc is None or zlib.crc32(data) == member.crc:
            return data
        reason = f"the .{member.ext} is not what was spilled: _tmp has been written to by others"
        return SampleError("read", SOURCE_CHANGED, reason)
    return SampleError(
        "read",
        SOURCE_CHANGED,
        f"the .{member.ext} had {member.size} bytes when it was listed, and has "
        f"{'more' if len(data) > member.size else len(data)} now",
    )


def locate(path: str, stage: str) -> tuple[str, int]:
    """Returns the pinned URI of the file at a path that a sample names, and its size in bytes.

    Args:
        path: on any file system that can be reached.
        stage: of the failure if there is no such file.

    Raises:
        SampleError: if there is none, or it cannot be reached.
        OSError: if that cannot be known at present.
    """
    if is_local(path):
        return _locate_local(path, stage)
    try:
        check_scheme("path", path)
    except InputError as error:
        raise SampleError(stage, "InputError", error.sentence) from error
    try:
        found = storage_of(path).stat(path)
    except OSError as error:
        if not is_permanent(error):
            raise
        reason = f"its file cannot be looked at: {error.strerror}"
        raise SampleError(stage, "OSError", reason) from error
    if found is None:
        raise SampleError(stage, "OSError", "there is no file at its path")
    return found.pinned, found.size


def _locate_local(path: str, stage: str) -> tuple[str, int]:
    try:
        status = os.stat(path)
    except ValueError as error:
        raise SampleError(stage, "ValueError", "its path has a zero byte in it") from error
    except FileNotFoundError as error:
        raise SampleError(stage, "OSError", "there is no file at its path") from error
    except OSError as error:
        if not is_permanent(error):
            raise
        reason = f"its file cannot be looked at: {error.strerror}"
        raise SampleError(stage, "OSError", reason) from error
    if not stat.S_ISREG(status.st_mode):
        raise SampleError(stage, "OSError", "what is at its path is not a regular file")
    return pin_file(path, status.st_size, status.st_mtime_ns), status.st_size
