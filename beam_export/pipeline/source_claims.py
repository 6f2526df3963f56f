"""What the input of an export says of itself: a claim a sample, to hold rows against.

The input is listed, read and, if images are decoded, encoded just as for an export; what would be
written is digested in place of written.
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

from beam_export.errors import RunError
from beam_export.images.encoder import Encoder
from beam_export.pipeline.measure_images import MeasureImages
from beam_export.pipeline.plan_shards import AssignKeys
from beam_export.pipeline.prefetch import Loaded, encode_loaded, load
from beam_export.pipeline.read_samples import ReadSamples
from beam_export.pipeline.read_tars import Spills
from beam_export.pipeline.verify_names import by_bucket, one_claim
from beam_export.planning.blocks import open_block, unpack_ref
from beam_export.samples import SOURCE_CHANGED, Failure
from beam_export.shards.writer import ReadySample
from beam_export.sources.patterns import parse_inputs
from beam_export.sources.reader import Reader
from beam_export.text import printable
from beam_export.verify.against_input import Proof, Rules, Values, image_of, members_of
from beam_export.verify.unique_names import Claim

__all__ = ["Again", "Against", "InputClaims", "SourceClaims"]


class Against(NamedTuple):
    """The input that an export is to be held against: `--input` and `--input_format` of it."""

    input: str
    input_format: str


class Again(NamedTuple):
    """How images are encoded again.

    Attributes:
        encoder: that of the export.
        software: versions of the codecs that the export was made with; with others, images are
            not encoded.
        failed: ids that are not tried: the export lists them as failures.
    """

    encoder: Encoder
    software: Mapping[str, str]
    failed: frozenset[str]


class SourceClaims(NamedTuple):
    """Claims of the input, by bucket; and the versions of codecs that were others, in words."""

    claims: PCollection[tuple[int, bytes]]
    others: PCollection[str]


@dataclasses.dataclass
class InputClaims(beam.PTransform):
    """Claims all samples of an input.

    Attributes:
        against: the input.
        exclude: a directory to leave out: the export.
        options: of the export, as its manifest has them.
        columns: the metadata columns of the export.
        rules: how the export is held against its input.
        again: how images are encoded again; None for not at all.
        names: how many names there are, about.
        spills: where the members of compressed tars go.
        progress_address: address for `progress.report`.
    """

    against: Against
    exclude: str
    options: Mapping[str, Any]
    columns: pa.Schema
    rules: Rules
    again: Again | None
    names: int
    spills: Spills
    progress_address: str | None

    def expand(self, pbegin: beam.pvalue.PBegin) -> SourceClaims:
        samples = pbegin | "ReadSamples" >> ReadSamples(
            parse_inputs(self.against.input),
            self.exclude,
            self.progress_address,
            self.against.input_format,
            self.spills,
            1 << 40,
        )
        order, seed = self.options.get("order"), self.options.get("seed")
        seed = seed if type(seed) is int else 0
        measured = (
            samples.refs
            | "PackRefs" >> AssignKeys("shuffled" if order == "shuffled" else "source", seed)
            | "MeasureImages" >> MeasureImages()
        )
        prove = _Prove(self.columns, self.rules, self.again, self.names)
        read = (
            measured.blocks
            | "SpreadRefs" >> beam.Reshuffle()
            | "ProveInput" >> beam.ParDo(prove).with_outputs("others", main="claims")
        )
        failures = (samples.failures, measured.failures) | "FailuresOfInput" >> beam.Flatten()
        names = self.names
        lost = failures | "InputFailures" >> beam.Map(
            lambda failure: one_claim(_lost(Failure(*failure)), names)
        )
        return SourceClaims((read.claims, lost) | "InputClaims" >> beam.Flatten(), read.others)


class _Prove(beam.DoFn):
    """Yields the claims of a block of refs, with what would be written of them."""

    def __init__(self, columns: pa.Schema, rules: Rules, again: Again | None, names: int) -> None:
        self._columns, self._rules, self._again, self._names = columns, rules, again, names

    def setup(self) -> None:
        self._values = Values(self._columns, self._rules)
        self._encoder: Encoder | None = None
        self._others = ""
        if self._again is not None:
            encoder, software, _ = self._again
            encoder.open()
            self._others = _others(encoder.identity(), software)
            self._encoder = None if self._others else encoder

    def teardown(self) -> None:
        if self._again is not None:
            self._again.encoder.close()

    def process(self, block: bytes) -> Iterator[Any]:
        claims: list[Claim] = []
        refs = ((unpack_ref(packed), "key") for packed in sorted(open_block(block).refs()))
        with Reader(1 << 40) as reader, contextlib.closing(load(refs, reader)) as batches:
            for batch in batches:
                claims.extend(self._claims(batch))
        yield from by_bucket(claims, self._names)
        if self._others:
            yield TaggedOutput("others", self._others)

    def _claims(self, batch: Sequence[Loaded | Failure]) -> Iterator[Claim]:
        read = [one for one in batch if isinstance(one, Loaded)]
        values = self._values.of_input([one.ref.metadata for one in read])
        for one, image, columns in zip(read, self._images(read), values, strict=True):
            proof = Proof(
                order=one.ref.order.hex(),
                image=image,
                members=members_of((ext, _sha256(data)) for ext, data in one.fields),
                columns=columns,
            )
            yield Claim("input", printable(one.ref.id), "", _source_sha256(one), proof)
        for failure in batch:
            if isinstance(failure, Failure):
                yield _lost(failure)

    def _images(self, read: Sequence[Loaded]) -> list[str]:
        """Returns what the images would be as stored; empty where that is not known."""
        if self._encoder is None or self._again is None:
            return [""] * len(read)
        tried = [one for one in read if printable(one.ref.id) not in self._again.failed]
        found = iter(encode_loaded(tried, self._encoder))
        sums = {
            at: _stored(next(found))
            for at, one in enumerate(read)
            if printable(one.ref.id) not in self._again.failed
        }
        return [sums.get(at, "") for at in range(len(read))]


def _lost(failure: Failure) -> Claim:
    """Returns the claim of what cannot be read: it must be among the failures, and has no bytes.

    Raises:
        RunError: if it changes at this moment, so that nothing can be said of it.
    """
    if failure.error == SOURCE_CHANGED:
        raise RunError(
            f"--against: {failure.original_path} has changed while it was read: wait until nobody "
            "writes to the input, and verify again."
        )
    return Claim("input", failure.image_id, "")


def _stored(ready: ReadySample | Failure) -> str:
    # What cannot be stored now may have failed then too: only the failures can tell.
    if isinstance(ready, Failure):
        return ""
    image = ready.image
    sha256 = ready.sha256 or _sha256(image.data)
    return image_of(sha256, image.encoding, image.width, image.height)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _source_sha256(one: Loaded) -> str:
    # Kept from the export that is the input, whose own bytes `verify` holds against it.
    earlier = one.ref.earlier
    return one.sha256 if earlier is None else earlier.source_sha256 or ""


def _others(found: Mapping[str, str], stated: Mapping[str, str]) -> str:
    """Returns the codecs that are not those of the export, in words."""
    other = [name for name in sorted(found) if found[name] != stated.get(name)]
    return ", ".join(f"{name} {found[name]}, not {stated.get(name)}" for name in other)
