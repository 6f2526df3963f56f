"""WriteManifest: checks the sums of an export, then writes its tables, card and manifest, last."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsList, AsSingleton, PCollection

from beam_export.naming import ShardNames
from beam_export.pipeline import progress
from beam_export.pipeline.export_run import ExportRun
from beam_export.pipeline.plan_shards import Planned
from beam_export.planning.duplicates import open_decisions
from beam_export.planning.join import Tally
from beam_export.planning.outcome import Outcome, check_sources, make_manifest, name_devices
from beam_export.planning.plan import open_plan
from beam_export.samples import Failure
from beam_export.shards.manifest import Manifest
from beam_export.shards.meta_files import MetaFiles
from beam_export.shards.writer import ShardResult

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
        tally: what tables matched, and what was left out before planning, of one element.
        from_json: whether the columns of all samples with a `.json` were made of its keys, of one
            element; None if they were not.
    """

    run: ExportRun
    started: float
    planned: Planned
    columns: PCollection[bytes]
    source_failures: PCollection[Failure]
    probe_failures: PCollection[Failure]
    skipped: PCollection[str]
    tally: PCollection[Tally]
    from_json: PCollection[bool] | None

    def expand(self, results: PCollection[ShardResult]) -> PCollection[Manifest]:
        # PCollection[dict[str, int]], of one element: files by what they are.
        skipped = (
            self.skipped
            | "CountSkipped" >> beam.combiners.Count.PerElement()
            | "Skipped" >> beam.combiners.ToDict()
        )
        finish = beam.ParDo(
            _Finish(self.run, self.started),
            plan=AsSingleton(self.planned.plan),
            decisions=AsSingleton(self.planned.decisions),
            sample_counts=AsSingleton(self.planned.sample_counts),
            columns=AsSingleton(self.columns),
            source_failures=AsList(self.source_failures),
            probe_failures=AsList(self.probe_failures),
            skipped=AsSingleton(skipped),
            tally=AsSingleton(self.tally),
            from_json=False if self.from_json is None else AsSingleton(self.from_json),
        )
        return (
            results
            | "ToOne" >> beam.Map(lambda result: (0, result))
            # PCollection[tuple[int, Iterable[ShardResult]]], of one element: 0, all results.
            | "AllShards" >> beam.GroupByKey()
            | "Finish" >> finish.with_output_types(Manifest)
        )


class _Finish(beam.DoFn):
    """Yields the manifest, of an element with all results, once everything is written."""

    def __init__(self, run: ExportRun, started: float) -> None:
        self._run, self._started = run, started

    def process(
        self,
        group: tuple[int, Iterable[ShardResult]],
        plan: bytes,
        decisions: bytes,
        sample_counts: tuple[int, int],
        columns: bytes,
        source_failures: Sequence[Failure],
        probe_failures: Sequence[Failure],
        skipped: Mapping[str, int],
        tally: Tally,
        from_json: bool,
    ) -> Iterator[Manifest]:
        counted, ranked = sample_counts
        outcome = Outcome(
            results=sorted(ShardResult(*result) for result in group[1]),
            layout=open_plan(plan),
            decisions=open_decisions(decisions),
            counted=counted,
            ranked=ranked,
            source_failures=source_failures,
            probe_failures=probe_failures,
            skipped=skipped,
            tally=tally,
        )
        schema = pa.ipc.read_schema(pa.py_buffer(columns))
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
        RunError: if samples are lost or counted twice, a source is broken, or too many failed. The
            failures are listed then, and nothing else is.
    """
    results = outcome.results
    files = MetaFiles(run.output, ShardNames(outcome.layout.hash))
    failures = files.put_failures(outcome.failures)
    totals = outcome.totals()
    totals.check()
    # What has failed in shards is counted as they are written.
    for name, count in ("read", totals.read), ("failed", outcome.early):
        Metrics.counter("beam_export", f"{name}-samples").inc(count)
    check_sources(outcome.source_failures, allow_broken=run.options.allow_broken_sources)
    totals.check_budget(run.options.max_failed_fraction)
    identity = name_devices(run.encoder.identity(), results)
    manifest = make_manifest(
        outcome,
        run.options,
        identity=identity,
        columns=columns,
        tables=[files.put_shards(results), *failures],
    )
    kept = sum(one.kept for one in results)
    files.put_last(
        manifest,
        identity=identity,
        from_json=from_json,
        started=started,
        unchanged=kept == len(results),
    )
    run.output.sweep()
    mended = files.written if kept == len(results) else 0
    counts = {"finished": 1, "kept_shards": kept, "mended_files": mended}
    progress.report(run.progress_address, {**dataclasses.asdict(totals), **counts})
    return manifest
