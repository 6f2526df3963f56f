"""Local files that are read: never waited for, and what they were when they were listed."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.changing_files import CONTENT, later, pinned
from support.waiting import time_limit

from beam_export.errors import SampleError
from beam_export.samples import WHOLE, Member
from beam_export.sources.reader import Reader
from beam_export.storage import local_file
from beam_export.storage.base import IrregularError, ReplacedError
from beam_export.storage.local_file import LocalFile, check_unchanged, read_range
from beam_export.storage.open_files import open_source, open_with_retries
from beam_export.storage.registry import storage_of

CHANGED = "the .jpg has been replaced since it was listed"


@pytest.fixture(autouse=True)
def _limit() -> Iterator[None]:
    with time_limit(300):
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.jpg"
    path.write_bytes(CONTENT)
    return path


@contextlib.contextmanager
def irregular(path: Path, kind: str) -> Iterator[None]:
    """Puts something that is no regular file under a path."""
    path.unlink(missing_ok=True)
    with contextlib.ExitStack() as stack:
        if kind == "FIFO":
            os.mkfifo(path)
        elif kind == "socket":
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path))
        elif kind == "directory":
            path.mkdir()
        else:
            path.symlink_to("/dev/zero")
        yield


KINDS = ["FIFO", "socket", "directory", "character device"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_regular_file_is_never_waited_for(path: Path, kind: str) -> None:
    uri = pinned(path)
    ways: list[Callable[[str], object]] = [
        LocalFile,
        open_source,
        open_with_retries,
        storage_of(uri).open,
        lambda uri: read_range(uri, 0, 10),
        lambda uri: storage_of(uri).read_whole(uri, 200),
    ]
    before = len(os.listdir("/proc/self/fd"))
    with irregular(path, kind):
        for way in ways:
            with pytest.raises(ReplacedError):
                way(uri)
            with pytest.raises(OSError, match="directory" if kind == "directory" else kind) as told:
                way(str(path))
            assert told.value.errno == (errno.EISDIR if kind == "directory" else errno.ENXIO)
        with Reader(1000) as reader:
            for member in Member("jpg", uri, WHOLE, 200), Member("jpg", uri, 10, 20):
                with pytest.raises(SampleError) as caught:
                    reader.read(member)
                assert caught.value.args == ("read", "SourceChanged", CHANGED)
                with pytest.raises(SampleError) as caught:
                    reader.read(member._replace(uri=str(path)))
                said = os.strerror(errno.EISDIR)
                if kind != "directory":
                    said = f"it is a {kind}, and not a regular file"
                reason = f"the .jpg cannot be read: {said}"
                assert caught.value.args == ("read", "OSError", reason)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_link_is_followed(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.jpg"
    link.symlink_to(path)
    assert read_range(pinned(link), 0, 201) == CONTENT
    later(path)
    with pytest.raises(ReplacedError):
        read_range(f"{link}\0{pinned(path)}", 0, 201)


def test_errors_reach_another_process_whole() -> None:
    for error in ReplacedError("/x"), IrregularError("FIFO", "/x"):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))


def swap(path: Path) -> None:
    """Puts another file of that size in place of one, a nanosecond younger."""
    moment = path.stat().st_mtime_ns + 1
    new = path.with_suffix(".new")
    new.write_bytes(path.read_bytes()[::-1])
    os.utime(new, ns=(moment, moment))
    new.replace(path)


#: What may become of a file between listing and reading.
CHANGES: dict[str, Callable[[Path], object]] = {
    "swapped": swap,
    "written anew": lambda path: later(path, CONTENT[::-1]),
    "touched": later,
    "older": lambda path: os.utime(path, ns=(1, 1)),
    "grown": lambda path: later(path, CONTENT + b"x"),
    "shrunk": lambda path: later(path, CONTENT[:-1]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("offset", [WHOLE, 0, 50])
def test_another_file_than_listed_is_the_samples_failure(
    path: Path, change: str, offset: int
) -> None:
    size = 200 if offset == WHOLE else 100
    member = Member("jpg", pinned(path), offset, size)
    with Reader(1000) as reader:
        assert len(reader.read(member)) == size
    CHANGES[change](path)
    assert storage_of(member.uri).stat(member.uri) is None
    with Reader(1000) as reader, pytest.raises(SampleError) as caught:
        reader.read(member)
    assert caught.value.args == ("read", "SourceChanged", CHANGED)


@pytest.mark.parametrize("mtime", [0, -5_000_000_001, 1, 2**62])
def test_a_file_of_any_time(path: Path, mtime: int) -> None:
    try:
        os.utime(path, ns=(mtime, mtime))
    except OSError:
        pytest.skip("no such time here")
    assert read_range(pinned(path), 0, 201) == CONTENT


@pytest.mark.parametrize("kind", ["pinned", "plain"])
def test_a_file_that_is_written_while_it_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    uri = pinned(path) if kind == "pinned" else str(path)
    pread = os.pread

    def slow(handle: int, size: int, offset: int) -> bytes:
        data = pread(handle, min(size, 50), offset)
        later(path, CONTENT[::-1])
        return data

    with Reader(1000) as reader:
        monkeypatch.setattr(local_file.os, "pread", slow)
        for member in Member("jpg", uri, WHOLE, 200), Member("jpg", uri, 0, 150):
            with pytest.raises(SampleError) as caught:
                reader.read(member)
            assert caught.value.args == ("read", "SourceChanged", CHANGED)
            uri = pinned(path) if kind == "pinned" else str(path)


def test_of_an_open_file_what_was_read_before_it_changed_counts(path: Path) -> None:
    uri = pinned(path)
    members = [Member("jpg", uri, offset, 10) for offset in (0, 50, 100)]
    with Reader(1000) as reader:
        assert reader.read_all(members[:2]) == [CONTENT[:10], CONTENT[50:60]]
        later(path, CONTENT[::-1])
        found = reader.read_all(members)
        assert [one.error for one in found if isinstance(one, SampleError)] == 3 * ["SourceChanged"]
        assert not reader._open
        with pytest.raises(SampleError, match="replaced"):
            reader.read(members[2])
        assert reader.read(members[2]._replace(uri=pinned(path))) == CONTENT[::-1][100:110]


def test_what_was_read_of_a_file_that_had_to_be_closed_is_looked_at_too(tmp_path: Path) -> None:
    members = []
    for number in range(40):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(CONTENT)
        members.append(Member("jpg", pinned(path), 5, 10))

    class Changing(Reader):
        def _handle(self, uri: str):  # type: ignore[no-untyped-def]
            if uri == members[18].uri:
                later(tmp_path / "3.tar", CONTENT[::-1])
            return super()._handle(uri)

    with Changing(1000) as reader:
        found = reader.read_all(members)
    assert [at for at, one in enumerate(found) if isinstance(one, SampleError)] == [3]


def test_a_file_that_is_replaced_while_it_is_open_is_read_as_it_was(path: Path) -> None:
    """Another one has its name then; what is open is what was listed."""
    with Reader(1000) as reader:
        member = Member("jpg", pinned(path), 0, 10)
        assert reader.read(member) == CONTENT[:10]
        path.with_suffix(".new").write_bytes(CONTENT[::-1])
        path.with_suffix(".new").replace(path)
        assert reader.read(member) == CONTENT[:10]


def test_the_inode_of_an_open_file_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a mount that finds files by their paths, an open one may become another."""
    with LocalFile(str(path)) as file:
        file.check()
        other = path.with_suffix(".new")
        other.write_bytes(CONTENT)
        os.utime(other, ns=(path.stat().st_mtime_ns,) * 2)
        with monkeypatch.context() as patch:
            patch.setattr(local_file.os, "fstat", lambda _: os.stat(other))
            with pytest.raises(ReplacedError):
                file.check()


def test_a_file_that_is_gone_from_a_network_while_it_is_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(_: int) -> os.stat_result:
        raise OSError(errno.ESTALE, "stale")

    with LocalFile(str(path)) as file, monkeypatch.context() as patch:
        patch.setattr(local_file.os, "fstat", stale)
        with pytest.raises(ReplacedError):
            file.check()


def test_files_far_away_are_held_to_their_pin_elsewhere(path: Path) -> None:
    with path.open("rb") as file:
        check_unchanged(file)
        later(path)
        check_unchanged(file)
