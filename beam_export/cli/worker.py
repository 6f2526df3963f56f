"""A worker process of the local runner: Beam's own, made to fit a command line.

It ends with whoever started it, leaves Ctrl-C to them, and keeps its log off the terminal that
the progress bar is drawn on; what goes wrong in it travels to the runner and is told there.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import logging
import os
import shlex
import signal
import sys
import threading
import traceback

from beam_export.cli.console import open_streams
from beam_export.cli.system_limits import exit_code_of
from beam_export.pipeline import progress

__all__ = ["QUIET", "WATCHER", "collect_less", "command_line", "main"]

#: Environment variable that tells a worker to keep its log to itself.
QUIET = "BEAM_EXPORT_QUIET_WORKERS"
#: Environment variable with the address of who is to know that a worker has come up.
WATCHER = "BEAM_EXPORT_WATCHER"

#: `prctl(2)`: the signal that a process gets when the one that started it ends.
_PR_SET_PDEATHSIG = 1


def command_line() -> str:
    """Returns what a shell runs to start a worker."""
    # Ctrl-C is for who started it, while Python starts too.
    return f"trap '' INT; exec {shlex.quote(sys.executable)} -m beam_export.cli.worker"


def collect_less() -> None:
    """Has Python look for cycles less often, in a process that is an export's alone.

    Refs are many small tuples in no cycles, and so is what imports make: looking for cycles among
    them would be a sixth of a short run, and more than half a second at its end: in each worker,
    and the runner waits for one after the other.
    """
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)


def main() -> None:
    """Runs until the runner has no more work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    collect_less()
    # Who prints a traceback fails on a full disk, and never tells the runner what went wrong.
    open_streams()
    threading.excepthook = _thread_died
    if os.environ.get(QUIET):
        logging.disable(logging.CRITICAL)
        # Beam prints the traceback that it also sends to the runner. What a codec prints as it
        # crashes goes to the descriptor underneath, and is seen.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (open as long as the process is)
    # It tells all options, keys to a storage among them.
    logging.getLogger("apache_beam.runners.worker.sdk_worker_main").setLevel(logging.WARNING)
    # Beam logs while it is imported.
    try:
        from apache_beam.runners.worker import sdk_worker_main

        progress.report(os.environ.get(WATCHER), {"worker": os.getpid()})
        sdk_worker_main.main(sys.argv)
    except Exception as error:
        _end(error)


def _end(error: BaseException) -> None:
    """Ends this process, by an exit code that tells what it was short of."""
    if not os.environ.get(QUIET):
        traceback.print_exception(error)
    # Threads may still wait for what never comes.
    os._exit(exit_code_of(error))


def _thread_died(died: threading.ExceptHookArgs) -> None:
    """Ends this process: who waits for what the thread was to do would wait for ever."""
    # Of a channel that has closed the runner knows itself.
    if died.exc_value is None or "RpcError" in (kind.__name__ for kind in died.exc_type.__mro__):
        threading.__excepthook__(died)
    else:
        _end(died.exc_value)


if __name__ == "__main__":
    main()
