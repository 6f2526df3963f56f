"""The interface of a storage: reading, writing, directories. Each kind implements it in modules.

| kind | reads | writes |
|---|---|---|
| local | `local.LocalStorage` | `local_writer.LocalWriter` |
| `gs://` | `google_reader.GoogleStorage` | `google_writer.GoogleWriter` |
| others | `beam.BeamStorage` | `beam.BeamWriter` |
"""

from __future__ import annotations

import errno
import io
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple, Protocol

from beam_export.storage.uris import pin, pin_file

__all__ = [
    "CONCURRENT_REQUESTS",
    "FolderEntry",
    "Folders",
    "InTheWayError",
    "IrregularError",
    "ReplacedError",
    "SeekableReader",
    "Stat",
    "Storage",
    "StorageWriter",
    "WriteCondition",
    "read_up_to",
]

#: Concurrent requests of a process to a remote storage.
CONCURRENT_REQUESTS = 16


class ReplacedError(OSError):
    """The file under a name has other content than when it was listed or last checked."""

    def __init__(self, uri: str) -> None:
        """Makes the error of a file.

        Args:
            uri: without its pin.
        """
        super().__init__(errno.ESTALE, "it has been replaced meanwhile", uri)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (str(self.filename),)


class IrregularError(OSError):
    """A name is that of a FIFO, socket or device, which is not read: a read might never return."""

    def __init__(self, kind: str, path: str) -> None:
        """Makes the error of a file.

        Args:
            kind: `FIFO`, `socket`, `character device` or `block device`.
            path: of the file.
        """
        super().__init__(errno.ENXIO, f"it is a {kind}, and not a regular file", path)
        self.kind = kind

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.kind, str(self.filename))


class InTheWayError(OSError):
    """A file or directory is needed where something of another kind stands; that is left alone.

    Attributes:
        kind: of what stands there: `symbolic link`, `directory`, `file`, `special file`.
    """

    def __init__(self, uri: str, kind: str) -> None:
        self.kind = kind
        super().__init__(errno.EEXIST, f"a {kind} stands in its place", uri)

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (str(self.filename), self.kind)


class Stat(NamedTuple):
    """A file's URI, size and state on its storage.

    Attributes:
        uri: without a pin.
        size: in bytes.
        updated: when its content last changed, in seconds since the epoch; 0 if unknown.
        generation: of an object, the number that no other content of its name has; else 0.
        owner: the mark of the run that wrote it (`WriteCondition.owner`); empty where marks are not
            kept or not read.
        modified_ns: of a local file, `updated` in nanoseconds, which with the size identifies the
            content; else None.
    """

    uri: str
    size: int
    updated: float
    generation: int = 0
    owner: str = ""
    modified_ns: int | None = None

    @property
    def pinned(self) -> str:
        """The URI of this content alone, as far as the storage distinguishes contents."""
        if self.modified_ns is not None:
            return pin_file(self.uri, self.size, self.modified_ns)
        return pin(self.uri, self.generation)


class Storage(Protocol):
    """Reads files of one kind of storage; stateless, so that it can be pickled to workers.

    Attributes:
        remote: whether a read is mostly waiting, so that concurrent reads pay.
        ranged: whether a range is one request, which retries by itself, and no file is held open.
    """

    remote: bool
    ranged: bool

    def stat(self, uri: str) -> Stat | None:
        """Returns what is known of a file; None if there is none, or not that of a pinned URI."""

    def list(self, prefix: str) -> Iterator[Stat]:
        """Yields the files whose paths begin with `prefix`, in order of their bytes."""

    def open(self, uri: str) -> BinaryIO:
        """Opens a file for reading; it is seekable.

        Raises:
            FileNotFoundError: if there is none.
            ReplacedError: if the URI is pinned, and the file is another one by now.
        """

    def read(self, uri: str, start: int, size: int) -> bytes:
        """Returns `size` bytes from `start` on, or as many as there are.

        Raises:
            FileNotFoundError: if there is no such file.
            ReplacedError: if the URI is pinned, and the file is another one by now.
        """

    def read_whole(self, uri: str, size: int) -> bytes:
        """Returns all bytes of a file that had `size` of them, and one more if it has grown.

        Raises:
            FileNotFoundError, ReplacedError: as `read` does.
        """


