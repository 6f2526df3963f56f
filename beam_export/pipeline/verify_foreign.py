"""Verifies shards that others made as a pipeline, one element a shard."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsList, PCollection, TaggedOutput

from beam_export.pipeline.progress import report
from beam_export.pipeline.verify_names import SettleNames, by_bucket
from beam_export.shards.output import Output
from beam_export.verify.findings import CHECK_ACCESS, Fault, Findings, in_order, reason
from beam_export.verify.foreign import UNCHECKED, ForeignShard, check_foreign
from beam_export.verify.members import ImageCheck

__all__ = ["VerifyForeign"]


@dataclasses.dataclass
class VerifyForeign(beam.PTransform):
    """Verifies shards that others made; gives `Findings`, as one JSON text.

    Attributes:
        output: where they lie.
        shards: their files.
        images: how images are looked at, or None.
        progress_address: address for `progress.report`.
    """

    output: Output
    shards: list[ForeignShard]
    images: ImageCheck | None
    progress_address: str | None

    def expand(self, pbegin: beam.pvalue.PBegin) -> PCollection[str]:
        names = 1000 * len(self.shards)
        checked = (
            pbegin
            | "Shards" >> beam.Create(self.shards)
            | "SpreadShards" >> beam.Reshuffle()
            | "CheckShard"
            >> beam.ParDo(
                _CheckForeign(self.output, self.images, self.progress_address, names)
            ).with_outputs("claims", "faults", main="shards")
        )
        settled = checked.claims | "Settle" >> SettleNames(None, None, False, names)
        faults = (checked.faults, settled.faults) | "AllFaults" >> beam.Flatten()
        return (
            pbegin
            | "Once" >> beam.Create([0])
            | "Conclude" >> beam.Map(_conclude_foreign, AsList(checked.shards), AsList(faults))
        )


class _CheckForeign(beam.DoFn):
    """Yields samples and what is unchecked of a shard; claims and faults go by themselves."""

    def __init__(
        self, output: Output, images: ImageCheck | None, progress_address: str | None, names: int
    ) -> None:
        self._output, self._images = output, images
        self._progress_address, self._names = progress_address, names

    def setup(self) -> None:
        if self._images is not None:
            self._images.open()

    def process(self, shard: ForeignShard) -> Iterator[Any]:
        shard = ForeignShard(*shard)
        name = shard.parquet
        try:
            table = self._whole(shard.parquet)
            name = shard.stats
            stats = self._whole(shard.stats)
            name = shard.tar
            if name:
                with self._output.read(name) as tar:
                    checked = check_foreign(shard, tar, table, stats, self._images)
            else:
                checked = check_foreign(shard, None, table, stats)
        except OSError as error:
            problem = f"it cannot be read ({reason(error)})"
            yield TaggedOutput("faults", Fault(name, "", problem, CHECK_ACCESS))
            return
        for fault in checked.faults:
            yield TaggedOutput("faults", fault)
        for packed in by_bucket(checked.claims, self._names):
            yield TaggedOutput("claims", packed)
        report(self._progress_address, {"kept": checked.samples})
        yield checked.samples, checked.unchecked

    def _whole(self, name: str) -> bytes | None:
        if not name:
            return None
        with self._output.read(name) as source:
            return source.read()


def _conclude_foreign(_: int, shards: list[tuple[int, list[str]]], faults: list[Fault]) -> str:
    unchecked = {words for _, found in shards for words in found}
    found = Findings(
        shards=len(shards),
        samples=sum(samples for samples, _ in shards),
        bytes=None,
        faults=in_order(Fault(*fault) for fault in faults),
        unchecked=[*UNCHECKED, *sorted(unchecked)],
    )
    return found.to_json()
