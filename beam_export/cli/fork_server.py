"""Starts worker processes in no time: a server imports what they need, and is forked for each.

It is started first of all, and imports while the command itself imports Beam and builds its graph.
What Beam's runner starts as a worker is then a process of a few milliseconds (`shim.py`) that hands
its environment to the server, and ends as the worker forked there ends. Where there is no server,
or none any more, that process becomes a worker itself.

Nobody is left behind: the server ends with the command, workers with the server, and a worker is
killed once its shim is gone. All of them leave Ctrl-C to the command.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from beam_export.cli.processes import temporary_folder
from beam_export.cli.shim import FORK_SERVER, LENGTH, SHIM
from beam_export.cli.system_limits import exit_code_of
from beam_export.cli.worker import collect_less, end_with_parent, run_worker
from beam_export.images.memory_allocator import give_back_freed

__all__ = ["main", "started"]

#: The longest address of a socket (unix(7)).
_LONGEST_ADDRESS = 100


@contextlib.contextmanager
def started() -> Iterator[None]:
    """Has workers that are started in the block forked by a server, which ends with the block."""
    with temporary_folder():
        address = os.path.join(tempfile.gettempdir(), "workers")
        server = _server_at(address)
        if server is None:
            yield
            return
        before = os.environ.get(FORK_SERVER)
        os.environ[FORK_SERVER] = address
        try:
            yield
        finally:
            del os.environ[FORK_SERVER]
            if before is not None:
                os.environ[FORK_SERVER] = before
            server.kill()
            server.wait()


def _server_at(address: str) -> subprocess.Popen[bytes] | None:
    """Returns a server that listens at an address; None where there can be none."""
    if len(os.fsencode(address)) > _LONGEST_ADDRESS or not _has_pidfds():
        return None
    # Some file systems have no sockets. What else lacks, workers are going to say.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        # Ctrl-C is for this process, also while Python starts.
        python = shlex.join([sys.executable, "-m", __name__, str(os.getpid())])
        command = ["/bin/sh", "-c", f"trap '' INT; exec {python}"]
        return subprocess.Popen(command, stdin=listener.fileno())
    return None


def _has_pidfds() -> bool:
    """Returns whether a process can be waited for by a descriptor, as since Linux 5.3."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


class _Worker(NamedTuple):
    """A forked worker.

    Attributes:
        process: its id.
        pidfd: can be read once it has ended.
        shim: connection to the process that waits for it; can be read once that is gone.
    """

    process: int
    pidfd: int
    shim: socket.socket


def main(command: int) -> None:
    """Serves until the command ends.

    Args:
        command: its process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(command)
    collect_less()
    give_back_freed()
    listener = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    _import_all()
    # Python 3.12 warns of any thread. Those here are of OpenBLAS and of Arrow's allocator, which
    # see to a fork themselves; there is none of Python's.
    warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
    # What is there by now is never collected, and so not copied.
    gc.collect()
    gc.freeze()
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    _start(listener, selector)
                else:
                    _end(key.data, selector)


def _import_all() -> None:
    """Imports what workers need; no thread that this starts is missed after a fork."""
    # Beam warns of packages that nothing here needs.
    logging.disable(logging.CRITICAL)
    import beam_export.pipeline.export  # noqa: F401

    logging.disable(logging.NOTSET)


def _start(listener: socket.socket, selector: selectors.BaseSelector) -> None:
    """Forks a worker for a shim that has connected."""
    shim = listener.accept()[0]
    environ = _receive(shim)
    if environ is None:
        shim.close()
        return
    server = os.getpid()
    try:
        process = os.fork()
    except OSError as error:
        # As if the worker had found out itself.
        _answer(shim, exit_code_of(error))
        return
    if process == 0:
        _close(listener, shim, selector)
        _work(environ, server)
    found = _Worker(process, os.pidfd_open(process), shim)
    selector.register(found.pidfd, selectors.EVENT_READ, found)
    selector.register(shim, selectors.EVENT_READ, found)


def _receive(shim: socket.socket) -> dict[bytes, bytes] | None:
    """Returns the environment that a shim sends; None if it ends before."""
    data = b""
    size = LENGTH.size
    while len(data) < size:
        part = shim.recv(1 << 16)
        if not part:
            return None
        data += part
        if len(data) >= LENGTH.size:
            size = LENGTH.size + LENGTH.unpack_from(data)[0]
    pairs = data[LENGTH.size :].split(b"\0")
    return {name: value for name, _, value in (pair.partition(b"=") for pair in pairs)}


def _close(listener: socket.socket, shim: socket.socket, selector: selectors.BaseSelector) -> None:
    """Closes, in a worker, what is the server's: a connection ends when all of its copies do."""
    for key in selector.get_map().values():
        if isinstance(key.fileobj, int):
            os.close(key.fileobj)
        elif key.data is not None:
            key.data.shim.close()
    listener.close()
    shim.close()
    selector.close()


def _end(found: _Worker, selector: selectors.BaseSelector) -> None:
    """Passes on how a worker has ended; one whose shim is gone is killed."""
    if found.shim.fileno() < 0:
        return  # both of its descriptors were ready
    os.kill(found.process, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(found.process, 0)[1])
    selector.unregister(found.pidfd)
    selector.unregister(found.shim)
    os.close(found.pidfd)
    _answer(found.shim, code)


def _answer(shim: socket.socket, code: int) -> None:
    """Tells a shim how its worker has ended, if it is still there."""
    with shim, contextlib.suppress(OSError):
        shim.sendall(b"%d" % code)


def _work(environ: dict[bytes, bytes], server: int) -> NoReturn:
    """Runs a worker in this process, and ends it."""
    code = 1
    try:
        end_with_parent(server)
        os.environb.clear()
        os.environb.update(environ)
        # Chosen anew, by the environment.
        tempfile.tempdir = None
        run_worker(shim=int(environ[SHIM]))
        code = 0
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]))
