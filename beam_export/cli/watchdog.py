"""Ends a local run that hangs: whose worker processes are dead or stopped, or whose threads died.

Beam's runner waits for ever for a worker process that is gone or never started, and for its own
threads if one of them has died, for lack of memory for instance. So the watchdog records threads
that die, and checks the worker processes every half second. A run that is only slow shows none of
these signs.

The waiting main thread is woken by a signal, whose handler raises the error. If it does not wake,
since a library goes on waiting, the process exits after its files were removed.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, NamedTuple

from beam_export.cli.processes import (
    end_workers,
    processes_below,
    remove_temporary_folders,
)
from beam_export.cli.system_limits import shortage, shortage_of_exit, text_of
from beam_export.errors import RunError, known_error
from beam_export.text import shown

__all__ = ["LOST", "Watchdog"]

#: Message of Beam's runner about a worker that is gone, which this module uses too.
LOST = "Channel closed prematurely"

#: Seconds between two checks.
_INTERVAL = 0.5
#: Seconds for the runner to raise an error of its own, after something has died.
GRACE = 10.0
#: Seconds that a worker may be stopped (SIGSTOP), or be idle before it has reported its start.
STOPPED = 60.0
SILENT = 300.0
#: How often the main thread is woken, and seconds between.
_WAKINGS = 4
_BETWEEN = 5.0
#: Seconds to wait for a worker's exit code after its channel has closed, and between checks.
_LAST_WORDS = 2.0
_MOMENT = 0.05
#: Fraction of a core below which processes count as idle.
_IDLE = 0.02
#: Files kept open in reserve, so that /proc can be read when no more files can be opened.
_RESERVE = 4
#: Signal that wakes the main thread; nothing else uses it.
_SIGNAL = signal.SIGUSR2
_EXIT_CODE = re.compile(r"exited with return code (-?\d+)")
#: Names of threads whose death does not matter.
_SPARE = ("progress", "TMonitor")


class _State(NamedTuple):
    """State of a process in /proc: letter (`T` is stopped), parent, ticks of processor time."""

    letter: str
    parent: int
    ticks: int


class Watchdog:
    """Watches a run that the main thread waits for."""

    def __init__(self, clean: Callable[[], object], *, starts_workers: bool = False) -> None:
        """Makes a watchdog.

        Args:
            clean: removes the files of the run; called if the process has to exit.
            starts_workers: whether all child processes of this one are workers.
        """
        self._clean, self._starts_workers = clean, starts_workers
        self._armed = False
        self._trouble: Exception | None = None
        self._since = 0.0
        self._reported: set[int] = set()
        self._still: dict[int, tuple[_State, int]] = {}
        self._done = threading.Event()
        self._turn = threading.Lock()
        self._spared: frozenset[int] = frozenset()
        self._reserve: list[IO[str]] = []
        self._refused = self._worked = self._ended = 0
        self._known: list[int] = []
        self._ending: BaseException | None = None
        self._hook = threading.excepthook

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watches while the block runs, unless it runs in another than the main thread.

        Raises:
            RunError: in the block, if the run cannot end any more.
            RuntimeError: in the block, with `LOST`, if a worker process is gone.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._spared = frozenset(processes_below(os.getpid()))
        self._done.clear()
        self._refused = 0
        self._reserve = [open(os.devnull) for _ in range(_RESERVE)]  # noqa: SIM115
        self._trouble, self._armed = None, True
        handler = signal.signal(_SIGNAL, self._wake)
        self._hook, threading.excepthook = threading.excepthook, self._thread_died
        abort = _on_abort(self._aborted)
        watcher = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        try:
            watcher.start()
            yield
        except Exception as error:
            self._armed = False
            self._explain(error)
            raise
        finally:
            self._armed = False
            with self._turn:
                self._done.set()
            for file in self._reserve:
                file.close()
            threading.excepthook = self._hook
            signal.signal(_SIGNAL, handler)
            _on_abort(abort)

    def _explain(self, error: Exception) -> None:
        """Raises the reason of a worker's end, if it is known, in place of a lost connection."""
        text = text_of(error)
        if known_error(error) is not None:
            return
        until = time.monotonic() + _LAST_WORDS
        while LOST in text and self._trouble is None and time.monotonic() < until:
            time.sleep(_MOMENT)
        if isinstance(self._trouble, RunError):
            raise self._trouble from error

    def receive(self, counts: Mapping[str, int]) -> None:
        """Takes a report from a worker, which includes its process id once it has started."""
        if "worker" in counts:
            self._reported.add(counts["worker"])

    def _wake(self, *_: object) -> None:
        if self._armed and self._trouble is not None:
            raise self._trouble

    def _thread_died(self, died: threading.ExceptHookArgs) -> None:
        """Records the exception that a thread has died of."""
        self._hook(died)
        name = died.thread.name if died.thread is not None else ""
        if died.exc_value is None or name.startswith(_SPARE):
            return
        code = _EXIT_CODE.search(str(died.exc_value)) if name == "run_worker" else None
        if code is not None:
            self._report(self._lost(int(code[1])))
        else:
            text = text_of(died.exc_value)
            short = shortage(text)
            last = text.strip().splitlines()[-1]
            self._report(RunError(short) if short else RuntimeError(f"{LOST}: {name} died: {last}"))

    def _lost(self, code: int) -> Exception:
        if short := shortage_of_exit(code):
            return RunError(short)
        if not self._reported:
            return RunError(
                f"a worker process ended as it began (exit code {code}): see why with --verbose, "
                "and run again."
            )
        return RuntimeError(f"{LOST}: a worker process ended (exit code {code}).")

    def _report(self, trouble: Exception) -> None:
        # One death leads to others, so the first error is the reason, unless it only says that a
        # worker is gone.
        if self._trouble is None or (
            isinstance(trouble, RunError) and not isinstance(self._trouble, RunError)
        ):
            self._since = self._since if self._trouble is not None else time.monotonic()
            self._trouble = trouble

    def _watch(self) -> None:
        while not self._done.wait(_INTERVAL):
            # The check of processes, and killing them, need open files too.
            self._check_room()
            self._check_end()
            with contextlib.suppress(OSError):
                self._check_workers()
            if self._trouble is not None and time.monotonic() - self._since > GRACE:
                self._end()
                return

    def _check_room(self) -> None:
        """Records a shortage of files or threads that lasts, while no processor time is used.

        Libraries retry silently for ever then.
        """
        short = _refusal()
        if short is None:
            self._refused = 0
            return
        work = sum(_state_of(process).ticks for process in self._known)
        if self._refused == 0:
            self._worked = work
        self._refused += 1
        seconds = self._refused * _INTERVAL
        idle = work - self._worked < _IDLE * seconds * os.sysconf("SC_CLK_TCK")
        if seconds > GRACE and idle:
            self._report(RunError(short))

    def _check_end(self) -> None:
        """Records that a failed run takes long to end, since the runner waits for each worker."""
        held: Any = sys._current_exceptions().get(threading.main_thread().ident or 0)
        error: BaseException | None = held[1] if isinstance(held, tuple) else held
        if error is None or error is not self._ending:
            self._ending, self._ended = error, 0
            return
        self._ended += 1
        short = shortage(text_of(error)) if self._ended * _INTERVAL > GRACE else None
        if short is not None:
            self._report(RunError(short))

    def _check_workers(self) -> None:
        """Records worker processes that are stopped, or idle without ever having reported."""
        self._known = processes_below(os.getpid())
        for process in self._known:
            now = _state_of(process)
            before = self._still.get(process)
            checks = before[1] + 1 if before is not None and before[0] == now else 0
            self._still[process] = now, checks
            # Counted in checks, since a clock goes on while the whole run is stopped by Ctrl-Z.
            still = checks * _INTERVAL
            if now.letter == "T" and still > STOPPED:
                self._report(
                    RunError(
                        f"worker process {process} has been stopped by somebody for {still:.0f} s: "
                        "run again; the shards that are finished are kept."
                    )
                )
            elif still > SILENT and now.letter != "D" and self._is_silent(process, now):
                self._report(
                    RunError(
                        f"worker process {process} has not come up and does nothing: see whether "
                        f"{sys.executable} can be run, and run again."
                    )
                )

    def _is_silent(self, process: int, state: _State) -> bool:
        """Returns whether a process is a worker that has not reported its start."""
        ours = self._starts_workers and state.parent == os.getpid()
        # The server that forks workers was there before, and may have nothing to do yet.
        return ours and process not in self._reported | self._spared

    def _end(self) -> None:
        """Ends the run: the main thread raises the error, or else the process exits."""
        for file in self._reserve:
            file.close()
        for _ in range(_WAKINGS):
            # A thread that waits for a worker wakes when the worker is gone.
            end_workers(self._spared)
            with self._turn:
                # Once the handler is removed, the signal would kill the process.
                if self._done.is_set():
                    return
                signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)
            if self._done.wait(_BETWEEN):
                return
        self._give_up(str(getattr(self._trouble, "sentence", self._trouble)))

    def _aborted(self, _: int) -> None:
        """Handles SIGABRT: a library aborts the process, for lack of a thread for instance."""
        try:
            self._give_up(_refusal() or shortage("can't start new thread") or "")
        finally:
            os._exit(1)

    def _give_up(self, sentence: str) -> None:
        """Kills the workers, removes temporary files, and exits."""
        for file in self._reserve:
            file.close()
        os.write(2, f"{shown(f'beam-export: {sentence}')}\n".encode())
        for step in (
            functools.partial(end_workers, self._spared),
            self._clean,
            remove_temporary_folders,
        ):
            # An error cannot be reported any more, and the next run removes what is left.
            with contextlib.suppress(Exception):
                step()
        os._exit(1)


#: Signature of a handler of signals in C.
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)


def _on_abort(handler: Callable[[int], None] | Any) -> Any:
    """Sets the handler of SIGABRT in C, and returns the previous one.

    Python's own handlers run on the main thread, which is too late.
    """
    libc = ctypes.CDLL(None)
    libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    if callable(handler):
        handler = _Handler(handler)
        # Kept, since C may call it at any time.
        _handlers.append(handler)
        handler = ctypes.cast(handler, ctypes.c_void_p)
    return libc.signal(signal.SIGABRT, handler)


_handlers: list[Any] = []


def _refusal() -> str | None:
    """Returns a sentence if no file can be opened or no thread started; else None."""
    try:
        open(os.devnull).close()
        threading.Thread(target=int, name="watchdog", daemon=True).start()
    except (OSError, RuntimeError, MemoryError) as error:
        return shortage(text_of(error))
    return None


def _state_of(process: int) -> _State:
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return _State("X", 0, 0)
    return _State(fields[0].decode(), int(fields[1]), int(fields[11]) + int(fields[12]))
