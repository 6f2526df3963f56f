from __future__ import annotations

import errno
import os
import resource
import threading
import time

import pytest

from beam_export.cli import system_limits
from beam_export.cli.system_limits import (
    check_room,
    exit_code_of,
    near_limit,
    shortage,
    shortage_of_exit,
    text_of,
)
from beam_export.errors import RunError

TOLD = [
    (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "no more files"),
    (RuntimeError("can't start new thread"), "no more threads"),
    (BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "no more threads"),
    (MemoryError(), "not enough memory"),
    (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "not enough memory"),
    (ImportError("x.so: failed to map segment from shared object"), "not enough memory"),
    (TypeError("Couldn't build a descriptor pool: out of memory"), "not enough memory"),
]


@pytest.mark.parametrize(("error", "words"), TOLD)
def test_what_was_short(error: Exception, words: str) -> None:
    said = shortage(text_of(error))
    assert said is not None
    assert said == shortage_of_exit(exit_code_of(error))
    assert words in said
    assert "--direct_num_workers" in said


@pytest.mark.parametrize("error", [ValueError("no"), FileNotFoundError(2, "No such file")])
def test_nothing_was_short(error: Exception) -> None:
    assert shortage(text_of(error)) is None
    assert exit_code_of(error) == 1
    assert shortage_of_exit(1) is None


def test_what_led_to_an_error_counts() -> None:
    error = ValueError("no descriptor")
    error.__cause__ = MemoryError()
    assert exit_code_of(error) == exit_code_of(MemoryError())


@pytest.mark.parametrize(
    ("name", "words"), [("_ROOM", "memory"), ("_FILES", "no more files"), ("_THREADS", "threads")]
)
def test_room_for_a_run(monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    check_room()
    if name == "_THREADS":
        refused = RuntimeError("can't start new thread")
        monkeypatch.setattr(threading.Thread, "start", lambda self: (_ for _ in ()).throw(refused))
    else:
        monkeypatch.setattr(system_limits, name, 1 << 62 if name == "_ROOM" else 1 << 22)
    with pytest.raises(RunError, match=words):
        check_room()
    time.sleep(0.2)
    assert threading.active_count() <= before[0]
    assert len(os.listdir("/proc/self/fd")) <= before[1]


def test_a_limit_that_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda what: (limit, limit))
    assert near_limit() is None
    limit = 1 << 45
    assert near_limit() is None
    limit = 1 << 20
    assert "not enough memory (ulimit -v is 1024" in (near_limit() or "")


def test_limits_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {resource.RLIMIT_AS: 2_000_000 * 1024, resource.RLIMIT_NOFILE: 64}
    none = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda what: (limits.get(what, none), none))
    assert "(ulimit -v is 2000000)" in (shortage("can't start new thread") or "")
    assert "(ulimit -n is 64)" in (shortage("Too many open files") or "")
    limits.clear()
    assert "ulimit -v" not in (shortage("MemoryError") or "")
