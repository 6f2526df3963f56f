"""Leaves the process that calls a command as it was: a notebook, a test, a service."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import gc
import logging
import os
import queue
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

__all__ = ["left_as_found"]

#: Seconds that a thread has to end.
_WAIT = 1.0

#: Attributes of modules that a command, or a library that it uses, sets for the whole process.
_ATTRIBUTES = (
    ("sys", "stdin"),
    ("sys", "stdout"),
    ("sys", "stderr"),
    ("sys", "excepthook"),
    ("sys", "unraisablehook"),
    ("threading", "excepthook"),
    ("tempfile", "tempdir"),
    ("PIL.Image", "MAX_IMAGE_PIXELS"),
    ("PIL.PngImagePlugin", "MAX_TEXT_CHUNK"),
)


@contextlib.contextmanager
def left_as_found() -> Iterator[None]:
    """Puts back what the block changes of its process, however it ends.

    These are the environment, signals, logging, warnings, garbage collection, the state of random
    numbers, threads, and what is printed to. What stays is what was imported, and how the C library
    hands memory back.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        for keep in _KEPT:
            stack.enter_context(keep())
        yield


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextlib.contextmanager
def _attributes() -> Iterator[None]:
    found = [(sys.modules.get(module), name) for module, name in _ATTRIBUTES]
    before: list[tuple[ModuleType, str, Any]] = [
        (module, name, getattr(module, name)) for module, name in found if module is not None
    ]
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


@contextlib.contextmanager
def _logging() -> Iterator[None]:
    root, manager = logging.root, logging.root.manager
    handlers, disabled = root.handlers[:], manager.disable
    loggers = [one for one in manager.loggerDict.values() if isinstance(one, logging.Logger)]
    levels = [(one, one.level) for one in (root, *loggers)]
    try:
        yield
    finally:
        root.handlers[:] = handlers
        for logger, level in levels:
            logger.setLevel(level)
        logging.disable(disabled)


@contextlib.contextmanager
def _collection() -> Iterator[None]:
    before, enabled = gc.get_threshold(), gc.isenabled()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        (gc.enable if enabled else gc.disable)()
        # What `cli.worker.collect_less` has registered.
        atexit.unregister(gc.freeze)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # no other thread may set a handler
        return
    before = {one: signal.getsignal(one) for one in signal.valid_signals()}
    try:
        yield
    finally:
        for one, handler in before.items():
            # None is a handler of C's, which cannot be put back from here.
            if handler is not None and signal.getsignal(one) != handler:
                signal.signal(one, handler)


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    before = faulthandler.is_enabled()
    try:
        yield
    finally:
        if faulthandler.is_enabled() and not before:
            faulthandler.disable()


@contextlib.contextmanager
def _dice() -> Iterator[None]:
    """Puts back the state of Python's random numbers, and of numpy's if that is loaded."""
    before = random.getstate()
    numpy: Any = sys.modules.get("numpy.random")
    theirs = numpy.get_state() if numpy else None
    try:
        yield
    finally:
        random.setstate(before)
        if theirs is not None:
            numpy.set_state(theirs)


@contextlib.contextmanager
def _threads() -> Iterator[None]:
    """Ends the threads that Beam has started in the block, and keeps for work that may come."""
    before = set(threading.enumerate())
    try:
        yield
    finally:
        pool: Any = sys.modules.get("apache_beam.utils.thread_pool_executor")
        if pool is not None:
            # What has just done its work is about to be idle.
            end = time.monotonic() + _WAIT
            while _end_idle(pool.shared_unbounded_instance(), before) and time.monotonic() < end:
                time.sleep(0.01)


def _end_idle(pool: Any, before: set[threading.Thread]) -> bool:
    """Ends idle threads of a pool; returns whether there are others that were not there before."""
    idle: list[Any] = []
    with contextlib.suppress(queue.Empty):
        while True:
            idle.append(pool._idle_worker_queue.get(block=False))
    for worker in idle:
        if worker in before:
            pool._idle_worker_queue.put(worker)
        else:
            worker.shutdown()
            worker.join(_WAIT)
    return any(one.is_alive() for one in set(pool._workers) - before)


_KEPT: tuple[Callable[[], contextlib.AbstractContextManager[None]], ...] = (
    *(_environment, _attributes, _logging, _collection, _signals, _faults, _dice, _threads),
)
