"""Runs of which nothing will come any more: they end by themselves, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from support.exports import left_over, make_images

from beam_export.cli import watchdog
from beam_export.cli.system_limits import exit_code_of
from beam_export.cli.watchdog import LOST, Watchdog
from beam_export.errors import RunError

#: Only a run that hangs meets it.
LIMIT = 240

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "GRACE", 0.2)
    monkeypatch.setattr(watchdog, "_INTERVAL", 0.05)
    monkeypatch.setattr(threading, "excepthook", lambda died: None)


def dies(error: BaseException, name: str = "a thread") -> None:
    def die() -> None:
        raise error

    threading.Thread(target=die, name=name).start()


def waits(dog: Watchdog, before: Callable[[], object]) -> None:
    """Waits for what never comes, as Beam's runner does."""
    with dog.watching():
        before()
        assert threading.Event().wait(60), "nobody has ended it"


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (exit_code_of(RuntimeError("can't start new thread")), "no more threads"),
        (exit_code_of(OSError("Too many open files")), "files"),
    ],
)
def test_a_worker_that_says_what_it_was_short_of(code: int, words: str, workers: int) -> None:
    dog = Watchdog(lambda: None)
    for worker in range(workers):
        dog.receive({"worker": worker})
    error = RuntimeError(f"Worker subprocess exited with return code {code}")
    with pytest.raises(RunError, match=words):
        waits(dog, lambda: dies(error, "run_worker"))


@pytest.mark.parametrize("code", [-9, 1, 137])
def test_a_worker_that_is_gone_is_a_loss_once_one_has_come_up(code: int) -> None:
    error = RuntimeError(f"Worker subprocess exited with return code {code}")
    dog = Watchdog(lambda: None)
    with pytest.raises(RunError, match="ended as it began"):
        waits(dog, lambda: dies(error, "run_worker"))
    dog.receive({"worker": 1})
    with pytest.raises(RuntimeError, match=f"{LOST}.*{code}"):
        waits(dog, lambda: dies(error, "run_worker"))


def test_what_was_short_is_told_whoever_comes_first() -> None:
    def both() -> None:
        dies(RuntimeError("the channel is closed"))
        time.sleep(0.05)
        dies(RuntimeError("can't start new thread"))

    with pytest.raises(RunError, match="no more threads"):
        waits(Watchdog(lambda: None), both)


def test_what_is_known_of_a_worker_is_told_in_place_of_that_it_is_gone() -> None:
    error = RuntimeError(f"Worker subprocess exited with return code {exit_code_of(MemoryError())}")

    def runs() -> None:
        with Watchdog(lambda: None).watching():
            threading.Timer(0.3, dies, (error, "run_worker")).start()
            raise RuntimeError(f"{LOST}.")

    with pytest.raises(RunError, match="not enough memory"):
        runs()


def test_a_run_that_has_failed_and_does_not_end() -> None:
    def fails() -> None:
        with Watchdog(lambda: None).watching():
            try:
                raise RuntimeError("can't start new thread")
            finally:
                # The runner waits here for workers that do not end.
                assert threading.Event().wait(60), "nobody has ended it"

    with pytest.raises(RunError, match="no more threads"):
        fails()


def test_what_cannot_be_had_while_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "_refusal", lambda: "no more of it: allow more.")
    with pytest.raises(RunError, match="no more of it"):
        waits(Watchdog(lambda: None), lambda: None)


def test_what_cannot_be_had_does_not_end_who_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "_refusal", lambda: "no more of it: allow more.")
    monkeypatch.setattr(watchdog, "_IDLE", -1)
    with Watchdog(lambda: None).watching():
        time.sleep(0.7)


def test_a_run_that_ends_is_not_ended() -> None:
    with Watchdog(lambda: None).watching():
        dies(RuntimeError("can't start new thread"))
    time.sleep(0.5)


@pytest.mark.parametrize("name", ["progress", "TMonitor"])
def test_threads_that_nobody_waits_for(name: str) -> None:
    with Watchdog(lambda: None).watching():
        dies(RuntimeError("can't start new thread"), name)
        time.sleep(0.7)


def test_a_slow_run_is_left_alone() -> None:
    # A process that does nothing for long may wait for a disk or a network.
    with Watchdog(lambda: None).watching(), subprocess.Popen(["sleep", "60"]) as slow:
        time.sleep(0.7)
        assert slow.poll() is None
        slow.kill()


def test_all_is_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGUSR2), threading.excepthook, threading.active_count()
    with Watchdog(lambda: None).watching():
        assert threading.excepthook != before[1]
    time.sleep(0.2)
    assert (signal.getsignal(signal.SIGUSR2), threading.excepthook) == before[:2]
    assert threading.active_count() <= before[2]


