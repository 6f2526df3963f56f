from __future__ import annotations

import hashlib
import itertools
import threading
import time
import types
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_export.errors import SampleError
from beam_export.images.encoder import EncodeSpec, ImageInput, Result
from beam_export.pipeline import prefetch
from beam_export.pipeline.prefetch import load_and_encode
from beam_export.samples import EncodedImage, Failure, Member, SampleRef, Stored
from beam_export.shards.writer import ReadySample


class FakeReader:
    """Reads what its members say: `bad` cannot be read, `gone` cannot be read now."""

    def __init__(self, waits: float = 0) -> None:
        self.waits = waits
        self.read_uris: list[str] = []
        self.threads: list[int] = []

    def read(self, member: Member) -> bytes:
        self.read_uris.append(member.uri)
        self.threads.append(threading.get_ident())
        time.sleep(self.waits)
        if member.uri.startswith("bad"):
            raise SampleError("read", "OSError", "it is bad")
        if member.uri.startswith("gone"):
            raise OSError("gone for now")
        return member.uri.encode().ljust(member.size, b".")

    def read_file(self, member: Member) -> bytes | None:
        return None

    def read_all(self, members: Sequence[Member]) -> list[bytes | SampleError]:
        found: list[bytes | SampleError] = []
        for member in members:
            try:
                found.append(self.read(member))
            except SampleError as error:
                found.append(error)
        return found


class WatchedReader(FakeReader):
    """Says when it comes to one of the files."""

    def __init__(self, watched: str, waits: float = 0) -> None:
        super().__init__(waits)
        self.watched = watched
        self.reached = threading.Event()

    def read(self, member: Member) -> bytes:
        if member.uri == self.watched:
            self.reached.set()
        return super().read(member)


class FakeEncoder:
    """Makes `JPEG:` and the source; what begins with `ugly` cannot be decoded."""

    def __init__(self, device: str = "cpu") -> None:
        self.spec = EncodeSpec(mode="always")
        self.device = device
        self.batches: list[int] = []

    def open(self) -> None: ...

    def close(self) -> None: ...

    def identity(self) -> dict[str, str]:
        return {"encoder": "fake", "device": self.device}

    def take_counts(self) -> dict[str, int]:
        return {}

    def encode_batch(self, images: Sequence[ImageInput]) -> list[Result]:
        self.batches.append(len(images))
        return [self._encode(image) for image in images]

    def _encode(self, image: ImageInput) -> Result:
        assert isinstance(image, bytes)
        if image.startswith(b"ugly"):
            return SampleError("decode", "ValueError", "it is ugly")
        return EncodedImage(b"JPEG:" + image, "jpg", 4, 3, "encoded")


def ref(name: str, size: int = 0, fields: Sequence[Member] = (), **changes: Any) -> SampleRef:
    size = max(size, len(name))
    image = Member("png", name, 0, size)
    return SampleRef(b"", name, f"/in/{name}", image, tuple(fields), {}, size)._replace(**changes)


def fed(
    refs: Sequence[SampleRef], reader: FakeReader | None = None, encoder: FakeEncoder | None = None
) -> list[ReadySample | Failure]:
    keyed = ((one, f"key-{one.id}") for one in refs)
    return list(load_and_encode(keyed, reader or FakeReader(), encoder or FakeEncoder()))  # type: ignore[arg-type]


def test_a_sample_is_ready_with_all_that_belongs_to_it() -> None:
    given_ref = ref("x", fields=[Member("json", "j", 5, 1), Member("txt", "t", 6, 2)])
    assert fed([given_ref]) == [
        ReadySample(
            given_ref,
            "key-x",
            EncodedImage(b"JPEG:x", "jpg", 4, 3, "encoded"),
            hashlib.sha256(b"x").hexdigest(),
            [("json", b"j"), ("txt", b"t.")],
        )
    ]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["ok", "bad", "ugly"]), max_size=40), st.integers(1, 7))
def test_order_is_kept_and_failures_stand_in_their_places(kinds: list[str], most: int) -> None:
    refs = [ref(f"{kind}{number}") for number, kind in enumerate(kinds)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefetch, "BATCH_SAMPLES", most)
        found = fed(refs)
    assert len(found) == len(refs)
    for kind, given_ref, one in zip(kinds, refs, found, strict=True):
        if kind == "ok":
            assert isinstance(one, ReadySample)
            assert one.ref is given_ref
            assert one.image.data == b"JPEG:" + given_ref.id.encode()
        else:
            stage, error = {"bad": ("read", "OSError"), "ugly": ("decode", "ValueError")}[kind]
            message = f"it is {kind}"
            assert one == Failure(given_ref.id, given_ref.path, stage, error, message)


