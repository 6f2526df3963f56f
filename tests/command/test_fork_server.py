"""Workers that are forked: they end as those do that are started, whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beam_export.cli import fork_server
from beam_export.cli.processes import processes_below
from beam_export.cli.shim import FORK_SERVER
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
