"""Writing to each kind of storage: complete or not at all; on Google Cloud, on a condition."""

from __future__ import annotations

import contextlib
import errno
import gc
import random
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from support.gcs import Emulator

from beam_export.errors import InputError, RunError
from beam_export.shards.output import Output
from beam_export.storage.base import ReplacedError, WriteCondition
from beam_export.storage.registry import storage_of, writer_of

#: Google's client does not close what it has read an error from.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)
BIG = random.Random(3).randbytes(20 << 20)
UPLOADS = "/upload/"
RUN, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2


@pytest.fixture(scope="module", autouse=True)
def _socket_warnings_stay_here() -> Iterator[None]:
    yield
    with warnings.catch_warnings(action="ignore"):
        gc.collect()


@pytest.fixture(params=["local", "gs"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path)
    return f"{request.getfixturevalue('bucket')}/d"


def publish(path: str, data: bytes, generation: int | None = None, owner: str = "") -> None:
    terms = WriteCondition(owner, generation)
    with writer_of(path).publish(path, f"{path}.tmp", terms) as target:
        target.write(data)


def content(path: str) -> bytes:
    with storage_of(path).open(path) as source:
        return source.read()


def names(folder: str) -> list[str]:
    return [one.uri.removeprefix(folder + "/") for one in storage_of(folder).list(folder + "/")]


def test_a_file_is_there_when_its_block_ends(folder: str) -> None:
    path = f"{folder}/a/b"
    with writer_of(path).publish(path, f"{folder}/tmp/1", WriteCondition("")) as target:
        target.write(b"ab")
        target.write(memoryview(b"cd"))
        assert storage_of(path).stat(path) is None
    assert names(folder) == ["a/b"]
    assert content(path) == b"abcd"
    publish(path, b"new")
    assert content(path) == b"new"
    with writer_of(path).create(f"{folder}/c") as target:
        target.write(b"c")
    writer_of(path).delete([path, f"{folder}/no", f"{folder}/c"])
    assert names(folder) == []


def test_a_block_that_fails_leaves_nothing(folder: str) -> None:
    path = f"{folder}/a"
    publish(path, b"old")

    def fail(target: BinaryIO) -> None:
        target.write(BIG[: 9 << 20])
        raise RuntimeError("no")

    with (
        pytest.raises(RuntimeError),
        writer_of(path).publish(path, f"{folder}/tmp", WriteCondition("")) as target,
    ):
        fail(target)
    assert names(folder) == ["a"]
    assert content(path) == b"old"


# Google Cloud Storage alone.


@pytest.fixture
def path(bucket: str) -> str:
    return f"{bucket}/d/x"


@pytest.mark.parametrize("data", [b"", b"abc", BIG], ids=["none", "few", "many"])
def test_only_where_nothing_is(path: str, data: bytes, emulator: Emulator) -> None:
    publish(path, data, 0, "me")
    assert emulator.get(path) == data
    known = storage_of(path).stat(path)
    assert known is not None
    assert known.owner == "me"
    # The same once more is as good; another is not, and changes nothing.
    publish(path, data, 0, "you")
    with pytest.raises(ReplacedError):
        publish(path, data + b"x", 0, "you")
    assert storage_of(path).stat(path) == known


@pytest.mark.parametrize("data", [b"abc", BIG], ids=["few", "many"])
def test_only_in_place_of_what_was_seen(path: str, data: bytes, emulator: Emulator) -> None:
    seen = emulator.put(path, b"seen")
    publish(path, data, seen)
    with pytest.raises(ReplacedError):
        publish(path, data + b"x", seen)
    assert emulator.get(path) == data
    emulator.remove(path)
    with pytest.raises(ReplacedError):
        publish(path, data, seen)


@pytest.mark.parametrize("fault", ["late_status", "lost"])
@pytest.mark.parametrize("data", [b"abc", BIG], ids=["few", "many"])
def test_an_answer_that_was_lost_is_no_conflict(
    path: str, data: bytes, fault: str, emulator: Emulator
) -> None:
    """It is stored, and the answer does not come: the second try meets its own object."""
    skip = 0 if len(data) < 10 else 2  # of many, the last piece
    emulator.fail(fault, path=UPLOADS, skip=skip)
    publish(path, data, 0)
    assert emulator.get(path) == data
    assert any(one.get("fault") for one in emulator.log())


@pytest.mark.parametrize("fault", ["status", "reset", "interrupted"])
@pytest.mark.parametrize("skip", [0, 1, 2])
def test_an_upload_that_breaks_goes_on(
    path: str, fault: str, skip: int, emulator: Emulator
) -> None:
    emulator.fail(fault, method="PUT" if skip else "POST", path=UPLOADS, skip=max(skip - 1, 0))
    publish(path, BIG, 0)
    assert emulator.get(path) == BIG


def test_an_upload_that_breaks_for_good_leaves_nothing(
    path: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beam_export.storage import google_writer

    monkeypatch.setattr(google_writer, "RETRY", google_writer.RETRY.with_timeout(0.5))
    emulator.fail("status", method="PUT", path=UPLOADS, skip=1, count=None)
    with pytest.raises(OSError, match="503") as caught:
        publish(path, BIG, 0)
    assert caught.value.errno == errno.EIO
    assert "upload_id" not in str(caught.value)
    emulator.calm()
    assert storage_of(path).stat(path) is None


def test_what_is_sent_is_held_against_its_checksum(
    path: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beam_export.storage import google_writer

    # A disk that gives other bytes than it was given.
    monkeypatch.setattr(google_writer._Spool, "crc32c", "AAAAAA==")
    for data in (b"abc", BIG):
        with pytest.raises(OSError, match=r"400|checksum"):
            publish(path, data, 0)
        assert storage_of(path).stat(path) is None


def test_memory_is_bounded(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    spooled = tempfile.SpooledTemporaryFile

    def spy(*args: Any) -> Any:
        made.append(spooled(*args))
        return made[-1]

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", spy)
    with writer_of(path).publish(path, "", WriteCondition("")) as target:
        target.write(BIG)
        assert made[0]._rolled
    assert made[0].closed


def test_no_room_for_what_is_to_be_uploaded(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from beam_export.storage import google_writer

    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "full")

        def close(self) -> None:
            pass

    monkeypatch.setattr(google_writer.tempfile, "SpooledTemporaryFile", lambda _: Full())
    with (
        pytest.raises(RunError, match="has no room left for what is to be uploaded"),
        Output("gs://bucket/d", "t").writing("x") as target,
    ):
        target.write(b"abc")


def test_what_was_seen_is_removed_and_nothing_else(path: str, emulator: Emulator) -> None:
    publish(path, b"a")
    seen = storage_of(path).stat(path)
    assert seen is not None
    emulator.put(path, b"b")
    with pytest.raises(ReplacedError):
        writer_of(path).delete_if_unchanged(seen)
    assert emulator.get(path) == b"b"
    emulator.remove(path)
    writer_of(path).delete_if_unchanged(seen)


def test_a_removal_whose_answer_was_lost(path: str, emulator: Emulator) -> None:
    publish(path, b"a")
    seen = storage_of(path).stat(path)
    assert seen is not None
    emulator.fail("lost", method="DELETE")
    writer_of(path).delete_if_unchanged(seen)
    assert storage_of(path).stat(path) is None


# The output directory on it.


@pytest.fixture
def run(bucket: str) -> Output:
    return begin(bucket, RUN)


def begin(bucket: str, token: str) -> Output:
    output = Output(f"{bucket}/out", token)
    output.prepare()
    return output


def test_what_an_earlier_run_left_is_replaced(bucket: str, run: Output) -> None:
    run.put("x", b"old")
    later = begin(bucket, OTHER)
    assert later.put("x", b"new")
    assert not later.put("x", b"new")
    assert content(later.path("x")) == b"new"
    seen = later.snapshot("x")
    later.remove("x", seen)
    assert not later.exists("x")
    with later.writing("x", seen) as target:
        target.write(b"newer")


def test_two_runs_at_once_may_write_the_same(bucket: str, run: Output) -> None:
    other = begin(bucket, OTHER)
    seen = run.snapshot("x"), other.snapshot("x")
    for output, one in zip((run, other), seen, strict=True):
        with output.writing("x", one) as target:
            target.write(b"same")
    other.put("x", b"same")
    known = storage_of(bucket).stat(run.path("x"))
    assert known is not None
    assert known.owner == RUN


@pytest.mark.parametrize("sees_it", [False, True])
def test_two_runs_at_once_never_mix(bucket: str, run: Output, sees_it: bool) -> None:
    other = begin(bucket, OTHER)
    seen = other.snapshot("x")
    run.put("x", b"of one")
    if sees_it:
        seen = other.snapshot("x")
    with (
        pytest.raises(RunError, match=r"is being written to by another run, whose x is not the"),
        other.writing("x", seen) as target,
    ):
        target.write(b"of the other")
    with pytest.raises(RunError, match="another run"):
        other.remove("x")
    assert content(run.path("x")) == b"of one"
    # One's own it may write again: a bundle that is tried twice.
    run.put("x", b"of one again")
    assert content(run.path("x")) == b"of one again"


def test_a_worker_thought_dead_does_not_write_over_who_took_its_place(run: Output) -> None:
    late = run.snapshot("x")
    run.put("x", b"of who took its place")
    with pytest.raises(RunError, match="another run"), run.writing("x", late) as target:
        target.write(b"of the late one")
    assert content(run.path("x")) == b"of who took its place"


def test_an_output_directory(bucket: str, run: Output, emulator: Emulator) -> None:
    hash_ = "0123456789ab"
    for name in (f"images-{hash_}-000000.tar", f"_meta/images-{hash_}-run.json", "mine.txt"):
        run.put(name, b"abc")
    emulator.put(f"{bucket}/out/images-{hash_}/deeper.tar", b"")
    with run.spilling() as (place, target):
        target.write(b"spilled")
    assert list(run.list_files()) == [
        f"_meta/images-{hash_}-run.json",
        f"images-{hash_}-000000.tar",
    ]
    assert run.files() == [
        f"_meta/images-{hash_}-run.json",
        f"images-{hash_}-000000.tar",
        "mine.txt",
    ]
    assert content(place) == b"spilled"
    assert list(run.work.others()) == [RUN]
    run.sweep()
    assert run.work.others() == {}
    assert run.info("mine.txt") is not None


def test_an_output_directory_that_cannot_be_written_to(bucket: str, emulator: Emulator) -> None:
    with pytest.raises(InputError, match=r"--output_dir=gs://nowhere/out cannot be written to"):
        Output("gs://nowhere/out", "t").prepare()
    emulator.fail("status", status=403, count=None)
    with pytest.raises(InputError, match="Permission denied"):
        Output(f"{bucket}/out", "t").prepare()


def test_a_spill_of_a_bundle_that_failed_is_no_object(run: Output) -> None:
    def fail() -> None:
        with run.spilling() as (_, target):
            target.write(b"abc")
            raise RuntimeError

    with contextlib.suppress(RuntimeError):
        fail()
    # But for the one that tells whose they would be.
    assert [name.rpartition("/")[2] for name in names(run.directory)] == ["run"]
