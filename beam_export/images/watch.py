"""Ends this process if a codec hangs in it, whatever it does to Python, however slow the machine.

A process beside this one looks every few seconds at the threads that work on an image. One that has
taken more of a processor than its image may, or that sleeps from look to look though nobody keeps
it waiting, hangs. Looks are counted and not the clock: of a process that is stopped, or has to wait
for a processor or a disk, the system says so. What is at work stands in memory that both have.

Run as a script, this module is that process; it needs nothing but Python.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import itertools
import mmap
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Pulse", "at_work", "begin", "is_asleep", "main", "pulse", "set_limit", "waiting"]

#: Seconds between two looks, and looks in a row at a thread asleep until it is one that hangs.
CHECK_EVERY = 2.0
MAX_ASLEEP = 90
#: Seconds of a processor for an image of which nothing is known yet.
AT_FIRST = 120
#: What all threads together may take, as codecs have helpers: so many times as much.
_HELPERS = 8
#: Share of a processor that the rest of a process takes without working on an image.
_IDLE = 0.02
#: Seconds that a process has to tell where it was.
_LAST_WORDS = 5.0

#: As `worker` has it, which a script cannot import.
_QUIET = "BEAM_EXPORT_QUIET_WORKERS"
#: Of a thread: its number (0 if it works on nothing), which image it is, the seconds that it may
#: take, and whether it is kept waiting.
_ROW = struct.Struct("<QQQQ")
_ROWS = 256


class _Watched:
    """What is at work in this process."""

    def __init__(self) -> None:
        self.table: mmap.mmap | None = None
        self.handle = -1
        self.free: list[int] = []
        self.images = itertools.count(1)
        self.own = threading.local()
        self.turn = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None


_watched = _Watched()


def begin() -> None:
    """Has this process watched until it ends; a second call does nothing."""
    with _watched.turn:
        alive = _watched.process is not None and _watched.process.poll() is None
        if alive or not hasattr(os, "memfd_create"):
            return
        # Where no process can be had any more nobody watches, which harms no image.
        with contextlib.suppress(OSError):
            _start()


def _start() -> None:
    if _watched.table is None:
        _watched.handle = os.memfd_create("watch")
        os.truncate(_watched.handle, _ROW.size * _ROWS)
        _watched.table = mmap.mmap(_watched.handle, _ROW.size * _ROWS)
        _watched.free = list(range(_ROWS))
    # On the terminal of a run that goes on without this process, nothing is told.
    quiet = _QUIET in os.environ or faulthandler.is_enabled()
    if not quiet and sys.__stderr__ is not None:
        with contextlib.suppress(OSError, ValueError):
            faulthandler.enable(sys.__stderr__)
    told = [os.getpid(), _watched.handle, CHECK_EVERY, MAX_ASLEEP]
    _watched.process = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, *map(str, told)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[_watched.handle],
    )
    atexit.register(_end, _watched.process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


@contextlib.contextmanager
def at_work() -> Iterator[None]:
    """Has this thread looked at while the block works on an image."""
    table = _watched.table
    try:
        row = _watched.free.pop() * _ROW.size
    except IndexError:
        table = None
    if table is None:
        yield
        return
    _watched.own.row = row
    _ROW.pack_into(table, row, threading.get_native_id(), next(_watched.images), AT_FIRST, 0)
    try:
        yield
    finally:
        _ROW.pack_into(table, row, 0, 0, 0, 0)
        _watched.own.row = None
        _watched.free.append(row // _ROW.size)


def set_limit(seconds: int) -> None:
    """Says how many seconds of a processor the image at work in this thread may take."""
    row = getattr(_watched.own, "row", None)
    if row is not None and _watched.table is not None:
        _watched.table[row + 16 : row + 24] = seconds.to_bytes(8, "little")


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Has this thread's sleep overlooked while the block waits for others."""
    row, table = getattr(_watched.own, "row", None), _watched.table
    if row is None or table is None:
        yield
        return
    table[row + 24] = 1
    try:
        yield
    finally:
        table[row + 24] = 0


class Pulse(NamedTuple):
    """What the system says of a process or a thread.

    Attributes:
        state: `R` at work, `S` asleep, `D` waits for a disk, `T` stopped.
        used: seconds of a processor, of all threads of a process.
        ran: nanoseconds likewise, of a thread alone; 0 where they are not told.
        faults: pages that it had to wait for.
    """

    state: str
    used: float
    ran: int
    faults: int


def pulse(path: str) -> Pulse | None:
    """Returns how a process (`/proc/7`) or a thread (`/proc/7/task/8`) is; None if it is not."""
    try:
        with open(f"{path}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        ran = 0
        with contextlib.suppress(OSError), open(f"{path}/schedstat", "rb") as file:
            ran = int(file.read().split()[0])
        return Pulse(fields[0].decode(), used, ran, int(fields[7]) + int(fields[9]))
    except (OSError, IndexError, ValueError):
        return None


def is_asleep(before: Pulse, now: Pulse) -> bool:
    """Tells if nothing has happened from one look to the next, though nothing stood in the way."""
    return before == now and now.state == "S"


class _Look(NamedTuple):
    image: int
    first: Pulse
    first_of_all: Pulse
    last: Pulse
    asleep: int


class _Watcher:
    """Looks at the threads of another process."""

    def __init__(self, process: int, table: mmap.mmap, every: float, looks: int) -> None:
        self._path, self._table = f"/proc/{process}", table
        self._every, self._looks = every, looks
        self._seen: dict[int, _Look] = {}
        self._all: Pulse | None = None

    def look(self) -> bool:
        """Tells if a thread hangs."""
        everyone = pulse(self._path)
        if everyone is None:
            return False
        used = everyone.used - self._all.used if self._all else self._every
        self._all = everyone
        rows = [_ROW.unpack_from(self._table, row * _ROW.size) for row in range(_ROWS)]
        before, self._seen = self._seen, {}
        return any(
            self._hangs(row, before.get(row[0]), everyone, used < _IDLE * self._every)
            for row in rows
            if row[0]
        )

    def _hangs(self, row: tuple[int, ...], seen: _Look | None, everyone: Pulse, idle: bool) -> bool:
        thread, image, seconds, waits = row
        now = pulse(f"{self._path}/task/{thread}")
        if now is None:
            return False
        if seen is None or seen.image != image or waits:
            self._seen[thread] = _Look(image, now, everyone, now, 0)
            return False
        # A codec may leave its work to helpers, and sleep meanwhile.
        asleep = seen.asleep + 1 if idle and is_asleep(seen.last, now) else 0
        self._seen[thread] = seen._replace(last=now, asleep=asleep)
        taken = now.used - seen.first.used
        taken_by_all = everyone.used - seen.first_of_all.used
        return asleep >= self._looks or taken > seconds or taken_by_all > _HELPERS * seconds


def main(arguments: list[str]) -> None:
    """Watches a process until it ends, or ends it.

    Args:
        arguments: number of the process, descriptor of the table, seconds between two looks, looks.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    process, handle = int(arguments[0]), int(arguments[1])
    table = mmap.mmap(handle, _ROW.size * _ROWS)
    every, looks = float(arguments[2]), int(arguments[3])
    watcher = _Watcher(process, table, every, looks)
    # Nothing is ever written there: it ends with the process.
    while not select.select([sys.stdin], [], [], every)[0]:
        if watcher.look():
            # It tells where it was, and if it cannot, it ends nevertheless.
            for last in (signal.SIGABRT, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, last)
                time.sleep(_LAST_WORDS)


if __name__ == "__main__":
    main(sys.argv[1:])
