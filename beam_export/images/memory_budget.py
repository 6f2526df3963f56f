"""Memory for large images: all threads and worker processes of a machine share a budget of it.

Whoever is to decode a large image takes what that needs, by an estimate, before it begins, and
waits until there is as much. What needs more than there is runs when nothing else does. Small
images take nothing.

The budget is counted in slots. A slot of processes that share is a file: who holds its lock
(`flock(2)`) has it, and it is free again however a process ends. Slots are gathered by one thread
of all at a time, and nobody who holds any waits for more, so that all who wait come to their turn.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Protocol

from beam_export.images.file_locks import lock_file

__all__ = ["SHARED", "SMALL", "Budget", "Slots", "allowed_bytes", "budget", "shared", "unbounded"]

#: Environment variable that tells workers the bytes of a slot and where the files are.
SHARED = "BEAM_EXPORT_MEMORY"
#: Bytes of what is not counted at all.
SMALL = 96 << 20
#: Bytes for each worker, unless that is more than half of what there is.
A_WORKER = 1 << 30
#: Bytes of a slot at least, and slots that processes share at most: each is a file.
_SLOT = 16 << 20
_MOST_SLOTS = 128
#: Seconds between two looks at what others hold; images that wait take longer than that.
_LOOK_EVERY = 0.02
_UNLIMITED = 1 << 60


class Slots(Protocol):
    """What can be taken: counted by a process alone, or by several."""

    def taken(self, count: int) -> contextlib.AbstractContextManager[None]:
        """Holds so many slots while the block runs, or all if it is more; waits for them."""


class Budget:
    """So many slots of so many bytes."""

    def __init__(self, slots: Slots, slot: int) -> None:
        self._slots, self._slot = slots, slot

    @contextlib.contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Holds so many bytes while the block runs, or all if it is more; waits for them."""
        if size < SMALL:
            yield
            return
        with self._slots.taken(-(-size // self._slot)):
            yield


class _OwnSlots:
    """Slots that the threads of this process share."""

    def __init__(self, count: int) -> None:
        self._count = self._free = count
        self._turn, self._changed = threading.Lock(), threading.Condition()

    @contextlib.contextmanager
    def taken(self, count: int) -> Iterator[None]:
        count = min(count, self._count)
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._free >= count)
            self._free -= count
        try:
            yield
        finally:
            with self._changed:
                self._free += count
                self._changed.notify_all()


class _SharedSlots:
    """Slots that all threads of all processes share that know where their files are."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._turn, self._files = sorted(folder.glob("turn-*")), sorted(folder.glob("slot-*"))

    @contextlib.contextmanager
    def taken(self, count: int) -> Iterator[None]:
        with contextlib.ExitStack() as held:
            with contextlib.ExitStack() as turn:
                for file in self._turn:
                    _lock(file, turn, wait=True)
                rest = self._gathered(self._files, count, held)
                while rest is not None:
                    time.sleep(_LOOK_EVERY)
                    rest = self._gathered(*rest, held)
            yield

    def _gathered(
        self, files: list[pathlib.Path], count: int, held: contextlib.ExitStack
    ) -> tuple[list[pathlib.Path], int] | None:
        """Takes what is free; returns what is left, and how many are still to be had."""
        left = []
        for file in files:
            if not count:
                return None
            if _lock(file, held):
                count -= 1
            else:
                left.append(file)
        return (left, count) if left and count else None


def _lock(path: pathlib.Path, held: contextlib.ExitStack, wait: bool = False) -> bool:
    """Locks a file until `held` is closed; returns False if another holder has the lock.

    A file that cannot be opened counts as locked: waiting for it would never end.
    """
    try:
        return lock_file(str(path), held, wait=wait)
    except OSError:
        return True


class _NoSlots:
    @contextlib.contextmanager
    def taken(self, count: int) -> Iterator[None]:
        yield


def unbounded() -> None:
    """Lets this process take what it likes: another one holds what it needs for it."""
    os.environ[SHARED] = ""
    _ours.cache_clear()


def budget() -> Budget:
    """Returns this process's budget: that of its run, or else a part of the machine's memory.

    A worker that no run of ours has started shares with nobody; it is taken for one of as many as
    there are cores.
    """
    return _ours(os.environ.get(SHARED))


@functools.lru_cache(maxsize=1)
def _ours(told: str | None) -> Budget:
    if told == "":
        return Budget(_NoSlots(), _SLOT)
    if told is not None:
        slot, _, folder = told.partition(":")
        return Budget(_SharedSlots(pathlib.Path(folder)), int(slot))
    size = min(A_WORKER, allowed_bytes() // 2 // (os.cpu_count() or 1))
    return Budget(_OwnSlots(max(1, size // _SLOT)), _SLOT)


@contextlib.contextmanager
def shared(workers: int) -> Iterator[None]:
    """Makes what so many workers share, for those that are started while the block runs.

    Args:
        workers: processes, or threads of one.
    """
    size = min(workers * A_WORKER, allowed_bytes() // 2)
    slot = max(_SLOT, size // _MOST_SLOTS)
    before = os.environ.get(SHARED)
    with tempfile.TemporaryDirectory(prefix="beam_export-") as folder:
        for number in range(max(1, size // slot)):
            os.close(tempfile.mkstemp(prefix=f"slot-{number:04}-", dir=folder)[0])
        os.close(tempfile.mkstemp(prefix="turn-", dir=folder)[0])
        os.environ[SHARED] = f"{slot}:{folder}"
        try:
            yield
        finally:
            os.environ.pop(SHARED)
            if before is not None:
                os.environ[SHARED] = before


def allowed_bytes() -> int:
    """Returns the memory that this process may still use, as far as the system tells."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    limits = [_UNLIMITED if soft == resource.RLIM_INFINITY else soft, *_of_groups()]
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = pathlib.Path("/proc/meminfo").read_text().partition("MemAvailable:")[2]
        limits.append(int(text.split()[0]) << 10)
    least = min(limits)
    return least if least < _UNLIMITED else _physical()


def _of_groups() -> Iterator[int]:
    """Yields the limits of the control groups that this process is in, of both versions."""
    try:
        lines = pathlib.Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, kinds, path = [*line.split(":", 2), "", ""][:3]
        if number == "0":
            root, name = pathlib.Path("/sys/fs/cgroup"), "memory.max"
        elif "memory" in kinds.split(","):
            root, name = pathlib.Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        parts = [part for part in path.split("/") if part]
        # In a container the root is the group itself.
        for depth in range(len(parts) + 1):
            with contextlib.suppress(OSError, ValueError):
                yield int(root.joinpath(*parts[:depth], name).read_text())


def _physical() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 4 << 30
