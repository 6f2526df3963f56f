"""DryRun: makes the plan of an export and counts what would be copied and encoded."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsIter, AsSingleton, PCollection

from beam_export.images.heif import SUFFIXES, heif_versions
from beam_export.options import ExportOptions
from beam_export.pipeline import progress
from beam_export.pipeline.beam_utils import (
    CallOnce,
    CountedKinds,
    count_kinds,
    elements_of,
    merge_parts,
    sides_of,
)
from beam_export.pipeline.plan_shards import AssignKeys, OnPlan, PlanShards
from beam_export.pipeline.read_samples import ReadSamples
from beam_export.pipeline.select_samples import ChooseSamples
from beam_export.planning.blocks import open_block, unpack_ref
from beam_export.planning.duplicates import open_decisions
from beam_export.planning.join import Tally
from beam_export.planning.plan import open_plan, shard_finder
from beam_export.planning.preflight import check_columns, joins_folders
from beam_export.planning.steps import column_notes, lookup_steps, read_notes
from beam_export.shards.reasons import reasons
from beam_export.sources.contents import kinds_by_names
from beam_export.sources.lookup_files import lookup_files
from beam_export.sources.overlap import refuse_overlap
from beam_export.sources.patterns import parse_inputs
from beam_export.text import cut

__all__ = ["DryRun"]

#: Examples of each count that are reported, and letters of one.
_EXAMPLES, _LETTERS = 3, 400
#: Kinds of files that are passed by and reported, the commonest first: a datagram again.
_KINDS = 100
#: Suffixes of JPEGs.
_JPEGS = frozenset({"jpg", "jpeg", "jpe", "jfif"})


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
        # refs: [SampleRef, ...], a PCollection per kind of input
        samples = pbegin | "ReadSamples" >> self._read()
        # packed refs
        blocks = samples.refs | "AssignKeys" >> AssignKeys(self.options.order, self.options.seed)
        # blocks: packed refs; columns: one serialized Arrow schema
        chosen = blocks | "ChooseSamples" >> ChooseSamples(
            options=self.options,
            threads=1,
            schema=None,
            columns=samples.columns,
            measured=samples.measured,
            folders=samples.folders,
        )
        blocks = chosen.blocks
        failures = (*samples.failures, *chosen.source_failures, *chosen.probe_failures)
        # plan, decisions: one packed value
        planned = blocks | "PlanShards" >> PlanShards(
            options=self.options,
            name=None,
            on_plan=OnPlan(None, self.progress_address),
            failures=failures,
            skipped=samples.skipped,
            classes=chosen.classes,
            splits=chosen.splits,
            columns=chosen.columns,
            names=chosen.names,
        )
        # (name of a count, count)
        sums = blocks | "Weigh" >> beam.FlatMap(
            _weigh,
            plan=AsSingleton(planned.plan),
            decisions=AsSingleton(planned.decisions),
            splits=None if chosen.splits is None else AsSingleton(chosen.splits),
            options=self.options,
        )
        return pbegin | "Report" >> CallOnce(
            None,
            _report,
            AsIter(sums),
            options=self.options,
            progress_address=self.progress_address,
            **sides_of("tallies", (*chosen.tallies, *samples.notes)),
            **sides_of("skipped", count_kinds(samples.skipped)),
            **sides_of("failures", failures),
        )

    def _read(self) -> ReadSamples:
        patterns = parse_inputs(self.input)
        refuse_overlap(patterns, self.options.output_dir)
        check_columns(patterns, self.options)
        return ReadSamples(
            patterns,
            self.options.output_dir,
            progress_address=self.progress_address,
            input_format=self.options.input_format,
            table_encoding=self.options.table_encoding,
            columns=self.options.columns,
            joins_folders=joins_folders(kinds_by_names(patterns), self.options),
            lookups=lookup_files(self.options),
        )


def _report(
    sums: Iterable[tuple[str, int]],
    options: ExportOptions,
    progress_address: str | None,
    **others: Iterable[Any],
) -> None:
    counts: collections.Counter[str] = collections.Counter()
    for name, count in sums:
        counts[name] += count
    tally = merge_parts(elements_of("tallies", others), Tally)
    skipped = merge_parts(elements_of("skipped", others), CountedKinds).counts
    shown = dict(skipped.most_common(_KINDS))
    notes = {
        "lookups": [_shortened(step) for step in lookup_steps(options, tally)],
        "read": _shortened({**read_notes(tally), **column_notes(tally)}),
        "skipped": shown,
        "failures": [cut(one, _LETTERS) for one in reasons(elements_of("failures", others))],
        "more_skipped": skipped.total() - sum(shown.values()),
    }
    facts = {**counts, "filtered": tally.dropped, **notes}
    progress.report(progress_address, facts, patience=progress.PATIENCE)


def _shortened(step: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a step with a few examples of each: a datagram has no room for many long ids."""
    return {
        name: [cut(one, _LETTERS) for one in found[:_EXAMPLES]]
        if isinstance(found, list)
        else found
        for name, found in step.items()
    }


def _weigh(
    block: bytes, plan: bytes, decisions: bytes, splits: bytes | None, options: ExportOptions
) -> Iterator[tuple[str, int]]:
    shard_of = shard_finder(open_plan(plan), splits)
    dropped, copied = open_decisions(decisions).dropped, _copied_suffixes(options)
    counts = collections.Counter({"copied": 0, "encoded": 0, "copied_bytes": 0, "encoded_bytes": 0})
    for packed in open_block(block).refs():
        if packed.order in dropped:
            counts["duplicate"] += 1
            continue
        if shard_of(packed) is None:
            counts["limited"] += 1
            continue
        ref = unpack_ref(packed)
        what = "copied" if copied is None or ref.image.ext in copied else "encoded"
        counts[what] += 1
        counts[f"{what}_bytes"] += ref.size
        if what == "encoded" and ref.image.ext in SUFFIXES and heif_versions() is None:
            counts["lacking_heif"] += 1
    yield from counts.items()


def _copied_suffixes(options: ExportOptions) -> frozenset[str] | None:
    """Returns the suffixes of the images that look as if they were copied; None for all."""
    if options.encode == "never":
        return None
    copies = options.encode == "auto" and not options.spec().resizes
    return _JPEGS if copies else frozenset()
