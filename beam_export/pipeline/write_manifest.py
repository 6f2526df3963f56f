"""WriteManifest: checks the sums of an export, then writes its tables, card and manifest, last."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsDict, AsSingleton, PCollection

from beam_export.errors import RunError
from beam_export.naming import ShardNames
from beam_export.pipeline import progress
from beam_export.pipeline.announce import announced
from beam_export.pipeline.beam_utils import (
    AnySides,
    CountedKinds,
    count_kinds,
    elements_of,
    merge_parts,
    sides_of,
)
from beam_export.pipeline.export_run import ExportRun
from beam_export.pipeline.plan_shards import Planned
from beam_export.planning.duplicates import open_decisions
from beam_export.planning.join import Tally
from beam_export.planning.members import MemberRules
from beam_export.planning.outcome import Outcome, check_outcome, make_manifest, name_devices
from beam_export.planning.plan import count_samples, open_plan
from beam_export.planning.steps import column_notes
from beam_export.samples import Failure
from beam_export.shards.manifest import Manifest, lacks
from beam_export.shards.meta_files import MetaFiles
from beam_export.shards.writer import ShardResult, indexed_shards

__all__ = ["WriteManifest", "write_manifest"]


@dataclasses.dataclass
class WriteManifest(beam.PTransform):
    """Adds the results up, checks the sums and the budget, and writes what comes last.

    Attributes:
        run: which export, where to, and with the encoder whose identity the manifest names.
        started: seconds since the epoch.
        planned: what planning found out.
        columns: metadata columns as a serialized Arrow schema, of one element.
        source_failures: samples that their sources list and could not give.
        probe_failures: samples that failed under `--probe`.
        skipped: files that are no samples, by what they are.
        tallies: what tables matched, and what was left out before planning.
        companions: an element per tar whose columns were not made of the keys of `.json`; None if
            no columns were.
    """

    run: ExportRun
    started: float
    planned: Planned
    columns: PCollection[bytes]
    source_failures: Sequence[PCollection[Failure]]
    probe_failures: Sequence[PCollection[Failure]]
    skipped: Sequence[PCollection[str]]
    tallies: Sequence[PCollection[Tally]]
    companions: Sequence[PCollection[bool]] | None

    def expand(self, results: PCollection[ShardResult]) -> PCollection[Manifest]:
        # CountedKinds, one per bundle: files by what they are
        skipped = count_kinds(self.skipped)
        rules = self.planned.rules
        finish = beam.ParDo(
            _Finish(self.run, self.started, self.companions is not None),
            plan=AsSingleton(self.planned.plan),
            decisions=AsSingleton(self.planned.decisions),
            sample=AsSingleton(self.planned.sample),
            counts=AsDict(self.planned.counts),
            columns=AsSingleton(self.columns),
            rules=None if rules is None else AsSingleton(rules),
            **sides_of("source_failures", self.source_failures),
            **sides_of("probe_failures", self.probe_failures),
            **sides_of("skipped", skipped),
            **sides_of("tallies", self.tallies),
            **sides_of("companions", self.companions or ()),
        )
        return (
            results
            | "ToOne" >> beam.Map(lambda result: (0, result))
            # one (0, [ShardResult, ...])
            | "AllShards" >> beam.GroupByKey()
            # one Manifest
            | "Finish" >> finish.with_output_types(Manifest)
        )


class _Finish(AnySides):
    """Yields the manifest, of an element with all results, once everything is written."""

    def __init__(self, run: ExportRun, started: float, reads_json: bool) -> None:
        self._run, self._started, self._reads_json = run, started, reads_json

    def process(
        self,
        group: tuple[int, Iterable[ShardResult]],
        plan: bytes,
        decisions: bytes,
        sample: bytes,
        counts: dict[int, int],
        columns: bytes,
        rules: bytes | None,
        **others: Iterable[Any],
    ) -> Iterator[Manifest]:
        counted, ranked = count_samples(counts, sample)
        outcome = Outcome(
            results=sorted(map(ShardResult.of, group[1]), key=lambda result: result.number),
            layout=open_plan(plan),
            decisions=open_decisions(decisions),
            counted=counted,
            ranked=ranked,
            source_failures=elements_of("source_failures", others),
            probe_failures=elements_of("probe_failures", others),
            skipped=merge_parts(elements_of("skipped", others), CountedKinds).counts,
            tally=merge_parts(elements_of("tallies", others), Tally),
            rules=MemberRules.unpack(rules),
        )
        schema = pa.ipc.read_schema(pa.py_buffer(columns))
        from_json = self._reads_json and not elements_of("companions", others)
        yield write_manifest(
            self._run, outcome, columns=schema, from_json=from_json, started=self._started
        )


def write_manifest(
    run: ExportRun, outcome: Outcome, *, columns: pa.Schema, from_json: bool, started: float
) -> Manifest:
    """Checks an export and writes what exists once per dataset; returns the manifest.

    Args:
        run: which export, and where to.
        outcome: what the steps have found out and done.
        columns: metadata columns of the dataset.
        from_json: whether the columns of all samples with a `.json` were made of its keys.
        started: seconds since the epoch.

    Raises:
        RunError: if samples are lost or counted twice, a source is broken, a shard has no image, or
            too many failed. The failures are listed then, and nothing else is.
    """
    results = outcome.results
    files = MetaFiles(run.output, ShardNames(outcome.layout.hash))
    totals = outcome.totals()
    # What has failed in shards is counted as they are written.
    for name, count in ("read", totals.read), ("failed", outcome.early):
        Metrics.counter("beam_export", f"{name}-samples").inc(count)
    try:
        totals.check()
        check_outcome(outcome, run.options, lambda: files.list_failures(outcome.failures))
    except RunError as error:
        files.list_failures(outcome.failures)
        # In a pipeline of a user's own nobody else says it above Beam's traceback.
        raise (announced(error) if run.progress_address is None else error) from None
    identity = name_devices(run.encoder.identity(), results)
    failures = files.put_failures(outcome.failures)
    shards = files.put_shards(results)
    table, indexes = files.put_indexes(indexed_shards(results), outcome.splits())
    manifest = make_manifest(
        outcome,
        run.options,
        identity=identity,
        columns=columns,
        tables=[shards, *failures, *table],
        indexes=indexes,
    )
    kept = sum(one.kept for one in results)
    files.put_last(
        manifest,
        identity=identity,
        from_json=from_json,
        lacks=lacks(results),
        members=outcome.member_steps(run.options.ragged_fields),
        notes=column_notes(outcome.tally),
        hub=outcome.hub_members(columns),
        started=started,
        unchanged=kept == len(results),
    )
    run.output.sweep()
    mended = files.written if kept == len(results) else 0
    counts = {"finished": 1, "kept_shards": kept, "mended_files": mended}
    progress.report(run.progress_address, {**dataclasses.asdict(totals), **counts})
    return manifest
