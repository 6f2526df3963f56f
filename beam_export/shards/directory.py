"""Reads the output directory: which files it holds, and what is in them, on any storage."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import BinaryIO

from beam_export.naming import parse
from beam_export.shards.ownership import Standing
from beam_export.storage.local_file import file_kind
from beam_export.storage.registry import Stat, Storage, storage_of
from beam_export.storage.uris import is_local

__all__ = ["Directory", "Seen"]


@dataclasses.dataclass
class Seen:
    """What stood under a name when it was looked at: what a writer may put its own in place of.

    Attributes:
        name: in the output directory.
        stat: None if nothing stood there, or it was removed since by whoever looked.
    """

    name: str
    stat: Stat | None


class Directory:
    """A directory on any storage, looked at."""

    def __init__(self, directory: str) -> None:
        self.directory = directory.rstrip("/") or "/"
        self._local = is_local(directory)

    @property
    def is_local(self) -> bool:
        """Whether the directory is on this machine, or looks as if it were."""
        return self._local

    @property
    def _storage(self) -> Storage:
        return storage_of(self.directory)

    def path(self, name: str) -> str:
        """Returns the path of a file in the output directory."""
        return f"{self.directory}/{name}"

    def standing(self) -> dict[str, Standing]:
        """Returns what stands in the directory under this tool's names, of whatever kind."""
        if self._local:
            found = {**self._entries(""), **self._entries("_meta/")}
        else:
            found = {**self._list("images-"), **self._list("_meta/images-")}
        return {name: found[name] for name in sorted(found) if parse(name) is not None}

    def _entries(self, below: str) -> dict[str, Standing]:
        found = {}
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(self.path(below)) as entries,
        ):
            for entry in entries:
                # Who else works there may have removed it since.
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    known = Standing(status.st_size, status.st_mtime, file_kind(status))
                    found[below + entry.name] = known
        return found

    def _list(self, start: str) -> dict[str, Standing]:
        """Returns the files whose names begin so, and go on through no further directory."""
        length = len(self.path(""))
        found = (
            (file.uri[length:], _standing(file)) for file in self._storage.list(self.path(start))
        )
        return {name: one for name, one in found if name.count("/") == start.count("/")}

    def look(self, name: str) -> Standing | None:
        """Returns what stands under a name at this moment, None if nothing does."""
        found = self._storage.stat(self.path(name))
        return None if found is None else _standing(found)

    def see(self, name: str) -> Seen:
        """Looks at a name that is going to be written to."""
        return Seen(name, self._storage.stat(self.path(name)))

    def files(self) -> list[str]:
        """Returns the names of all files in the directory and in its `_meta`, ours or not."""
        if self._local:
            return sorted(_files_in(self.directory, ""))
        start = len(self.path(""))
        names = (file.uri[start:] for file in self._storage.list(self.path("")))
        return sorted(name for name in names if "/" not in name.removeprefix("_meta/"))

    def exists(self, name: str) -> bool:
        """Tells whether a file is there, whole."""
        return self.look(name) is not None

    def read(self, name: str) -> BinaryIO:
        """Opens a file for reading.

        Raises:
            FileNotFoundError: if there is none.
            OSError: if something else stands there: a pipe is not waited for.
        """
        return self._storage.open(self.path(name))

    def holds(self, name: str, content: bytes) -> bool:
        """Tells whether a file is there and has just that content."""
        known = self.look(name)
        if known is None or known.size != len(content) or self.kind(name) != "file":
            return False
        with self.read(name) as source:
            return source.read() == content

    def kind(self, name: str) -> str:
        """Returns what stands under a name (`Entry.kind`), as it is and not what a link leads to.

        Empty if nothing does.
        """
        if not self._local:
            return "file" if self.exists(name) else ""
        try:
            return file_kind(os.lstat(self.path(name)))
        except (FileNotFoundError, NotADirectoryError):
            return ""


def _standing(file: Stat) -> Standing:
    return Standing(file.size, file.updated, "file", file.owner)


def _files_in(folder: str, before: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _is_folder(entry):
                yield before + entry.name
            elif entry.name == "_meta" and not before:
                yield from _files_in(entry.path, "_meta/")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: who opens it is told
        return False
