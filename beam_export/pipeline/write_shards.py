"""WriteEachShard: reads, encodes and writes each shard in one loop, or finds it finished."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsSingleton, PCollection

from beam_export.errors import RunError
from beam_export.naming import ShardNames
from beam_export.pipeline.export_run import ExportRun
from beam_export.pipeline.prefetch import load_and_encode
from beam_export.pipeline.progress import report
from beam_export.pipeline.resources import count_ways, on_gpu_workers
from beam_export.planning.blocks import merged, unpack_ref
from beam_export.planning.duplicates import open_decisions
from beam_export.planning.plan import Plan, open_plan
from beam_export.planning.shard import keyed_refs, shard_digest, spilled_content, weigh
from beam_export.samples import Failure, SampleRef
from beam_export.shards.publish import publish_shard
from beam_export.shards.resume import FinishedShards, find_finished
from beam_export.shards.writer import ReadySample, ShardResult
from beam_export.sources.reader import Reader

__all__ = ["WriteEachShard", "write_or_find_shard"]

_LOG = logging.getLogger(__name__)

#: Seconds between two reports of progress.
_REPORT_EVERY = 0.2


@dataclasses.dataclass
class WriteEachShard(beam.PTransform):
    """Writes one shard per element, or finds it finished; gives its `ShardResult`.

    Attributes:
        run: which export, and where to.
        plan: packed `Plan`, of one element.
        decisions: packed `Decisions`, of one element.
        columns: metadata columns as a serialized Arrow schema, of one element.
        finished: packed `FinishedShards`, of one element.
    """

    run: ExportRun
    plan: PCollection[bytes]
    decisions: PCollection[bytes]
    columns: PCollection[bytes]
    finished: PCollection[bytes]

    def expand(self, groups: PCollection[tuple[int, list[bytes]]]) -> PCollection[ShardResult]:
        write = beam.ParDo(
            _WriteShard(self.run),
            plan=AsSingleton(self.plan),
            decisions=AsSingleton(self.decisions),
            columns=AsSingleton(self.columns),
            finished=AsSingleton(self.finished),
        ).with_output_types(ShardResult)
        return groups | "WriteShard" >> on_gpu_workers(write, self.run.options, groups.pipeline)


class _WriteShard(beam.DoFn):
    """Yields the result of the shard that an element holds: (number, packed blocks of its refs)."""

    def __init__(self, run: ExportRun) -> None:
        self._run = run

    def setup(self) -> None:
        self._run.encoder.open()

    def teardown(self) -> None:
        self._run.encoder.close()

    def process(
        self,
        group: tuple[int, Iterable[bytes]],
        plan: bytes,
        decisions: bytes,
        columns: bytes,
        finished: bytes,
    ) -> Iterator[ShardResult]:
        number, blocks = group
        result = write_or_find_shard(
            self._run,
            number,
            list(blocks),
            layout=open_plan(plan),
            renamed=open_decisions(decisions).renamed,
            columns=columns,
            finished=_open_finished(finished),
        )
        _count(result)
        count_ways(self._run.encoder)
        yield result


@functools.lru_cache(maxsize=2)
def _open_finished(packed: bytes) -> FinishedShards:
    return FinishedShards.unpack(packed)


def write_or_find_shard(
    run: ExportRun,
    number: int,
    blocks: Sequence[bytes],
    *,
    layout: Plan,
    renamed: Mapping[bytes, str],
    columns: bytes,
    finished: FinishedShards,
) -> ShardResult:
    """Returns the result of a shard: found finished in the output, else written.

    Args:
        run: which export, and where to; its encoder is open.
        number: the shard's number.
        blocks: packed refs of all of the shard's samples, in any order.
        layout: of the dataset.
        renamed: new ids by order key.
        columns: metadata columns as a serialized Arrow schema.
        finished: what stood in the output when the plan was made.

    Raises:
        RunError: if the refs are not those that were planned, or every sample fails.
    """
    count, digest = weigh(blocks)
    if not layout.agrees(number, count, digest):
        raise RunError(
            f"shard {number} was planned with {layout.count(number)} samples and other refs "
            f"than the {count} that came: the input has changed while it was read; run "
            "again."
        )
    names = ShardNames(layout.hash)
    plan = shard_digest(
        number,
        count,
        digest,
        identity=run.encoder.identity(),
        options=run.options.digest(),
        content=columns + spilled_content(merged(blocks), run.output.workspace),
    )
    result = find_finished(
        run.output,
        names,
        number=number,
        plan=plan,
        count=count,
        refs=map(unpack_ref, merged(blocks)),
        finished=finished,
    )
    if result is None:
        keyed = keyed_refs(
            merged(blocks),
            start=layout.starts[number],
            renamed=renamed,
            sequential=run.options.member_names == "sequential",
        )
        result = _write(run, keyed, number=number, names=names, columns=columns, plan=plan)
        if finished.includes(number):
            report(run.progress_address, {"mended_shards": 1})
    _report_shard(run, result)
    return result._replace(device=run.encoder.identity()["device"])


def _write(
    run: ExportRun,
    keyed: Iterator[tuple[SampleRef, str]],
    *,
    number: int,
    names: ShardNames,
    columns: bytes,
    plan: str,
) -> ShardResult:
    with (
        run.cores.at_work() if run.cores else contextlib.nullcontext(),
        Reader(run.options.max_image_bytes) as reader,
    ):
        return publish_shard(
            _reported(load_and_encode(keyed, reader, run.encoder), run.progress_address),
            run.output,
            number=number,
            names=names,
            columns=pa.ipc.read_schema(pa.py_buffer(columns)),
            plan=plan,
        )


def _reported(
    samples: Iterator[ReadySample | Failure], progress_address: str | None
) -> Iterator[ReadySample | Failure]:
    """Passes samples on, and reports how many there were every now and then."""
    counts: collections.Counter[str] = collections.Counter()
    reported = time.monotonic()
    for sample in samples:
        if isinstance(sample, Failure):
            counts["failed"] += 1
        else:
            counts[sample.image.encoding] += 1
            counts["bytes"] += len(sample.image.data)
        if time.monotonic() - reported > _REPORT_EVERY:
            report(progress_address, counts)
            counts.clear()
            reported = time.monotonic()
        yield sample
    report(progress_address, counts)


def _report_shard(run: ExportRun, result: ShardResult) -> None:
    """Reports a finished shard, to the log if nobody listens."""
    if result.kept:
        report(run.progress_address, {"kept": result.samples + len(result.failures)})
    if not run.options.verbose:
        return
    if run.progress_address is None:
        found = ", finished before" if result.kept else ""
        _LOG.info("shard %06d: %d images%s", result.number, result.samples, found)
        return
    report(
        run.progress_address,
        {
            "shard": result.number,
            "samples": result.samples,
            "size": result.bytes,
            "found": int(result.kept),
        },
    )


def _count(result: ShardResult) -> None:
    counts = {
        "copied-samples": result.copied,
        "encoded-samples": result.encoded,
        "failed-samples": len(result.failures),
        "written-shards": int(not result.kept),
        "kept-shards": int(result.kept),
        "written-bytes": 0 if result.kept else result.bytes + result.parquet_bytes,
    }
    for name, count in counts.items():
        Metrics.counter("beam_export", name).inc(count)
