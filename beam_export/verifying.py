"""Verifies an export as a pipeline: one element a shard, then what all of them together tell."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import AsList, PCollection, TaggedOutput

from beam_export.blocks import open_block, unpack_ref
from beam_export.checks.dataset import Opened
from beam_export.checks.faults import Fault, in_order
from beam_export.checks.findings import Findings
from beam_export.checks.images import ImageCheck
from beam_export.checks.names import Claim, Tally
from beam_export.checks.shards import CheckedShard, ShardChecker
from beam_export.checks.sums import conclude
from beam_export.errors import SampleError
from beam_export.measuring import MeasureImages
from beam_export.patterns import parse_inputs
from beam_export.planning import AssignKeys
from beam_export.progress import tell
from beam_export.reading import Reader
from beam_export.samples import Failure, SampleRef
from beam_export.settling import UNREADABLE, SettleNames, by_bucket, one_claim, reason
from beam_export.sinks import Output
from beam_export.sources import ReadSamples
from beam_export.text import printable

__all__ = ["Against", "VerifyExport"]


class Against(NamedTuple):
    """The input that an export is to be held against: `--input` and `--input_format` of it."""

    input: str
    input_format: str


@dataclasses.dataclass
class VerifyExport(beam.PTransform):
    """Verifies an export of ours; gives `Findings`, as one JSON text.

    Attributes:
        output: where it lies.
        opened: what was found before the shards are read.
        images: how images are looked at, or None.
        against: the input, or None.
        watcher: address for `progress.tell`.
    """

    output: Output
    opened: Opened
    images: ImageCheck | None
    against: Against | None
    watcher: str | None

    def expand(self, pbegin: beam.pvalue.PBegin) -> PCollection[str]:
        opened = self.opened
        names = _expected_names(opened)
        shards = opened.shards or {}
        tasks = [(number, shards.get(number)) for number in opened.numbers]
        checked = (
            pbegin
            | "Shards" >> beam.Create(tasks)
            | "SpreadShards" >> beam.Reshuffle()
            | "CheckShard"
            >> beam.ParDo(
                _CheckShard(self.output, opened, self.images, self.watcher, names)
            ).with_outputs("claims", "faults", main="shards")
        )
        claims = checked.claims
        if self.against is not None:
            claims = (claims, *self._input(pbegin, names)) | "AllClaims" >> beam.Flatten()
        settled = claims | "Settle" >> SettleNames(
            self.against is not None, _renamed(opened), names
        )
        faults = (checked.faults, settled.faults) | "AllFaults" >> beam.Flatten()
        return (
            pbegin
            | "Once" >> beam.Create([0])
            | "Conclude"
            >> beam.ParDo(
                _Conclude(opened, self.against is not None),
                AsList(checked.shards),
                AsList(faults),
                AsList(settled.tallies),
            ).with_output_types(str)
        )

    def _input(
        self, pbegin: beam.pvalue.PBegin, names: int
    ) -> tuple[PCollection[tuple[int, bytes]], ...]:
        """Returns the claims of the input, and of the failures that the export lists."""
        assert self.against is not None
        samples = pbegin | "ReadSamples" >> ReadSamples(
            parse_inputs(self.against.input),
            self.output.directory,
            self.watcher,
            self.against.input_format,
        )
        measured = (
            samples.refs
            | "PackRefs" >> AssignKeys("source", 0)
            | "MeasureImages" >> MeasureImages()
        )
        read = (
            measured.blocks
            | "SpreadRefs" >> beam.Reshuffle()
            | "HashInput" >> beam.ParDo(_HashInput(names, self.watcher))
        )
        failures = (samples.failures, measured.failures) | "FailuresOfInput" >> beam.Flatten()
        lost = failures | "InputFailures" >> beam.Map(
            lambda failure: one_claim(Claim("input", Failure(*failure).image_id, ""), names)
        )
        file = self.opened.names.failures
        listed = [
            one_claim(Claim("listed", row["image_id"] or "", file), names)
            for row in self.opened.failures
        ]
        return read, lost, pbegin | "Listed" >> beam.Create(listed)


class _Conclude(beam.DoFn):
    """Yields the findings, as JSON, once everything was looked at."""

    def __init__(self, opened: Opened, against: bool) -> None:
        self._opened, self._against = opened, against

    def process(
        self,
        _: int,
        shards: Sequence[CheckedShard],
        faults: Sequence[Fault],
        tallies: Sequence[Tally],
    ) -> Iterator[str]:
        opened = self._opened
        checked = [CheckedShard(*shard) for shard in shards]
        last = conclude(opened, checked, tallies if self._against else None)
        columns = [shard.columns for shard in checked if shard.columns is not None]
        found = Findings(
            shards=len(checked),
            samples=sum(one["samples"] for one in columns),
            bytes=sum(one["bytes"] + one["parquet_bytes"] for one in columns),
            faults=in_order(Fault(*fault) for fault in (*opened.faults, *faults, *last)),
            unchecked=[] if opened.whole else ["sums over the dataset: shards are missing"],
        )
        yield found.to_json()


class _CheckShard(beam.DoFn):
    """Yields a `CheckedShard`, without its claims and faults, which go by themselves."""

    def __init__(
        self,
        output: Output,
        opened: Opened,
        images: ImageCheck | None,
        watcher: str | None,
        names: int,
    ) -> None:
        self._output, self._names, self._claimants = output, opened.names, names
        options = opened.manifest["options"] if opened.manifest else {}
        sequential = options.get("member_names") == "sequential"
        self._images, self._watcher = images, watcher
        self._checker = ShardChecker(opened.names, sequential, images)

    def setup(self) -> None:
        if self._images is not None:
            self._images.open()

    def process(self, task: tuple[int, dict[str, Any] | None]) -> Iterator[Any]:
        number, listed = task
        checked = self._check(number, listed)
        if isinstance(checked, Fault):
            yield TaggedOutput("faults", checked)
            return
        for fault in checked.faults:
            yield TaggedOutput("faults", fault)
        for packed in by_bucket(checked.claims, self._claimants):
            yield TaggedOutput("claims", packed)
        columns = checked.columns or {}
        counts = {"kept": columns.get("samples", 0), "bytes": columns.get("bytes", 0)}
        tell(self._watcher, counts)
        yield checked._replace(claims=[], faults=[])

    def _check(self, number: int, listed: dict[str, Any] | None) -> CheckedShard | Fault:
        """Checks a shard; a file that is there and cannot be read is a fault."""
        name = self._names.parquet(number)
        try:
            with self._output.read(name) as source:
                table = source.read()
            name = self._names.tar(number)
            with self._output.read(name) as tar:
                return self._checker.check(number, tar, table, listed)
        except OSError as error:
            return Fault(name, "", f"it cannot be read ({reason(error)})", UNREADABLE)


class _HashInput(beam.DoFn):
    """Yields the claims of a block of refs, with what their images' bytes are now."""

    def __init__(self, names: int, watcher: str | None) -> None:
        self._names, self._watcher = names, watcher

    def process(self, block: bytes) -> Iterator[tuple[int, bytes]]:
        claims = []
        with Reader(1 << 40) as reader:
            for ref in map(unpack_ref, open_block(block).refs()):
                claims.append(Claim("input", printable(ref.id), "", _sha256(ref, reader)))
        yield from by_bucket(claims, self._names)


def _sha256(ref: SampleRef, reader: Reader) -> str:
    if ref.earlier is not None:
        # Kept from the export that is the input, whose own bytes `verify` holds against it.
        return ref.earlier.source_sha256 or ""
    try:
        return hashlib.sha256(reader.read(ref.image)).hexdigest()
    except SampleError:
        # It must be among the failures, and has no bytes to compare.
        return ""


def _expected_names(opened: Opened) -> int:
    """Returns how many names there are, about: two a sample, and another with the input's."""
    rows = (opened.shards or {}).values()
    samples = sum(row["samples"] for row in rows if isinstance(row["samples"], int))
    return 3 * max(0, samples)


def _renamed(opened: Opened) -> bool:
    options = opened.manifest["options"] if opened.manifest else {}
    return bool(options.get("duplicates") == "rename")
