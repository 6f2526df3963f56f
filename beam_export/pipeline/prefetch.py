"""Reads samples ahead and encodes them in batches, in order."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import functools
import hashlib
import itertools
import resource
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from typing import NamedTuple, TypeVar

from beam_export.errors import SampleError
from beam_export.images.encoder import Encoder, EncodeSpec, ImageInput, Result
from beam_export.images.transcode import may_copy, transcode_batch, without_encoding
from beam_export.samples import EncodedImage, Failure, SampleRef, failure_of
from beam_export.shards.writer import ReadySample, check_names
from beam_export.sources.reader import Reader
from beam_export.storage.uris import is_local

__all__ = [
    "BATCH_BYTES",
    "BATCH_SAMPLES",
    "DEVICE_BATCH_BYTES",
    "DEVICE_BATCH_SAMPLES",
    "LoadedSample",
    "batch_limits",
    "encode_loaded",
    "load_and_encode",
    "load_batches",
]

#: A batch is full at either: enough for an encoder to work on, little enough to hold four of.
BATCH_SAMPLES = 32
BATCH_BYTES = 32 << 20
#: For a device, which takes many at a time: of photographs of 5 MB, 32 MB are fewer than the
#: threads of one decoder.
DEVICE_BATCH_SAMPLES = 128
DEVICE_BATCH_BYTES = 256 << 20
#: Batches that a device has at a time: while one is decoded, another one is encoded.
_ON_DEVICE = 2

#: Batches that are read ahead before it is seen again whether reading waits.
_STRETCH = 16

_T = TypeVar("_T")
_Batch = TypeVar("_Batch", bound=Sized)
_R = TypeVar("_R")


class LoadedSample(NamedTuple):
    """A sample that has been read: its image with the SHA-256 of it in hex, and its fields."""

    ref: SampleRef
    key: str
    image: bytes
    sha256: str
    fields: list[tuple[str, bytes]]


def batch_limits(encoder: Encoder) -> tuple[int, int]:
    """Returns the most samples and bytes of a batch for an encoder."""
    if _has_device(encoder):
        return DEVICE_BATCH_SAMPLES, DEVICE_BATCH_BYTES
    return BATCH_SAMPLES, BATCH_BYTES


def _has_device(encoder: Encoder) -> bool:
    return encoder.identity().get("device", "cpu") != "cpu"


def load_and_encode(
    refs: Iterable[tuple[SampleRef, str]], reader: Reader, encoder: Encoder
) -> Iterator[ReadySample | Failure]:
    """Yields samples ready to be stored, in order, and failures in their places.

    While one batch is encoded and written, the next is read, where reading waits. A device encodes
    two ahead: of the processor, a shard that is written at the same time makes better use. Local
    files that are copied come one by one.

    Args:
        refs: (ref, key in the tar).
        reader: used by one thread at a time.
        encoder: open.
    """
    encode = functools.partial(encode_loaded, encoder=encoder)
    on_device = _has_device(encoder)
    rest = iter(refs)
    if (first := next(rest, None)) is None:
        return
    refs = itertools.chain([first], rest)
    if not on_device and may_copy(encoder.spec) and is_local(first[0].image.uri):
        batches = _batches(refs, *batch_limits(encoder))
        yield from _copy_or_encode(batches, reader, encoder)
        return
    with contextlib.closing(load_batches(refs, reader, encoder)) as loaded:
        if not on_device:
            for batch in loaded:
                yield from encode(batch)
            return
        coming = _ahead(encode, loaded, "encode-ahead", count=_ON_DEVICE)
        with contextlib.closing(coming) as encoded:
            for ready in encoded:
                yield from ready


def _copy_or_encode(
    batches: Iterator[list[tuple[SampleRef, str]]], reader: Reader, encoder: Encoder
) -> Iterator[ReadySample | Failure]:
    """Yields samples as `load_and_encode` does; of a batch that has to be encoded, all are read."""
    read = functools.partial(_load_batch, reader=reader)
    for batch in batches:
        wait = _Wait()
        for place, one in enumerate(batch):
            ready = _copy_file(one, reader, encoder.spec)
            if ready is None:
                yield from encode_loaded(read(batch[place:]), encoder)
                break
            yield ready
        if wait.was_long(len(batch)):
            coming = _ahead(read, itertools.islice(batches, _STRETCH), "read-ahead")
            with contextlib.closing(coming) as loaded:
                for ahead in loaded:
                    yield from encode_loaded(ahead, encoder)


def _copy_file(
    keyed: tuple[SampleRef, str], reader: Reader, spec: EncodeSpec
) -> ReadySample | Failure | None:
    """Returns a sample of local files that are copied; None for any other.

    Its bytes are checked, summed and written before others are read: so they stay in the caches of
    the core, and in one place of its memory.
    """
    ref, key = keyed
    if ref.stored is not None or (data := reader.read_file(ref.image)) is None:
        return None
    fields = []
    for field in ref.fields:
        content = reader.read_file(field) if field.data is None else field.data
        if content is None:
            return None
        fields.append((field.ext, content))
    image = without_encoding(data, ref.image.ext, spec)
    if image is None:
        return None
    loaded = LoadedSample(ref, key, data, hashlib.sha256(data).hexdigest(), fields)
    return _ready(loaded, image, loaded.sha256)


def load_batches(
    refs: Iterable[tuple[SampleRef, str]], reader: Reader, encoder: Encoder | None = None
) -> Generator[list[LoadedSample | Failure], None, None]:
    """Yields batches that have been read; what is far away is on its way long before.

    Args:
        refs: (ref, key in the tar).
        reader: used by one thread at a time.
        encoder: that the batches are for; None for no encoder.
    """
    limits = (BATCH_SAMPLES, BATCH_BYTES) if encoder is None else batch_limits(encoder)
    rest = iter(refs)
    first = next(rest, None)
    if first is None:
        return
    chained = itertools.chain([first], rest)
    read = functools.partial(_load_batch, reader=reader)
    # A shard's samples lie on one storage, but for tables of paths that name several.
    if is_local(first[0].image.uri):
        yield from _ahead_if_it_waits(read, _batches(chained, *limits), "read-ahead")
    else:
        coming = reader.ahead(chained, lambda one: (one[0].image, *one[0].fields))
        yield from _ahead(read, _batches(coming, *limits), "read-ahead")


def _ahead(
    work: Callable[[_T], _R], items: Iterator[_T], name: str, *, count: int = 1
) -> Generator[_R, None, None]:
    """Yields what is made of each item, in order, and has threads make the next ones meanwhile."""
    with concurrent.futures.ThreadPoolExecutor(count, name) as threads:
        waiting: collections.deque[concurrent.futures.Future[_R]] = collections.deque()
        for item in items:
            waiting.append(threads.submit(work, item))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _ahead_if_it_waits(
    work: Callable[[_Batch], _R], items: Iterator[_Batch], name: str
) -> Generator[_R, None, None]:
    """Yields what is made of each item; works ahead as long as that means waiting for a disk.

    Where the files are in memory there is nothing to gain: two threads that both work get into
    each other's way at Python's lock, which takes a tenth of the time that copying takes.
    """
    for item in items:
        wait = _Wait()
        made = work(item)
        waits = wait.was_long(len(item))
        yield made
        if waits:
            yield from _ahead(work, itertools.islice(items, _STRETCH), name)


class _Wait:
    """Measures whether this thread waits more than it works, from when it is made on."""

    def __init__(self) -> None:
        self._began, self._worked = time.perf_counter(), time.thread_time()
        self._left = _times_left()

    def was_long(self, reads: int) -> bool:
        """Returns whether it has waited for a disk most of the time; `reads` were made."""
        worked = time.thread_time() - self._worked
        waited = time.perf_counter() - self._began > 2 * worked
        # Else it is other processes that had the core meanwhile.
        return waited and _times_left() - self._left > reads // 4


def _times_left() -> int:
    """Returns how often this thread has left its core of itself, to wait for something."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def _batches(
    refs: Iterable[tuple[SampleRef, str]], most: int, most_bytes: int
) -> Iterator[list[tuple[SampleRef, str]]]:
    """Yields consecutive refs, as many as are within both limits."""
    batch: list[tuple[SampleRef, str]] = []
    held = 0
    for ref, key in refs:
        size = ref.image.size + sum(field.size for field in ref.fields)
        if batch and (len(batch) >= most or held + size > most_bytes):
            yield batch
            batch, held = [], 0
        batch.append((ref, key))
        held += size
    if batch:
        yield batch


