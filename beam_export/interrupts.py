"""Ctrl-C, once or in anger: the run ends, and what it leaves is cleaned up."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

__all__ = ["one_interrupt"]

#: How often Ctrl-C is pressed by who does not want to wait for anything.
_PATIENCE = 3


@contextlib.contextmanager
def one_interrupt(end: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Lets the first Ctrl-C end the run, and a second one wait until all is cleaned up.

    After one, later ones are ignored: whoever is here only has to say so and to exit.

    Args:
        end: called at the first, before anybody begins to clean up.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = 0

    def interrupt(*_: object) -> None:
        nonlocal pressed
        pressed += 1
        if pressed == 1:
            end()
            raise KeyboardInterrupt
        if pressed > _PATIENCE:
            # The workers end with this process, and the next run sweeps what is left.
            os._exit(130)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception as error:
        # A runner may tell of it in words of its own.
        if pressed:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN if pressed else before)
