"""What is asked of a storage that is read from; each kind has a module of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, Protocol

from beam_export.uris import pin

__all__ = ["LANES", "ReplacedError", "Stat", "Storage"]

#: Reads at a time of a process on a storage far away.
LANES = 16


class ReplacedError(OSError):
    """A file is another one than that which was listed."""


class Stat(NamedTuple):
    """What a storage says of a file.

    Attributes:
        uri: where it lies.
        size: in bytes.
        updated: when its content last changed, in seconds since the epoch; 0 if nobody knows.
        generation: a number that no other content of this name has; 0 where there is no such.
    """

    uri: str
    size: int
    updated: float
    generation: int = 0

    @property
    def pinned(self) -> str:
        """The URI of just this content, as far as the storage can tell contents apart."""
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
        """Returns what is known of a file, None if there is none."""

    def list(self, prefix: str) -> Iterator[Stat]:
        """Yields all files whose paths begin so, in order of the bytes of their paths."""

    def open(self, uri: str) -> BinaryIO:
        """Opens a file for reading from any place in it.

        Raises:
            FileNotFoundError: if there is none.
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
