"""Verifies shards made by other tools, one element per shard (`verify.foreign`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsList, PCollection, TaggedOutput

from beam_export.pipeline.progress import report
from beam_export.pipeline.verify_names import CheckNames
from beam_export.shards.output import Output
from beam_export.verify.findings import CHECK_ACCESS, Fault, reason
from beam_export.verify.foreign import ForeignShard, check_foreign, foreign_findings
from beam_export.verify.members import ImageCheck
from beam_export.verify.unique_names import pack_uses

__all__ = ["VerifyForeign"]

#: Names per shard, about: unknown before it is read.
_NAMES_PER_SHARD = 1000


@dataclasses.dataclass
class VerifyForeign(beam.PTransform):
    """Verifies shards made by other tools; gives `Findings`, as one JSON text.

    Attributes:
        output: the directory of the shards.
        shards: their files.
        images: decodes images; None without `--decode`.
        progress_address: address for `progress.report`.
    """

    output: Output
    shards: list[ForeignShard]
    images: ImageCheck | None
    progress_address: str | None

    def expand(self, pbegin: beam.pvalue.PBegin) -> PCollection[str]:
        name_count = _NAMES_PER_SHARD * len(self.shards)
        check = _CheckForeign(
            output=self.output,
            images=self.images,
            progress_address=self.progress_address,
            name_count=name_count,
        )
        checked = (
            pbegin
            | "Shards" >> beam.Create(self.shards)  # ForeignShard
            | "SpreadShards" >> beam.Reshuffle()
            | "CheckShard"
            >> beam.ParDo(check).with_outputs(
                "name_uses",  # (bucket, packed NameUses)
                "faults",  # Fault
                main="shards",  # (samples, [what could not be checked, ...])
            )
        )
        names = checked.name_uses | "CheckNames" >> CheckNames(
            rules=None, files=None, renamed=False, name_count=name_count
        )
        faults = (checked.faults, names.faults) | "AllFaults" >> beam.Flatten()
        return (
            pbegin
            | "Once" >> beam.Create([0])
            | "Conclude" >> beam.Map(_conclude, AsList(checked.shards), AsList(faults))  # JSON
        )


class _CheckForeign(beam.DoFn):
    """Yields (samples, what is unchecked) of a shard; names and faults go by themselves."""

    def __init__(
        self,
        output: Output,
        images: ImageCheck | None,
        progress_address: str | None,
        name_count: int,
    ) -> None:
        self._output, self._images = output, images
        self._progress_address, self._name_count = progress_address, name_count

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
                    checked = check_foreign(
                        shard=shard, tar=tar, table=table, stats=stats, images=self._images
                    )
            else:
                checked = check_foreign(shard=shard, tar=None, table=table, stats=stats)
        except OSError as error:
            problem = f"it cannot be read ({reason(error)})"
            yield TaggedOutput(
                "faults", Fault(file=name, member="", problem=problem, remedy=CHECK_ACCESS)
            )
            return
        for fault in checked.faults:
            yield TaggedOutput("faults", fault)
        for uses in pack_uses(checked.name_uses, self._name_count):
            yield TaggedOutput("name_uses", uses)
        report(self._progress_address, {"kept": checked.samples})
        yield checked.samples, checked.unchecked

    def _whole(self, name: str) -> bytes | None:
        if not name:
            return None
        with self._output.read(name) as source:
            return source.read()


def _conclude(_: int, shards: Sequence[tuple[int, list[str]]], faults: Sequence[Fault]) -> str:
    return foreign_findings(shards, [Fault(*fault) for fault in faults]).to_json()
