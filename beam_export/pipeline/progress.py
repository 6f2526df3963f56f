"""Progress counts, sent from the workers of one machine to the command by small datagrams.

The local runner's metrics come when it is over. So workers send their counts to a Unix socket;
a datagram that cannot be sent at once is dropped, as a count shown late is no harm. Elsewhere
there is no socket, and the runner's counters serve.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["EMPTY_SHARD", "PATIENCE", "listening", "report"]

#: Seconds to wait where counts come once, and are to be heard: a listener draws what it hears.
PATIENCE = 5.0

#: Said as soon as one is empty, with its number and the reasons.
EMPTY_SHARD = (
    "no image of shard %d is left: %s; the run goes on to find all failures, and then fails"
)

_LARGEST = 65_536
#: Seconds after which a listener notices at the latest that nobody needs it any more.
_CHECK_EVERY = 0.2
#: An address has at most 108 bytes (unix(7)); with a longer TMPDIR the socket lies elsewhere.
_LONGEST_FOLDER = 70


def report(address: str | None, counts: Mapping[str, Any], *, patience: float = 0.0) -> None:
    """Sends counts to the listener at `address`; never fails.

    Args:
        address: path of the socket, or None if nobody listens.
        counts: what has happened since the last call.
        patience: seconds to wait for a listener that is behind; then, and at once if there are
            none, the counts are dropped.
    """
    if address is None:
        return
    # The listener may have gone, or be slow: neither is the writer's concern.
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        sender.settimeout(patience)
        sender.sendto(json.dumps(counts).encode(), address)


@contextlib.contextmanager
def listening(heard: Callable[[Mapping[str, Any]], None]) -> Iterator[str]:
    """Listens while the block runs, calling `heard` from a thread; gives the socket's path."""
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        address = _bind(receiver, stack)
        receiver.settimeout(_CHECK_EVERY)
        done = threading.Event()
        listener = threading.Thread(
            target=_listen, args=(receiver, heard, done), name="progress", daemon=True
        )
        listener.start()
        try:
            yield address
        finally:
            done.set()
            _wake(address)
            listener.join()


def _wake(address: str) -> None:
    """Sends an empty datagram, which comes after all that was sent before."""
    # The listener notices without it too, a moment later.
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        sender.settimeout(_CHECK_EVERY)
        sender.sendto(b"", address)


def _bind(receiver: socket.socket, folders: contextlib.ExitStack) -> str:
    """Gives a socket an address in a new temporary folder, and returns it.

    Raises:
        OSError: if no file system takes it: some have no sockets, exFAT say.
    """
    place = tempfile.gettempdir()
    if len(os.fsencode(place)) <= _LONGEST_FOLDER:
        with contextlib.suppress(OSError):
            return _bind_in(place, receiver, folders)
    return _bind_in("/tmp", receiver, folders)


def _bind_in(place: str, receiver: socket.socket, folders: contextlib.ExitStack) -> str:
    folder = tempfile.TemporaryDirectory(prefix="beam_export-", dir=place)
    address = os.path.join(folders.enter_context(folder), "progress")
    receiver.bind(address)
    return address


def _listen(
    receiver: socket.socket, heard: Callable[[Mapping[str, Any]], None], done: threading.Event
) -> None:
    while True:
        try:
            received = receiver.recv(_LARGEST)
        except TimeoutError:
            # What was sent before the end is still there to be read.
            received = b""
        if received:
            heard(json.loads(received))
        elif done.is_set():
            return
