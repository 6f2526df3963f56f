"""The one place that opens paths for writing: temporary names first, final names when whole."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat
import uuid
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from beam_export.errors import InputError, RunError
from beam_export.naming import parse
from beam_export.paths import check_reachable

__all__ = ["LOCK", "Output", "Standing"]

#: Below `_tmp`: held by the run that writes to a directory of this machine.
LOCK = "lock"

_NOTE = "note-"
#: The last is said of who may write no more than so much (`ulimit -f`).
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Standing(NamedTuple):
    """A file that is there: its bytes, and when it took its name (seconds since the epoch)."""

    size: int
    updated: float


class Output:
    """The output directory, on any file system that Beam knows.

    Everything is written under `_tmp/{token}/` and renamed when it is whole, so that nothing
    half-written ever stands under a final name. Two workers that write the same file write the
    same bytes, and the later rename replaces like by like.
    """

    def __init__(self, directory: str, token: str) -> None:
        self.directory = directory.rstrip("/") or "/"
        self.token = token
        #: When the run began, by the clock of the storage; what is older is of another run.
        self.since = 0.0
        self._local = FileSystems.get_scheme(directory) is None

    @property
    def is_local(self) -> bool:
        """Whether the directory is on this machine, or looks as if it were."""
        return self._local

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
            self._make_parent(probe)
            with self._create(probe) as target:
                target.write(b"\0")
            self.since = float(FileSystems.last_updated(probe))
            self._delete(probe)
        except (OSError, BeamIOError, ValueError) as error:
            raise InputError(
                f"--output_dir={self.directory} cannot be written to ({_reason(error)}): "
                "give a directory that can."
            ) from error

    def standing(self) -> dict[str, Standing]:
        """Returns the files of this tool's names that stand in the directory, by one listing."""
        found = {**self._look("images-*"), **self._look("_meta/images-*")}
        return {name: found[name] for name in sorted(found) if parse(name) is not None}

    def look(self, name: str) -> Standing | None:
        """Returns what stands under a name at this moment, None if nothing does."""
        if not self.exists(name):
            return None
        # Another attempt may be replacing it by its like.
        with contextlib.suppress(OSError, BeamIOError):
            path = self.path(name)
            return Standing(self.size(name), float(FileSystems.last_updated(path)))
        return None

    def files(self) -> list[str]:
        """Returns the names of all files in the directory and in its `_meta`, ours or not."""
        if self._local:
            return sorted(_files_in(self.directory, ""))
        patterns = [self.path("*"), self.path("_meta/*")]
        found = [file for one in FileSystems.match(patterns) for file in one.metadata_list]
        return sorted({file.path.removeprefix(self.path("")) for file in found})

    def workspaces(self) -> dict[str, float]:
        """Returns the runs that have temporary files, each with when it last wrote one."""
        found: dict[str, float] = {}
        for name, file in self._look("_tmp/*/*").items():
            token = name.split("/")[1]
            found[token] = max(found.get(token, 0.0), file.updated)
        if self._local:
            for folder in self._look("_tmp/*", folders=True):
                found.setdefault(folder.split("/")[1], 0.0)
        return found

    def exists(self, name: str) -> bool:
        """Tells whether a file is there, whole."""
        return FileSystems.exists(self.path(name))

    def size(self, name: str) -> int:
        """Returns the bytes of a file that is there."""
        path = self.path(name)
        return int(FileSystems.get_filesystem(path).size(path))

    def put(self, name: str, content: bytes) -> bool:
        """Writes a file, unless it is there with that content; tells whether it wrote."""
        standing = self.look(name)
        if standing is not None and standing.size == len(content):
            with self.read(name) as source:
                if source.read() == content:
                    return False
        with self.writing(name) as target:
            target.write(content)
        return True

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Opens a file for writing that takes its name when the block ends without an error."""
        temporary = f"{self.workspace}/{uuid.uuid4().hex}"
        self._make_parent(temporary)
        try:
            with self._create(temporary) as target:
                yield target
                self._settle(target)
        except BaseException as error:
            # What is wrong is to be told, not that the rest of it cannot be removed either.
            with contextlib.suppress(OSError, BeamIOError):
                self._delete(temporary)
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                raise self._no_room(error) from error
            raise
        self.publish(temporary, name)

    @contextlib.contextmanager
    def _having_room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise self._no_room(error) from error
            raise

    def _no_room(self, error: OSError) -> RunError:
        return RunError(
            f"--output_dir={self.directory} has no room left ({os.strerror(error.errno or 0)}): "
            "free some and run again; the shards that are finished are kept."
        )

    @contextlib.contextmanager
    def spilling(self) -> Iterator[tuple[str, BinaryIO]]:
        """Opens a temporary file that stays until the end of the run."""
        path = f"{self.workspace}/spill-{uuid.uuid4().hex}"
        with self._having_room():
            self._make_parent(path)
            with self._create(path) as target:
                yield path, target

    def publish(self, temporary: str, name: str) -> None:
        """Gives a whole temporary file its final name, in place of what may stand there."""
        final = self.path(name)
        self._make_parent(final)
        if self._local:
            os.replace(temporary, final)
            return
        FileSystems.rename([temporary], [final])

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        if self.exists(name):
            self._delete(self.path(name))

    def read(self, name: str) -> BinaryIO:
        """Opens a file for reading."""
        return FileSystems.open(self.path(name), compression_type="uncompressed")

    def sweep(self) -> None:
        """Removes this run's temporary files, and the directory of all runs' if it is empty."""
        self.sweep_run(self.token)

    def sweep_run(self, token: str) -> None:
        """Removes the temporary files of a run."""
        for name in self._look(f"_tmp/{token}/*"):
            self._delete(self.path(name))
        if self._local:
            # Another run's temporary files may be there, or that run may just have removed it.
            with contextlib.suppress(OSError):
                os.rmdir(self.path(f"_tmp/{token}"))
                # None but the lock of a run, of this one: see `claims`.
                if os.listdir(self.path("_tmp")) == [LOCK]:
                    self._delete(self.path(f"_tmp/{LOCK}"))
                os.rmdir(self.path("_tmp"))

    def note(self, name: str, content: bytes) -> str:
        """Keeps a note in the run's workspace, for whoever comes after; returns its name."""
        name = f"_tmp/{self.token}/{_NOTE}{name}"
        self.make(name, content)
        return name

    def notes(self, token: str | None = None) -> list[bytes]:
        """Returns the notes of a run: of this one, if no other is named."""
        found = []
        for name in self._look(f"_tmp/{token or self.token}/{_NOTE}*"):
            # Whoever made it may be done.
            with contextlib.suppress(OSError, BeamIOError), self.read(name) as source:
                found.append(source.read())
        return found

    def make(self, name: str, content: bytes) -> str:
        """Makes a file of the run's own, in place of what may be there; returns its path."""
        path = self.path(name)
        with self._having_room():
            self._make_parent(path)
            with open(path, "wb") as target:
                target.write(content)
        return path

    def _settle(self, target: BinaryIO) -> None:
        """Makes sure that a file's bytes outlive a crash of the machine, as its name will."""
        if self._local:
            target.flush()
            os.fsync(target.fileno())

    def _delete(self, path: str) -> None:
        # Not by Beam if it is local: to it a bracket in a directory's name would be a pattern.
        if self._local:
            # Another attempt at the same shard may have been faster.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        else:
            FileSystems.delete([path])

    def _look(self, pattern: str, *, folders: bool = False) -> dict[str, Standing]:
        """Returns the files that match a pattern below the directory, by their names there."""
        found: dict[str, Standing] = {}
        start = len(self.path(""))
        if self._local:
            # Beam would take a bracket or a star in the directory's own name for a pattern.
            for path in glob.iglob(f"{glob.escape(self.directory)}/{pattern}"):
                # Another run may be renaming what was listed.
                with contextlib.suppress(FileNotFoundError):
                    facts = os.stat(path)
                    if stat.S_ISDIR(facts.st_mode) == folders:
                        found[path[start:]] = Standing(facts.st_size, facts.st_mtime)
            return found
        for file in FileSystems.match([self.path(pattern)])[0].metadata_list:
            name = file.path[start:]
            found[name] = Standing(file.size_in_bytes, float(file.last_updated_in_seconds or 0))
        return found

    def _make_parent(self, path: str) -> None:
        if self._local:
            os.makedirs(os.path.dirname(path), exist_ok=True)

    def _create(self, path: str) -> contextlib.AbstractContextManager[BinaryIO]:
        if self._local:
            return open(path, "xb")
        return FileSystems.create(
            path, mime_type="application/octet-stream", compression_type="uncompressed"
        )


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
