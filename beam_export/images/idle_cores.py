"""Lets a worker process encode in several threads while other worker processes have no work.

There is a worker process per core, and each encodes in one thread: more would compete for the cores
and for the GIL. But when fewer shards are left than processes, as at the end of a run, threads of
one process use the cores of processes without a shard.

A process that writes a shard holds a file lock, which is free again however the process ends; free
locks are idle cores. One process at a time is given all of them, for a batch.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple

from beam_export.images.file_locks import lock_file

__all__ = ["Cores", "shared_cores"]

#: Tries to get a lock, and seconds between them: another process may be testing whether it is free.
_TRIES = 5
_MOMENT = 0.001


class Cores(NamedTuple):
    """Cores that worker processes share: a lock for each.

    Attributes:
        locks: paths of files, one per worker process.
        turn: path of a file whose lock the one process holds that uses idle cores.
    """

    locks: tuple[str, ...]
    turn: str

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Takes a core while the block runs; if none is free the block runs nevertheless."""
        with contextlib.ExitStack() as held:
            for _ in range(_TRIES):
                if any(_take(lock, held) for lock in self.locks):
                    break
                time.sleep(_MOMENT)
            yield

    @contextlib.contextmanager
    def idle(self) -> Iterator[int]:
        """Gives the number of idle cores that may be used while the block runs."""
        with contextlib.ExitStack() as held:
            yield sum(map(_is_free, self.locks)) if _take(self.turn, held) else 0


@contextlib.contextmanager
def shared_cores(workers: int) -> Iterator[Cores]:
    """Gives the cores that `workers` processes share, while the block runs."""
    with contextlib.ExitStack() as files:
        turn, *locks = (
            files.enter_context(tempfile.NamedTemporaryFile(prefix="beam_export-")).name
            for _ in range(workers + 1)
        )
        yield Cores(tuple(locks), turn)


def _take(path: str, held: contextlib.ExitStack) -> bool:
    """Takes a core, a file, until `held` is closed; returns False if another holder has it.

    A file that cannot be opened is not taken: what may be in use is not idle.
    """
    with contextlib.suppress(OSError):
        return lock_file(path, held)
    return False


def _is_free(path: str) -> bool:
    with contextlib.ExitStack() as held:
        return _take(path, held)
