"""SpillSamples: encodes a user's samples and spills them to files, so that only refs go on.

An image that a pipeline has in memory would otherwise travel through every shuffle. Here it is
encoded where it is, appended to a temporary file, and stands there until its shard is written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import reprlib
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows
from PIL import Image

from beam_export.errors import InputError, SampleError
from beam_export.images.encoder import Encoder, ImageInput, is_array, nbytes
from beam_export.images.transcode import transcode_batch
from beam_export.metadata import canonical
from beam_export.pipeline.announce import announced
from beam_export.pipeline.prefetch import batch_limits
from beam_export.pipeline.resources import count_ways
from beam_export.planning.blocks import PackedRef, pack_block, pack_ref
from beam_export.planning.given_sample import taken
from beam_export.planning.order import id_key, shuffle_key
from beam_export.planning.shard import MARK_SIZE, TWIN_SIZE
from beam_export.samples import (
    WHOLE,
    EncodedImage,
    Member,
    Sample,
    SampleRef,
    Stored,
    failure_of,
)
from beam_export.shards.output import Output
from beam_export.sources.reader import locate
from beam_export.storage.registry import check_scheme
from beam_export.text import stored

__all__ = ["SpillSamples"]

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


class SpillSamples(beam.DoFn):
    """Yields packed blocks of refs; outputs `failures` beside them."""

    def __init__(self, output: Output, encoder: Encoder, order: str, seed: int) -> None:
        self._output, self._encoder = output, encoder
        self._order, self._seed = order, seed

    def setup(self) -> None:
        self._encoder.open()
        self._limits = batch_limits(self._encoder)

    def teardown(self) -> None:
        self._encoder.close()

    def start_bundle(self) -> None:
        self._held: list[tuple[Sample, SampleError | None]] = []
        self._bytes = 0
        self._stack = contextlib.ExitStack()
        self._file: tuple[str, BinaryIO] | None = None
        self._offset = 0

    def process(self, sample: Sample) -> Iterator[Any]:
        self._refuse(sample)
        try:
            sample, fault = taken(sample, self._encoder.spec), None
        except SampleError as error:
            # What is wrong is listed; an image of an unknown kind must not be looked at.
            sample, fault = dataclasses.replace(sample, image=None), error
        most, most_bytes = self._limits
        if self._held and (
            len(self._held) >= most or self._bytes + _size(sample.image) > most_bytes
        ):
            yield from self._spill()
        self._held.append((sample, fault))
        self._bytes += _size(sample.image)

    def _refuse(self, sample: object) -> None:
        """Refuses what is the pipeline's fault, and no sample's."""
        if not isinstance(sample, Sample):
            raise announced(
                InputError(
                    f"WriteShards was given a {type(sample).__name__} ({_short.repr(sample)}): "
                    "give it beam_export.Sample."
                )
            )
        pixels = is_array(sample.image) or isinstance(sample.image, Image.Image)
        if pixels and self._encoder.spec.mode == "never":
            raise announced(
                InputError(
                    f"--encode=never was given with sample {sample.id!r}, whose image is an array "
                    "or an image of Pillow's and has no bytes to keep: give --encode=auto, or "
                    "encoded bytes."
                )
            )

    def finish_bundle(self) -> Iterator[Any]:
        for element in self._spill():
            if isinstance(element, TaggedOutput):
                value = GlobalWindows.windowed_value(element.value)
                yield TaggedOutput(element.tag, value)
            else:
                yield GlobalWindows.windowed_value(element)
        self._stack.close()

    def _spill(self) -> Iterator[Any]:
        checked, self._held, self._bytes = self._held, [], 0
        inside = [sample for sample, fault in checked if fault is None and sample.image is not None]
        images = [_input(sample.image) for sample in inside]
        exts = [_ext(str(sample.path)) for sample in inside]
        results = iter(transcode_batch(images, exts, self._encoder))
        count_ways(self._encoder)
        refs: list[PackedRef] = []
        for sample, fault in checked:
            try:
                if fault is not None:
                    raise fault
                result = next(results) if sample.image is not None else None
                if isinstance(result, SampleError):
                    raise result
                refs.append(self._keyed(sample, result))
            except SampleError as error:
                yield TaggedOutput("failures", failure_of(_bare_ref(sample), error))
        if refs:
            yield pack_block(refs)

    def _keyed(self, sample: Sample, image: EncodedImage | None) -> PackedRef:
        """Returns a sample's ref; what follows the order key keeps equal ids apart."""
        ref = self._ref(sample, image)
        key = id_key(ref.id) if self._order == "source" else shuffle_key(self._seed, ref.id)
        packed = pack_ref(ref._replace(order=key))
        # Samples that are equal in everything may change places, but not become one.
        return packed._replace(order=key + _mark(sample, image) + os.urandom(TWIN_SIZE))

    def _ref(self, sample: Sample, image: EncodedImage | None) -> SampleRef:
        if image is None:
            place = _file_member(str(sample.path))
            size, stored = place.size, None
        else:
            place = self._append(image.ext, image.data)
            size, source = _size_and_sha256(_input(sample.image))
            stored = Stored(
                *(image.ext, image.width, image.height, image.encoding),
                *(source, image.remarks, image.lacks),
            )
        content = _contents(sample)
        fields = [self._append(ext, content[ext]) for ext in sorted(content)]
        return _bare_ref(sample)._replace(
            image=place,
            fields=tuple(fields),
            metadata=dict(sample.metadata),
            size=size,
            stored=stored,
        )

    def _append(self, ext: str, data: bytes) -> Member:
        if self._file is None:
            self._file = self._stack.enter_context(self._output.spilling())
        path, target = self._file
        target.write(data)
        offset, self._offset = self._offset, self._offset + len(data)
        return Member(ext, path, offset, len(data), crc=zlib.crc32(data))


def _mark(sample: Sample, image: EncodedImage | None) -> bytes:
    """Returns 8 bytes that change with all that a sample is, so that equal ids have an order."""
    parts = [sample.path, sample.metadata, _contents(sample), image.data if image else None]
    return hashlib.sha256(canonical.encode(parts)).digest()[:MARK_SIZE]


def _contents(sample: Sample) -> dict[str, bytes]:
    """Returns the fields of a sample that was taken: all are bytes."""
    return {ext: data for ext, data in sample.fields.items() if isinstance(data, bytes)}


def _size_and_sha256(image: ImageInput) -> tuple[int, str | None]:
    if isinstance(image, bytes):
        return len(image), hashlib.sha256(image).hexdigest()
    return _size(image), None


def _input(image: object) -> ImageInput:
    assert isinstance(image, bytes) or is_array(image)
    return image


def _size(image: object) -> int:
    """Returns the bytes of an image as it came; for an array, of its pixels."""
    if isinstance(image, bytes):
        return len(image)
    return nbytes(image) if is_array(image) else 0


def _bare_ref(sample: Sample) -> SampleRef:
    nowhere = Member("", str(sample.path), WHOLE, 0)
    return SampleRef(b"", stored(str(sample.id)), nowhere.uri, nowhere, (), {}, 0)


def _file_member(path: str) -> Member:
    """Returns where an image lies that is to be read from its path.

    Raises:
        InputError: if its file system is not there: that is the pipeline's fault.
        SampleError: if there is no such file.
    """
    check_scheme("path", path)
    uri, size = locate(path, "read")
    return Member(_ext(path), uri, WHOLE, size)


def _ext(path: str) -> str:
    return os.path.splitext(path)[1][1:].lower()
