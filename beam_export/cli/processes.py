"""Worker processes that the local runner leaves behind, or waits for in vain."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Container, Iterator

__all__ = ["end_workers", "no_orphans", "processes_below"]

#: Seconds that a thread of the runner may take to notice that its worker has ended.
_LAST_WORDS = 5.0


def end_workers(spared: Container[int] = ()) -> None:
    """Ends the processes below this one, but for those that are spared."""
    for process in processes_below(os.getpid()):
        if process not in spared:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


@contextlib.contextmanager
def no_orphans() -> Iterator[None]:
    """Ends the worker processes that the runner leaves behind if a run is cut short."""
    before = set(processes_below(os.getpid()))
    try:
        yield
    finally:
        end_workers(before)
        # The runner has a thread a worker, which prints a traceback when its worker is killed:
        # let it do so while nobody listens.
        for thread in threading.enumerate():
            if thread.name == "run_worker":
                thread.join(_LAST_WORDS)


def processes_below(process: int) -> list[int]:
    """Returns the processes below one, nearest first; none where /proc does not tell."""
    try:
        tasks = os.listdir(f"/proc/{process}/task")
    except FileNotFoundError:
        return []
    found: list[int] = []
    for task in tasks:
        with (
            contextlib.suppress(FileNotFoundError, ProcessLookupError),
            open(f"/proc/{process}/task/{task}/children") as children,
        ):
            found.extend(int(child) for child in children.read().split())
    return found + [below for child in found for below in processes_below(child)]