class WriteCondition(NamedTuple):
    """On which condition a file takes its name, and the mark that it gets.

    Attributes:
        owner: mark of the run that writes it, where the storage keeps marks.
        generation: of the object that may be replaced; 0: of none, so that the name must be free;
            None: of any.
    """

    owner: str
    generation: int | None = None


class StorageWriter(Protocol):
    """Writes files of one kind of storage; stateless, so that it can be pickled to workers.

    Attributes:
        keeps_owner: whether files bear the mark of their owner (`WriteCondition.owner`).
    """

    keeps_owner: bool

    def create(self, path: str, owner: str = "") -> AbstractContextManager[BinaryIO]:
        """Opens a new file of a name that no other process uses; nothing is overwritten.

        It may be visible half-written; it is complete when the block ends without an error.
        """

    def publish(
        self, path: str, temporary: str, condition: WriteCondition
    ) -> AbstractContextManager[BinaryIO]:
        """Opens a file that takes its name, complete, when the block ends without an error.

        Args:
            path: the name.
            temporary: a name that no other process uses, for storages whose files are visible while
                they are written.
            condition: of taking the name; generations count only where there are generations.
                A file that has the same content already is a success too.

        Raises:
            ReplacedError: if the condition does not hold; what stands there is left alone.
            InTheWayError: if no file stands there; it is left alone.
        """

    def delete(self, paths: Iterable[str]) -> None:
        """Deletes files; one that is not there is no error."""

    def delete_if_unchanged(self, seen: Stat) -> None:
        """Deletes a file if it is still the one that `seen` describes; no error if it is gone.

        Raises:
            ReplacedError: if it is another one; it is left alone.
        """

    def remove_if_empty(self, folder: str) -> None:
        """Removes a directory if it is empty, where there are directories."""


class FolderEntry(NamedTuple):
    """One entry of a directory.

    Attributes:
        name: without the directory.
        kind: `file`, `directory`, `symbolic link`, or `special file` for a pipe or a device.
        size: in bytes.
        updated: when it last changed, in seconds since the epoch.
    """

    name: str
    kind: str
    size: int
    updated: float


class Folders(Protocol):
    """Makes and lists directories, where there are any; no link below the root is followed."""

    def make_root(self) -> list[str]:
        """Makes the root and its parents; returns the directories that were made, innermost first.

        Raises:
            OSError: if it is no directory, or cannot be made.
        """

    def make_folder(self, path: str) -> bool:
        """Makes a directory; returns whether it was made, and not there already.

        Raises:
            InTheWayError: if something else stands there.
        """

    def kind(self, path: str) -> str:
        """Returns `FolderEntry.kind` of what stands under a path; "" if nothing does."""

    def entries(self, path: str) -> list[FolderEntry]:
        """Returns the entries of a directory by name; none if there is no directory."""

    def open_plain(self, path: str) -> int:
        """Returns the descriptor of a plain file, opened for reading.

        Raises:
            FileNotFoundError: if nothing stands there.
            InTheWayError: if what stands there is no plain file.
        """


class SeekableReader(io.RawIOBase):
    """Base of files for reading that keep their position themselves."""

    def __init__(self) -> None:
        super().__init__()
        self._offset = 0

    def tell(self) -> int:
        """Returns the position of the next read."""
        return self._offset

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True


def read_up_to(source: BinaryIO, size: int) -> bytes:
    """Returns `size` bytes of an open file, or all that are left.

    One read of a raw file may return fewer bytes than there are, so it is repeated.

    >>> read_up_to(io.BytesIO(b"abc"), 2), read_up_to(io.BytesIO(b"abc"), 5)
    (b'ab', b'abc')
    """
    first = source.read(size)
    if not first or len(first) == size:
        return first
    parts = [first]
    left = size - len(first)
    while left and (part := source.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
