"""Ctrl-C, whoever it meets."""

from __future__ import annotations

import os
import signal

import pytest

from beam_export.interrupts import one_interrupt


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_ends_the_run_and_the_second_waits() -> None:
    before, cleaned = signal.getsignal(signal.SIGINT), []

    def run() -> None:
        try:
            press()
        finally:
            press()
            cleaned.append(True)

    with pytest.raises(KeyboardInterrupt), one_interrupt():
        run()
    assert cleaned
    assert signal.getsignal(signal.SIGINT) is before


def test_what_a_runner_makes_of_it_is_still_an_interrupt() -> None:
    def run() -> None:
        try:
            press()
        except KeyboardInterrupt as error:
            raise RuntimeError(f"{error} while running") from error

    with pytest.raises(KeyboardInterrupt), one_interrupt():
        run()


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="other"), one_interrupt():
        raise RuntimeError("other")
