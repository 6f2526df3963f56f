"""What tests that may wait share: a limit for those that could hang, sleep that takes no time."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import pytest

from beam_export.storage import retry

__all__ = ["slept", "time_limit"]


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Ends a test that waits for ever: what the system was asked for is interrupted, and raises."""

    def over(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were slept before reading again, without sleeping."""
    slept: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", slept.append)
    return slept
