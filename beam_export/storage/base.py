"""What is asked of a storage; each kind has modules of its own."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple, Protocol

from beam_export.uris import pin, pin_file

__all__ = ["LANES", "IrregularError", "ReplacedError", "Stat", "Storage", "Target", "Terms"]

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
    """Writes files of one kind of storage; has no state, so that it travels to workers."""

    def create(self, path: str) -> AbstractContextManager[BinaryIO]:
        """Opens a file of a name that nobody else uses.

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
