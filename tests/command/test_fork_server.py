"""Workers that are forked: they end as those do that are started, whoever is killed."""

from __future__ import annotations

import errno
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beam_export.cli import fork_server
from beam_export.cli.processes import processes_below
from beam_export.cli.shim import FORK_SERVER, LENGTH
from beam_export.cli.system_limits import shortage_of_exit
from beam_export.cli.worker import QUIET, command_line

#: Where nobody answers, so that a worker waits there for as long as a test needs it.
NOWHERE = {"CONTROL_API_SERVICE_DESCRIPTOR": 'url: "localhost:1"', "WORKER_ID": "1", QUIET: "1"}


def start(environ: dict[str, str]) -> subprocess.Popen[bytes]:
    """Starts a worker as Beam's runner does."""
    return subprocess.Popen(command_line(), shell=True, env={**os.environ, **environ})


def wait_for(found: Callable[[], list[int]]) -> int:
    until = time.monotonic() + 120
    while not (processes := found()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
    return processes[0]


def is_gone(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """A server that has all imported."""
    before = set(processes_below(os.getpid()))
    with fork_server.started():
        (process,) = set(processes_below(os.getpid())) - before
        yield process
    assert is_gone(process)
    assert FORK_SERVER not in os.environ
    assert "cli.worker" in command_line()


def test_a_worker_is_forked_and_ends_with_the_code_of_its_error(server: int) -> None:
    # The environment of the one that starts it is its own.
    worker = start({"CONTROL_API_SERVICE_DESCRIPTOR": "no descriptor", QUIET: "1"})
    assert worker.wait(120) == 1


def test_what_beam_warns_of_as_it_is_imported_is_not_shown(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with fork_server.started():
        worker = start({"CONTROL_API_SERVICE_DESCRIPTOR": "no descriptor", QUIET: "1"})
        assert worker.wait(120) == 1
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_the_shim_ends_as_its_worker_does(server: int, how: signal.Signals) -> None:
    shim = start(NOWHERE)
    worker = wait_for(lambda: processes_below(server))
    assert shim.poll() is None
    os.kill(worker, signal.SIGINT)
    assert not is_gone(worker)
    os.kill(worker, how)
    assert shim.wait(60) == -how


def test_a_worker_without_its_shim_is_killed(server: int) -> None:
    shim = start(NOWHERE)
    worker = wait_for(lambda: processes_below(server))
    shim.kill()
    shim.wait()
    wait_for(lambda: [worker] if is_gone(worker) else [])


@pytest.mark.slow
def test_a_lost_server_takes_its_workers_along_and_is_not_missed() -> None:
    before = set(processes_below(os.getpid()))
    with fork_server.started():
        (server,) = set(processes_below(os.getpid())) - before
        shim = start(NOWHERE)
        worker = wait_for(lambda: processes_below(server))
        os.kill(server, signal.SIGKILL)
        assert shim.wait(60) == -signal.SIGKILL
        wait_for(lambda: [worker] if is_gone(worker) else [])
        # The next one does without.
        again = start({"CONTROL_API_SERVICE_DESCRIPTOR": "no descriptor", QUIET: "1"})
        assert again.wait(120) == 1


def test_a_server_whose_command_is_gone_already_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", fork_server.__name__, str(os.getppid())]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "workers"))
        listener.listen()
        server = subprocess.Popen(command, stdin=listener.fileno())
        try:
            assert server.wait(60) == 1
        finally:
            server.kill()


def test_a_worker_whose_command_is_gone_already_ends() -> None:
    # The shell is its parent, and not the process that it is told.
    line = command_line().replace("exec ", "") + "; exit $?"
    worker = subprocess.Popen(line, shell=True, env={**os.environ, **NOWHERE, FORK_SERVER: ""})
    try:
        assert worker.wait(60) == 1
    finally:
        worker.kill()


def test_where_a_file_system_has_no_sockets_there_is_no_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.delenv(FORK_SERVER, raising=False)
    monkeypatch.setattr(socket.socket, "bind", refuse)
    with fork_server.started():
        assert FORK_SERVER not in os.environ
        assert "cli.worker" in command_line()


def test_a_worker_that_cannot_be_forked_ends_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refuse)
    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX) as shim,
        selectors.DefaultSelector() as selector,
    ):
        address = os.path.relpath(tmp_path / "workers")
        listener.bind(address)
        listener.listen()
        shim.connect(address)
        shim.sendall(LENGTH.pack(0))
        fork_server._start(listener, selector)
        assert shortage_of_exit(int(shim.recv(16))) is not None