def test_a_bad_field_takes_its_sample_alone() -> None:
    found = fed([ref("a"), ref("b", fields=[Member("txt", "bad", 0, 3)]), ref("c")])
    assert [type(one) for one in found] == [ReadySample, Failure, ReadySample]


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), max_size=40), st.integers(1, 7), st.integers(1, 100))
def test_batches_are_bounded_by_number_and_bytes(
    sizes: list[int], most: int, most_bytes: int
) -> None:
    refs = [
        ref("x", fields=[Member("txt", "t", 0, size // 2)])._replace(
            image=Member("png", "x", 0, size - size // 2)
        )
        for size in sizes
    ]
    batches = [
        [given_ref.image.size + given_ref.fields[0].size for given_ref, _ in batch]
        for batch in prefetch._batches(((one, "") for one in refs), most, most_bytes)
    ]
    assert [size for batch in batches for size in batch] == sizes
    for batch, following in zip(batches, [*batches[1:], None], strict=False):
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or sum(batch) <= most_bytes
        if following:
            # It was full: one more would have been too much.
            assert len(batch) == most or sum(batch) + following[0] > most_bytes


def test_an_encoder_gets_whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "BATCH_SAMPLES", 4)
    encoder = FakeEncoder()
    fed([ref(str(number)) for number in range(10)], encoder=encoder)
    assert encoder.batches == [4, 4, 2]


@pytest.mark.parametrize(("device", "ahead"), [("cpu", 1), ("L4", 3)])
def test_few_batches_are_ahead(device: str, ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BATCH_SAMPLES", "DEVICE_BATCH_SAMPLES"):
        monkeypatch.setattr(prefetch, name, 4)
    taken: list[str] = []

    def keyed() -> Iterator[tuple[SampleRef, str]]:
        for number in range(100):
            taken.append(str(number))
            yield ref(str(number)), ""

    reader = FakeReader(waits=0.001)
    stream = load_and_encode(keyed(), reader, FakeEncoder(device))  # type: ignore[arg-type]
    for number, _ in zip(range(40), stream, strict=False):
        batches_begun = number // 4 + 1
        # The batch at hand and the next ones; one ref more tells that a batch is full.
        assert len(reader.read_uris) <= (batches_begun + ahead) * 4
        assert len(taken) <= (batches_begun + ahead) * 4 + 1
    stream.close()
    read = len(reader.read_uris)
    assert read <= 40 + ahead * 4


def test_a_batch_is_read_while_another_is_used_where_reading_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prefetch, "BATCH_SAMPLES", 4)
    reader = WatchedReader("11", waits=0.01)
    refs = ((ref(str(number)), "") for number in range(20))
    stream = load_and_encode(refs, reader, FakeEncoder())  # type: ignore[arg-type]
    # The first batch shows that reading waits, the second is at hand.
    for _ in range(5):
        next(stream)
    assert reader.reached.wait(20)
    stream.close()


def test_what_is_far_away_is_read_ahead_from_the_first_batch_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prefetch, "BATCH_SAMPLES", 4)

    class Reader(WatchedReader):
        def ahead(self, items: Iterator[Any], members: object) -> Iterator[Any]:
            return items

    reader = Reader("gs://far/7")
    refs = ((ref(f"gs://far/{number}"), "") for number in range(20))
    stream = load_and_encode(refs, reader, FakeEncoder())  # type: ignore[arg-type]
    next(stream)
    assert reader.reached.wait(20)
    stream.close()
    assert threading.get_ident() not in reader.threads


def _clocks(monkeypatch: pytest.MonkeyPatch, *, worked: float) -> None:
    """Makes a second pass from one look at the clock to the next, `worked` of it with work."""
    wall, processor = itertools.count(), itertools.count()
    clocks = types.SimpleNamespace(
        perf_counter=lambda: next(wall), thread_time=lambda: worked * next(processor)
    )
    monkeypatch.setattr(prefetch, "time", clocks)


@pytest.mark.parametrize(
    ("worked", "here"),
    [
        (0.9, [True] * 20),
        # After a while it is seen again: the next files may be in memory.
        (0.1, [True, *[False] * 16, True, False, False]),
    ],
)
def test_where_reading_only_works_no_thread_does_it(
    worked: float, here: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "BATCH_SAMPLES", 1)
    _clocks(monkeypatch, worked=worked)
    reader = FakeReader()
    names = [str(number) for number in range(20)]
    found = fed([ref(name) for name in names], reader)
    assert [one.ref.id for one in found if isinstance(one, ReadySample)] == names
    assert [thread == threading.get_ident() for thread in reader.threads] == here


def test_a_device_encodes_two_batches_while_another_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prefetch, "DEVICE_BATCH_SAMPLES", 2)
    both = threading.Barrier(2, timeout=10)

    class Encoder(FakeEncoder):
        def encode_batch(self, images: Sequence[ImageInput]) -> list[Result]:
            if images[0] != b"a":
                # Broken unless the two are at work at the same time.
                both.wait()
            return super().encode_batch(images)

    refs = ((ref(name), "") for name in "aabbcc")
    stream = load_and_encode(refs, FakeReader(), Encoder("L4"))  # type: ignore[arg-type]
    assert [ready.ref.id for ready in stream] == list("aabbcc")  # type: ignore[union-attr]


