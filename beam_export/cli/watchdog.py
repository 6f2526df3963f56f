"""Sees to it that a run on this machine ends: one that nothing will come of any more is ended.

Beam's runner waits without end for a worker process that is gone or never came up, and for its
threads if one of them has died, for want of memory say. So whatever thread dies is noted, and the
worker processes are looked at. A run that is slow shows nothing of this, and is left alone.

Who is waiting is woken by a signal, whose handler raises what is to be said; who does not wake
(a library that waits on and on) ends with the process, after its files were removed.
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
from beam_export.errors import RunError, find_error
from beam_export.text import shown

__all__ = ["LOST", "Watchdog"]

#: What Beam's runner says when it has seen that a worker is gone; so does this.
LOST = "Channel closed prematurely"

#: Seconds between two looks.
_LOOK = 0.5
#: Seconds for the runner to tell in its own words, after something has died.
GRACE = 10.0
#: Seconds that a worker process may be stopped (by SIGSTOP), or do nothing before it says a word.
STOPPED = 60.0
SILENT = 300.0
#: How often who waits is woken, and seconds between.
_WAKINGS = 4
_BETWEEN = 5.0
#: Seconds for a worker's exit code to be known after its channel has closed, and between looks.
_LAST_WORDS = 2.0
_MOMENT = 0.05
#: Part of a core: who takes less does nothing.
_IDLE = 0.02
#: Files that are kept open, so that there is room to look for processes when there is none.
_RESERVE = 4
#: Signal that wakes; nothing else uses it.
_SIGNAL = signal.SIGUSR2
_EXIT_CODE = re.compile(r"exited with return code (-?\d+)")
#: Threads that nobody waits for.
_SPARE = ("progress", "TMonitor")


class _State(NamedTuple):
    """A process, as /proc tells of it: its state's letter (`T` is stopped), ticks of its work."""

    letter: str
    parent: int
    ticks: int


