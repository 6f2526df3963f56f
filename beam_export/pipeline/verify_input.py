"""Reads the input of an export again, for digests that its rows are compared with (`--against`).

The input is listed, read and, with `--decode`, encoded just as for an export; what would be written
is digested instead.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection, TaggedOutput

from beam_export.images import codecs
from beam_export.images.encoder import Encoder
from beam_export.pipeline.measure_images import MeasureImages
from beam_export.pipeline.plan_shards import AssignKeys
from beam_export.pipeline.prefetch import LoadedSample, encode_loaded, load_batches
from beam_export.pipeline.read_samples import ReadSamples
from beam_export.pipeline.read_tars import Spills
from beam_export.planning.blocks import open_block, unpack_ref
from beam_export.samples import Failure
from beam_export.shards.writer import ReadySample
from beam_export.sources.patterns import parse_inputs
from beam_export.sources.reader import Reader
from beam_export.sources.tables.encoding import UTF8
from beam_export.verify.against_input import (
    ColumnDigests,
    Rules,
    SampleDigests,
    image_digest,
    members_of,
    other_codecs,
)
from beam_export.verify.unique_names import NameUse, failed_input, pack_uses

__all__ = ["Against", "InputNames", "ReadInputNames", "Reencode"]


class Against(NamedTuple):
    """The input that an export is compared with: `--input` and `--input_format` of the export."""

    input: str
    input_format: str


class Reencode(NamedTuple):
    """Options for encoding the input's images again.

    Attributes:
        encoder: that of the export.
        software: versions of the codecs that the export was made with; with others, images are
            not encoded.
        failed: ids that are not tried: the export lists them as failures.
    """

    encoder: Encoder
    software: Mapping[str, str]
    failed: frozenset[str]


class InputNames(NamedTuple):
    """Names in the input, by bucket; and codecs of other versions than the export's, in words."""

    uses: PCollection[tuple[int, bytes]]
    codecs: PCollection[str]


@dataclasses.dataclass
class ReadInputNames(beam.PTransform):
    """Reads the names and digests of all samples of an input.

    Attributes:
        against: the input.
        exclude: a directory to leave out: the export.
        options: of the export, as its manifest has them.
        columns: the metadata columns of the export.
        rules: how rows are compared with the input.
        reencode: how images are encoded again; None for not at all.
        name_count: about how many names there are.
        spills: where the members of compressed tars go.
        progress_address: address for `progress.report`.
    """

    against: Against
    exclude: str
    options: Mapping[str, Any]
    columns: pa.Schema
    rules: Rules
    reencode: Reencode | None
    name_count: int
    spills: Spills
    progress_address: str | None

    def expand(self, pbegin: beam.pvalue.PBegin) -> InputNames:
        # refs: [SampleRef, ...], a PCollection per kind of input; failures: Failure
        samples = pbegin | "ReadSamples" >> ReadSamples(
            patterns=parse_inputs(self.against.input),
            exclude=self.exclude,
            progress_address=self.progress_address,
            input_format=self.against.input_format,
            spills=self.spills,
            max_bytes=1 << 40,
            table_encoding=self.options.get("table_encoding", UTF8),
            columns=self.rules.choice,
        )
        order, seed = self.options.get("order"), self.options.get("seed")
        seed = seed if type(seed) is int else 0
        # blocks: packed refs; failures: Failure
        measured = (
            samples.refs
            | "PackRefs" >> AssignKeys("shuffled" if order == "shuffled" else "source", seed)
            | "MeasureImages" >> MeasureImages()
        )
        digest = _DigestBlock(
            columns=self.columns,
            rules=self.rules,
            reencode=self.reencode,
            name_count=self.name_count,
        )
        read = (
            measured.blocks  # packed refs
            | "SpreadRefs" >> beam.Reshuffle()
            | "DigestBlock"
            >> beam.ParDo(digest).with_outputs(
                "codecs",  # str
                main="uses",  # (bucket, packed NameUses)
            )
        )
        failures = (*samples.failures, *measured.failures) | "FailuresOfInput" >> beam.Flatten()
        # (bucket, packed NameUses)
        failed = failures | "FailedNames" >> beam.FlatMap(_pack_failed, self.name_count)
        return InputNames((read.uses, failed) | "NamesOfInput" >> beam.Flatten(), read.codecs)


