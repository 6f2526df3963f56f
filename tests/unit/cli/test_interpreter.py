"""`cli.interpreter`: what a command changes of the process that calls it is put back."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import queue
import random
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from support.process_state import process_state

from beam_export.cli import interpreter
from beam_export.cli.interpreter import left_as_found
from beam_export.cli.main import main

CHANGES: dict[str, Callable[[], object]] = {
    "a new variable": lambda: os.environ.__setitem__("BEAM_EXPORT_TEST", "1"),
    "another value": lambda: os.environ.__setitem__("PATH", "/nowhere"),
    "a variable less": lambda: os.environ.pop("PATH"),
    "thresholds": lambda: gc.set_threshold(100_000, 50, 100),
    "no collection": gc.disable,
    "level of the root": lambda: logging.root.setLevel(logging.CRITICAL),
    "a handler": lambda: logging.root.addHandler(logging.NullHandler()),
    "no logging": lambda: logging.disable(logging.CRITICAL),
    "level of a logger": lambda: logging.getLogger("pytest").setLevel(logging.INFO),
    "Ctrl-C": lambda: signal.signal(signal.SIGINT, lambda *given: None),
    "SIGTERM": lambda: signal.signal(signal.SIGTERM, lambda *given: None),
    "SIGUSR2": lambda: signal.signal(signal.SIGUSR2, lambda *given: None),
    "hook of threads": lambda: setattr(threading, "excepthook", lambda died: None),
    "standard error": lambda: setattr(sys, "stderr", sys.stdout),
    "filters": lambda: warnings.filterwarnings("ignore", module="here"),
    "temporary folder": lambda: setattr(tempfile, "tempdir", "/nowhere"),
    "last words": lambda: faulthandler.enable(sys.__stderr__),
    "random numbers": lambda: random.seed(1),
    "a random number": random.random,
    "random numbers of numpy": lambda: np.random.seed(1),
    "guard of Pillow": lambda: setattr(Image, "MAX_IMAGE_PIXELS", 1),
    "guard of texts": lambda: setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("fails", [False, True])
def test_what_changes_is_put_back(name: str, fails: bool) -> None:
    logging.getLogger("pytest")
    faulthandler.disable()
    before = process_state()

    class EndedError(Exception):
        pass

    try:
        with left_as_found():
            CHANGES[name]()
            assert process_state() != before
            if fails:
                raise EndedError
    except EndedError:
        pass
    assert process_state() == before


def test_the_end_of_the_process_is_left_alone_too(monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[object] = []
    monkeypatch.setattr(interpreter.atexit, "unregister", removed.append)
    with left_as_found():
        pass
    assert removed == [gc.freeze]


def test_another_thread_than_the_first_may_call_it() -> None:
    found: list[object] = []

    def call() -> None:
        with left_as_found():
            os.environ["BEAM_EXPORT_WATCHER"] = "1"
        found.append(os.environ.get("BEAM_EXPORT_WATCHER"))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert found == [None]


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        ([], 0),
        (["--help"], 0),
        (["--version"], 0),
        (["nonsense"], 2),
        (["export", "--quality=0", "--input=x", "--output_dir=y"], 2),
        (["export", "--seed=x", "--input=x", "--output_dir=y"], 2),
        (["verify"], 2),
    ],
)
def test_commands_that_do_nothing_change_nothing(argv: list[str], code: int) -> None:
    before = process_state()
    assert main(argv) == code
    assert process_state() == before


class Pool:
    """Beam's shared pool of threads, as far as it is known here."""

    def __init__(self) -> None:
        self._idle_worker_queue: queue.Queue[Worker] = queue.Queue()
        self._workers: set[Worker] = set()

    def shared_unbounded_instance(self) -> Pool:
        return self

    def start(self) -> Worker:
        worker = Worker(daemon=True)
        worker.start()
        self._workers.add(worker)
        self._idle_worker_queue.put(worker)
        return worker


class Worker(threading.Thread):
    """A thread that waits for work until it is to end."""

    def __init__(self, daemon: bool) -> None:
        super().__init__(daemon=daemon)
        self._ended = threading.Event()

    def run(self) -> None:
        self._ended.wait()

    def shutdown(self) -> None:
        self._ended.set()


def test_threads_that_beam_has_started_end_and_those_before_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = Pool()
    monkeypatch.setitem(sys.modules, "apache_beam.utils.thread_pool_executor", pool)  # type: ignore[arg-type]
    mine = pool.start()
    with left_as_found():
        theirs = [pool.start() for _ in range(3)]
    assert [one.is_alive() for one in theirs] == [False] * 3
    assert mine.is_alive()
    # It can be given work as before.
    assert pool._idle_worker_queue.get(block=False) is mine
    mine.shutdown()