def test_a_device_gets_larger_batches() -> None:
    encoder = FakeEncoder("L4")
    fed([ref(str(number)) for number in range(200)], encoder=encoder)
    assert encoder.batches == [128, 72]
    large = ref("x")._replace(image=Member("png", "x", 0, 100 << 20))
    limits = prefetch.batch_limits(encoder)  # type: ignore[arg-type]
    batches = list(prefetch._batches(((large, "") for _ in range(5)), *limits))
    assert list(map(len, batches)) == [2, 2, 1]


def test_an_error_of_the_machine_is_raised_and_the_samples_before_it_are_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prefetch, "BATCH_SAMPLES", 2)
    refs = [ref(name) for name in ("a", "b", "c", "gone", "e")]
    stream = load_and_encode(((one, "") for one in refs), FakeReader(), FakeEncoder())  # type: ignore[arg-type]
    assert [next(stream).ref.id, next(stream).ref.id] == ["a", "b"]  # type: ignore[union-attr]
    with pytest.raises(OSError, match="gone for now"):
        next(stream)


@pytest.mark.parametrize("device", ["cpu", "L4"])
def test_no_thread_is_left_behind(device: str) -> None:
    before = threading.active_count()
    encoder = FakeEncoder(device)
    fed([ref("a")], encoder=encoder)
    stream = load_and_encode(iter([(ref("a"), ""), (ref("b"), "")]), FakeReader(), encoder)  # type: ignore[arg-type]
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_nothing_gives_nothing() -> None:
    assert fed([]) == []


def test_what_is_stored_already_is_not_encoded_again() -> None:
    known = Stored("jpg", 8, 9, "encoded", "ab" * 32)
    refs = [ref("a"), ref("b", stored=known), ref("bad", stored=known), ref("c")]
    encoder = FakeEncoder()
    first, second, third, last = fed(refs, encoder=encoder)
    assert encoder.batches == [2]
    assert isinstance(first, ReadySample)
    assert isinstance(second, ReadySample)
    assert second.image == EncodedImage(b"b", "jpg", 8, 9, "encoded")
    assert second.source_sha256 == "ab" * 32
    assert isinstance(third, Failure)
    assert isinstance(last, ReadySample)
    assert last.image.data == b"JPEG:c"


@pytest.mark.parametrize("stored", [None, Stored("jpg", 8, 9, "copied", None)])
def test_a_field_by_the_name_that_the_image_takes_is_a_failure(stored: Stored | None) -> None:
    clash = ref("x", fields=[Member("jpg", "j", 0, 1)], stored=stored)
    harmless = ref("y", fields=[Member("png", "p", 0, 1), Member("jpg.txt", "t", 0, 1)])
    lost, kept = fed([clash, harmless])
    assert lost == Failure(
        "x",
        "/in/x",
        "write",
        "ValueError",
        "it has a field 'jpg', the name that its image takes in the tar",
    )
    assert isinstance(kept, ReadySample)
