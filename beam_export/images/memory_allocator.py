"""Sets which freed memory glibc's allocator keeps, by what a process does: plan, copy or encode.

Planning and copying hold many small values, and little of what they free is used again: glibc would
keep as much as a run has ever used at once, in an arena per thread. Encoding frees each image's
pixels before the next one needs as many: glibc would give them back, and a quarter of the time goes
into page faults. So a process starts by giving memory back, and keeps it from its first image that
is encoded.

A setting that the user has made by an environment variable is left as it is. Other C libraries have
no such settings, and nothing is done.

Source: mallopt(3), malloc_trim(3), and "Memory Allocation Tunables" in the manual of glibc.
"""

from __future__ import annotations

import ctypes
import functools
import os
from typing import NamedTuple

__all__ = ["KEPT", "give_back", "give_back_freed", "keep_freed"]

#: Most bytes that an encoding process keeps of what it has freed at the end of its heap.
KEPT = 96 << 20


class _Setting(NamedTuple):
    """A parameter of `mallopt`, and the two ways in which a user sets it."""

    parameter: int
    variable: str
    tunable: str


_TRIM = _Setting(-1, "MALLOC_TRIM_THRESHOLD_", "glibc.malloc.trim_threshold")
_PAD = _Setting(-2, "MALLOC_TOP_PAD_", "glibc.malloc.top_pad")
_MMAP = _Setting(-3, "MALLOC_MMAP_THRESHOLD_", "glibc.malloc.mmap_threshold")
_ARENAS = _Setting(-8, "MALLOC_ARENA_MAX", "glibc.malloc.arena_max")

#: For planning and copying: what is freed goes back to the system.
_GIVING_BACK = {_ARENAS: 2, _MMAP: 128 << 10, _TRIM: 1 << 20}
#: For encoding. An image that takes more than `KEPT` counts in the budget, and is given back
#: (`memory_budget.Budget`). 32 MiB is the largest threshold that glibc before 2.35 takes.
_KEEPING = {_MMAP: 32 << 20, _TRIM: KEPT, _PAD: 16 << 20}

#: Whether the process is one that this package has started, whose settings it may choose.
_is_ours = False


def give_back_freed() -> None:
    """Has this process give freed memory back to the system; call it before its threads start."""
    global _is_ours
    _is_ours = True
    _apply(_GIVING_BACK)


def keep_freed() -> None:
    """Has this process keep freed memory for its next image; does nothing in a process of a user's.

    Much is called by the pipeline in workers that other code shares, on Dataflow say.
    """
    if _is_ours:
        _keep_once()


@functools.cache
def _keep_once() -> None:
    _apply(_KEEPING)


def give_back() -> None:
    """Gives all memory back to the system that is free now."""
    libc = _glibc()
    if _is_ours and libc is not None:
        libc.malloc_trim(ctypes.c_size_t(0))


def _apply(settings: dict[_Setting, int]) -> None:
    libc = _glibc()
    if libc is None:
        return
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    for setting, value in settings.items():
        if setting.variable not in os.environ and f"{setting.tunable}=" not in tunables:
            libc.mallopt(setting.parameter, value)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """Returns the C library of this process if it is glibc."""
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):
        return None
    return ctypes.CDLL(None) if version.startswith("glibc") else None
