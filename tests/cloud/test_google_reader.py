"""Reading Google Cloud Storage: what was listed, or an error; never less, never another."""

from __future__ import annotations

import errno
import gc
import io
import random
import time
import warnings
from collections.abc import Iterator

import pytest
from support.gcs import Emulator

from beam_export.errors import SampleError
from beam_export.samples import WHOLE, Member
from beam_export.sources import reader as reader_module
from beam_export.sources.reader import Reader, locate
from beam_export.storage.base import ReplacedError
from beam_export.storage.open_files import open_source
from beam_export.storage.registry import storage_of
from beam_export.storage.retry import is_permanent

#: Google's client does not close what it has read an error from.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module", autouse=True)
def _socket_warnings_stay_here() -> Iterator[None]:
    yield
    with warnings.catch_warnings(action="ignore"):
        gc.collect()


DATA = random.Random(1).randbytes(300_000)


def reads(emulator: Emulator) -> list[str]:
    return [one["target"] for one in emulator.log() if "alt=media" in one["target"]]


@pytest.fixture
def uri(bucket: str, emulator: Emulator) -> str:
    emulator.put(f"{bucket}/d/x.jpg", DATA)
    return f"{bucket}/d/x.jpg"


def pinned(uri: str) -> str:
    known = storage_of(uri).stat(uri)
    assert known is not None
    return known.pinned


def test_what_is_known_of_an_object(uri: str, emulator: Emulator) -> None:
    known = storage_of(uri).stat(uri)
    assert known is not None
    assert (known.uri, known.size, known.owner) == (uri, len(DATA), "")
    assert known.generation == int(emulator.stat(uri)["generation"])
    assert abs(known.updated - time.time()) < 60
    assert storage_of(uri).stat(known.pinned) == known
    assert storage_of(uri).stat(uri + "x") is None
    assert storage_of(uri).stat("gs://nowhere/x") is None
    emulator.put(uri, b"another")
    assert storage_of(uri).stat(known.pinned) is None


def test_ranges(uri: str) -> None:
    storage = storage_of(uri)
    for start, size in [(0, 1), (7, 100), (299_999, 1), (0, 300_000), (5, 0)]:
        assert storage.read(uri, start, size) == DATA[start : start + size]
        assert storage.read(pinned(uri), start, size) == DATA[start : start + size]
    assert storage.read(uri, 299_990, 50) == DATA[-10:]
    assert storage.read(uri, 300_000, 5) == storage.read(uri, 400_000, 5) == b""


def test_a_range_is_one_request(uri: str, emulator: Emulator) -> None:
    where = pinned(uri)
    emulator.forget()
    storage_of(uri).read(where, 5, 1000)
    assert len(emulator.log()) == 1


def test_whole_objects(uri: str, bucket: str, emulator: Emulator) -> None:
    storage = storage_of(uri)
    assert storage.read_whole(pinned(uri), len(DATA)) == DATA
    # It was listed with fewer, or with more: what there is, and one byte to tell.
    assert storage.read_whole(uri, 1000) == DATA[:1001]
    assert storage.read_whole(uri, 400_000) == DATA
    emulator.put(f"{bucket}/empty", b"")
    assert storage.read_whole(pinned(f"{bucket}/empty"), 0) == b""


@pytest.mark.parametrize("offset", [WHOLE, 10])
def test_a_source_that_was_replaced_is_the_samples_failure(
    uri: str, emulator: Emulator, offset: int
) -> None:
    where = pinned(uri)
    emulator.put(uri, DATA[::-1])  # of the same size
    with Reader(1 << 20) as reader:
        size = len(DATA) if offset == WHOLE else 100
        with pytest.raises(SampleError) as caught:
            reader.read(Member("jpg", where, offset, size))
        assert caught.value.args == (
            "read",
            "SourceChanged",
            "the .jpg has been replaced since it was listed",
        )
        emulator.remove(uri)
        with pytest.raises(SampleError, match="No such file"):
            reader.read(Member("jpg", where, offset, size))


