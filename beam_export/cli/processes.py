"""The end of a run: Ctrl-C, worker processes that are left over, and the temporary folder.

A run that is asked to end (`one_interrupt`) cleans up before its process exits. Meanwhile Beam's
local runner may leave worker processes behind, or wait for one for ever (`no_orphans`), and Beam
and libraries have written temporary files (`temporary_folder`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Container, Iterator

from beam_export.errors import RunError

__all__ = [
    "Interrupted",
    "end_workers",
    "hear_of_children",
    "no_orphans",
    "one_interrupt",
    "processes_below",
    "remove_temporary_folders",
    "temporary_folder",
]

#: Ctrl-C so often ends the process at once, without cleaning up.
_PATIENCE = 3
#: Ctrl-C; what `kill`, Docker, Kubernetes and Slurm send; what a terminal sends that is closed.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds that a thread of the runner may take to notice that its worker has ended.
_LAST_WORDS = 5.0
#: Temporary folders of the runs of this process.
_folders: list[str] = []


class Interrupted(KeyboardInterrupt):
    """The run was asked to end by a signal.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """The exit code that shells give a process that a signal has ended: 128 + the number."""
        return 128 + self.number


@contextlib.contextmanager
def one_interrupt(end: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Lets the first Ctrl-C, SIGTERM or SIGHUP end the block, and later ones wait for the clean-up.

    After a first one they stay ignored behind the block too: the process only has to report it and
    to exit. The third Ctrl-C exits at once. Of blocks within each other, the innermost hears it.

    Args:
        end: called at the first signal, before the block begins to clean up.

    Raises:
        Interrupted: if there was a signal.
    """
    # Only the main thread may set handlers of signals.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: list[int] = []
    again = 0

    def interrupt(number: int, _: object) -> None:
        nonlocal again
        if not first:
            first.append(number)
            end()
            raise Interrupted(number)
        again += number == signal.SIGINT
        if again >= _PATIENCE:
            # The workers end with this process, and the next run sweeps what is left.
            os._exit(128 + first[0])

    before = {one: signal.getsignal(one) for one in _SIGNALS}
    # Under `nohup` the end of the terminal is ignored, and stays so.
    heard = [one for one in _SIGNALS if one != signal.SIGHUP or before[one] != signal.SIG_IGN]
    for one in heard:
        signal.signal(one, interrupt)
    try:
        yield
    except Exception as error:
        # Runners wrap the interrupt in exceptions of their own.
        if first:
            raise Interrupted(first[0]) from error
        raise
    finally:
        # A block within this one may have heard it.
        asked = first or isinstance(sys.exc_info()[1], Interrupted)
        for one in heard:
            signal.signal(one, signal.SIG_IGN if asked else before[one])


def hear_of_children() -> None:
    """Has the system keep how processes end that this one starts, until it is asked.

    Some services ignore SIGCHLD, which is inherited: nobody could tell a crash from an end then.
    """
    # Only the main thread may set handlers of signals.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def end_workers(spared: Container[int] = ()) -> None:
    """Kills the processes below this one, but for the ids in `spared`."""
    for process in processes_below(os.getpid()):
        if process not in spared:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


@contextlib.contextmanager
def no_orphans() -> Iterator[None]:
    """Kills the worker processes that were started in the block and outlive it."""
    before = set(processes_below(os.getpid()))
    try:
        yield
    finally:
        end_workers(before)
        # The runner has a thread per worker, which prints a traceback when its worker is killed:
        # let it do so while stderr is still redirected.
        for thread in threading.enumerate():
            if thread.name == "run_worker":
                thread.join(_LAST_WORDS)


def processes_below(process: int) -> list[int]:
    """Returns the ids of a process's children and theirs, nearest first; none without /proc."""
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


@contextlib.contextmanager
def temporary_folder() -> Iterator[None]:
    """Has temporary files made in a folder that is removed with the block, however it ends.

    Processes that are started meanwhile make theirs there too, by way of `TMPDIR`.

    Raises:
        RunError: if none can be made.
    """
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    try:
        folder = tempfile.mkdtemp(prefix="beam_export-")
    except OSError as error:
        raise RunError(
            f"no temporary files can be made ({error.strerror}): set TMPDIR to a folder that can "
            "be written to, on a disk with room."
        ) from error
    _folders.append(folder)
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    try:
        yield
    finally:
        tempfile.tempdir = before[0]
        if before[1] is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before[1]
        _folders.remove(folder)
        shutil.rmtree(folder, ignore_errors=True)


def remove_temporary_folders() -> None:
    """Removes the temporary folders of blocks that will not end, as the process exits at once."""
    for folder in _folders:
        shutil.rmtree(folder, ignore_errors=True)
