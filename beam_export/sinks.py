"""The one place that opens paths for writing: what takes a final name is whole when it does."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import uuid
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from beam_export.errors import InputError, RunError
from beam_export.naming import parse
from beam_export.paths import check_reachable, is_local
from beam_export.storage import ReplacedError, Stat, Storage, storage_of
from beam_export.storage.base import Target, Terms
from beam_export.storage.targets import target_of

__all__ = ["LOCK", "Output", "Seen", "Standing"]

#: Below `_tmp`: held by the run that writes to a directory of this machine.
LOCK = "lock"

_NOTE = "note-"
#: The last is said of who may write no more than so much (`ulimit -f`).
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Standing(NamedTuple):
    """A file that is there: its bytes, and when it took its name (seconds since the epoch)."""

    size: int
    updated: float


@dataclasses.dataclass
class Seen:
    """What stood under a name when it was looked at: what a writer may put its own in place of.

    Attributes:
        name: in the output directory.
        stat: None if nothing stood there, or it was removed since by whoever looked.
    """

    name: str
    stat: Stat | None


class Output:
    """The output directory, on any storage.

    Nothing half-written ever stands under a final name: where files can be seen while they are
    written they have names under `_tmp/{token}/` until they are whole. Two workers that write the
    same file write the same bytes, and like is replaced by like. Where a storage can tell one
    content of a name from another, what is replaced is only what the writer has seen there, and
    never what another run has put there since this one began, unless that is the same: so two runs
    at the same time, or a worker thought dead, never mix what they write.
    """

    def __init__(self, directory: str, token: str) -> None:
        self.directory = directory.rstrip("/") or "/"
        self.token = token
        #: When the run began, by the clock of the storage; what is older is of another run.
        self.since = 0.0
        self._local = is_local(directory)

    @property
    def is_local(self) -> bool:
        """Whether the directory is on this machine, or looks as if it were."""
        return self._local

    @property
    def _storage(self) -> Storage:
        return storage_of(self.directory)

    @property
    def _target(self) -> Target:
        return target_of(self.directory)

    def path(self, name: str) -> str:
        """Returns the path of a file in the output directory."""
        return f"{self.directory}/{name}"

    @property
    def workspace(self) -> str:
        """The directory of this run's temporary files."""
        return self.path(f"_tmp/{self.token}")

    def prepare(self) -> None:
        """Makes the directory, and makes sure that it can be written to.

        Raises:
            InputError: if it cannot.
        """
        check_reachable("--output_dir", self.directory)
        probe = f"{self.workspace}/probe-{uuid.uuid4().hex}"
        try:
            with self._target.create(probe) as target:
                target.write(b"\0")
            made = self._storage.stat(probe)
            self.since = made.updated if made is not None else 0.0
            self._target.delete([probe])
        except (OSError, ValueError) as error:
            raise InputError(
                f"--output_dir={self.directory} cannot be written to ({_reason(error)}): "
                "give a directory that can."
            ) from error

    def standing(self) -> dict[str, Standing]:
        """Returns the files of this tool's names that stand in the directory, by one listing."""
        found = {**self._list("images-"), **self._list("_meta/images-")}
        return {name: found[name] for name in sorted(found) if parse(name) is not None}

    def look(self, name: str) -> Standing | None:
        """Returns what stands under a name at this moment, None if nothing does."""
        found = self._storage.stat(self.path(name))
        return None if found is None else Standing(found.size, found.updated)

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

    def workspaces(self) -> dict[str, float]:
        """Returns the runs that have temporary files, each with when it last wrote one."""
        found: dict[str, float] = {}
        for name, file in self._list("_tmp/", below=1).items():
            token = name.split("/")[1]
            found[token] = max(found.get(token, 0.0), file.updated)
        if self._local:
            # Those of runs that were killed early are empty.
            with contextlib.suppress(FileNotFoundError), os.scandir(self.path("_tmp")) as entries:
                for entry in entries:
                    if entry.is_dir():
                        found.setdefault(entry.name, 0.0)
        return found

    def exists(self, name: str) -> bool:
        """Tells whether a file is there, whole."""
        return self.look(name) is not None

    def put(self, name: str, content: bytes) -> bool:
        """Writes a file, unless it is there with that content; tells whether it wrote."""
        seen = self.see(name)
        if seen.stat is not None and seen.stat.size == len(content):
            with self.read(name) as source:
                if source.read() == content:
                    return False
        with self.writing(name, seen) as target:
            target.write(content)
        return True

    @contextlib.contextmanager
    def writing(self, name: str, seen: Seen | None = None) -> Iterator[BinaryIO]:
        """Opens a file for writing that takes its name when the block ends without an error.

        Args:
            name: of the file.
            seen: what it may take the place of; None is whatever stands there then.

        Raises:
            RunError: if another run has put something else there, or there is no room.
        """
        temporary = f"{self.workspace}/{uuid.uuid4().hex}"
        opened = self._target.publish(self.path(name), temporary, self._terms(seen))
        try:
            with self._having_room(), opened as target:
                yield target
        except ReplacedError as error:
            # One of a source, which is read inside the block, has another name.
            raise (self._conflict(name) if error.filename == self.path(name) else error) from error

    def _terms(self, seen: Seen | None) -> Terms:
        if seen is None:
            return Terms(self.token)
        if seen.stat is None or self._is_others(seen.stat):
            # What another run writes at this moment may be found there, and nothing else.
            return Terms(self.token, 0)
        return Terms(self.token, seen.stat.generation)

    def _is_others(self, file: Stat) -> bool:
        """Tells whether another run has written a file since this one began."""
        return bool(file.generation) and file.owner != self.token and file.updated > self.since

    def _conflict(self, name: str) -> RunError:
        return RunError(
            f"--output_dir={self.directory} is being written to by another run, whose {name} is "
            "not the same as this one's: wait for its end and run again, or give another directory."
        )

    @contextlib.contextmanager
    def _having_room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise RunError(
                f"--output_dir={self.directory} has no room left ({os.strerror(error.errno)}): "
                "free some and run again; the shards that are finished are kept."
            ) from error

    @contextlib.contextmanager
    def spilling(self) -> Iterator[tuple[str, BinaryIO]]:
        """Opens a temporary file that stays until the end of the run."""
        path = f"{self.workspace}/spill-{uuid.uuid4().hex}"
        with self._having_room(), self._target.create(path) as target:
            yield path, target

    def remove(self, name: str, seen: Seen | None = None) -> None:
        """Removes a file, if it is there.

        Args:
            name: of the file.
            seen: what it has to be, else what stands there now is looked at.

        Raises:
            RunError: if another run has put it there, or put another in its place.
        """
        seen = seen or self.see(name)
        if seen.stat is None:
            return
        try:
            if self._is_others(seen.stat):
                raise self._conflict(name)
            self._target.delete_seen(seen.stat)
        except ReplacedError as error:
            raise self._conflict(name) from error
        seen.stat = None

    def read(self, name: str) -> BinaryIO:
        """Opens a file for reading."""
        return self._storage.open(self.path(name))

    def sweep(self) -> None:
        """Removes this run's temporary files, and the directory of all runs' if it is empty."""
        self.sweep_run(self.token)

    def sweep_run(self, token: str) -> None:
        """Removes the temporary files of a run."""
        self._target.delete(self.path(name) for name in self._list(f"_tmp/{token}/"))
        self._target.tidy(self.path(f"_tmp/{token}"))
        if self._local:
            with contextlib.suppress(OSError):
                # None but the lock of a run, of this one: see `claims`.
                if os.listdir(self.path("_tmp")) == [LOCK]:
                    self._target.delete([self.path(f"_tmp/{LOCK}")])
            self._target.tidy(self.path("_tmp"))

    def note(self, name: str, content: bytes) -> str:
        """Keeps a note in the run's workspace, for whoever comes after; returns its name."""
        name = f"_tmp/{self.token}/{_NOTE}{name}"
        self.make(name, content)
        return name

    def notes(self, token: str | None = None) -> list[bytes]:
        """Returns the notes of a run: of this one, if no other is named."""
        found = []
        for name in self._list(f"_tmp/{token or self.token}/{_NOTE}"):
            # Whoever made it may be done.
            with contextlib.suppress(OSError), self.read(name) as source:
                found.append(source.read())
        return found

    def make(self, name: str, content: bytes) -> str:
        """Makes a file of the run's own on this machine, in place of what may be there."""
        path = self.path(name)
        with self._having_room():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as target:
                target.write(content)
        return path

    def _list(self, start: str, below: int = 0) -> dict[str, Standing]:
        """Returns the files whose names begin so, and go on through so many directories."""
        length = len(self.path(""))
        found: dict[str, Standing] = {}
        for file in self._storage.list(self.path(start)):
            name = file.uri[length:]
            if name.count("/") == start.count("/") + below:
                found[name] = Standing(file.size, file.updated)
        return found


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


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error).splitlines()[0] if str(error) else type(error).__name__
