"""Reads samples ahead and encodes them in batches, in order."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import hashlib
import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from beam_export.errors import SampleError
from beam_export.images.encoder import Encoder, ImageInput, Result
from beam_export.images.transcode import transcode_batch
from beam_export.samples import EncodedImage, Failure, SampleRef, failure_of
from beam_export.shards.writer import ReadySample, check_names
from beam_export.sources.reader import Reader
from beam_export.storage.uris import is_local

__all__ = [
    "BATCH_BYTES",
    "BATCH_SAMPLES",
    "Loaded",
    "encode_loaded",
    "load",
    "load_and_encode",
]

#: A batch is full at either: enough for an encoder to work on, little enough to hold four of.
BATCH_SAMPLES = 32
BATCH_BYTES = 32 << 20

#: Batches that are read ahead before it is seen again whether reading waits.
_STRETCH = 16

_T = TypeVar("_T")
_R = TypeVar("_R")


class Loaded(NamedTuple):
    """A sample that has been read: its image with the SHA-256 of it in hex, and its fields."""

    ref: SampleRef
    key: str
    image: bytes
    sha256: str
    fields: list[tuple[str, bytes]]


def load_and_encode(
    refs: Iterable[tuple[SampleRef, str]], reader: Reader, encoder: Encoder
) -> Iterator[ReadySample | Failure]:
    """Yields samples ready to be stored, in order, and failures in their places.

    While one batch is encoded and written, the next is read, where reading waits. A device encodes
    ahead too: of the processor, a shard that is written at the same time makes better use.

    Args:
        refs: (ref, key in the tar).
        reader: used by one thread at a time.
        encoder: open.
    """
    encode = functools.partial(encode_loaded, encoder=encoder)
    on_device = encoder.identity().get("device", "cpu") != "cpu"
    with contextlib.closing(load(refs, reader)) as loaded:
        if not on_device:
            for batch in loaded:
                yield from encode(batch)
            return
        with contextlib.closing(_ahead(encode, loaded, "encode-ahead")) as encoded:
            for ready in encoded:
                yield from ready


def load(
    refs: Iterable[tuple[SampleRef, str]], reader: Reader
) -> Generator[list[Loaded | Failure], None, None]:
    """Yields batches that have been read; what is far away is on its way long before.

    Args:
        refs: (ref, key in the tar).
        reader: used by one thread at a time.
    """
    rest = iter(refs)
    first = next(rest, None)
    if first is None:
        return
    chained = itertools.chain([first], rest)
    read = functools.partial(_load_batch, reader=reader)
    # A shard's samples lie on one storage, but for tables of paths that name several.
    if is_local(first[0].image.uri):
        yield from _ahead_if_it_waits(read, _batches(chained), "read-ahead")
    else:
        coming = reader.ahead(chained, lambda one: (one[0].image, *one[0].fields))
        yield from _ahead(read, _batches(coming), "read-ahead")


def _ahead(work: Callable[[_T], _R], items: Iterator[_T], name: str) -> Generator[_R, None, None]:
    """Yields what is made of each item, and has a thread make the next one meanwhile."""
    with concurrent.futures.ThreadPoolExecutor(1, name) as thread:
        waiting: concurrent.futures.Future[_R] | None = None
        for item in items:
            following = thread.submit(work, item)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def _ahead_if_it_waits(
    work: Callable[[_T], _R], items: Iterator[_T], name: str
) -> Generator[_R, None, None]:
    """Yields what is made of each item; works ahead as long as that means waiting for a disk.

    Where the files are in memory there is nothing to gain: two threads that both work get into
    each other's way at Python's lock, which takes a tenth of the time that copying takes.
    """
    for item in items:
        began, worked = time.perf_counter(), time.thread_time()
        made = work(item)
        worked = time.thread_time() - worked
        waits = time.perf_counter() - began > 2 * worked
        yield made
        if waits:
            yield from _ahead(work, itertools.islice(items, _STRETCH), name)


def _batches(refs: Iterable[tuple[SampleRef, str]]) -> Iterator[list[tuple[SampleRef, str]]]:
    batch: list[tuple[SampleRef, str]] = []
    held = 0
    for ref, key in refs:
        size = ref.image.size + sum(field.size for field in ref.fields)
        if batch and (len(batch) >= BATCH_SAMPLES or held + size > BATCH_BYTES):
            yield batch
            batch, held = [], 0
        batch.append((ref, key))
        held += size
    if batch:
        yield batch


def _load_batch(batch: Sequence[tuple[SampleRef, str]], reader: Reader) -> list[Loaded | Failure]:
    found = iter(reader.read_all([one for ref, _ in batch for one in (ref.image, *ref.fields)]))
    return [_load(ref, key, [next(found) for _ in (ref.image, *ref.fields)]) for ref, key in batch]


def _load(ref: SampleRef, key: str, found: Sequence[bytes | SampleError]) -> Loaded | Failure:
    data: list[bytes] = []
    for one in found:
        if isinstance(one, SampleError):
            return failure_of(ref, one)
        data.append(one)
    image, *rest = data
    fields = [(field.ext, content) for field, content in zip(ref.fields, rest, strict=True)]
    return Loaded(ref, key, image, hashlib.sha256(image).hexdigest(), fields)


def encode_loaded(
    loaded: Sequence[Loaded | Failure], encoder: Encoder
) -> list[ReadySample | Failure]:
    """Encodes a batch that has been read, or copies what is to be; failures stay in their places.

    Args:
        loaded: as `load` yields them.
        encoder: open.
    """
    raw = [one for one in loaded if isinstance(one, Loaded) and one.ref.stored is None]
    images: list[ImageInput] = [one.image for one in raw]
    results = iter(transcode_batch(images, [one.ref.image.ext for one in raw], encoder))
    ready: list[ReadySample | Failure] = []
    for one in loaded:
        if isinstance(one, Failure):
            ready.append(one)
        elif one.ref.stored is not None:
            stored = one.ref.stored
            ext, width, height, encoding, _, remarks = stored
            image = EncodedImage(one.image, ext, width, height, encoding, remarks)
            ready.append(_ready(one, image, stored.source_sha256))
        else:
            ready.append(_ready(one, next(results), one.sha256))
    return ready


def _ready(one: Loaded, image: Result, source_sha256: str | None) -> ReadySample | Failure:
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
