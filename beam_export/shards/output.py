"""Writes, replaces and removes files of the output directory; no final name is ever half-written.

This and `storage` are the only places that open paths for writing.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import BinaryIO

from beam_export.errors import InputError, RunError
from beam_export.naming import parse
from beam_export.shards.directory import Directory, Snapshot
from beam_export.shards.ownership import FileInfo, Ownership, sha256_of
from beam_export.shards.workspace import LOCK, LOCK_CONTENT, Workspace
from beam_export.storage.base import (
    Folders,
    InTheWayError,
    ReplacedError,
    Stat,
    StorageWriter,
    WriteCondition,
)
from beam_export.storage.registry import check_reachable, folders_of, writer_of

__all__ = ["Output"]

#: The last is raised at a limit of file sizes (`ulimit -f`).
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Output(Directory):
    """The output directory, on any storage.

    Nothing half-written ever stands under a final name: where files can be snapshot while they are
    written they have names under `_tmp/{token}/` until they are whole. Two workers that write the
    same file write the same bytes, and identical files replace each other. Where a storage numbers
    the contents of a name (generations), a writer replaces only the content that it knows, and
    never what another run has put there since this one began, unless that is identical: so two
    runs at the same time, or a worker thought dead, never mix what they write.
    """

    def __init__(self, directory: str, token: str, given: str = "--output_dir") -> None:
        """Reads and writes nothing.

        Args:
            directory: local, or on another storage.
            token: of the run.
            given: what names the directory on the command line, for messages.
        """
        super().__init__(directory)
        self.token, self._given = token, given
        #: When the run began, by the clock of the storage; older files are of other runs.
        self.since = 0.0
        #: Whether a test has shown that it can be written to.
        self.is_ready = False
        #: Directories that this run has made above its files, inner first.
        self._made: list[str] = []

    @property
    def _target(self) -> StorageWriter:
        return writer_of(self.directory)

    @property
    def _folders(self) -> Folders | None:
        return folders_of(self.directory)

    @property
    def work(self) -> Workspace:
        """The temporary files of this run."""
        return Workspace(
            directory=self.directory,
            token=self.token,
            target=self._target,
            storage=self._storage,
            folders=self._folders,
        )

    @property
    def workspace(self) -> str:
        """The directory of this run's temporary files."""
        return self.work.path()

    def prepare(self) -> None:
        """Makes the directory, and checks that it can be written to.

        Raises:
            InputError: if it cannot, or if what is no directory stands where one is needed.
        """
        check_reachable(self._given, self.directory)
        try:
            if self._folders is not None:
                self._made = self._folders.make_root()
                self._refuse_links(self._folders)
                self.work.enter()
            marker = self.work.mark()
            made = self._storage.stat(marker)
            self.since = made.updated if made is not None else 0.0
            self.is_ready = True
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self._given}={self.directory} cannot be written to ({_reason(error)}): "
                "give a directory that can."
            ) from error

    def _refuse_links(self, folders: Folders) -> None:
        for name in ("_tmp", "_meta"):
            kind = folders.kind(self.path(name))
            if kind not in ("", "directory"):
                raise InputError(
                    f"{self._given}={self.directory} holds {name}, which is a {kind}, where this "
                    "tool needs a directory: move it away, or give another directory."
                )

    def open_lock(self) -> int:
        """Opens the file that a local run locks, and makes it if it is not there.

        An empty file is accepted: earlier versions made such.

        Returns:
            A descriptor of it.

        Raises:
            FileNotFoundError: if it was removed meanwhile.
            InputError: if something else stands there.
        """
        folders, path = self._folders, self.path(f"_tmp/{LOCK}")
        assert folders is not None
        with contextlib.suppress(FileExistsError), self._target.create(path) as target:
            target.write(LOCK_CONTENT)
        kind = folders.kind(path)
        if kind in ("", "file"):
            lock = folders.open_plain(path)
            if os.pread(lock, len(LOCK_CONTENT) + 1, 0) in (b"", LOCK_CONTENT):
                return lock
            os.close(lock)
        raise InputError(
            f"{self._given}={self.directory} holds _tmp/{LOCK}, a {kind} that is not this tool's, "
            "where it needs a lock: move it away, or give another directory."
        )

    def put(self, name: str, content: bytes) -> bool:
        """Writes a file, unless it is there with that content; returns whether it wrote."""
        snapshot = self.snapshot(name)
        if self.holds(name, content):
            return False
        with self.writing(name, snapshot) as target:
            target.write(content)
        return True

    @contextlib.contextmanager
    def writing(self, name: str, snapshot: Snapshot | None = None) -> Iterator[BinaryIO]:
        """Opens a file for writing that takes its name when the block ends without an error.

        Args:
            name: of the file.
            snapshot: what it may take the place of; None is whatever stands there then.

        Raises:
            RunError: if another run, or somebody else, has put something else there, or there is
                no room.
        """
        path = self.path(name)
        try:
            with (
                self._having_room(),
                self._target.publish(path, self.work.new(), self._condition(snapshot)) as target,
            ):
                yield target
                self._check_place(name, snapshot)
        except InTheWayError as error:
            where = str(error.filename).removeprefix(self.path(""))
            raise self._stranger(where, error.kind) from error
        except ReplacedError as error:
            # One of a source, which is read inside the block, has another name.
            raise (self._conflict(name) if error.filename == path else error) from error

    def _check_place(self, name: str, snapshot: Snapshot | None) -> None:
        """Checks that what came to have a name since the run began is ours.

        Files from before were checked when the plan was made (`leftovers`).
        """
        parsed, now = parse(name), self._storage.stat(self.path(name))
        if parsed is None or now is None or self._target.keeps_owner:
            return
        if now.updated <= self.since and (snapshot is None or snapshot.stat == now):
            return
        standing = self.list_files()
        if name in standing and not self.ownership(parsed.hash, standing).owns(name):
            raise self._stranger(name, standing[name].kind)

    def _stranger(self, name: str, kind: str) -> RunError:
        return RunError(
            f"{self._given}={self.directory} holds {name}, a {kind} that is not this tool's and "
            "came there meanwhile: move it away and run again, or give another directory."
        )

    def _condition(self, snapshot: Snapshot | None) -> WriteCondition:
        if snapshot is None:
            return WriteCondition(self.token)
        if snapshot.stat is None or self._is_others(snapshot.stat):
            # Only what another run writes at this moment may be there.
            return WriteCondition(self.token, 0)
        return WriteCondition(self.token, snapshot.stat.generation)

    def _is_others(self, file: Stat) -> bool:
        """Returns whether another run has written a file since this one began."""
        return bool(file.generation) and file.owner != self.token and file.updated > self.since

    def _conflict(self, name: str) -> RunError:
        return RunError(
            f"{self._given}={self.directory} is being written to by another run, whose {name} is "
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
                f"{self._given}={self.directory} has no room left ({os.strerror(error.errno)}): "
                "free some and run again; the shards that are finished are kept."
            ) from error

    @contextlib.contextmanager
    def spilling(self) -> Iterator[tuple[str, BinaryIO]]:
        """Opens a temporary file that stays until the end of the run."""
        with self._having_room():
            path = self.work.spill()
            with self._target.create(path, self.token) as target:
                yield path, target

    def remove(self, name: str, snapshot: Snapshot | None = None) -> None:
        """Removes a file, if it is there.

        Args:
            name: of the file.
            snapshot: the state that is removed; None for the present one.

        Raises:
            RunError: if another run has put it there, or put another in its place.
        """
        snapshot = snapshot or self.snapshot(name)
        if snapshot.stat is None:
            return
        try:
            if self._is_others(snapshot.stat):
                raise self._conflict(name)
            self._target.delete_if_unchanged(snapshot.stat)
        except ReplacedError as error:
            raise self._conflict(name) from error
        snapshot.stat = None

    def remove_if_empty(self, folder: str) -> None:
        """Removes a directory of the output, if it is there and empty."""
        self._target.remove_if_empty(self.path(folder))

    def ownership(self, hash_: str, standing: dict[str, FileInfo]) -> Ownership:
        """Returns what decides whether the files of one hash are this tool's."""
        return Ownership(hash_, standing, self)

    def recorded_tars(self) -> set[tuple[str, str]]:
        """Returns (name, SHA-256 in hex) of the tars that runs have recorded."""
        work = self.work
        tokens = {self.token, *work.others()}
        return {tar for token in tokens for tar in work.of(token).recorded_tars()}

    def record_tar(self, name: str, sha256: str | None = None) -> None:
        """Records that a tar is ours, until a Parquet beside it shows it.

        Args:
            name: of the tar.
            sha256: hex, of the file that is about to take the name; None for the one there.
        """
        if self._target.keeps_owner or (sha256 is None and self.kind(name) != "file"):
            return
        if sha256 is None:
            with self.read(name) as source:
                sha256 = sha256_of(source)
        with self._having_room():
            self.work.record_tar(name, sha256)

    def forget_tar(self, sha256: str) -> None:
        """Removes the record of a tar whose Parquet is there."""
        if not self._target.keeps_owner:
            self.work.forget_tar(sha256)

    def sweep(self) -> None:
        """Removes this run's temporary files, and the directories that it made and are empty.

        A tar whose Parquet never took its name goes too, as nothing would show whose it is.
        """
        for name, _ in self.work.recorded_tars():
            parsed, standing = parse(name), self.list_files()
            alone = name.removesuffix(".tar") + ".parquet" not in standing
            if (
                parsed is not None
                and name in standing
                and alone
                and self.ownership(parsed.hash, standing).owns(name)
            ):
                self.remove(name)
        self.work.sweep()
        if self._made:
            for folder in (self.path("_meta"), self.path(".nv-meta"), *self._made):
                self._target.remove_if_empty(folder)

    def note(self, name: str, content: bytes) -> str:
        """Keeps a note in the run's workspace, for later processes; returns its name."""
        with self._having_room():
            return self.work.note(name, content)

    def notes(self) -> list[bytes]:
        """Returns the notes of this run."""
        return self.work.notes()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error).splitlines()[0] if str(error) else type(error).__name__
