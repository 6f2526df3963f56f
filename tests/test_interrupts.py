"""Ctrl-C, whoever it meets."""

from __future__ import annotations

import os
import signal

import pytest

from beam_export.interrupts import one_interrupt


def test_the_first_ends_the_run_and_the_second_waits() -> None:
    before = signal.getsignal(signal.SIGINT)
    cleaned = False
    with pytest.raises(KeyboardInterrupt), one_interrupt():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            cleaned = True
    assert cleaned
    assert signal.getsignal(signal.SIGINT) is before


def test_what_a_runner_makes_of_it_is_still_an_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt), one_interrupt():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt as error:
            raise RuntimeError(f"{error} while running") from error


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="other"), one_interrupt():
        raise RuntimeError("other")
