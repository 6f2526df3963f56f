"""ProbeImages: checks every image before planning (`--probe`), so that bad ones take no place."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput

from beam_export.errors import SampleError
from beam_export.images import header, watch
from beam_export.images.encoder import EncodeSpec
from beam_export.images.probe import HEAD_BYTES, probe_head, probe_pixels
from beam_export.images.transcode import name_of
from beam_export.options import ExportOptions
from beam_export.pipeline.beam_utils import Checkpoint
from beam_export.planning.blocks import PackedRef, open_block, pack_block, unpack_ref, with_probed
from beam_export.samples import SOURCE_CHANGED, Failure, Member, Probed, SampleRef, failure_of
from beam_export.shards.writer import check_names
from beam_export.sources.reader import Reader

__all__ = ["ProbeImages", "ProbedBlocks", "probe_sample"]

#: Headers are waited for more than they are worked on.
_HEADS_AT_ONCE = 8


class ProbedBlocks(NamedTuple):
    """Blocks of refs that know what their images are, and the samples that dropped out."""

    blocks: PCollection[bytes]
    failures: tuple[PCollection[Failure], ...]


@dataclasses.dataclass
class ProbeImages(beam.PTransform):
    """Checks the images of blocks: not at all, by their headers, or by all of their pixels.

    Attributes:
        options: of the export; `probe` says which.
        threads: images in work at the same time in each worker process.
    """

    options: ExportOptions
    threads: int = 1

    def expand(self, blocks: PCollection[bytes]) -> ProbedBlocks:
        if self.options.probe == "off":
            return ProbedBlocks(blocks, ())
        probe = _Probe(self.options.spec(), self.options.probe == "full", self.threads)
        # blocks: packed refs; failures: Failure
        probed = blocks | "Probe" >> beam.ParDo(probe).with_outputs("failures", main="blocks")
        # A checkpoint: images are read once, whatever the number of steps to come.
        return ProbedBlocks(
            probed.blocks | "CheckpointProbed" >> Checkpoint(bytes),
            (probed.failures | "CheckpointLost" >> Checkpoint(Failure),),
        )


class _Probe(beam.DoFn):
    """Yields a block with the size and format of each image; outputs `failures` beside it."""

    def __init__(self, spec: EncodeSpec, full: bool, threads: int) -> None:
        self._spec, self._full = spec, full
        self._threads = threads if full else max(threads, _HEADS_AT_ONCE)

    def setup(self) -> None:
        header.lift_guards(self._spec.max_pixels)
        header.silence_pillow()
        watch.begin()

    def process(self, block: bytes) -> Iterator[Any]:
        kept: list[PackedRef] = []
        readers = _Readers(self._spec.max_image_bytes)

        def probe(packed: PackedRef) -> PackedRef | Failure:
            ref = unpack_ref(packed)
            try:
                return with_probed(
                    packed, probe_sample(ref, readers.mine(), self._spec, full=self._full)
                )
            except SampleError as error:
                return failure_of(ref, error)

        with (
            readers,
            concurrent.futures.ThreadPoolExecutor(self._threads, "probe") as pool,
        ):
            for one in pool.map(probe, open_block(block).refs()):
                if isinstance(one, Failure):
                    yield TaggedOutput("failures", one)
                else:
                    kept.append(one)
        if kept:
            yield pack_block(kept)


class _Readers:
    """A reader a thread, closed together."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._own = threading.local()
        self._all: list[Reader] = []

    def mine(self) -> Reader:
        """Returns the reader of the thread that asks."""
        if not hasattr(self._own, "reader"):
            self._own.reader = Reader(self._max_bytes)
            self._all.append(self._own.reader)
        reader: Reader = self._own.reader
        return reader

    def __enter__(self) -> _Readers:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._all:
            reader.__exit__(None, None, None)


def probe_sample(ref: SampleRef, reader: Reader, spec: EncodeSpec, full: bool) -> Probed:
    """Returns what an image is.

    With `full`, whatever would make the sample a failure while its shard is written is found.

    Raises:
        SampleError: if the image cannot be had.
        OSError: if it cannot be had at present.
    """
    stored = ref.stored
    if not full:
        if stored is not None and stored.width and stored.height:
            return Probed(stored.width, stored.height, stored.ext)
        return _probe_head(ref.image, reader, spec)
    data = reader.read(ref.image)
    for field in ref.fields:
        reader.read(field)
    probed = probe_pixels(data, spec)
    check_names(stored.ext if stored else name_of(data, ref.image.ext, spec), ref)
    return probed


def _probe_head(image: Member, reader: Reader, spec: EncodeSpec) -> Probed:
    if image.column is None and 0 < image.size <= spec.max_image_bytes:
        for size in HEAD_BYTES:
            if size >= image.size:
                break
            head = _head(image, size, reader)
            probed = probe_head(head, False, spec) if head else None
            if probed is not None:
                return probed
            if header.sniff(head) != "jpg":
                break
    whole = probe_head(reader.read(image), True, spec)
    assert whole is not None
    return whole


def _head(image: Member, size: int, reader: Reader) -> bytes:
    """Returns an image's first bytes; none if the file has become shorter than that."""
    try:
        return reader.read(image._replace(offset=max(image.offset, 0), size=size, crc=None))
    except SampleError as error:
        if error.error == SOURCE_CHANGED:
            return b""  # reading the whole says by how much
        raise