def test_what_is_open_stays_what_it_was(uri: str, emulator: Emulator) -> None:
    with storage_of(uri).open(uri) as file:
        assert file.read(10) == DATA[:10]
        emulator.put(uri, DATA[::-1])
        file.seek(200_000)
        with pytest.raises(ReplacedError) as caught:
            file.read(10)
    assert is_permanent(caught.value)
    with pytest.raises(FileNotFoundError):
        storage_of(uri).open(uri + ".no")


def test_open_objects_are_files(uri: str, bucket: str, emulator: Emulator) -> None:
    with open_source(pinned(uri)) as file:
        assert file.seek(-5, io.SEEK_END) == len(DATA) - 5
        assert file.read() == DATA[-5:]
        assert file.read(1) == b""
        file.seek(3)
        assert file.read(4) == DATA[3:7]
        assert file.tell() == 7
        file.seek(0)
        assert file.read() == DATA
    lines = b"".join(b"line %d\n" % number for number in range(30_000))
    emulator.put(f"{bucket}/lines", lines)
    with storage_of(uri).open(f"{bucket}/lines") as file:
        assert b"".join(file) == lines


def test_reading_on_takes_few_requests_and_reading_about_few_bytes(
    bucket: str, emulator: Emulator
) -> None:
    emulator.put(f"{bucket}/big", bytes(40 << 20))
    with storage_of(bucket).open(f"{bucket}/big") as file:
        emulator.forget()
        while file.read(1 << 16):
            pass
        assert len(reads(emulator)) < 16
        emulator.forget()
        for place in (30, 10, 20, 38):
            file.seek(place << 20)
            file.read(512)
        assert emulator.counts()["sent"] < 4 * (70 << 10)


@pytest.mark.parametrize("fault", ["truncated", "reset", "corrupt", "status"])
@pytest.mark.parametrize("whole", [False, True])
def test_what_goes_wrong_once_is_tried_again(
    uri: str, emulator: Emulator, fault: str, whole: bool
) -> None:
    if fault == "corrupt" and not whole:
        pytest.skip("nothing tells of a wrong bit in a range")
    where, storage = pinned(uri), storage_of(uri)
    emulator.fail(fault, method="GET", path="alt=media", count=2)
    got = storage.read_whole(where, len(DATA)) if whole else storage.read(where, 0, len(DATA))
    assert got == DATA
    assert len(reads(emulator)) == 3


def test_429_is_waited_for(uri: str, emulator: Emulator) -> None:
    emulator.fail("status", status=429, count=3)
    started = time.monotonic()
    assert storage_of(uri).stat(uri) is not None
    assert time.monotonic() - started > 0.01


def test_damage_that_stays_is_no_content(uri: str, emulator: Emulator) -> None:
    where = pinned(uri)
    emulator.fail("corrupt", method="GET", path="alt=media", count=None)
    with pytest.raises(OSError, match="checksum") as caught:
        storage_of(uri).read_whole(where, len(DATA))
    assert caught.value.errno == errno.EIO
    assert not is_permanent(caught.value)  # the runner tries again


def test_no_permission_is_permanent(uri: str, emulator: Emulator) -> None:
    emulator.fail("status", status=403, count=None)
    with pytest.raises(PermissionError, match="403") as caught:
        storage_of(uri).read(uri, 0, 5)
    assert is_permanent(caught.value)


