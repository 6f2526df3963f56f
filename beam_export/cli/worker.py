"""Entry point of a worker process of the local runner (`python -m beam_export.cli.worker`).

Beam's own worker, changed in three ways: it ends with the process that started it, ignores Ctrl-C,
which is for that process, and keeps its log off the terminal with the progress bar. Its errors
travel to the runner, which reports them.
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

from beam_export.cli import shim as shim_script
from beam_export.cli.console import open_streams
from beam_export.cli.shim import FORK_SERVER
from beam_export.cli.system_limits import exit_code_of
from beam_export.images.dali.lost_device import WORKER
from beam_export.images.memory_allocator import give_back_freed
from beam_export.pipeline import progress

__all__ = [
    "PROGRESS_ADDRESS",
    "QUIET",
    "collect_less",
    "command_line",
    "end_with_parent",
    "main",
    "run_worker",
]

#: Environment variable that silences a worker's log.
QUIET = "BEAM_EXPORT_QUIET_WORKERS"
#: Environment variable with the address to which a worker reports that it has started.
PROGRESS_ADDRESS = "BEAM_EXPORT_WATCHER"

#: Environment variable of a worker with the process that starts it.
_PARENT = "BEAM_EXPORT_PARENT"
#: `prctl(2)`: sets the signal that a process gets when its parent exits.
_PR_SET_PDEATHSIG = 1


def command_line() -> str:
    """Returns the shell command that starts a worker."""
    what = ["-m", "beam_export.cli.worker"]
    if FORK_SERVER in os.environ:
        what = ["-I", "-S", shim_script.__file__]
    # Ctrl-C is for the parent, also while Python starts.
    exports = f"export {_PARENT}={os.getpid()}"
    return f"trap '' INT; {exports}; exec {shlex.join([sys.executable, *what])}"


def end_with_parent(parent: int) -> None:
    """Has this process killed as its parent exits; ends it if that has happened already.

    Args:
        parent: the process that has started this one.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # Nobody else would: a worker waits for its runner for ever.
        os._exit(1)


def collect_less() -> None:
    """Makes Python's cyclic garbage collector run rarely, and not at exit.

    Refs are many small tuples without cycles, and so is what imports create. The collector would
    take a sixth of a short run, plus half a second at the exit of each worker, for which the runner
    waits one after the other.
    """
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)


def main() -> None:
    """Runs a worker in this process, started for that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(int(os.environ.get(_PARENT) or os.getppid()))
    collect_less()
    run_worker()


def run_worker(shim: int | None = None) -> None:
    """Runs a worker until the runner has no more work.

    Args:
        shim: id of the process that waits for this one, and has come up with it.
    """
    give_back_freed()
    os.environ[WORKER] = str(os.getpid())
    # Else a traceback printed to a full disk would fail, and the error never reach the runner.
    open_streams()
    threading.excepthook = _thread_died
    if os.environ.get(QUIET):
        logging.disable(logging.CRITICAL)
        # Beam prints tracebacks that it also sends to the runner. What a codec prints as it crashes
        # goes to the descriptor below, and stays visible.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (until the process exits)
    # At INFO it logs all options, among them keys of a storage.
    logging.getLogger("apache_beam.runners.worker.sdk_worker_main").setLevel(logging.WARNING)
    # Imported here, since Beam logs during its import.
    try:
        from apache_beam.runners.worker import sdk_worker_main

        for process in (os.getpid(), shim):
            if process is not None:
                progress.report(os.environ.get(PROGRESS_ADDRESS), {"worker": process})
        sdk_worker_main.main(sys.argv)
    except Exception as error:
        _end(error)


def _end(error: BaseException) -> None:
    """Ends this process with the exit code of the shortage that an error reports."""
    if not os.environ.get(QUIET):
        traceback.print_exception(error)
    # Other threads may be blocked for ever, so that a normal exit would wait for them.
    os._exit(exit_code_of(error))


def _thread_died(died: threading.ExceptHookArgs) -> None:
    """Ends this process, since others would wait for ever for the thread that has died."""
    # The runner itself notices a closed channel.
    if died.exc_value is None or "RpcError" in (kind.__name__ for kind in died.exc_type.__mro__):
        threading.__excepthook__(died)
    else:
        _end(died.exc_value)


if __name__ == "__main__":
    main()
