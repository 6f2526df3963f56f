from __future__ import annotations

import contextlib
import errno
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from beam_export.pipeline.progress import listening, report


def test_what_is_told_is_heard_in_order() -> None:
    heard: list[Mapping[str, int]] = []
    told = [{"copied": number, "bytes": 2**40} for number in range(5)]
    with listening(heard.append) as address:
        for counts in told:
            report(address, counts)
    # Nothing that was sent before the end is lost.
    assert heard == told


def test_silence_is_not_the_end() -> None:
    heard: list[Mapping[str, int]] = []
    with listening(heard.append) as address:
        time.sleep(0.5)
        report(address, {"copied": 1})
    assert heard == [{"copied": 1}]


def test_it_is_heard_by_another_thread() -> None:
    threads: list[threading.Thread] = []
    with listening(lambda _: threads.append(threading.current_thread())) as address:
        report(address, {})
    (thread,) = threads
    assert thread is not threading.current_thread()
    assert not thread.is_alive()


def test_nothing_is_left_behind() -> None:
    with listening(print) as address:
        assert os.path.exists(address)
    assert not os.path.exists(os.path.dirname(address))
    report(address, {"copied": 1})


def test_it_ends_with_the_block_whatever_happens() -> None:
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), listening(print) as address:
        raise KeyboardInterrupt
    assert threading.active_count() == before
    assert not os.path.exists(address)


@pytest.mark.parametrize("address", [None, "/no/where", "x" * 200, ""])
def test_nobody_listening_is_no_error(address: str | None) -> None:
    report(address, {"copied": 1})


def test_no_socket_to_be_had_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", refuse)
    report("/no/where", {"copied": 1})


@contextlib.contextmanager
def full_queue() -> Iterator[tuple[str, socket.socket]]:
    """Gives the address of a socket that nobody reads, and that has got more than it takes."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        address = os.path.join(folder, "x")
        receiver.bind(address)
        receiver.settimeout(5)
        # What does not fit is dropped.
        for _ in range(2000):
            report(address, {"copied": 1})
        yield address, receiver


def test_a_slow_listener_does_not_hold_up() -> None:
    with full_queue() as (address, _):
        report(address, {"copied": 1})


def test_what_is_to_be_heard_waits_for_a_slow_listener() -> None:
    with full_queue() as (address, receiver):
        late = threading.Timer(0.2, receiver.recv, [100])
        late.start()
        report(address, {"planned": 1}, patience=5)
        late.join()
        receiver.setblocking(False)
        heard = []
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(receiver.recv(100))
        assert heard[-1] == b'{"planned": 1}'


def test_what_is_too_large_is_dropped() -> None:
    heard: list[Mapping[str, int]] = []
    with listening(heard.append) as address:
        report(address, {"x" * 2**22: 1})
        report(address, {"copied": 1})
    assert heard == [{"copied": 1}]


def test_a_long_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("d" * 100)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    heard: list[Mapping[str, int]] = []
    with listening(heard.append) as address:
        report(address, {"copied": 1})
    assert heard == [{"copied": 1}]


def test_where_a_file_system_has_no_sockets_the_address_lies_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind = socket.socket.bind

    def refuse(self: socket.socket, address: str) -> None:
        if address.startswith(f"{tmp_path}/"):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        bind(self, address)

    monkeypatch.setattr(tempfile, "tempdir", f"{tmp_path}")
    monkeypatch.setattr(socket.socket, "bind", refuse)
    heard: list[Mapping[str, int]] = []
    with listening(heard.append) as address:
        report(address, {"copied": 1})
    assert heard == [{"copied": 1}]
    assert list(tmp_path.iterdir()) == []
