"""The temporary files of one run, in `OUT/_tmp/{token}/`: made, recognised, and removed.

A workspace has a file that names its run (`run`), made before all else in it; a directory without
one is not this tool's and stays, whatever its name. In it, only files with names as made here are
removed; others stay, and their directory with them. On Google Cloud Storage each object bears the
mark of its run instead.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import uuid
from collections.abc import Iterator

from beam_export.errors import RunError
from beam_export.naming import TEMPORARY
from beam_export.storage.base import FolderEntry, Folders, Stat, Storage, StorageWriter

__all__ = ["LOCK", "LOCK_CONTENT", "Workspace"]

#: Below `_tmp`: held by the run that writes to a directory of this machine.
LOCK = "lock"
LOCK_CONTENT = b"beam_export locks this file while it writes here\n"

_MARKER = "run"
#: Stands in a `_tmp` that this tool has made, and has to remove.
_BASE = "beam_export"
_BASE_CONTENT = b"made by beam_export for temporary files, and removed with the last of them\n"
#: Marks a run whose workers may outlive the process that started it.
_OUTLIVES = "elsewhere"
_NOTE, _SPILL, _TAR = "note-", "spill-", "claim-"
_TOKEN = re.compile(r"[0-9a-f]{32}")
#: Runs of this process that have ended.
_ended: set[str] = set()
#: Bytes of a file that are read: a note has 32 per image of a batch.
_MOST = 1 << 20


@dataclasses.dataclass(frozen=True)
class Workspace:
    """The temporary files of a run in an output directory; it also finds those of other runs.

    Attributes:
        directory: the output.
        token: of the run.
        target, storage: write and read there.
        folders: makes directories there; None on an object store.
    """

    directory: str
    token: str
    target: StorageWriter
    storage: Storage
    folders: Folders | None

    @property
    def _base(self) -> str:
        return f"{self.directory}/_tmp"

    def path(self, name: str = "") -> str:
        """Returns the path of a temporary file, or of the workspace."""
        return f"{self._base}/{self.token}" + (f"/{name}" if name else "")

    def new(self, kind: str = "") -> str:
        """Returns a new path in the workspace, which is made if it is not there."""
        self.enter()
        return self.path(f"{kind}{uuid.uuid4().hex}")

    def spill(self) -> str:
        """Returns a new path for a file that stays until the end of the run."""
        return self.new(_SPILL)

    def enter(self) -> None:
        """Makes the workspace where there are directories; it may have been removed meanwhile.

        Raises:
            InTheWayError: if something else stands in its place.
            RunError: if the run has ended and this is a thread of it that goes on.
        """
        if self.token in _ended:
            raise RunError("the run has ended, and writes no more: run again.")
        if self.folders is None:
            return
        if self.folders.make_folder(self._base):
            self._make(f"{self._base}/{_BASE}", _BASE_CONTENT)
        if self.folders.kind(self.path(_MARKER)) != "file":
            self.mark()

    def end(self) -> None:
        """Stops threads of this process that go on from writing files that nothing would remove."""
        _ended.add(self.token)

    def mark(self) -> str:
        """Makes the file that names the run of the workspace; returns its path."""
        self._make(self.path(_MARKER), _marker(self.token))
        return self.path(_MARKER)

    def mark_workers_outlive(self) -> None:
        """Marks that the workers of this run may live on when its process has ended."""
        self.enter()
        self._make(self.path(_OUTLIVES), b"")

    def _make(self, path: str, content: bytes) -> None:
        # Another worker of the run may have made it.
        with contextlib.suppress(FileExistsError), self.target.create(path, self.token) as target:
            target.write(content)

    def note(self, name: str, content: bytes) -> str:
        """Keeps a note for later processes; returns its name in the output."""
        self.enter()
        self._make(self.path(_NOTE + name), content)
        return f"_tmp/{self.token}/{_NOTE}{name}"

    def notes(self) -> list[bytes]:
        """Returns the notes of the run."""
        return [content for _, content in self._contents(_NOTE)]

    def record_tar(self, name: str, sha256: str) -> None:
        """Records a tar, which takes its name before the Parquet that shows that it is ours.

        Args:
            name: in the output.
            sha256: hex, of its content.
        """
        self.enter()
        self._make(self.path(_TAR + sha256), name.encode())

    def forget_tar(self, sha256: str) -> None:
        """Removes the record of a tar (`record_tar`)."""
        self.target.delete([self.path(_TAR + sha256)])

    def recorded_tars(self) -> list[tuple[str, str]]:
        """Returns (name, SHA-256 in hex) of the tars that the run has recorded."""
        found = self._contents(_TAR)
        return [(content.decode(), name.removeprefix(_TAR)) for name, content in found]

    def _contents(self, start: str) -> Iterator[tuple[str, bytes]]:
        for file in self.storage.list(self.path(start)):
            # Its run may be removing it.
            with contextlib.suppress(OSError):
                yield file.uri.rpartition("/")[2], self.storage.read(file.uri, 0, _MOST)

    def workers_outlive(self) -> bool:
        """Returns whether the workers of the run may live on when its process has ended."""
        return self.storage.stat(self.path(_OUTLIVES)) is not None

    def others(self) -> dict[str, float]:
        """Returns the runs with a workspace in the output, and when each last wrote there.

        Seconds since the epoch, by token; this run is among them.
        """
        found: dict[str, list[Stat]] = {}
        for file in self._in_workspaces():
            token, _, name = file.uri.removeprefix(f"{self._base}/").partition("/")
            if _TOKEN.fullmatch(token) and TEMPORARY.fullmatch(name):
                found.setdefault(token, []).append(file)
        return {
            token: max(file.updated for file in files)
            for token, files in found.items()
            if self.of(token)._is_ours(files)
        }

    def _in_workspaces(self) -> Iterator[Stat]:
        if self.folders is None:
            yield from self.storage.list(f"{self._base}/")
            return
        # Other entries may be many, and do not matter.
        for entry in self.folders.entries(self._base):
            if _is_workspace(entry):
                yield from self.storage.list(f"{self._base}/{entry.name}/")

    def of(self, token: str) -> Workspace:
        """Returns the workspace of another run."""
        return dataclasses.replace(self, token=token)

    def _is_ours(self, files: list[Stat]) -> bool:
        if self.target.keeps_owner:
            return any(file.owner == self.token for file in files)
        return self._holds(self.path(_MARKER), _marker(self.token))

    def _holds(self, path: str, content: bytes) -> bool:
        """Returns whether a plain file has exactly that content."""
        if self.folders is not None and self.folders.kind(path) != "file":
            return False
        try:
            return self.storage.read(path, 0, _MOST) == content
        except FileNotFoundError:
            return False

    def adopt(self, token: str) -> None:
        """Takes over the notes and records of a dead run, before its files are removed."""
        other = self.of(token)
        for number, content in enumerate(other.notes()):
            self.note(f"{uuid.uuid5(uuid.UUID(token), str(number)).hex}", content)
        for name, sha256 in other.recorded_tars():
            self.record_tar(name, sha256)

    def sweep(self) -> None:
        """Removes the files of the run, and the directories of ours that are empty then."""
        files = [file for file in self.storage.list(self.path() + "/") if self._is_temporary(file)]
        marker = [file for file in files if file.uri == self.path(_MARKER)]
        # The marker goes last: it shows that the others are ours.
        for some in ([file for file in files if file not in marker], marker):
            # Of objects, only the generations that were listed.
            self.target.delete(file.pinned if file.generation else file.uri for file in some)
        self.target.remove_if_empty(self.path())
        if self.folders is not None:
            self._sweep_base(self.folders)

    def _is_temporary(self, file: Stat) -> bool:
        known = TEMPORARY.fullmatch(file.uri.removeprefix(self.path() + "/")) is not None
        return known and (not self.target.keeps_owner or file.owner == self.token)

    def _sweep_base(self, folders: Folders) -> None:
        """Removes the lock when no run is left, and `_tmp` if it is ours and empty."""
        entries = folders.entries(self._base)
        tokens = [entry.name for entry in entries if _is_workspace(entry)]
        if any(self.of(token)._is_ours([]) for token in tokens):
            return
        names = {entry.name for entry in entries}
        if self._holds(f"{self._base}/{LOCK}", LOCK_CONTENT):
            self.target.delete([f"{self._base}/{LOCK}"])
            names.discard(LOCK)
        if names == {_BASE} and self._holds(f"{self._base}/{_BASE}", _BASE_CONTENT):
            self.target.delete([f"{self._base}/{_BASE}"])
            self.target.remove_if_empty(self._base)


def _is_workspace(entry: FolderEntry) -> bool:
    """Returns whether a directory has the name of a run's workspace."""
    return entry.kind == "directory" and _TOKEN.fullmatch(entry.name) is not None


def _marker(token: str) -> bytes:
    return f"beam_export: temporary files of the run {token}, removed when it ends\n".encode()
