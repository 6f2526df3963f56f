"""Ends this process if a codec hangs in it, even one that holds the GIL, on a slow machine too.

A second process checks every few seconds the threads that work on an image. A thread hangs if it
has used more processor time than its image may, or if it sleeps from check to check while it is not
waiting for others. Checks are counted instead of seconds, since a process may be stopped or may
wait for a processor or a disk, which the system reports. Which images are at work stands in memory
that both processes share.

Run as a script, this module is the second process; it needs nothing but Python.
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

#: Seconds between two checks, and checks in a row that find a thread asleep before it hangs.
CHECK_EVERY = 2.0
MAX_ASLEEP = 90
#: Seconds of processor time for an image whose size is not known yet.
AT_FIRST = 120
#: Times the limit that all threads of the process may take together, since codecs have helpers.
_HELPERS = 8
#: Share of a processor below which no thread of a process works on an image.
_IDLE = 0.02
#: Seconds that a process has to print where it hangs.
_LAST_WORDS = 5.0

#: As in `cli.worker`, which a script cannot import.
_QUIET = "BEAM_EXPORT_QUIET_WORKERS"
#: A row per thread: its native id (0 for a free row), number of the image, seconds of processor
#: time that it may take, and 1 while it waits for others.
_ROW = struct.Struct("<QQQQ")
_ROWS = 256


class _Watched:
    """State of the watched process: the shared table, and the process that reads it."""

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
    """Starts to watch this process until it ends; a second call does nothing."""
    with _watched.turn:
        alive = _watched.process is not None and _watched.process.poll() is None
        if alive or not hasattr(os, "memfd_create"):
            return
        # Where no process can be started, nobody watches, which harms no image.
        with contextlib.suppress(OSError):
            _start()


def _start() -> None:
    if _watched.table is None:
        _watched.handle = os.memfd_create("watch")
        os.truncate(_watched.handle, _ROW.size * _ROWS)
        _watched.table = mmap.mmap(_watched.handle, _ROW.size * _ROWS)
        _watched.free = list(range(_ROWS))
    # A run that goes on without this worker prints nothing of it.
    quiet = _QUIET in os.environ or faulthandler.is_enabled()
    if not quiet and sys.__stderr__ is not None:
        with contextlib.suppress(OSError, ValueError):
            faulthandler.enable(sys.__stderr__)
    arguments = [os.getpid(), _watched.handle, CHECK_EVERY, MAX_ASLEEP]
    _watched.process = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, *map(str, arguments)],
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
    """Has this thread watched while the block works on an image."""
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
    """Sets the seconds of processor time that the image at work in this thread may take."""
    row = getattr(_watched.own, "row", None)
    if row is not None and _watched.table is not None:
        _watched.table[row + 16 : row + 24] = seconds.to_bytes(8, "little")


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Has this thread's sleep not counted while the block waits for other threads or processes."""
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
    """Activity of a process or a thread, as Linux reports it.

    Attributes:
        state: `R` running, `S` asleep, `D` waiting for a disk, `T` stopped.
        used: seconds of processor time, of all threads of a process.
        ran: nanoseconds of processor time of a thread alone; 0 where they are not reported.
        faults: page faults, minor and major.
    """

    state: str
    used: float
    ran: int
    faults: int


def pulse(path: str) -> Pulse | None:
    """Returns the activity of a process (`/proc/7`) or thread (`/proc/7/task/8`); None if gone."""
    try:
        with open(f"{path}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        ran = 0
        with contextlib.suppress(OSError), open(f"{path}/schedstat", "rb") as file:
            ran = int(file.read().split()[0])
        return Pulse(
            state=fields[0].decode(), used=used, ran=ran, faults=int(fields[7]) + int(fields[9])
        )
    except (OSError, IndexError, ValueError):
        return None


def is_asleep(before: Pulse, now: Pulse) -> bool:
    """Returns whether a thread slept from one check to the next, and did nothing in between."""
    return before == now and now.state == "S"


class _Seen(NamedTuple):
    """One thread as of its last check, and when its image was first seen."""

    image: int
    first: Pulse
    first_of_all: Pulse
    last: Pulse
    asleep: int


class _Watcher:
    """Checks the threads of another process."""

    def __init__(self, process: int, table: mmap.mmap, every: float, max_asleep: int) -> None:
        self._path, self._table = f"/proc/{process}", table
        self._every, self._max_asleep = every, max_asleep
        self._seen: dict[int, _Seen] = {}
        self._all: Pulse | None = None

    def finds_hang(self) -> bool:
        """Checks all threads that work on an image; returns whether one hangs."""
        everyone = pulse(self._path)
        if everyone is None:
            return False
        used = everyone.used - self._all.used if self._all else self._every
        self._all = everyone
        rows = [_ROW.unpack_from(self._table, row * _ROW.size) for row in range(_ROWS)]
        before, self._seen = self._seen, {}
        return any(
            self._hangs(
                row=row, seen=before.get(row[0]), everyone=everyone, idle=used < _IDLE * self._every
            )
            for row in rows
            if row[0]
        )

    def _hangs(self, row: tuple[int, ...], seen: _Seen | None, everyone: Pulse, idle: bool) -> bool:
        thread, image, seconds, waits = row
        now = pulse(f"{self._path}/task/{thread}")
        if now is None:
            return False
        if seen is None or seen.image != image or waits:
            self._seen[thread] = _Seen(
                image=image, first=now, first_of_all=everyone, last=now, asleep=0
            )
            return False
        # A codec may sleep while helper threads do its work.
        asleep = seen.asleep + 1 if idle and is_asleep(seen.last, now) else 0
        self._seen[thread] = seen._replace(last=now, asleep=asleep)
        taken = now.used - seen.first.used
        taken_by_all = everyone.used - seen.first_of_all.used
        return asleep >= self._max_asleep or taken > seconds or taken_by_all > _HELPERS * seconds


def main(arguments: list[str]) -> None:
    """Watches a process until it ends, or ends it.

    Args:
        arguments: process id, descriptor of the table, `CHECK_EVERY`, `MAX_ASLEEP`.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    process, handle = int(arguments[0]), int(arguments[1])
    table = mmap.mmap(handle, _ROW.size * _ROWS)
    every, max_asleep = float(arguments[2]), int(arguments[3])
    watcher = _Watcher(process, table, every=every, max_asleep=max_asleep)
    # Nothing is ever written to stdin: it is closed when the process ends.
    while not select.select([sys.stdin], [], [], every)[0]:
        if watcher.finds_hang():
            # At the first signal it prints where it hangs; the second ends it in any case.
            for last in (signal.SIGABRT, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, last)
                time.sleep(_LAST_WORDS)


if __name__ == "__main__":
    main(sys.argv[1:])
