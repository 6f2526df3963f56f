"""Recognises errors from a lack of threads, memory or open files, and says what to do about them.

Libraries report such shortages in many ways, or only by the exit code of a worker process.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import resource
import threading
import traceback
from typing import NamedTuple

from beam_export.errors import RunError

__all__ = [
    "check_room",
    "exit_code_of",
    "near_limit",
    "shortage",
    "shortage_of_exit",
    "text_of",
    "usable_cores",
]


class _Shortage(NamedTuple):
    """A resource that the system may refuse.

    Attributes:
        words: how error messages name the shortage.
        exit_code: of a worker process that ends by it.
        said: the shortage as a clause.
        limits: limits that may cause it: option of `ulimit`, number of the limit, unit.
        remedy: what to do, as a clause.
    """

    words: re.Pattern[str]
    exit_code: int
    said: str
    limits: tuple[tuple[str, int, int], ...]
    remedy: str


_MEMORY_LIMITS = (
    ("v", resource.RLIMIT_AS, 1024),
    ("d", resource.RLIMIT_DATA, 1024),
)
_LESS = "or use fewer workers, --direct_num_workers=1 say; the shards that are finished are kept"
_SHORTAGES = {
    "files": _Shortage(
        words=re.compile(r"Too many open files|File descriptor limit reached", re.IGNORECASE),
        exit_code=71,
        said="no more files can be open at once",
        limits=(("n", resource.RLIMIT_NOFILE, 1),),
        remedy=f"allow more, ulimit -n 1024 say, {_LESS}",
    ),
    "threads": _Shortage(
        words=re.compile(
            r"can't start new thread|pthread_create failed|Resource temporarily unavailable",
            re.IGNORECASE,
        ),
        exit_code=72,
        said="no more threads or processes can be started",
        limits=(("u", resource.RLIMIT_NPROC, 1), *_MEMORY_LIMITS),
        remedy=f"allow more, {_LESS}",
    ),
    "memory": _Shortage(
        words=re.compile(
            r"\bMemoryError\b|Cannot allocate memory|bad_alloc|out of memory|failed to map segment",
            re.IGNORECASE,
        ),
        exit_code=73,
        said="there is not enough memory",
        limits=_MEMORY_LIMITS,
        remedy=f"allow or free some, {_LESS}",
    ),
}
#: Bytes of addresses, open files and threads that must be free before workers are started.
_ROOM, _FILES, _THREADS = 1 << 30, 20, 14
#: Fraction of a limit above which an unknown error is attributed to it.
_NEAR = 0.8


def shortage(text: str) -> str | None:
    """Returns a sentence about the shortage that an error's text reports; None if there is none."""
    for short in _SHORTAGES.values():
        if short.words.search(text):
            return _sentence(short)
    return None


def shortage_of_exit(code: int) -> str | None:
    """Returns a sentence about the shortage that a worker's exit code stands for; else None."""
    return next((_sentence(s) for s in _SHORTAGES.values() if s.exit_code == code), None)


def near_limit() -> str | None:
    """Returns a sentence if this process was close to its limit of memory; else None.

    Libraries may raise errors then that do not name memory at all.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        with open("/proc/self/status") as status:
            peak = next(int(line.split()[1]) for line in status if line.startswith("VmPeak"))
    except (OSError, StopIteration):
        return None
    return _sentence(_SHORTAGES["memory"]) if peak * 1024 > _NEAR * limit else None


def check_room() -> None:
    """Checks that there is room for what Beam's runner needs to talk to worker processes.

    Two workers took 1.1 GB of addresses, 18 threads and 24 open files (measured). With less,
    libraries wait for ever, or end the process without a message.

    Raises:
        RunError: if there is too little.
    """
    go_on = threading.Event()
    try:
        # One after the other, since threads take addresses too.
        mmap.mmap(-1, _ROOM, mmap.MAP_PRIVATE, mmap.PROT_READ).close()
        with contextlib.ExitStack() as taken:
            taken.callback(go_on.set)
            for _ in range(_FILES):
                taken.enter_context(open(os.devnull))
            for _ in range(_THREADS):
                threading.Thread(target=go_on.wait, daemon=True).start()
    except (OSError, RuntimeError, MemoryError) as error:
        raise RunError(shortage(text_of(error)) or str(error)) from error


def exit_code_of(error: BaseException) -> int:
    """Returns the exit code of a worker process that an error ends: 1 if it is no shortage."""
    text = text_of(error)
    return next((s.exit_code for s in _SHORTAGES.values() if s.words.search(text)), 1)


def text_of(error: BaseException) -> str:
    """Returns an error with its traceback and causes, as text."""
    return "".join(traceback.format_exception(error))


def _sentence(short: _Shortage) -> str:
    lowered = [
        f"ulimit -{option} is {soft // unit}"
        for option, limit, unit in short.limits
        if (soft := resource.getrlimit(limit)[0]) != resource.RLIM_INFINITY
    ]
    limits = f" ({', '.join(lowered)})" if lowered else ""
    return f"{short.said}{limits}: {short.remedy}."


def usable_cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