def test_a_worker_that_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "STOPPED", 0.5)
    with subprocess.Popen(["sleep", "60"]) as before:
        workers: list[subprocess.Popen[bytes]] = []

        def stopped() -> None:
            workers.append(subprocess.Popen(["sleep", "60"]))
            workers[0].send_signal(signal.SIGSTOP)

        with pytest.raises(RunError, match=r"process \d+ has been stopped"):
            waits(Watchdog(lambda: None), stopped)
        assert workers[0].wait(10) == -signal.SIGKILL
        # It is not of this run.
        assert before.poll() is None
        before.kill()


DEAF = """
import subprocess, sys, tempfile, threading, time
from pathlib import Path
from beam_export.cli import watchdog
from beam_export.cli.processes import temporary_folder

watchdog.GRACE = watchdog._BETWEEN = 0.2
with temporary_folder(), watchdog.Watchdog(lambda: Path(sys.argv[1]).unlink()).watching():
    tempfile.mkdtemp()
    subprocess.Popen(["sleep", "300"])
    def die(): raise RuntimeError("can't start new thread")
    threading.excepthook.__self__._hook = print
    threading.Thread(target=die).start()
    while True:
        try:
            time.sleep(300)
        except Exception:
            pass
"""


def test_who_does_not_wake_ends_with_the_process(tmp_path: Path) -> None:
    (tmp_path / "left").touch()
    (tmp_path / "tmp").mkdir()
    done = run([sys.executable, "-c", DEAF, str(tmp_path / "left")], tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("beam-export: no more threads")
    assert not (tmp_path / "left").exists()


# Commands.


ABORTS = """
import os, sys
from pathlib import Path
from beam_export.cli import watchdog

with watchdog.Watchdog(lambda: Path(sys.argv[1]).unlink()).watching():
    os.abort()
"""


def test_a_library_that_aborts(tmp_path: Path) -> None:
    (tmp_path / "left").touch()
    done = run([sys.executable, "-c", ABORTS, str(tmp_path / "left")], tmp_path)
    assert_one_sentence(done, "no more threads")
    assert not (tmp_path / "left").exists()


def run(line: list[str], place: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command, and sees to it that nothing is left of it: no process, no temporary file."""
    mark = uuid.uuid4().hex
    environ = os.environ | {"TMPDIR": str(place / "tmp"), "BEAM_EXPORT_TEST": mark}
    (place / "tmp").mkdir(exist_ok=True)
    done = subprocess.run(line, capture_output=True, text=True, env=environ, timeout=LIMIT)
    # A process that was killed may take a moment.
    until = time.monotonic() + 10
    while (left := processes_with(mark)) and time.monotonic() < until:
        time.sleep(0.1)
    assert left == []
    assert list((place / "tmp").iterdir()) == []
    return done


def processes_with(mark: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"), 6)


def flags(images: Path, out: Path) -> list[str]:
    return ["--input", str(images), "--output_dir", str(out), "--direct_num_workers=2"]


def assert_one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("beam-export: ")
    assert done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words), done.stderr


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("-v 1000000", ("ulimit -v is 1000000", "--direct_num_workers")),
        ("-n 24", ("no more files", "ulimit -n is 24", "--direct_num_workers")),
    ],
)
def test_a_process_that_may_not_have_enough(
    images: Path, tmp_path: Path, limit: str, words: tuple[str, ...]
) -> None:
    line = [sys.executable, "-m", "beam_export", *flags(images, tmp_path / "out")]
    line.append("--direct_num_workers=2")
    done = run(["bash", "-c", f'ulimit {limit}; exec "$@"', "bash", *line], tmp_path)
    assert_one_sentence(done, *words)
    assert left_over(tmp_path / "out") == []


WORKERS = """
import logging, sys
from beam_export.cli.main import main
# As the command does: Beam, which it loads later, says there what is not installed.
logging.basicConfig(level=logging.CRITICAL)
from beam_export.cli import local
from beam_export.cli import watchdog

watchdog.SILENT, watchdog.STOPPED, watchdog.GRACE = 3, 1, 1
command, *rest = sys.argv[1:]
sys.argv[1:] = rest
local.command_line = lambda: command
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("exit 7", "ended as it began (exit code 7)"),
        pytest.param("kill -KILL $$", "ended as it began (exit code -9)", marks=pytest.mark.slow),
        pytest.param("kill -STOP $$", "has been stopped by somebody", marks=pytest.mark.slow),
        pytest.param("exec sleep 300", "has not come up", marks=pytest.mark.slow),
        pytest.param("sleep 300; true", "has not come up and does nothing", marks=pytest.mark.slow),
    ],
)
def test_workers_that_do_not_come_up(
    images: Path, tmp_path: Path, command: str, words: str
) -> None:
    line = [sys.executable, "-c", WORKERS, command, *flags(images, tmp_path / "out")]
    done = run(line, tmp_path)
    assert_one_sentence(done, words)
    assert left_over(tmp_path / "out") == []
