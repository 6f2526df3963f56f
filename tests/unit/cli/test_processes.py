"""Ctrl-C and other requests to end, whoever they meet."""

from __future__ import annotations

import errno
import os
import signal
import tempfile
from collections.abc import Iterator

import pytest

from beam_export.cli.processes import Interrupted, one_interrupt, temporary_folder
from beam_export.errors import RunError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = {one: signal.getsignal(one) for one in SIGNALS}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


def press(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


def test_the_first_ends_the_run_and_the_second_waits() -> None:
    cleaned: list[bool] = []
    ended: list[bool] = []

    def run() -> None:
        try:
            press()
        finally:
            assert ended
            press()
            cleaned.append(True)

    with pytest.raises(KeyboardInterrupt), one_interrupt(lambda: ended.append(True)):
        run()
    assert cleaned
    # What comes while the process says so and exits changes nothing.
    press()
    assert len(ended) == 1


def test_what_a_runner_makes_of_it_is_still_an_interrupt() -> None:
    def run() -> None:
        try:
            press()
        except KeyboardInterrupt as error:
            raise RuntimeError(f"{error} while running") from error

    with pytest.raises(KeyboardInterrupt), one_interrupt():
        run()


def test_other_errors_pass() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(RuntimeError, match="other"), one_interrupt():
        raise RuntimeError("other")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_each_signal_has_its_exit_code(number: int, code: int, wrapped: bool) -> None:
    ended: list[bool] = []
    if number == signal.SIGHUP:
        # Under nohup these tests would inherit what it ignores.
        signal.signal(number, signal.SIG_DFL)

    def run() -> None:
        try:
            press(number)
        except KeyboardInterrupt as error:
            # Later ones of any kind wait.
            press(signal.SIGTERM)
            if wrapped:
                raise RuntimeError("a worker was lost") from error
            raise

    with pytest.raises(Interrupted) as caught, one_interrupt(lambda: ended.append(True)):
        run()
    assert caught.value.exit_code == code
    assert ended == [True]


def test_what_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with one_interrupt():
        press(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_where_no_temporary_file_can_be_made_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: str) -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(RunError, match=r"found in \['/tmp'\]\): set TMPDIR"), temporary_folder():
        pass