class Watchdog:
    """Watches over a run that the main thread waits for."""

    def __init__(self, clean: Callable[[], object], *, starts_workers: bool = False) -> None:
        """Makes a watchdog.

        Args:
            clean: removes what the run leaves behind; called if its process is ended.
            starts_workers: whether what this process starts are workers, and nothing else.
        """
        self._clean, self._starts_workers = clean, starts_workers
        self._armed = False
        self._trouble: Exception | None = None
        self._since = 0.0
        self._words: set[int] = set()
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
        """Watches while the block runs; of another than the main thread nothing can be woken.

        Raises:
            RunError: in the block, if nothing will come of the run any more.
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
        self._hook, threading.excepthook = threading.excepthook, self._note
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
        """Raises what is known of a worker's end, in place of that it is gone."""
        text = text_of(error)
        if find_error(text) is not None:
            return
        until = time.monotonic() + _LAST_WORDS
        while LOST in text and self._trouble is None and time.monotonic() < until:
            time.sleep(_MOMENT)
        if isinstance(self._trouble, RunError):
            raise self._trouble from error

    def heard(self, counts: Mapping[str, int]) -> None:
        """Takes the word of a worker process that it has come up."""
        if "worker" in counts:
            self._words.add(counts["worker"])

    def _wake(self, *_: object) -> None:
        if self._armed and self._trouble is not None:
            raise self._trouble

    def _note(self, died: threading.ExceptHookArgs) -> None:
        """Takes what a thread has died of."""
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
        if not self._words:
            return RunError(
                f"a worker process ended as it began (exit code {code}): see why with --verbose, "
                "and run again."
            )
        return RuntimeError(f"{LOST}: a worker process ended (exit code {code}).")

    def _report(self, trouble: Exception) -> None:
        # A thread that dies takes others with it: what was first is the reason, but for one that
        # only says that a worker is gone.
        if self._trouble is None or (
            isinstance(trouble, RunError) and not isinstance(self._trouble, RunError)
        ):
            self._since = self._since if self._trouble is not None else time.monotonic()
            self._trouble = trouble

    def _watch(self) -> None:
        while not self._done.wait(_LOOK):
            # Of files that cannot be opened those that look and those that kill have need too.
            self._try()
            self._see_end()
            with contextlib.suppress(OSError):
                self._look()
            if self._trouble is not None and time.monotonic() - self._since > GRACE:
                self._end()
                return

    def _try(self) -> None:
        """Notes if nothing can be opened or started for a while, and nothing is done meanwhile.

        Libraries try again and again then, without a word.
        """
        short = _refusal()
        if short is None:
            self._refused = 0
            return
        work = sum(_state_of(process).ticks for process in self._known)
        if self._refused == 0:
            self._worked = work
        self._refused += 1
        seconds = self._refused * _LOOK
        idle = work - self._worked < _IDLE * seconds * os.sysconf("SC_CLK_TCK")
        if seconds > GRACE and idle:
            self._report(RunError(short))

    def _see_end(self) -> None:
        """Notes if the run has failed and its end takes long: the runner waits for each worker."""
        held: Any = sys._current_exceptions().get(threading.main_thread().ident or 0)
        error: BaseException | None = held[1] if isinstance(held, tuple) else held
        if error is None or error is not self._ending:
            self._ending, self._ended = error, 0
            return
        self._ended += 1
        short = shortage(text_of(error)) if self._ended * _LOOK > GRACE else None
        if short is not None:
            self._report(RunError(short))

    def _look(self) -> None:
        """Looks for worker processes that will not come to anything."""
        self._known = processes_below(os.getpid())
        for process in self._known:
            now = _state_of(process)
            before = self._still.get(process)
            looks = before[1] + 1 if before is not None and before[0] == now else 0
            self._still[process] = now, looks
            # In looks, not by a clock: it goes on while all of a run is stopped by Ctrl-Z.
            still = looks * _LOOK
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
        """Tells whether a process is a worker that has not come up."""
        ours = self._starts_workers and state.parent == os.getpid()
        return ours and process not in self._words

    def _end(self) -> None:
        """Ends the run: has the main thread raise what was the matter, or else the process end."""
        for file in self._reserve:
            file.close()
        for _ in range(_WAKINGS):
            # Whoever waits for a worker wakes when it is gone.
            end_workers(self._spared)
            with self._turn:
                # Nobody but its handler may get the signal, which ends a process otherwise.
                if self._done.is_set():
                    return
                signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)
            if self._done.wait(_BETWEEN):
                return
        self._give_up(str(getattr(self._trouble, "sentence", self._trouble)))

    def _aborted(self, _: int) -> None:
        """Takes that a library ends this process, since a thread of its own cannot start say."""
        try:
            self._give_up(_refusal() or shortage("can't start new thread") or "")
        finally:
            os._exit(1)

    def _give_up(self, sentence: str) -> None:
        """Ends this process after its workers, and leaves nothing behind."""
        for file in self._reserve:
            file.close()
        os.write(2, f"{shown(f'beam-export: {sentence}')}\n".encode())
        for step in (
            functools.partial(end_workers, self._spared),
            self._clean,
            remove_temporary_folders,
        ):
            # Nobody is left to tell of it, and the next run removes what this one cannot.
            with contextlib.suppress(Exception):
                step()
        os._exit(1)


#: What C calls on a signal.
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)


def _on_abort(handler: Callable[[int], None] | Any) -> Any:
    """Sets what is called as a library aborts, on its thread, and returns what was before.

    Python's own handlers would be called on the main thread, and too late.
    """
    libc = ctypes.CDLL(None)
    libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    if callable(handler):
        handler = _Handler(handler)
        # As long as it may be called.
        _handlers.append(handler)
        handler = ctypes.cast(handler, ctypes.c_void_p)
    return libc.signal(signal.SIGABRT, handler)


_handlers: list[Any] = []


def _refusal() -> str | None:
    """Returns a sentence on what cannot be had just now, None if all can."""
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
