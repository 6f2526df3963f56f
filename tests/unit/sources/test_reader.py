from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.errors import SampleError
from beam_export.samples import WHOLE, Member
from beam_export.sources import reader as reader_module
from beam_export.sources.reader import Reader
from beam_export.sources.spans import Span, coalesce
from beam_export.storage import local, local_file
from beam_export.storage.base import read_up_to

CONTENT = bytes(range(200))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.jpg"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def reader() -> Iterator[Reader]:
    with Reader(1000) as reader:
        yield reader


def whole(path: object, size: int = len(CONTENT)) -> Member:
    return Member("jpg", str(path), WHOLE, size)


def failing(times: int, error: Exception, then: Callable[..., Any]) -> Callable[..., Any]:
    """Returns what fails so many times, and does as `then` after that."""
    left = [times]

    def call(*args: Any, **kwargs: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise error
        return then(*args, **kwargs)

    return call


def test_whole_files(path: Path, reader: Reader) -> None:
    assert reader.read(whole(path)) == CONTENT
    path.write_bytes(b"")
    assert reader.read(whole(path, 0)) == b""


@pytest.mark.parametrize(("offset", "size"), [(0, 200), (0, 1), (7, 50), (199, 1), (200, 0)])
def test_ranges(path: Path, reader: Reader, offset: int, size: int) -> None:
    assert reader.read(Member("jpg", str(path), offset, size)) == CONTENT[offset : offset + size]


@pytest.mark.parametrize(
    ("member", "now"),
    [
        (whole("{}", 201), "200"),
        (whole("{}", 199), "more"),
        (whole("{}", 0), "more"),
        (Member("jpg", "{}", 150, 51), "50"),
        (Member("jpg", "{}", 300, 10), "0"),
    ],
)
def test_another_size_than_listed_is_the_samples_failure(
    path: Path, reader: Reader, member: Member, now: str
) -> None:
    with pytest.raises(SampleError) as caught:
        reader.read(member._replace(uri=str(path)))
    error = caught.value
    assert (error.stage, error.error) == ("read", "SourceChanged")
    assert error.message == (
        f"the .jpg had {member.size} bytes when it was listed, and has {now} now"
    )


@pytest.mark.parametrize("offset", [WHOLE, 0])
def test_what_will_not_go_away_is_the_samples_failure(
    tmp_path: Path, reader: Reader, slept: list[float], offset: int
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    for name, code in {
        "no": errno.ENOENT,
        "": errno.EISDIR,
        "loop": errno.ELOOP,
        "file/x": errno.ENOTDIR,
        "x" * 300: errno.ENAMETOOLONG,
    }.items():
        with pytest.raises(SampleError) as caught:
            reader.read(Member("jpg", str(tmp_path / name), offset, 5))
        # No path: the message must be the same wherever the input lies.
        reason = f"the .jpg cannot be read: {os.strerror(code)}"
        assert caught.value.args == ("read", "OSError", reason)
    assert slept == []


def test_no_permission_is_the_samples_failure(
    path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    refuse = failing(1, PermissionError(errno.EACCES, "no"), os.open)
    monkeypatch.setattr(local_file.os, "open", refuse)
    with pytest.raises(SampleError, match="Permission denied"):
        reader.read(whole(path))
    assert slept == []


@pytest.mark.parametrize("offset", [WHOLE, 0])
@pytest.mark.parametrize("times", [1, 2])
def test_what_may_go_away_is_tried_again(
    path: Path,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
    slept: list[float],
    offset: int,
    times: int,
) -> None:
    opened = failing(times, OSError(errno.EIO, "bad moment"), os.open)
    monkeypatch.setattr(local_file.os, "open", opened)
    assert reader.read(whole(path)._replace(offset=offset)) == CONTENT
    assert len(slept) == times
    assert slept == sorted(slept)


def test_what_does_not_go_away_is_raised(
    path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    error = OSError(errno.EIO, "bad disk")
    monkeypatch.setattr(local_file.os, "open", failing(99, error, os.open))
    with pytest.raises(OSError, match="bad disk") as caught:
        reader.read(whole(path))
    assert caught.value is error
    assert len(slept) == 2


def test_a_handle_that_has_failed_is_not_used_again(
    path: Path, reader: Reader, slept: list[float]
) -> None:
    member = Member("jpg", str(path), 10, 20)
    reader.read(member)

    class Stale(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise OSError(errno.ESTALE, "stale")

    stale = Stale()
    reader._open[str(path)].close()
    reader._open[str(path)] = stale
    assert reader.read(member) == CONTENT[10:30]
    assert stale.closed
    assert len(slept) == 1


def test_what_is_too_large_is_not_even_opened(tmp_path: Path, reader: Reader) -> None:
    for offset in (WHOLE, 5):
        with pytest.raises(SampleError) as caught:
            reader.read(Member("txt", str(tmp_path / "no"), offset, 1001))
        assert caught.value.args == (
            "read",
            "TooLarge",
            "the .txt has 1001 bytes, more than --max_image_bytes=1000",
        )
    (tmp_path / "x").write_bytes(bytes(1000))
    assert len(reader.read(whole(tmp_path / "x", 1000))) == 1000


def test_reads_that_give_less_than_is_there_go_on() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 7))

    for size in (0, 6, 7, 8, 199, 200, 201):
        assert read_up_to(Slow(CONTENT), size) == CONTENT[:size]


def test_few_files_are_open_at_a_time_and_none_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    def spy(uri: str) -> local_file.LocalFile:
        opened.append(local_file.LocalFile(uri))
        return opened[-1]

    monkeypatch.setattr(local, "LocalFile", spy)
    paths = [tmp_path / str(number) for number in range(40)]
    with Reader(1000) as reader:
        for number, path in enumerate(paths):
            path.write_bytes(bytes([number]) * 10)
            assert reader.read(Member("jpg", str(path), 5, 5)) == bytes([number]) * 5
            # The first is asked for all the time, so it is never the one to go.
            assert reader.read(Member("jpg", str(paths[0]), 0, 2)) == b"\0\0"
            assert sum(not one.closed for one in opened) <= reader_module._OPEN_FILES
    assert len(opened) == len(paths)
    assert all(one.closed for one in opened)


def test_member_that_brings_its_bytes_is_not_looked_for(reader: Reader) -> None:
    assert reader.read(Member("txt", "", WHOLE, 5, b"a cat")) == b"a cat"
    assert reader.read(Member("txt", "/nowhere", WHOLE, 0, b"")) == b""


def test_one_that_cannot_be_had_does_not_take_others_with_it(path: Path, reader: Reader) -> None:
    gone = whole(path.with_name("no"))
    data, error, made = reader.read_all([whole(path), gone, Member("txt", "", WHOLE, 2, b"ab")])
    assert (data, made) == (CONTENT, b"ab")
    assert isinstance(error, SampleError)


# Which ranges are read together.

MIB = 1 << 20


def ranges(*pairs: tuple[int, int]) -> list[tuple[int, Member]]:
    return [(place, Member("jpg", "t", *one)) for place, one in enumerate(pairs)]


def extents(found: list[Span]) -> list[tuple[int, int]]:
    return [(span.offset, span.size) for span in found]


def test_what_touches_or_nearly_touches_is_one_read() -> None:
    assert extents(coalesce(ranges((0, 10), (10, 5)))) == [(0, 15)]
    assert extents(coalesce(ranges((0, 10), (10 + MIB, 5)))) == [(0, 15 + MIB)]
    assert extents(coalesce(ranges((0, 10), (11 + MIB, 5)))) == [(0, 10), (11 + MIB, 5)]


def test_a_read_does_not_grow_without_bounds_nor_is_a_large_member_cut() -> None:
    near = ranges(*((place * MIB, MIB) for place in range(40)))
    assert [size for _, size in extents(coalesce(near))] == [16 * MIB, 16 * MIB, 8 * MIB]
    assert extents(coalesce(ranges((0, 50 * MIB)))) == [(0, 50 * MIB)]


def test_whole_files_are_read_alone() -> None:
    members = [(0, Member("a", "t", WHOLE, 5)), (1, Member("b", "t", 0, 5))]
    assert extents(coalesce(members)) == [(WHOLE, 5), (0, 5)]


places = st.tuples(st.sampled_from("ab"), st.integers(WHOLE, 60), st.integers(0, 20))


@given(st.lists(places, max_size=12))
def test_each_member_is_in_one_span_that_covers_it(given_: list[tuple[str, int, int]]) -> None:
    members = [(n, Member("x", uri, at, size)) for n, (uri, at, size) in enumerate(given_)]
    found = coalesce(members)
    assert sorted(part[0] for span in found for part in span.parts) == list(range(len(members)))
    for span in found:
        for _, member in span.parts:
            assert member.uri == span.uri
            if WHOLE in (member.offset, span.offset):
                assert len(span.parts) == 1
            else:
                assert span.offset <= member.offset
                assert member.offset + member.size <= span.offset + span.size
