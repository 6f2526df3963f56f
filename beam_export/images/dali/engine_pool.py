"""Lends each engine to one thread at a time, and splits batches so that they fit the device.

On a GPU all encoders of the process with the same options share a pool: Beam runs many threads in
one process, and each engine takes memory of the device.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from beam_export.errors import RunError
from beam_export.images.dali.routing import Job

__all__ = ["MOST_JOBS", "Engine", "EnginePool", "release", "share", "split"]

#: Most images that an engine takes at a time.
MOST_JOBS = 64


class Engine(Protocol):
    """Encodes jobs as JPEG, one call at a time; `engine.DaliEngine` is one."""

    def encode(self, jobs: Sequence[Job]) -> list[bytes | None]:
        """Returns a JPEG for each job, None for a bad file; raises for a fault of the device."""


class EnginePool:
    """Up to `count` engines, made when they are needed.

    Args:
        make: returns a new engine.
        count: most engines at work at the same time.
        most_pixels: most pixels of a batch, unless one image alone has more.
        name: name of the device, for errors.
    """

    def __init__(self, make: Callable[[], Engine], count: int, most_pixels: int, name: str) -> None:
        self.most_pixels, self.name = most_pixels, name
        self._make = make
        self._free = threading.BoundedSemaphore(count)
        self._idle: list[Engine] = []

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """Lends an engine to the calling thread; waits until one is free."""
        with self._free:
            # A list's append and pop are atomic.
            engine = self._idle.pop() if self._idle else self._make()
            yield engine
            # Not reached if it has raised: an engine is not used again after a fault.
            self._idle.append(engine)

    def encode(self, jobs: Sequence[Job]) -> list[bytes | None]:
        """Encodes a batch, in halves if the device has too little memory for it.

        Raises:
            RunError: if the device cannot encode a single image.
        """
        try:
            with self.engine() as engine:
                return engine.encode(jobs)
        except (RuntimeError, MemoryError) as error:
            if len(jobs) == 1:
                raise RunError(self._lost(error)) from error
        middle = len(jobs) // 2
        # Later batches are smaller from the start.
        held = sum(job.pixels for job in jobs)
        self.most_pixels = max(1, min(self.most_pixels, held // 2))
        return self.encode(jobs[:middle]) + self.encode(jobs[middle:])

    def _lost(self, error: BaseException) -> str:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        return (
            f"DALI on {self.name} failed for a single image that is not at fault ({reason}): run "
            "again where the device works and has memory to spare, or give --encoder=pillow."
        )


def split(jobs: Sequence[Job], most_jobs: int, most_pixels: int) -> list[slice]:
    """Returns batches of consecutive jobs, each within both limits unless it is one job alone."""
    batches: list[slice] = []
    first, held = 0, 0
    for at, job in enumerate(jobs):
        if at > first and (at - first >= most_jobs or held + job.pixels > most_pixels):
            batches.append(slice(first, at))
            first, held = at, 0
        held += job.pixels
    if first < len(jobs):
        batches.append(slice(first, len(jobs)))
    return batches


_shared: dict[Hashable, tuple[EnginePool, int]] = {}
_lock = threading.Lock()


def share(key: Hashable, make: Callable[[], EnginePool]) -> EnginePool:
    """Returns the process's pool of a key, and counts its user until `release`."""
    # A forked process cannot use the device objects that it inherits.
    place = (os.getpid(), key)
    with _lock:
        pool, users = _shared.get(place) or (make(), 0)
        _shared[place] = pool, users + 1
        return pool


def release(key: Hashable) -> None:
    """Gives up a shared pool, which is freed with its last user."""
    place = (os.getpid(), key)
    with _lock:
        pool, users = _shared[place]
        if users > 1:
            _shared[place] = pool, users - 1
        else:
            del _shared[place]
