"""A file that is written behind: the same bytes whatever the pieces, and whatever is refused."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.storage import local_outgoing
from beam_export.storage.local_outgoing import OutgoingFile

PIECE = 3 * 4096


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_outgoing, "_PIECE", PIECE)
    monkeypatch.setattr(local_outgoing, "_spare", [])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    handle = os.open(tmp_path_factory.mktemp("outgoing"), os.O_RDONLY)
    yield handle
    os.close(handle)


def create(folder: int, name: str, *, direct: bool = True) -> OutgoingFile:
    return OutgoingFile(os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=folder), direct=direct)


def read(folder: int, name: str) -> bytes:
    with open(os.open(name, os.O_RDONLY, dir_fd=folder), "rb") as file:
        return file.read()


def written(folder: int, parts: list[bytes | None], *, direct: bool = True) -> bytes:
    """Returns what a file holds after some writes, and flushes where there is None."""
    with create(folder, "x", direct=direct) as file:
        for part in parts:
            if part is None:
                file.flush()
            else:
                assert file.write(part) == len(part)
    try:
        return read(folder, "x")
    finally:
        os.unlink("x", dir_fd=folder)


PARTS = st.one_of(st.none(), st.integers(0, 3 * PIECE), st.sampled_from([1, 4096, PIECE]))


@given(sizes=st.lists(PARTS, max_size=9), direct=st.booleans())
def test_what_is_written_is_there(folder: int, sizes: list[int | None], direct: bool) -> None:
    parts = [None if size is None else os.urandom(size) for size in sizes]
    given = b"".join(part for part in parts if part is not None)
    assert written(folder, parts, direct=direct) == given


def test_what_was_flushed_is_there_before_the_end(folder: int, tmp_path: Path) -> None:
    data = os.urandom(2 * PIECE + 5000)
    with create(folder, str(tmp_path / "y")) as file:
        file.write(data)
        file.flush()
        assert (tmp_path / "y").read_bytes() == data
        file.write(b"more")
    assert (tmp_path / "y").read_bytes() == data + b"more"


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="the system has no direct writes")
@pytest.mark.parametrize("refused_by", ["fcntl", "write"])
def test_a_file_system_that_refuses_direct_writes_gets_others(
    folder: int, monkeypatch: pytest.MonkeyPatch, refused_by: str
) -> None:
    refusals = []
    control, put = fcntl.fcntl, os.pwrite

    def refuse_flag(handle: int, command: int, flags: int = 0) -> int:
        if command == fcntl.F_SETFL and flags & os.O_DIRECT:
            refusals.append(command)
            raise OSError(errno.EINVAL, "no direct writes")
        return control(handle, command, flags)

    def refuse_write(handle: int, piece: memoryview, start: int) -> int:
        if control(handle, fcntl.F_GETFL) & os.O_DIRECT:
            refusals.append(start)
            raise OSError(errno.EINVAL, "no direct writes")
        return put(handle, piece, start)

    if refused_by == "fcntl":
        monkeypatch.setattr(fcntl, "fcntl", refuse_flag)
    else:
        monkeypatch.setattr(os, "pwrite", refuse_write)
    data = os.urandom(4 * PIECE + 77)
    assert written(folder, [data]) == data
    assert len(refusals) == 1


def test_short_writes_are_gone_on_with(folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    put = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, piece, at: put(handle, piece[:5000], at))
    data = os.urandom(3 * PIECE + 77)
    assert written(folder, [data]) == data


@pytest.mark.parametrize("pieces", [0, 1, 4])
def test_an_error_of_the_disk_reaches_who_writes(
    folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    def full(handle: int, piece: memoryview, start: int) -> int:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "pwrite", full)
    file = create(folder, str(tmp_path / "y"))

    def write() -> None:
        with file:
            file.write(bytes(pieces * PIECE + 1))

    with pytest.raises(OSError, match="no room"):
        write()
    assert file.closed
    with pytest.raises(ValueError, match="closed"):
        file.write(b"x")


def test_buffers_are_used_again_and_few_are_kept(folder: int) -> None:
    for _ in range(3):
        written(folder, [bytes(5 * PIECE)])
    assert len(local_outgoing._spare) == 2
    files = [create(folder, f"many-{number}") for number in range(6)]
    for number, file in enumerate(files):
        file.write(bytes(PIECE + 1))
        file.close()
        assert read(folder, f"many-{number}") == bytes(PIECE + 1)
    assert len(local_outgoing._spare) <= local_outgoing._MOST_SPARE