def _pack_failed(failure: Failure, name_count: int) -> Iterator[tuple[int, bytes]]:
    return pack_uses([failed_input(Failure(*failure))], name_count)


class _DigestBlock(beam.DoFn):
    """Yields the names of a block of refs, with digests of what would be written of them."""

    def __init__(
        self, columns: pa.Schema, rules: Rules, reencode: Reencode | None, name_count: int
    ) -> None:
        self._columns, self._rules = columns, rules
        self._reencode, self._name_count = reencode, name_count

    def setup(self) -> None:
        self._columns_of = ColumnDigests(self._columns, self._rules)
        self._encoder: Encoder | None = None
        self._other_codecs = ""
        if self._reencode is not None:
            encoder, software, _ = self._reencode
            encoder.open()
            found = {**encoder.identity(), **codecs.installed(software)}
            self._other_codecs = other_codecs(found, software)
            self._encoder = None if self._other_codecs else encoder

    def teardown(self) -> None:
        if self._reencode is not None:
            self._reencode.encoder.close()

    def process(self, block: bytes) -> Iterator[Any]:
        uses: list[NameUse] = []
        refs = ((unpack_ref(packed), "key") for packed in sorted(open_block(block).refs()))
        with Reader(1 << 40) as reader:
            loading = load_batches(refs, reader, self._encoder)
            with contextlib.closing(loading) as batches:
                for batch in batches:
                    uses.extend(self._names_of(batch))
        yield from pack_uses(uses, self._name_count)
        if self._other_codecs:
            yield TaggedOutput("codecs", self._other_codecs)

    def _names_of(self, batch: Sequence[LoadedSample | Failure]) -> Iterator[NameUse]:
        read = [one for one in batch if isinstance(one, LoadedSample)]
        values = self._columns_of.of_input([one.ref.metadata for one in read])
        for one, image, columns in zip(read, self._images(read), values, strict=True):
            digests = SampleDigests(
                order=one.ref.order.hex(),
                image=image,
                members=members_of((ext, _sha256(data)) for ext, data in self._fields(one)),
                columns=columns,
            )
            yield NameUse("input", one.ref.id, "", _source_sha256(one), digests)
        for failure in batch:
            if isinstance(failure, Failure):
                yield failed_input(failure)

    def _fields(self, one: LoadedSample) -> Iterator[tuple[str, bytes]]:
        """Yields the fields that travel; not those that are made anew of columns."""
        earlier = one.ref.earlier
        remade = earlier.json_member if self._rules.remade and earlier is not None else ""
        return ((ext, data) for ext, data in one.fields if ext != remade)

    def _images(self, read: Sequence[LoadedSample]) -> list[str]:
        """Returns what the images would be as stored; empty where that is not known."""
        if self._encoder is None or self._reencode is None:
            return [""] * len(read)
        tried = [one for one in read if one.ref.id not in self._reencode.failed]
        found = iter(encode_loaded(tried, self._encoder))
        sums = {
            at: _stored(next(found))
            for at, one in enumerate(read)
            if one.ref.id not in self._reencode.failed
        }
        return [sums.get(at, "") for at in range(len(read))]


def _stored(ready: ReadySample | Failure) -> str:
    # What cannot be stored now may have failed then too: only the failures can show that.
    if isinstance(ready, Failure):
        return ""
    image = ready.image
    sha256 = ready.sha256 or _sha256(image.data)
    return image_digest(
        sha256=sha256, encoding=image.encoding, width=image.width, height=image.height
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _source_sha256(one: LoadedSample) -> str:
    # Kept from the export that is the input, whose own bytes `verify` checks by it.
    earlier = one.ref.earlier
    return one.sha256 if earlier is None else earlier.source_sha256 or ""
