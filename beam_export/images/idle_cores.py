"""Cores of this machine with nothing to do: when a worker process may encode in several threads.

There is a worker process a core, and each encodes in one thread: with more they get into each
other's way, at the cores and at Python's lock. But where fewer shards are left than processes,
as at a run's end, threads of one process take the place of the processes that have none.

Who writes a shard holds the lock of a file (`flock(2)`), which is free again however its process
ends; free ones tell of idle cores. One process at a time is given all of them, for a batch.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple

from beam_export.images.file_locks import lock_file

__all__ = ["Cores", "shared"]

#: Looks for a free lock, a moment apart: somebody may be just looking whether it is.
_LOOKS = 5
_MOMENT = 0.001


class Cores(NamedTuple):
    """Cores that processes share, a lock each.

    Attributes:
        locks: paths of files, one a worker process.
        turn: path of a file whose lock is held by the one process that uses idle cores.
    """

    locks: tuple[str, ...]
    turn: str

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Has a core of its own while the block runs; it is not waited for."""
        with contextlib.ExitStack() as held:
            for _ in range(_LOOKS):
                if any(_is_locked(lock, held) for lock in self.locks):
                    break
                time.sleep(_MOMENT)
            yield

    @contextlib.contextmanager
    def idle(self) -> Iterator[int]:
        """Gives how many cores more may be used while the block runs."""
        with contextlib.ExitStack() as held:
            yield sum(map(_is_free, self.locks)) if _is_locked(self.turn, held) else 0


@contextlib.contextmanager
def shared(workers: int) -> Iterator[Cores]:
    """Makes what so many worker processes share, for as long as the block runs."""
    with contextlib.ExitStack() as files:
        turn, *locks = (
            files.enter_context(tempfile.NamedTemporaryFile(prefix="beam_export-")).name
            for _ in range(workers + 1)
        )
        yield Cores(tuple(locks), turn)


def _is_locked(path: str, held: contextlib.ExitStack) -> bool:
    """Locks a file until `held` is closed; returns False if it is locked, or gone with its run."""
    with contextlib.suppress(OSError):
        return lock_file(path, held)
    return False


def _is_free(path: str) -> bool:
    with contextlib.ExitStack() as held:
        return _is_locked(path, held)
