"""Ctrl-C, whoever it meets."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from beam_export.interrupts import one_interrupt


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


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
