"""Verifies an export as a pipeline: one element a shard, then what all of them together tell."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import AsList, PCollection, TaggedOutput

from beam_export.pipeline.progress import report
from beam_export.pipeline.read_tars import Spills
from beam_export.pipeline.source_claims import Again, Against, InputClaims
from beam_export.pipeline.verify_names import SettleNames, by_bucket, one_claim
from beam_export.shards.output import Output
from beam_export.shards.parquet import PARQUET_ERRORS
from beam_export.sources.tar.exports import own_columns
from beam_export.verify.against_input import Rules, Span, rules_of
from beam_export.verify.dataset import Opened, read_file
from beam_export.verify.findings import CHECK_ACCESS, Fault, Findings, in_order, reason
from beam_export.verify.members import ImageCheck, origin_of
from beam_export.verify.shard import CheckedShard, ShardChecker
from beam_export.verify.totals import conclude
from beam_export.verify.unique_names import Claim, Tally

__all__ = ["VerifyExport"]


@dataclasses.dataclass
class VerifyExport(beam.PTransform):
    """Verifies an export of ours; gives `Findings`, as one JSON text.

    Attributes:
        output: where it lies.
        opened: what was found before the shards are read.
        images: how images are looked at, or None.
        against: the input, or None.
        again: how its images are encoded again, or None.
        spills: where the members of its compressed tars go.
        progress_address: address for `progress.report`.
    """

    output: Output
    opened: Opened
    images: ImageCheck | None
    against: Against | None
    again: Again | None
    spills: Spills
    progress_address: str | None

    def expand(self, pbegin: beam.pvalue.PBegin) -> PCollection[str]:
        opened = self.opened
        names = _expected_names(opened)
        shards = opened.shards or {}
        columns, rules = pa.schema([]), None
        if self.against is not None:
            columns = self._columns()
            origin = origin_of(opened.manifest, opened.run)
            rules = rules_of(opened.manifest, columns.names, origin)
        tasks = [(number, shards.get(number)) for number in opened.numbers]
        checked = (
            pbegin
            | "Shards" >> beam.Create(tasks)
            | "SpreadShards" >> beam.Reshuffle()
            | "CheckShard"
            >> beam.ParDo(
                _CheckShard(self.output, opened, self.images, self.progress_address, names, rules)
            ).with_outputs("claims", "faults", main="shards")
        )
        claims, others = checked.claims, pbegin | "NoOthers" >> beam.Create([], reshuffle=False)
        if rules is not None:
            given = pbegin | "Input" >> self._input(rules, columns, names)
            listed = pbegin | "Listed" >> beam.Create(_listed(opened, names))
            claims = (claims, given.claims, listed) | "AllClaims" >> beam.Flatten()
            others = given.others
        settled = claims | "Settle" >> SettleNames(rules, opened.names, _renamed(opened), names)
        faults = (checked.faults, settled.faults) | "AllFaults" >> beam.Flatten()
        return (
            pbegin
            | "Once" >> beam.Create([0])
            | "Conclude"
            >> beam.ParDo(
                _Conclude(
                    opened, rules is not None, self.images is not None, self.again is not None
                ),
                AsList(checked.shards),
                AsList(faults),
                AsList(settled.tallies),
                AsList(settled.spans),
                AsList(others),
            ).with_output_types(str)
        )

    def _columns(self) -> pa.Schema:
        """Returns the metadata columns, of the first shard that has any to show."""
        for number in self.opened.numbers:
            with (
                contextlib.suppress(*PARQUET_ERRORS),
                self.output.read(self.opened.names.parquet(number)) as source,
            ):
                columns = own_columns(pq.read_schema(source))
                if columns is not None:
                    return columns
        return pa.schema([])

    def _input(self, rules: Rules, columns: pa.Schema, names: int) -> InputClaims:
        assert self.against is not None
        manifest = self.opened.manifest
        return InputClaims(
            self.against,
            self.output.directory,
            manifest["options"] if manifest else {},
            columns,
            rules,
            self.again,
            names,
            self.spills,
            self.progress_address,
        )


class _Conclude(beam.DoFn):
    """Yields the findings, as JSON, once everything was looked at."""

    def __init__(self, opened: Opened, against: bool, decode: bool, again: bool) -> None:
        self._opened, self._against = opened, against
        self._decode, self._again = decode, again

    def process(
        self,
        _: int,
        shards: Sequence[CheckedShard],
        faults: Sequence[Fault],
        tallies: Sequence[Tally],
        spans: Sequence[Span],
        others: Sequence[str],
    ) -> Iterator[str]:
        opened = self._opened
        checked = [CheckedShard(*shard) for shard in shards]
        last = conclude(opened, checked, tallies if self._against else None, spans)
        columns = [shard.columns for shard in checked if shard.columns is not None]
        found = Findings(
            shards=len(checked),
            samples=sum(one["samples"] for one in columns),
            bytes=sum(one["bytes"] + one["parquet_bytes"] for one in columns),
            faults=in_order(Fault(*fault) for fault in (*opened.faults, *faults, *last)),
            unchecked=list(self._unchecked(sorted(set(others)))),
            notes=list(_differing(checked)),
        )
        yield found.to_json()

    def _unchecked(self, others: Sequence[str]) -> Iterator[str]:
        """Yields what could not be checked, or was not asked for and is easily thought to be."""
        if not self._opened.whole:
            yield "sums over the dataset: shards are missing"
        manifest = self._opened.manifest
        encoded = manifest["totals"].get("encoded") if manifest is not None else 0
        if not self._against or not encoded:
            return
        what = f"whether the {encoded} encoded images are what the input's become"
        if others:
            yield f"{what}: the codecs here are not those of the export ({'; '.join(others)})"
        elif not self._decode:
            yield f"{what}: --decode beside --against encodes them again"
        elif not self._again:
            yield f"{what}: what encoded them is not here"


def _differing(shards: Sequence[CheckedShard]) -> Iterator[str]:
    """Yields words on members that say otherwise than columns, where that is no fault."""
    count = sum(shard.differing for shard in shards)
    if count:
        first = min(shards, key=lambda shard: (not shard.differing, shard.number))
        yield (
            f"the .json of {count} samples says otherwise than their columns (the first, "
            f"{first.example}), and nothing tells that these were made of it; --against proves both"
        )


class _CheckShard(beam.DoFn):
    """Yields a `CheckedShard`, without its claims and faults, which go by themselves."""

    def __init__(
        self,
        output: Output,
        opened: Opened,
        images: ImageCheck | None,
        progress_address: str | None,
        names: int,
        rules: Rules | None,
    ) -> None:
        self._output, self._names, self._claimants = output, opened.names, names
        options = opened.manifest["options"] if opened.manifest else {}
        sequential = options.get("member_names") == "sequential"
        self._images, self._progress_address = images, progress_address
        origin = origin_of(opened.manifest, opened.run)
        self._checker = ShardChecker(opened.names, sequential, images, origin, rules)

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
        report(self._progress_address, counts)
        yield checked._replace(claims=[], faults=[])

    def _check(self, number: int, listed: dict[str, Any] | None) -> CheckedShard | Fault:
        """Checks a shard; a file that is there and cannot be read is a fault."""
        name = self._names.parquet(number)
        try:
            stated = (listed or {}).get("parquet_bytes")
            with self._output.read(name) as source:
                table = read_file(source, name, stated if type(stated) is int else None)
            name = self._names.tar(number)
            with self._output.read(name) as tar:
                return self._checker.check(number, tar, table, listed)
        except OSError as error:
            return Fault(name, "", f"it cannot be read ({reason(error)})", CHECK_ACCESS)


def _listed(opened: Opened, names: int) -> list[tuple[int, bytes]]:
    """Returns the claims of the failures that the export lists."""
    return [
        one_claim(Claim("listed", row["image_id"] or "", opened.names.failures), names)
        for row in opened.failures
    ]


def _expected_names(opened: Opened) -> int:
    """Returns how many names there are, about: two a sample, and another with the input's."""
    rows = (opened.shards or {}).values()
    samples = sum(row["samples"] for row in rows if isinstance(row["samples"], int))
    return 3 * max(0, samples)


def _renamed(opened: Opened) -> bool:
    options = opened.manifest["options"] if opened.manifest else {}
    return bool(options.get("duplicates") == "rename")
