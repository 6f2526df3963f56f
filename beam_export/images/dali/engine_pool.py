"""Who works when: engines are lent to one thread at a time, and a batch fits the device.

On a GPU the lanes are shared by all encoders of the process that ask for the same: Beam runs many
threads in one process, and each set of engines takes memory on the device.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from beam_export.errors import RunError
from beam_export.images.dali.routing import Job

__all__ = ["MOST_JOBS", "Engine", "Lanes", "release", "share", "split"]

#: Images that an engine takes at a time, at most.
MOST_JOBS = 64


class Engine(Protocol):
    """What turns jobs into JPEG, one call at a time; `engine.DaliEngine` is one."""

    def encode(self, jobs: Sequence[Job]) -> list[bytes | None]:
        """Returns a JPEG for each job, None for a bad file; raises what the device is at fault."""


class Lanes:
    """Engines, made when they are needed, and never more than `count` of them.

    Args:
        make: returns a new engine.
        count: engines at work at the same time.
        most_pixels: of a batch, unless one image alone has more.
        name: of the device, for errors.
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
            # A list's append and pop are whole steps to other threads.
            engine = self._idle.pop() if self._idle else self._make()
            yield engine
            # Not reached if it has raised: what a fault leaves behind is not used again.
            self._idle.append(engine)

    def encode(self, jobs: Sequence[Job]) -> list[bytes | None]:
        """Encodes a batch; in halves if the device is too full for it as a whole.

        Raises:
            RunError: if the device does not even encode one image alone.
        """
        try:
            with self.engine() as engine:
                return engine.encode(jobs)
        except (RuntimeError, MemoryError) as error:
            if len(jobs) == 1:
                raise RunError(self._lost(error)) from error
        middle = len(jobs) // 2
        # The next batches are smaller from the start.
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
    """Returns batches of consecutive jobs, each within both limits if it has more than one."""
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


_shared: dict[Hashable, tuple[Lanes, int]] = {}
_lock = threading.Lock()


def share(key: Hashable, make: Callable[[], Lanes]) -> Lanes:
    """Returns the process's lanes of that key, and counts their user; `release` takes it back."""
    # What a forked process has inherited of a device does not work in it.
    place = (os.getpid(), key)
    with _lock:
        lanes, users = _shared.get(place) or (make(), 0)
        _shared[place] = lanes, users + 1
        return lanes


def release(key: Hashable) -> None:
    """Gives up shared lanes; their engines go with their last user."""
    place = (os.getpid(), key)
    with _lock:
        lanes, users = _shared[place]
        if users > 1:
            _shared[place] = lanes, users - 1
        else:
            del _shared[place]
