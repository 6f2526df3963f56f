"""Locks of files (`flock(2)`) that processes share: free again however their holder ends."""

from __future__ import annotations

import contextlib
import fcntl

__all__ = ["lock_file"]


def lock_file(path: str, held: contextlib.ExitStack, *, wait: bool = False) -> bool:
    """Locks a file until `held` is closed; returns False if another holder has the lock.

    Args:
        path: of an existing file, which is only opened.
        held: keeps the file open, and so the lock.
        wait: whether to wait for the lock instead.

    Raises:
        OSError: if it cannot be opened: it has gone with its run, or too many files are open.
    """
    with contextlib.ExitStack() as opened:
        file = opened.enter_context(open(path, "rb", buffering=0))
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        held.push(opened.pop_all())
    return True