def _load_batch(
    batch: Sequence[tuple[SampleRef, str]], reader: Reader
) -> list[LoadedSample | Failure]:
    found = iter(reader.read_all([one for ref, _ in batch for one in (ref.image, *ref.fields)]))
    return [_load(ref, key, [next(found) for _ in (ref.image, *ref.fields)]) for ref, key in batch]


def _load(ref: SampleRef, key: str, found: Sequence[bytes | SampleError]) -> LoadedSample | Failure:
    data: list[bytes] = []
    for one in found:
        if isinstance(one, SampleError):
            return failure_of(ref, one)
        data.append(one)
    image, *rest = data
    fields = [(field.ext, content) for field, content in zip(ref.fields, rest, strict=True)]
    return LoadedSample(ref, key, image, hashlib.sha256(image).hexdigest(), fields)


def encode_loaded(
    loaded: Sequence[LoadedSample | Failure], encoder: Encoder
) -> list[ReadySample | Failure]:
    """Encodes a batch that has been read, or copies what is to be; failures stay in their places.

    Args:
        loaded: as `load_batches` yields them.
        encoder: open.
    """
    raw = [one for one in loaded if isinstance(one, LoadedSample) and one.ref.stored is None]
    images: list[ImageInput] = [one.image for one in raw]
    results = iter(transcode_batch(images, [one.ref.image.ext for one in raw], encoder))
    ready: list[ReadySample | Failure] = []
    for one in loaded:
        if isinstance(one, Failure):
            ready.append(one)
        elif one.ref.stored is not None:
            stored = one.ref.stored
            ext, width, height, encoding, _, remarks, lacks = stored
            image = EncodedImage(one.image, ext, width, height, encoding, remarks, lacks)
            ready.append(_ready(one, image, stored.source_sha256))
        else:
            ready.append(_ready(one, next(results), one.sha256))
    return ready


def _ready(one: LoadedSample, image: Result, source_sha256: str | None) -> ReadySample | Failure:
    if isinstance(image, SampleError):
        return failure_of(one.ref, image)
    try:
        check_names(image.ext, one.ref)
    except SampleError as error:
        return failure_of(one.ref, error)
    # What is stored as it was read has the sum of that; it is not made twice.
    stored = one.ref.stored is not None or image.encoding == "copied"
    sha256 = one.sha256 if stored else None
    if one.ref.earlier is not None:
        # Its source is what the earlier export had: of that, these bytes may be no copy.
        source_sha256 = one.ref.earlier.source_sha256
        if source_sha256 != one.sha256:
            image = image._replace(encoding="encoded")
    return ReadySample(one.ref, one.key, image, source_sha256, one.fields, sha256)
