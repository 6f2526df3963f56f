"""Ctrl-C, once or in anger, or a request to end: the run ends, and what it leaves is cleaned up."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

__all__ = ["Interrupted", "one_interrupt"]

#: How often Ctrl-C is pressed by who does not want to wait for anything.
_PATIENCE = 3
#: Ctrl-C; what `kill`, Docker, Kubernetes and Slurm send; what a terminal sends that is closed.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """The run was asked to end by a signal.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What a shell says of a process that a signal has ended."""
        return 128 + self.number


@contextlib.contextmanager
def one_interrupt(end: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Lets the first Ctrl-C or SIGTERM end the run, and later ones wait until all is cleaned up.

    After one, later ones are ignored: whoever is here only has to say so and to exit.

    Args:
        end: called at the first, before anybody begins to clean up.

    Raises:
        Interrupted: if there was one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: list[int] = []
    again = 0

    def interrupt(number: int, _: object) -> None:
        nonlocal again
        if not first:
            first.append(number)
            end()
            raise Interrupted(number)
        again += number == signal.SIGINT
        if again >= _PATIENCE:
            # The workers end with this process, and the next run sweeps what is left.
            os._exit(128 + first[0])

    before = {one: signal.getsignal(one) for one in _SIGNALS}
    # Under `nohup` the end of the terminal is ignored, and stays so.
    heard = [one for one in _SIGNALS if one != signal.SIGHUP or before[one] != signal.SIG_IGN]
    for one in heard:
        signal.signal(one, interrupt)
    try:
        yield
    except Exception as error:
        # A runner may tell of it in words of its own.
        if first:
            raise Interrupted(first[0]) from error
        raise
    finally:
        for one in heard:
            signal.signal(one, signal.SIG_IGN if first else before[one])
