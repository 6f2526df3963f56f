"""Writes local files under a temporary name, then renames them; follows no link below its root.

Each directory between the root and a file is opened by itself, and a link in the place of one is an
error. Files are created where nothing stands and never opened for writing again; a rename replaces
only plain files.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

from beam_export.storage.base import FolderEntry, InTheWayError, Stat, WriteCondition
from beam_export.storage.local_file import file_kind
from beam_export.storage.local_outgoing import OutgoingFile

__all__ = ["LocalWriter"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class LocalWriter:
    """Writes local files below a directory, which may itself be a link."""

    keeps_owner = False

    def __init__(self, root: str) -> None:
        self._root = root.rstrip("/") or "/"

    @contextlib.contextmanager
    def create(self, path: str, owner: str = "") -> Iterator[BinaryIO]:
        """See `StorageWriter.create`."""
        with (
            self._within(path, make=True) as (folder, name),
            # It is read again soon, from memory then.
            OutgoingFile(_create(name, folder), direct=False) as target,
        ):
            yield cast(BinaryIO, target)

    @contextlib.contextmanager
    def publish(self, path: str, temporary: str, condition: WriteCondition) -> Iterator[BinaryIO]:
        """See `StorageWriter.publish`; a plain file is replaced whatever the condition."""
        with self._within(temporary, make=True) as (work, unfinished):
            target = OutgoingFile(_create(unfinished, work), direct=True)
            try:
                with target:
                    yield cast(BinaryIO, target)
                    # Else a crash of the machine could leave the name without the bytes.
                    target.flush()
                    os.fsync(target.fileno())
                with self._within(path, make=True) as (folder, name):
                    kind = _kind_at(name, folder)
                    if kind not in ("", "file"):
                        raise InTheWayError(path, kind)
                    os.replace(unfinished, name, src_dir_fd=work, dst_dir_fd=folder)
            except BaseException:
                # The first error is the one to report, not that the rest cannot be removed.
                with contextlib.suppress(OSError):
                    os.unlink(unfinished, dir_fd=work)
                raise

    def delete(self, paths: Iterable[str]) -> None:
        """See `StorageWriter.delete`; only plain files are deleted."""
        for path in paths:
            # Another attempt at the same shard may have deleted it already.
            with _ignoring_missing(), self._within(path) as (folder, name):
                if _kind_at(name, folder) == "file":
                    os.unlink(name, dir_fd=folder)

    def delete_if_unchanged(self, seen: Stat) -> None:
        """See `StorageWriter.delete_if_unchanged`; files have no generations here."""
        self.delete([seen.uri])

    def remove_if_empty(self, folder: str) -> None:
        """See `StorageWriter.remove_if_empty`."""
        # Another run's temporary files may be there, or that run may just have removed it.
        with contextlib.suppress(OSError), self._within(folder) as (above, name):
            os.rmdir(name, dir_fd=above)

    def make_root(self) -> list[str]:
        """See `Folders.make_root`."""
        missing: list[str] = []
        made: list[str] = []
        path = self._root
        while path and not os.path.lexists(path):
            missing.append(path)
            path = os.path.dirname(path)
        for path in reversed(missing):
            # Another process may just have made it.
            with contextlib.suppress(FileExistsError):
                os.mkdir(path)
                made.insert(0, path)
        os.close(os.open(self._root, _FOLDER))
        return made

    def make_folder(self, path: str) -> bool:
        """See `Folders.make_folder`."""
        with self._within(path, make=True) as (folder, name):
            try:
                os.mkdir(name, dir_fd=folder)
            except FileExistsError:
                if (kind := _kind_at(name, folder)) != "directory":
                    raise InTheWayError(path, kind) from None
                return False
        return True

    def kind(self, path: str) -> str:
        """See `Folders.kind`."""
        with _ignoring_missing(), self._within(path) as (folder, name):
            return _kind_at(name, folder)
        return ""

    def entries(self, path: str) -> list[FolderEntry]:
        """See `Folders.entries`."""
        found = []
        with _ignoring_missing(), self._opened(path) as folder, os.scandir(folder) as entries:
            for entry in entries:
                with _ignoring_missing():
                    status = entry.stat(follow_symlinks=False)
                    kind = file_kind(status)
                    found.append(
                        FolderEntry(
                            name=entry.name, kind=kind, size=status.st_size, updated=status.st_mtime
                        )
                    )
        return sorted(found)

    def open_plain(self, path: str) -> int:
        """See `Folders.open_plain`."""
        with self._within(path) as (folder, name):
            if (kind := _kind_at(name, folder)) not in ("", "file"):
                raise InTheWayError(path, kind)
            # Without O_NONBLOCK, opening a pipe would block until something writes to it.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            handle = os.open(name, flags, dir_fd=folder)
        if (kind := file_kind(os.fstat(handle))) != "file":
            os.close(handle)
            raise InTheWayError(path, kind)
        return handle

    @contextlib.contextmanager
    def _within(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Yields the open directory that a path lies in, and the last part of the path."""
        above, name = os.path.split(path)
        with self._opened(above or ".", make=make) as folder:
            yield folder, name

    @contextlib.contextmanager
    def _opened(self, path: str, *, make: bool = False) -> Iterator[int]:
        """Yields an open directory, reached through no link below the root."""
        inside = path.startswith(f"{self._root.rstrip('/')}/") or path == self._root
        root = self._root if inside else path
        if make:
            os.makedirs(root, exist_ok=True)
        handle = os.open(root, _FOLDER)
        try:
            for part in filter(None, path[len(root) :].split("/")):
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=handle)
                try:
                    below = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=handle)
                except OSError as error:
                    if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                        raise
                    raise InTheWayError(path, _kind_at(part, handle)) from error
                os.close(handle)
                handle = below
            yield handle
        finally:
            os.close(handle)


def _create(name: str, folder: int) -> int:
    """Returns the descriptor of a new file, open for writing."""
    return os.open(name, _NEW, 0o666, dir_fd=folder)


def _kind_at(name: str, folder: int) -> str:
    try:
        return file_kind(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def _ignoring_missing() -> Iterator[None]:
    """Ends the block silently if a file is missing, or behind a link, where none of ours is."""
    try:
        yield
    except InTheWayError:
        return
    except OSError as error:
        if error.errno not in _MISSING:
            raise
