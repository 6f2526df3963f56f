"""Retries: how often a call is made, after which errors, and how long is waited between."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from beam_export.storage.base import IrregularError, ReplacedError
from beam_export.storage.retry import is_permanent, is_transient, with_retries

TRANSIENT = OSError(errno.EIO, "a network breaks")


class Calls:
    """A call that fails as often as it has errors, and counts how often it is made."""

    def __init__(self, *errors: Exception) -> None:
        self._errors: Iterator[Exception] = iter(errors)
        self.made = 0

    def __call__(self) -> str:
        self.made += 1
        for error in self._errors:
            raise error
        return "done"


@pytest.mark.parametrize(
    ("errors", "waits"), [(0, []), (1, [0.4]), (2, [0.4, 1.6])], ids=["none", "one", "two"]
)
def test_transient_errors_are_retried_after_growing_waits(
    slept: list[float], errors: int, waits: list[float]
) -> None:
    calls = Calls(*[TRANSIENT] * errors)
    assert with_retries(calls) == "done"
    assert calls.made == errors + 1
    assert slept == waits


def test_the_third_error_is_raised(slept: list[float]) -> None:
    last = OSError(errno.EIO, "the third")
    calls = Calls(TRANSIENT, TRANSIENT, last)
    with pytest.raises(OSError, match="the third") as caught:
        with_retries(calls)
    assert caught.value is last
    assert calls.made == 3
    assert len(slept) == 2


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "no such file"),
        PermissionError(errno.EACCES, "no permission"),
        ReplacedError("gs://b/x"),
        IrregularError("FIFO", "x"),
    ],
)
def test_permanent_errors_are_raised_at_once(slept: list[float], error: OSError) -> None:
    assert is_permanent(error)
    assert not is_transient(error)
    calls = Calls(error)
    with pytest.raises(type(error)):
        with_retries(calls)
    assert calls.made == 1
    assert slept == []


def test_errors_that_are_none_of_files_are_raised_at_once(slept: list[float]) -> None:
    calls = Calls(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        with_retries(calls)
    assert calls.made == 1


def test_a_caller_decides_what_is_retried_and_how_long_is_waited(slept: list[float]) -> None:
    calls = Calls(TRANSIENT, FileNotFoundError(errno.ENOENT, "no such file"), TRANSIENT)
    with pytest.raises(FileNotFoundError):
        with_retries(calls, retriable=lambda error: error.errno == errno.EIO, wait=0)
    assert calls.made == 2
    assert slept == [0]
