"""What is asked of a storage; each kind has modules of its own."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple, Protocol

from beam_export.storage.uris import pin, pin_file

__all__ = [
    "LANES",
    "Entry",
    "Folders",
    "InTheWayError",
    "IrregularError",
    "ReplacedError",
    "Stat",
    "Storage",
    "Target",
    "Terms",
    "read_up_to",
]

#: Reads at a time of a process on a storage far away.
LANES = 16


class ReplacedError(OSError):
    """A file is another one than that which was listed, or looked at."""

    def __init__(self, uri: str) -> None:
        """Says so of a file."""
        super().__init__(errno.ESTALE, "it has been replaced meanwhile", uri)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (str(self.filename),)


class IrregularError(OSError):
    """What stands under a name is no regular file, and is not read: of a FIFO nobody knows when."""

    def __init__(self, kind: str, path: str) -> None:
        """Says so of a `FIFO`, a `socket`, a `character device` or a `block device`."""
        super().__init__(errno.ENXIO, f"it is a {kind}, and not a regular file", path)
        self.kind = kind

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.kind, str(self.filename))


class InTheWayError(OSError):
    """Something that is no plain file, or no directory, stands where one is needed; it stays.

    Attributes:
        kind: what it is: `symbolic link`, `directory`, `file`, `special file`.
    """

    def __init__(self, uri: str, kind: str) -> None:
        """Says so of a path."""
        self.kind = kind
        super().__init__(errno.EEXIST, f"a {kind} stands in its place", uri)

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (str(self.filename), self.kind)


class Stat(NamedTuple):
    """What a storage says of a file.

    Attributes:
        uri: where it lies.
        size: in bytes.
        updated: when its content last changed, in seconds since the epoch; 0 if nobody knows.
        generation: a number that no other content of this name has; 0 where there is no such.
        owner: whose it is by its own mark, see `Terms`; empty where marks are not kept or not read.
        moment: of a local file, `updated` in nanoseconds: with its size it stands for its content.
    """

    uri: str
    size: int
    updated: float
    generation: int = 0
    owner: str = ""
    moment: int | None = None

    @property
    def pinned(self) -> str:
        """The URI of just this content, as far as the storage can tell contents apart."""
        if self.moment is not None:
            return pin_file(self.uri, self.size, self.moment)
        return pin(self.uri, self.generation)


class Storage(Protocol):
    """Reads files of one kind of storage; has no state, so that it travels to workers.

    Attributes:
        far: whether a read waits more than it works, so that several go well at the same time.
        ranged: whether a range is one request, tried again as it needs: no file is held open.
    """

    far: bool
    ranged: bool

    def stat(self, uri: str) -> Stat | None:
        """Returns what is known of a file, None if there is none, or not that of a pinned URI."""

    def list(self, prefix: str) -> Iterator[Stat]:
        """Yields all files whose paths begin so, in order of the bytes of their paths."""

    def open(self, uri: str) -> BinaryIO:
        """Opens a file for reading from any place in it.

        Raises:
            FileNotFoundError: if there is none.
            ReplacedError: if the URI is pinned, and the file is another one now.
        """

    def read(self, uri: str, start: int, size: int) -> bytes:
        """Returns `size` bytes, or as many as there are.

        Raises:
            FileNotFoundError: if there is no such file.
            ReplacedError: if the URI is pinned, and the file is another one now.
        """

    def read_whole(self, uri: str, size: int) -> bytes:
        """Returns the bytes of a file that had `size`, and one more if it has grown.

        Raises:
            FileNotFoundError, ReplacedError: as `read` does.
        """


class Terms(NamedTuple):
    """On which terms a file takes a name.

    Attributes:
        owner: mark that the file gets, where the storage keeps marks.
        generation: of what it may take the place of; 0: of nothing; None: of whatever is there.
    """

    owner: str
    generation: int | None = None


class Target(Protocol):
    """Writes files of one kind of storage; has no state, so that it travels to workers.

    Attributes:
        marks: whether files bear the mark of their owner (`Terms.owner`).
    """

    marks: bool

    def create(self, path: str, owner: str = "") -> AbstractContextManager[BinaryIO]:
        """Opens a file of a name that nobody else uses; what stands there is never written to.

        It may be seen half-written; whole, and there, it is when the block ends without an error.
        """

    def publish(self, path: str, temporary: str, terms: Terms) -> AbstractContextManager[BinaryIO]:
        """Opens a file that takes its name, whole, when the block ends without an error.

        Args:
            path: the name.
            temporary: a name that nobody else uses, for storages whose files can be seen while
                they are written.
            terms: of taking the name; those about generations bind where there are generations.
                What is there already and has the same content is as good.

        Raises:
            ReplacedError: if what stands there is not on these terms; it stays.
            InTheWayError: if it is no file at all; it stays.
        """

    def delete(self, paths: Iterable[str]) -> None:
        """Removes files, whether or not they are there."""

    def delete_seen(self, seen: Stat) -> None:
        """Removes a file if it is still the one that was looked at, or is gone.

        Raises:
            ReplacedError: if it is another one; it stays.
        """

    def tidy(self, folder: str) -> None:
        """Removes a directory that is empty, where there are directories."""


class Entry(NamedTuple):
    """What a directory holds under a name.

    Attributes:
        name: in the directory.
        kind: `file`, `directory`, `symbolic link`, or `special file` for a pipe or a device.
        size: in bytes.
        updated: when it last changed, in seconds since the epoch.
    """

    name: str
    kind: str
    size: int
    updated: float


class Folders(Protocol):
    """Makes and looks at directories, where there are such; never through a link below the root."""

    def make_root(self) -> list[str]:
        """Makes the root and what it lies in; returns the directories that were made, inner first.

        Raises:
            OSError: if it is no directory, or cannot be made.
        """

    def make_folder(self, path: str) -> bool:
        """Makes a directory; tells whether it was not there.

        Raises:
            InTheWayError: if something else stands there.
        """

    def kind(self, path: str) -> str:
        """Returns what stands under a path (`Entry.kind`); empty if nothing does."""

    def entries(self, path: str) -> list[Entry]:
        """Returns what a directory holds, by name; nothing if there is no directory."""

    def open_plain(self, path: str) -> int:
        """Opens a plain file for reading, and returns its descriptor.

        Raises:
            FileNotFoundError: if nothing stands there.
            InTheWayError: if what stands there is no plain file.
        """


def read_up_to(source: BinaryIO, size: int) -> bytes:
    """Reads until there is nothing more: one read of a raw file may return less than is there."""
    first = source.read(size)
    if not first or len(first) == size:
        return first
    parts = [first]
    left = size - len(first)
    while left and (part := source.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
