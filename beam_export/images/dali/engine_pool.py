"""Lends each engine to one thread at a time, and splits batches so that they fit the device.

On a GPU all encoders of the process with the same options share a pool: Beam runs many threads in
one process, and each engine takes memory of the device.

What becomes of a fault of the device, as opposed to one of an image:

* A batch that fails is encoded again by an engine that is new. If that fails too, the batch is too
  large, and is encoded in halves; an image alone waits for memory that others may free.
* A new engine that cannot encode a plain image is the end of the process (`lost_device`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn, Protocol

from beam_export.errors import RunError
from beam_export.images.dali.lost_device import end_process
from beam_export.images.dali.routing import DaliImage
from beam_export.images.memory_budget import OwnSlots

__all__ = ["MOST_JOBS", "Engine", "EnginePool", "release_pool", "share", "split_jobs"]

#: Most images that an engine takes at a time.
MOST_JOBS = 128
#: Seconds to wait before each try of an image alone, and of a plain image.
_PAUSES = (0.0, 0.0, 1.0, 4.0)


class Engine(Protocol):
    """Encodes jobs as JPEG, one call at a time; `engine.DaliEngine` is one."""

    def encode(self, jobs: Sequence[DaliImage]) -> list[bytes | None]:
        """Returns a JPEG for each job, None for a bad file; raises for a fault of the device."""


class EnginePool:
    """Up to `count` engines, made when they are needed.

    Args:
        make: returns a new engine.
        count: most engines at work at the same time.
        most_pixels: most pixels of a batch, unless one image alone has more; all batches at work
            together have `count` times as many at most.
        name: name of the device, for errors.
        probes: plain images, to see whether an engine works at all.
        end: called with a sentence when not even a new engine does; never returns.
        pause: waits for some seconds.
    """

    def __init__(
        self,
        make: Callable[[], Engine],
        count: int,
        *,
        most_pixels: int,
        name: str,
        probes: Sequence[DaliImage] = (),
        end: Callable[[str], NoReturn] = end_process,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.most_pixels, self.name = most_pixels, name
        self._make, self._count, self._probes = make, count, probes
        self._end, self._pause = end, pause
        self._free = threading.BoundedSemaphore(count)
        self._room = OwnSlots(count * most_pixels)
        self._idle: list[Engine] = []

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """Lends an engine to the calling thread; waits until one is free."""
        with self._free:
            engine = self._idle_one() or self._make()
            yield engine
            # Not reached if it has raised: an engine is not used again after a fault.
            if len(self._idle) < self._count:
                self._idle.append(engine)

    def _idle_one(self) -> Engine | None:
        try:
            # Alone of the two, asking and taking, this is atomic.
            return self._idle.pop()
        except IndexError:
            return None

    def test(self) -> str | None:
        """Returns why an engine does not encode a plain image; None if it does."""
        try:
            with self.engine() as engine:
                works = None not in engine.encode(self._probes)
        except (RuntimeError, MemoryError) as error:
            return _reason(error)
        return None if works else "it does not decode a plain JPEG"

    def encode(self, jobs: Sequence[DaliImage]) -> list[bytes | None]:
        """Encodes a batch, in halves if the device has too little memory for it.

        Raises:
            RunError: if the device cannot encode a single image, or is lost in a process that is
                no worker.
        """
        reason = ""
        for pause in _PAUSES if len(jobs) == 1 else _PAUSES[:2]:
            self._wait(pause)
            made = self._tried(jobs)
            if not isinstance(made, str):
                return made
            reason = made
            self._renew()
        if len(jobs) == 1:
            raise RunError(
                f"DALI on {self.name} failed for a single image that is not at fault ({reason}): "
                "run again where the device works and has memory to spare, or give "
                "--encoder=pillow."
            )
        middle = len(jobs) // 2
        # Later batches are smaller from the start.
        held = sum(job.pixels for job in jobs)
        self.most_pixels = max(1, min(self.most_pixels, held // 2))
        return self.encode(jobs[:middle]) + self.encode(jobs[middle:])

    def _tried(self, jobs: Sequence[DaliImage]) -> list[bytes | None] | str:
        """Returns the results of a batch, or why the device has failed."""
        with self._room.taken(sum(job.pixels for job in jobs)):
            try:
                with self.engine() as engine:
                    return engine.encode(jobs)
            except (RuntimeError, MemoryError) as error:
                # As text, and within the room that was taken: as long as the error lives, its
                # frames keep the engine and the batch's pixels on the device.
                reason = _reason(error)
        return reason

    def _wait(self, seconds: float) -> None:
        if seconds:
            self._pause(seconds)

    def _renew(self) -> None:
        """Has the next engines be new ones, and sees whether such a one works."""
        reason: str | None = None
        for pause in _PAUSES[1:]:
            self._wait(pause)
            # Idle ones work in the same context as the one that has failed.
            self._idle.clear()
            reason = self.test()
            if reason is None:
                return
        self._end(
            f"DALI on {self.name} has failed, and not even a plain image can be encoded in this "
            f"process any more ({reason}): run again; the shards that are finished are kept."
        )


def _reason(fault: BaseException) -> str:
    return " ".join(str(fault).split())[:300] or type(fault).__name__


def split_jobs(jobs: Sequence[DaliImage], most_jobs: int, most_pixels: int) -> list[slice]:
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
    """Returns the process's pool of a key, and counts its user until `release_pool`."""
    # A forked process cannot use the device objects that it inherits.
    place = (os.getpid(), key)
    with _lock:
        pool, users = _shared.get(place) or (make(), 0)
        _shared[place] = pool, users + 1
        return pool


def release_pool(key: Hashable) -> None:
    """Gives up a shared pool, which is freed with its last user."""
    place = (os.getpid(), key)
    with _lock:
        pool, users = _shared[place]
        if users > 1:
            _shared[place] = pool, users - 1
        else:
            del _shared[place]
