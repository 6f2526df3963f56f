"""WriteEachShard: reads, encodes and writes each shard in one loop, or finds it finished."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsSingleton, PCollection

from beam_export.errors import RunError
from beam_export.naming import ShardNames
from beam_export.pipeline.export_run import ExportRun
from beam_export.pipeline.prefetch import load_and_encode
from beam_export.pipeline.progress import EMPTY_SHARD, report
from beam_export.pipeline.resources import count_ways, on_gpu_workers
from beam_export.planning.blocks import merged, unpack_ref
from beam_export.planning.duplicates import open_decisions
from beam_export.planning.members import MemberRules, counted, with_members
from beam_export.planning.plan import Plan, open_plan
from beam_export.planning.shard import keyed_refs, shard_digest, spilled_content, weigh
from beam_export.samples import Failure, SampleRef
from beam_export.shards.index_files import index_finished_shard
from beam_export.shards.member_sets import MemberSets
from beam_export.shards.publish import publish_shard
from beam_export.shards.reasons import describe_failures
from beam_export.shards.resume import FinishedShards, find_finished
from beam_export.shards.writer import ReadySample, ShardResult, few_exts
from beam_export.sources.reader import Reader
from beam_export.text import cut, stored

__all__ = ["WriteEachShard", "write_or_find_shard"]

_LOG = logging.getLogger(__name__)

#: Seconds between two reports of progress.
_REPORT_EVERY = 0.2
#: Letters of the reasons for an empty shard: a report is a datagram.
_LONGEST_REASONS = 1000
#: What a report counts of the samples that are being written.
_COUNTED = ("copied", "encoded", "failed", "bytes")


@dataclasses.dataclass
class WriteEachShard(beam.PTransform):
    """Writes one shard per element, or finds it finished; gives its `ShardResult`.

    Attributes:
        run: which export, and where to.
        plan: packed `Plan`, of one element.
        decisions: packed `Decisions`, of one element.
        columns: metadata columns as a serialized Arrow schema, of one element.
        rules: packed `MemberRules`, of one element; None for those that change nothing.
        finished: packed `FinishedShards`, of one element.
    """

    run: ExportRun
    plan: PCollection[bytes]
    decisions: PCollection[bytes]
    columns: PCollection[bytes]
    rules: PCollection[bytes] | None
    finished: PCollection[bytes]

    def expand(self, groups: PCollection[tuple[int, list[bytes]]]) -> PCollection[ShardResult]:
        write = beam.ParDo(
            _WriteShard(self.run),
            plan=AsSingleton(self.plan),
            decisions=AsSingleton(self.decisions),
            columns=AsSingleton(self.columns),
            rules=None if self.rules is None else AsSingleton(self.rules),
            finished=AsSingleton(self.finished),
        ).with_output_types(ShardResult)
        # ShardResult, one per shard
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
        rules: bytes | None,
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
            rules=MemberRules.unpack(rules),
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
    rules: MemberRules = MemberRules(),  # noqa: B008 (a tuple)
) -> ShardResult:
    """Returns the result of a shard: found finished in the output, else written.

    One whose samples all fail is not written; `check_outcome` ends the run for it.

    Args:
        run: which export, and where to; its encoder is open.
        number: the shard's number.
        blocks: packed refs of all of the shard's samples, in any order.
        layout: of the dataset.
        renamed: new ids by order key.
        columns: metadata columns as a serialized Arrow schema.
        finished: what stood in the output when the plan was made.
        rules: what becomes of the members of samples.

    Raises:
        RunError: if the refs are not those that were planned.
    """
    count, digest = _weigh_planned(number, blocks, layout)
    names = ShardNames(layout.hash)
    plan = shard_digest(
        number,
        count,
        digest,
        identity=run.encoder.identity(),
        options=run.options.digest(),
        content=columns + spilled_content(blocks, run.output.workspace) + rules.content(),
        split=layout.split_of(number),
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
    sets = MemberSets()
    keyed = functools.partial(_keyed, run, number, blocks, layout=layout, renamed=renamed)
    if result is None:
        result = _write(
            run,
            counted(keyed(), sets),
            number=number,
            names=names,
            columns=columns,
            rules=rules,
            plan=plan,
            indexes=finished.kinds,
        )
        if not result.samples:
            _tell_empty(run, result, alone=len(layout.firsts) == 1)
        elif finished.includes(number):
            report(run.progress_address, {"mended_shards": 1})
    if result.kept or result.failures:
        # Known now: what is said of members is of samples that are there.
        sets = _written_members(keyed(), result.failures)
    if result.kept:
        exts = None if sets.crowded else few_exts(sets.counts)
        result = _with_indexes(run, result._replace(field_exts=exts), finished, names=names)
    _report_shard(run, result)
    return result._replace(device=run.encoder.identity()["device"], members=sets.pack())


def _weigh_planned(number: int, blocks: Sequence[bytes], layout: Plan) -> tuple[int, int]:
    """Returns count and digest of a shard's refs, once it is known that they are the planned."""
    count, digest = weigh(blocks)
    if not layout.agrees(number, count, digest):
        raise RunError(
            f"shard {number} was planned with {layout.count(number)} samples and other refs "
            f"than the {count} that came: the input has changed while it was read; run "
            "again."
        )
    return count, digest


