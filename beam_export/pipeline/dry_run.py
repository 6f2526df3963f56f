"""DryRun: makes the plan of an export and counts what would be copied and encoded."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, PCollection

from beam_export.options import ExportOptions
from beam_export.pipeline import progress
from beam_export.pipeline.plan_shards import AssignKeys, OnPlan, PlanShards
from beam_export.pipeline.read_samples import ReadSamples
from beam_export.pipeline.select_samples import ChooseSamples
from beam_export.planning.blocks import open_block, unpack_ref
from beam_export.planning.duplicates import open_decisions
from beam_export.planning.join import Tally
from beam_export.planning.plan import open_plan
from beam_export.planning.preflight import check_columns
from beam_export.sources.overlap import refuse_overlap
from beam_export.sources.patterns import parse_inputs

__all__ = ["DryRun"]


@dataclasses.dataclass
class DryRun(beam.PTransform):
    """Makes the plan and reports it; writes nothing.

    Attributes:
        input: as `--input`.
        options: of the export.
        progress_address: where the plan and the counts are reported to; None if nobody listens.
    """

    input: str
    options: ExportOptions
    progress_address: str | None

    def expand(self, pbegin: beam.pvalue.PBegin) -> PCollection[None]:
        patterns = parse_inputs(self.input)
        refuse_overlap(patterns, self.options.output_dir)
        check_columns(patterns, self.options)
        samples = pbegin | "ReadSamples" >> ReadSamples(
            patterns, self.options.output_dir, input_format=self.options.input_format
        )
        blocks = samples.refs | "AssignKeys" >> AssignKeys(self.options.order, self.options.seed)
        chosen = blocks | "ChooseSamples" >> ChooseSamples(
            options=self.options, threads=1, schema=None, columns=samples.columns
        )
        blocks = chosen.blocks
        early = (samples.failures, chosen.source_failures, chosen.probe_failures)
        failures = early | "Failures" >> beam.Flatten()
        planned = blocks | "PlanShards" >> PlanShards(
            options=self.options,
            name=None,
            on_plan=OnPlan(None, self.progress_address),
            failures=failures,
        )
        return (
            blocks
            | "Weigh"
            >> beam.FlatMap(
                _weigh,
                plan=AsSingleton(planned.plan),
                decisions=AsSingleton(planned.decisions),
                options=self.options,
            )
            # PCollection[tuple[str, int]]: name of a count, count.
            | "Sum" >> beam.CombinePerKey(sum)
            | "Sums" >> beam.combiners.ToDict()
            | "Report" >> beam.Map(_report, AsSingleton(chosen.tally), self.progress_address)
        )


def _report(sums: dict[str, int], tally: Tally, progress_address: str | None) -> None:
    progress.report(progress_address, {**sums, "filtered": tally.dropped})


def _weigh(
    block: bytes, plan: bytes, decisions: bytes, options: ExportOptions
) -> Iterator[tuple[str, int]]:
    shard_of, dropped = open_plan(plan).shard_of, open_decisions(decisions).dropped
    counts = collections.Counter({"copied": 0, "encoded": 0, "copied_bytes": 0, "encoded_bytes": 0})
    for packed in open_block(block).refs():
        if packed.order not in dropped and shard_of(packed.order) is not None:
            ref = unpack_ref(packed)
            what = "copied" if _looks_copied(ref.image.ext, options) else "encoded"
            counts[what] += 1
            counts[f"{what}_bytes"] += ref.size
    yield from counts.items()


def _looks_copied(ext: str, options: ExportOptions) -> bool:
    """Returns, by the suffix alone, whether an image would be copied."""
    jpeg = ext in ("jpg", "jpeg", "jpe", "jfif")
    return options.encode == "never" or (
        options.encode == "auto" and jpeg and not options.spec().resizes
    )
