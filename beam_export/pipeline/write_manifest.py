"""The last step: tables, card, the run's own facts, and the manifest when all else stands."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import logging
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsList, AsSingleton, PCollection

from beam_export._version import __version__
from beam_export.errors import RunError
from beam_export.naming import ShardNames
from beam_export.pipeline import progress
from beam_export.pipeline.export_run import ExportRun
from beam_export.pipeline.plan_shards import Planned
from beam_export.planning.duplicates import open_decisions
from beam_export.planning.join import Tally
from beam_export.planning.plan import open_plan
from beam_export.planning.steps import processing_steps
from beam_export.samples import SOURCE_CHANGED, Failure
from beam_export.shards import manifest as manifests
from beam_export.shards.card import dataset_card
from beam_export.shards.leftovers import CARD, find_card
from beam_export.shards.manifest import Manifest, SealError, Totals, seal, unseal
from beam_export.shards.parquet import write_table
from beam_export.shards.writer import ShardResult

__all__ = ["WriteManifest"]

_LOG = logging.getLogger(__name__)
#: Failures of whole sources, whose samples nobody can count: of samples, no other stage has these.
_LOST_SOURCES = frozenset({("list", "BrokenSource"), ("list", SOURCE_CHANGED)})


@dataclasses.dataclass
class WriteManifest(beam.PTransform):
    """Adds the results up, checks the sums and the budget, and writes what comes last.

    Attributes:
        run: which export, where to, and with the encoder whose identity the manifest names.
        started: seconds since the epoch.
        planned: what planning found out.
        columns: metadata columns as a serialized Arrow schema, of one element.
        failures: samples that the sources know and could not give.
        probed: samples that failed when they were looked at before planning.
        skipped: files that are no samples, by what they are.
        tally: what tables matched, and what was left out before planning, of one element.
        from_json: whether the columns of all samples with a `.json` were made of its keys, of one
            element; None if they were not.
    """

    run: ExportRun
    started: float
    planned: Planned
    columns: PCollection[bytes]
    failures: PCollection[Failure]
    probed: PCollection[Failure]
    skipped: PCollection[str]
    tally: PCollection[Tally]
    from_json: PCollection[bool] | None

    def expand(self, results: PCollection[ShardResult]) -> PCollection[Manifest]:
        skipped = (
            self.skipped
            | "CountSkipped" >> beam.combiners.Count.PerElement()
            | "Skipped" >> beam.combiners.ToDict()
        )
        finish = _Finish(self.run, self.started)
        return (
            results
            | "ToOne" >> beam.Map(lambda result: (0, result))
            | "AllShards" >> beam.GroupByKey()
            | "Finish"
            >> beam.ParDo(
                finish,
                AsSingleton(self.planned.plan),
                AsSingleton(self.planned.decisions),
                AsSingleton(self.planned.sample_counts),
                AsSingleton(self.columns),
                AsList(self.failures),
                AsList(self.probed),
                AsSingleton(skipped),
                AsSingleton(self.tally),
                False if self.from_json is None else AsSingleton(self.from_json),
            ).with_output_types(Manifest)
        )


class _Finish(beam.DoFn):
    """Writes everything that is one a dataset."""

    def __init__(self, run: ExportRun, started: float) -> None:
        self._options, self._output, self._encoder = run.options, run.output, run.encoder
        self._progress_address, self._started = run.progress_address, started
        self._written = 0

    def process(
        self,
        group: tuple[int, Iterable[ShardResult]],
        plan: bytes,
        decisions: bytes,
        sample_counts: tuple[int, int],
        columns: bytes,
        listed: Sequence[Failure],
        probed: Sequence[Failure],
        skipped: Mapping[str, int],
        tally: Tally,
        from_json: bool,
    ) -> Iterator[Manifest]:
        results = sorted(ShardResult(*result) for result in group[1])
        self._written = 0
        settled = open_decisions(decisions)
        counted, ranked = sample_counts
        layout = open_plan(plan)
        early = len(listed), len(probed)
        sums = manifests.totals(
            results,
            sum(early),
            counted=counted,
            filtered=tally.dropped,
            duplicate=len(settled.dropped),
            limited=ranked - layout.total,
        )
        failures = [*listed, *probed, *(one for result in results for one in result.failures)]
        names = ShardNames(layout.hash)
        failures_sha256 = self._write_failures(names, failures)
        sums.check()
        # What has failed in shards is counted as they are written.
        for name, count in ("read", sums.read), ("failed", sum(early)):
            Metrics.counter("beam_export", f"{name}-samples").inc(count)
        self._check_sources(listed)
        sums.check_budget(self._options.max_failed_fraction)
        schema = pa.ipc.read_schema(pa.py_buffer(columns))
        manifest = Manifest(
            hash=layout.hash,
            options=self._options.shaping(),
            software=self._software(results),
            steps=processing_steps(
                self._options,
                sums,
                tally,
                skipped=skipped,
                unread=len(listed),
                probed=len(probed),
                renamed=len(settled.renamed),
                remarks=manifests.remarks(results),
            ),
            schema=manifests.describe_schema(schema),
            totals=sums,
            tables=[self._write_shards(names, results), *failures_sha256],
        )
        self._end(names, manifest, results, from_json)
        yield manifest

    def _end(
        self,
        names: ShardNames,
        manifest: Manifest,
        results: Sequence[ShardResult],
        from_json: bool,
    ) -> None:
        """Writes what comes last: the card, the manifest, and the run's own facts."""
        card, sums = dataset_card(manifest), manifest.totals
        digest = hashlib.sha256(card).hexdigest()
        new = self._write_card(card)
        self._put(names.manifest, manifest.to_json())
        kept = sum(one.kept for one in results)
        told = self._told_of_run(names)
        unknown = told is None or (new and told.get("card_sha256") != digest)
        # Of a run that has found everything as it would be there is nothing to tell.
        if unknown or kept < len(results):
            # The digest tells the card from one that somebody has edited.
            facts = {manifests.FROM_JSON: from_json, "card_sha256": digest}
            self._write_run(names, sums, results, facts)
        self._output.sweep()
        mended = self._written if kept == len(results) else 0
        counts = {"finished": 1, "kept_shards": kept, "mended_files": mended}
        progress.report(self._progress_address, {**dataclasses.asdict(sums), **counts})

    def _put(self, name: str, content: bytes) -> bool:
        written = self._output.put(name, content)
        self._written += written
        return written

    def _check_sources(self, listed: Sequence[Failure]) -> None:
        broken = [one for one in listed if (one.stage, one.error) in _LOST_SOURCES]
        if broken and not self._options.allow_broken_sources:
            raise RunError(
                f"{len(broken)} sources cannot be read to their end, the first is "
                f"{broken[0].original_path} ({broken[0].message}): mend them, or give "
                "--allow_broken_sources to do without what they hold."
            )

    def _write_failures(
        self, names: ShardNames, failures: Sequence[Failure]
    ) -> list[dict[str, str]]:
        if not failures:
            self._output.remove(names.failures)  # an earlier attempt may have had some
            return []
        table = manifests.failures_table(failures)
        return [{"name": names.failures, "sha256": self._write_table(names.failures, table)}]

    def _write_shards(self, names: ShardNames, results: Sequence[ShardResult]) -> dict[str, str]:
        table = manifests.shards_table(results, names)
        return {"name": names.shards, "sha256": self._write_table(names.shards, table)}

    def _write_table(self, name: str, table: pa.Table) -> str:
        buffer = io.BytesIO()
        write_table(buffer, table)
        self._put(name, buffer.getvalue())
        return hashlib.sha256(buffer.getvalue()).hexdigest()

    def _software(self, results: Sequence[ShardResult]) -> dict[str, str]:
        return {
            "beam_export": __version__,
            "pyarrow": pa.__version__,
            # Decides which samples there are, where it decides anything.
            **({"duckdb": version("duckdb")} if self._options.filter is not None else {}),
            **({"simplejpeg": version("simplejpeg")} if manifests.has_damage(results) else {}),
            **self._identity(results),
        }

    def _identity(self, results: Sequence[ShardResult]) -> dict[str, str]:
        """Returns the encoder's identity with the devices of those that encoded.

        This step may run where no GPU is. Workers with GPUs of several models are all named.
        """
        devices = sorted({result.device for result in results})
        return {**self._encoder.identity(), "device": ", ".join(devices)}

    def _told_of_run(self, names: ShardNames) -> dict[str, Any] | None:
        """Returns the facts of the run that has written the shards; None if they are not whole."""
        try:
            with self._output.read(names.run) as source:
                return unseal(source.read())
        except (OSError, SealError):
            return None

    def _write_card(self, card: bytes) -> bool:
        """Writes the dataset card, unless a README stands there that is to be kept.

        Returns whether the card is there now, and was not there before as one of this tool's.
        """
        if find_card(self._output) != "kept":
            return self._put(CARD, card)
        if self._output.holds(CARD, card):
            return True
        _LOG.warning("%s is not this tool's, or was edited: it is kept", self._output.path(CARD))
        return False

    def _write_run(
        self,
        names: ShardNames,
        sums: Totals,
        results: Sequence[ShardResult],
        more: Mapping[str, Any],
    ) -> None:
        seconds = time.time() - self._started
        facts = {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
            "seconds": round(seconds, 3),
            "host": platform.node(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "images_per_second": round(sums.written / seconds, 1) if seconds > 0 else None,
            **more,
            **self._identity(results),
        }
        with self._output.writing(names.run) as target:
            target.write(seal(facts))
        self._written += 1