def _keyed(
    run: ExportRun,
    number: int,
    blocks: Sequence[bytes],
    *,
    layout: Plan,
    renamed: Mapping[bytes, str],
) -> Iterator[tuple[SampleRef, str]]:
    """Yields a shard's refs under their final ids, with their keys in the tar."""
    return keyed_refs(
        merged(blocks),
        start=layout.starts[number],
        renamed=renamed,
        sequential=run.options.member_names == "sequential",
        split=layout.split_of(number),
    )


def _write(
    run: ExportRun,
    keyed: Iterator[tuple[SampleRef, str]],
    *,
    number: int,
    names: ShardNames,
    columns: bytes,
    rules: MemberRules,
    plan: str,
    indexes: Collection[str],
) -> ShardResult:
    schema = pa.ipc.read_schema(pa.py_buffer(columns))
    made = with_members(keyed, rules, schema)
    with (
        run.cores.at_work() if run.cores else contextlib.nullcontext(),
        Reader(run.options.max_image_bytes) as reader,
    ):
        return publish_shard(
            _reported(load_and_encode(made, reader, run.encoder), run.progress_address),
            run.output,
            number=number,
            names=names,
            columns=schema,
            json_member=rules.json,
            plan=plan,
            indexes=indexes,
        )


def _written_members(
    keyed: Iterable[tuple[SampleRef, str]], failures: Iterable[Failure]
) -> MemberSets:
    """Returns the members, as they came, of the samples of a shard that have not failed."""
    failed = {one.image_id for one in failures}
    sets = MemberSets()
    for ref, _ in keyed:
        if stored(ref.id) not in failed:
            sets.add_sample(ref)
    return sets


def _with_indexes(
    run: ExportRun, result: ShardResult, finished: FinishedShards, *, names: ShardNames
) -> ShardResult:
    """Returns the result of a finished shard with its indexes, which are written if need be."""
    if not finished.kinds:
        return result
    indexes, written = index_finished_shard(
        run.output,
        names,
        result.number,
        tar_sha256=result.tar_sha256,
        kinds=finished.kinds,
        known=finished.indexes.get(result.number),
    )
    if written:
        report(run.progress_address, {"mended_files": written})
    return result._replace(indexes=indexes)


def _reported(
    samples: Iterator[ReadySample | Failure], progress_address: str | None
) -> Iterator[ReadySample | Failure]:
    """Passes samples on, and reports how many there were every now and then."""
    counts = dict.fromkeys(_COUNTED, 0)
    reported = time.monotonic()
    for sample in samples:
        if isinstance(sample, Failure):
            counts["failed"] += 1
        else:
            counts[sample.image.encoding] += 1
            counts["bytes"] += len(sample.image.data)
        if (now := time.monotonic()) - reported > _REPORT_EVERY:
            report(progress_address, counts)
            counts = dict.fromkeys(_COUNTED, 0)
            reported = now
        yield sample
    report(progress_address, counts)


def _tell_empty(run: ExportRun, result: ShardResult, *, alone: bool) -> None:
    """Says at once that a shard is empty, for which the run will fail when all failures are known.

    Args:
        run: which export.
        result: of the shard.
        alone: whether there is no other, so that the run ends now.
    """
    if alone:
        return
    why = cut(describe_failures(result.failures), _LONGEST_REASONS)
    if run.progress_address is None:
        _LOG.warning(EMPTY_SHARD, result.number, why)
    report(run.progress_address, {"empty_shard": result.number, "why": why})


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
        "written-shards": int(result.samples > 0 and not result.kept),
        "kept-shards": int(result.kept),
        "written-bytes": 0 if result.kept else result.bytes + result.parquet_bytes,
    }
    for name, count in counts.items():
        Metrics.counter("beam_export", name).inc(count)
