"""Reads the output directory: which files it holds, and what is in them, on any storage."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from beam_export.naming import parse
from beam_export.shards.ownership import FileInfo
from beam_export.storage.base import Stat, Storage
from beam_export.storage.local_file import file_kind
from beam_export.storage.registry import storage_of
from beam_export.storage.uris import is_local

__all__ = ["Directory", "Snapshot"]

#: Directories with files of an export.
_FOLDERS = ("_meta", ".nv-meta")


@dataclasses.dataclass
class Snapshot:
    """The state of a name at one moment, which a later write or removal may replace.

    Attributes:
        name: in the output directory.
        stat: None if there was no file, or this run has removed it since.
    """

    name: str
    stat: Stat | None


class Directory:
    """An output directory on any storage, for reading."""

    def __init__(self, directory: str) -> None:
        self.directory = directory.rstrip("/") or "/"
        self._local = is_local(directory)

    @property
    def is_local(self) -> bool:
        """Whether the directory is a local path, as opposed to a URI."""
        return self._local

    @property
    def _storage(self) -> Storage:
        return storage_of(self.directory)

    def path(self, name: str) -> str:
        """Returns the path of a file in the output directory."""
        return f"{self.directory}/{name}"

    def list_files(self, folders: Sequence[str] = ("", "_meta/")) -> dict[str, FileInfo]:
        """Returns what the directory holds under names of an export's files, sorted by name.

        Args:
            folders: where to look: in the directory itself, in its `_meta`.
        """
        found: dict[str, FileInfo] = {}
        for folder in folders:
            # By prefix: the objects of `_tmp`, and those of others, are not gone through.
            found |= self._entries(folder) if self._local else self._list(f"{folder}images-")
        return {name: found[name] for name in sorted(found) if parse(name) is not None}

    def _entries(self, below: str) -> dict[str, FileInfo]:
        found = {}
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(self.path(below)) as entries,
        ):
            for entry in entries:
                # Another process may have removed it since.
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    known = FileInfo(status.st_size, status.st_mtime, file_kind(status))
                    found[below + entry.name] = known
        return found

    def _list(self, start: str) -> dict[str, FileInfo]:
        """Returns the files whose names start so, but for those in further directories."""
        length = len(self.path(""))
        found = ((file.uri[length:], _info(file)) for file in self._storage.list(self.path(start)))
        return {name: one for name, one in found if name.count("/") == start.count("/")}

    def info(self, name: str) -> FileInfo | None:
        """Returns what a name holds at present, None if nothing."""
        found = self._storage.stat(self.path(name))
        return None if found is None else _info(found)

    def snapshot(self, name: str) -> Snapshot:
        """Returns the present state of a name that is going to be written to."""
        return Snapshot(name, self._storage.stat(self.path(name)))

    def files(self) -> list[str]:
        """Returns the names of all files in the directory, `_meta` and `.nv-meta`, ours or not."""
        if self._local:
            return sorted(_files_in(self.directory, ""))
        start = len(self.path(""))
        names = (file.uri[start:] for file in self._storage.list(self.path("")))
        return sorted(name for name in names if "/" not in name or _is_inside(name))

    def exists(self, name: str) -> bool:
        """Returns whether a file is there, whole."""
        return self.info(name) is not None

    def read(self, name: str) -> BinaryIO:
        """Opens a file for reading.

        Raises:
            FileNotFoundError: if there is none.
            OSError: if it is no file; a pipe is not waited for.
        """
        return self._storage.open(self.path(name))

    def holds(self, name: str, content: bytes) -> bool:
        """Returns whether a file is there with exactly that content."""
        known = self.info(name)
        # A link to such a file is no file of ours (format.md, part 4).
        if known is None or known.size != len(content) or self.kind(name) != "file":
            return False
        with self.read(name) as source:
            return source.read() == content

    def kind(self, name: str) -> str:
        """Returns the kind of what a name holds (`Entry.kind`), a link being a link; or `""`."""
        if not self._local:
            return "file" if self.exists(name) else ""
        try:
            return file_kind(os.lstat(self.path(name)))
        except (FileNotFoundError, NotADirectoryError):
            return ""


def _info(file: Stat) -> FileInfo:
    return FileInfo(size=file.size, updated=file.updated, kind="file", owner=file.owner)


def _files_in(folder: str, before: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _is_folder(entry):
                yield before + entry.name
            elif entry.name in _FOLDERS and not before:
                yield from _files_in(entry.path, f"{entry.name}/")


def _is_inside(name: str) -> bool:
    folder, _, rest = name.partition("/")
    return folder in _FOLDERS and "/" not in rest


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, which cannot be opened
        return False
