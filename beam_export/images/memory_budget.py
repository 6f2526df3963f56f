"""A budget of memory for large images, shared by all threads and worker processes of a machine.

A thread that is to decode a large image first takes the memory that it needs, by an estimate, and
waits until so much is free. An image that needs more than the whole budget runs alone. Small images
take nothing.

The budget is counted in slots. Between processes a slot is a file: the holder of its lock has the
slot, which is free again however a process ends. One thread at a time gathers slots, and nobody
waits for more while it works, so that everybody gets a turn.
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
from beam_export.images.memory_allocator import give_back

__all__ = [
    "SHARED",
    "SMALL",
    "Budget",
    "OwnSlots",
    "Slots",
    "allowed_bytes",
    "budget",
    "shared_budget",
    "unbounded",
]

#: Environment variable of workers: bytes of a slot, and the directory of the files.
SHARED = "BEAM_EXPORT_MEMORY"
#: Bytes below which an image is not counted.
SMALL = 96 << 20
#: Bytes per worker, unless they are together more than half of the machine's.
BYTES_PER_WORKER = 1 << 30
#: Fewest bytes of a slot, and most slots that processes share, since each is a file.
_SLOT = 16 << 20
_MOST_SLOTS = 128
#: Seconds between two tries to lock; images that wait take longer than that.
_RETRY_EVERY = 0.02
_UNLIMITED = 1 << 60


class Slots(Protocol):
    """Slots that can be taken, of one process or of several."""

    def taken(self, count: int) -> contextlib.AbstractContextManager[None]:
        """Holds `count` slots while the block runs, all if it is more; waits for them."""


class Budget:
    """A number of slots of one size in bytes."""

    def __init__(self, slots: Slots, slot: int) -> None:
        self._slots, self._slot = slots, slot

    @contextlib.contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Holds `size` bytes while the block runs, all if it is more; waits for them."""
        if size < SMALL:
            yield
            return
        with self._slots.taken(-(-size // self._slot)):
            try:
                yield
            finally:
                # Before others take it: what is freed may have been kept.
                give_back()


class OwnSlots:
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
    """Slots that all threads of all processes share that know the directory of the files."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._turn, self._files = sorted(folder.glob("turn-*")), sorted(folder.glob("slot-*"))

    @contextlib.contextmanager
    def taken(self, count: int) -> Iterator[None]:
        with contextlib.ExitStack() as held:
            with contextlib.ExitStack() as turn:
                for file in self._turn:
                    _take(file, turn, wait=True)
                rest = self._gathered(self._files, count, held)
                while rest is not None:
                    time.sleep(_RETRY_EVERY)
                    rest = self._gathered(*rest, held)
            yield

    def _gathered(
        self, files: list[pathlib.Path], count: int, held: contextlib.ExitStack
    ) -> tuple[list[pathlib.Path], int] | None:
        """Takes free slots; returns those left and how many are still needed, None if none."""
        left = []
        for file in files:
            if not count:
                return None
            if _take(file, held):
                count -= 1
            else:
                left.append(file)
        return (left, count) if left and count else None


def _take(path: pathlib.Path, held: contextlib.ExitStack, wait: bool = False) -> bool:
    """Takes a slot, a file, until `held` is closed; returns False if another holder has it.

    A file that cannot be opened counts as taken by this caller: waiting for it would never end.
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
    """Lifts the budget of this process: another one takes memory for it."""
    os.environ[SHARED] = ""
    _budget_by.cache_clear()


def budget() -> Budget:
    """Returns this process's budget: that of its run, or else a part of the machine's memory.

    A worker that was not started by a run of ours shares with no other process, and counts as one
    of as many workers as there are cores.
    """
    return _budget_by(os.environ.get(SHARED))


@functools.lru_cache(maxsize=1)
def _budget_by(setting: str | None) -> Budget:
    """Returns the budget by the value of the environment variable."""
    if setting == "":
        return Budget(_NoSlots(), _SLOT)
    if setting is not None:
        slot, _, folder = setting.partition(":")
        return Budget(_SharedSlots(pathlib.Path(folder)), int(slot))
    size = min(BYTES_PER_WORKER, allowed_bytes() // 2 // (os.cpu_count() or 1))
    return Budget(OwnSlots(max(1, size // _SLOT)), _SLOT)


@contextlib.contextmanager
def shared_budget(workers: int) -> Iterator[None]:
    """Makes a budget that workers share, of those that are started while the block runs.

    Args:
        workers: processes, or threads of one.
    """
    size = min(workers * BYTES_PER_WORKER, allowed_bytes() // 2)
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
    """Returns the bytes that this process may still use: the least of all limits found."""
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