def test_listings_come_by_pages(bucket: str, emulator: Emulator) -> None:
    names = [f"d/{number:04d}" for number in range(1003)]
    names += [
        "d-e",
        "da",
        "é",
        "d/é",
        "d/\U0001f600",
    ]
    for name in names:
        emulator.put(f"{bucket}/{name}", name.encode())
    emulator.forget()
    listing = storage_of(bucket).list(f"{bucket}/d")
    first = next(listing)
    assert len(emulator.log()) == 1
    found = [first, *listing]
    assert len(emulator.log()) == 2
    wanted = sorted((name for name in names if name.startswith("d")), key=str.encode)
    assert [one.uri for one in found] == [f"{bucket}/{name}" for name in wanted]
    assert [one.size for one in found] == [len(name.encode()) for name in wanted]
    assert found[5].generation == int(emulator.stat(found[5].uri)["generation"])
    assert abs(found[5].updated - time.time()) < 600


def test_listings_survive_bad_moments(bucket: str, emulator: Emulator) -> None:
    emulator.put(f"{bucket}/a", b"")
    emulator.fail("status", status=503)
    emulator.fail("reset")
    assert [one.uri for one in storage_of(bucket).list(f"{bucket}/")] == [f"{bucket}/a"]


def test_a_bucket_that_is_not_there(emulator: Emulator) -> None:
    with pytest.raises(FileNotFoundError):
        list(storage_of("gs://nowhere/x").list("gs://nowhere/x"))


def test_ranges_that_lie_close_are_read_together_and_others_at_the_same_time(
    bucket: str, emulator: Emulator
) -> None:
    big = random.Random(2).randbytes(20 << 20)
    emulator.put(f"{bucket}/big", big)
    where = pinned(f"{bucket}/big")
    members = [Member("jpg", where, start, 1000) for start in range(0, 1 << 20, 5000)]
    members += [Member("jpg", where, (2 + 2 * n) << 20, 1000) for n in range(8)]
    emulator.forget()
    emulator.set_latency(0.3)
    started = time.monotonic()
    with Reader(1 << 20) as reader:
        found = reader.read_all(members)
    assert time.monotonic() - started < 1.5
    assert found == [big[one.offset : one.offset + 1000] for one in members]
    assert len(emulator.log()) == 9


def test_reads_begin_before_they_are_asked_for(bucket: str, emulator: Emulator) -> None:
    uris = [f"{bucket}/{number}.jpg" for number in range(40)]
    for number, uri in enumerate(uris):
        emulator.put(uri, bytes([number]) * 1000)
    members = [Member("jpg", pinned(uri), WHOLE, 1000) for uri in uris]
    gone = Member("jpg", f"{bucket}/no.jpg", WHOLE, 1000)
    emulator.forget()
    emulator.set_latency(0.1)
    started = time.monotonic()
    with Reader(1 << 20) as reader:
        found = []
        for member in reader.ahead([*members, gone, members[0]], lambda one: [one]):
            # One by one, as nobody would who waits for each.
            found += reader.read_all([member])
    assert time.monotonic() - started < 2.0
    assert found[:40] == [bytes([number]) * 1000 for number in range(40)]
    assert isinstance(found[40], SampleError)
    assert found[41] == found[0]
    assert len(reads(emulator)) == 43  # what is named twice at once is read once more


def test_reading_ahead_is_bounded(
    bucket: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "_AHEAD", (2000, 1024))
    emulator.put(f"{bucket}/x", bytes(1000))
    member = Member("jpg", f"{bucket}/x", WHOLE, 1000)
    taken = 0

    def members() -> Iterator[Member]:
        nonlocal taken
        for _ in range(50):
            taken += 1
            yield member

    with Reader(1 << 20) as reader:
        for count, one in enumerate(reader.ahead(members(), lambda one: [one])):
            assert reader.read(one) == bytes(1000)
            assert taken <= count + 4


def test_what_a_path_names_is_pinned_too(uri: str, emulator: Emulator) -> None:
    where, size = locate(uri, "list")
    assert (where, size) == (f"{uri}#{emulator.stat(uri)['generation']}", len(DATA))
    with pytest.raises(SampleError, match="there is no file at its path"):
        locate(uri + ".no", "list")
    emulator.fail("status", status=403, count=None)
    with pytest.raises(SampleError, match="its file cannot be looked at"):
        locate(uri, "list")
