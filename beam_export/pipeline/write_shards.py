"""From planned refs to shards: read, encode and write each in one loop."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import hashlib
import json
import logging
import time
from collections.abc import Iterable, Iterator

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsSingleton, PCollection

from beam_export import naming
from beam_export.errors import RunError
from beam_export.pipeline.export_run import ExportRun
from beam_export.pipeline.prefetch import load_and_encode
from beam_export.pipeline.progress import report
from beam_export.pipeline.resources import count_ways, on_gpu_workers
from beam_export.pipeline.spill_samples import spilled_content
from beam_export.planning import plan as sharding
from beam_export.planning.blocks import PackedRef, merged, open_block, unpack_ref
from beam_export.planning.duplicates import open_decisions
from beam_export.planning.plan import open_plan
from beam_export.samples import SOURCE_CHANGED, Failure, SampleRef
from beam_export.shards.output import Seen
from beam_export.shards.resume import Stock, find_finished
from beam_export.shards.writer import ReadySample, ShardResult, write_shard
from beam_export.sources.reader import Reader

__all__ = ["WriteEachShard"]

_LOG = logging.getLogger(__name__)

#: Seconds between two words to whoever watches.
_TELL_EVERY = 0.2


@dataclasses.dataclass
class WriteEachShard(beam.PTransform):
    """Writes the shards; gives a `ShardResult` for each.

    Attributes:
        run: which export, and where to.
        plan: packed `Plan`, of one element.
        decisions: packed `Decisions`, of one element.
        columns: metadata columns as a serialized Arrow schema, of one element.
        stock: packed `Stock`, of one element.
    """

    run: ExportRun
    plan: PCollection[bytes]
    decisions: PCollection[bytes]
    columns: PCollection[bytes]
    stock: PCollection[bytes]

    def expand(self, groups: PCollection[tuple[int, list[bytes]]]) -> PCollection[ShardResult]:
        write = beam.ParDo(
            _WriteShard(self.run),
            AsSingleton(self.plan),
            AsSingleton(self.decisions),
            AsSingleton(self.columns),
            AsSingleton(self.stock),
        ).with_output_types(ShardResult)
        return groups | "WriteShard" >> on_gpu_workers(write, self.run.options, groups.pipeline)


class _WriteShard(beam.DoFn):
    """Writes one shard an element, or finds it finished."""

    def __init__(self, run: ExportRun) -> None:
        self._options, self._output, self._encoder = run.options, run.output, run.encoder
        self._progress_address, self._cores = run.progress_address, run.cores

    def setup(self) -> None:
        self._encoder.open()

    def teardown(self) -> None:
        self._encoder.close()

    def process(
        self,
        group: tuple[int, Iterable[bytes]],
        plan: bytes,
        decisions: bytes,
        columns: bytes,
        stock: bytes,
    ) -> Iterator[ShardResult]:
        number, blocks = group
        layout = open_plan(plan)
        names = naming.ShardNames(layout.hash)
        blocks = list(blocks)
        count, digest = _weigh(blocks)
        if not layout.agrees(number, count, digest):
            raise RunError(
                f"shard {number} was planned with {layout.count(number)} samples and other refs "
                f"than the {count} that came: the input has changed while it was read; run "
                "again."
            )
        spilled = spilled_content(merged(blocks), self._output.workspace)
        wanted = self._plan_digest(number, count, digest, columns + spilled)
        stood = _open_stock(stock)
        result = find_finished(
            self._output,
            names,
            number=number,
            plan=wanted,
            count=count,
            refs=map(unpack_ref, merged(blocks)),
            stock=stood,
        )
        if result is None:
            renamed = open_decisions(decisions).renamed
            keyed = self._keyed(merged(blocks), layout.starts[number], renamed)
            result = self._write(number, layout, keyed, columns, wanted)
            if stood.knows(number):
                report(self._progress_address, {"mended_shards": 1})
        result = result._replace(device=self._encoder.identity()["device"])
        _count(result)
        count_ways(self._encoder)
        self._report(result)
        yield result

    def _report(self, result: ShardResult) -> None:
        """Tells whoever watches of a whole shard, or the log where nobody does."""
        if result.kept:
            report(self._progress_address, {"kept": result.samples + len(result.failures)})
        if not self._options.verbose:
            return
        if self._progress_address is None:
            found = ", finished before" if result.kept else ""
            _LOG.info("shard %06d: %d images%s", result.number, result.samples, found)
            return
        report(
            self._progress_address,
            {
                "shard": result.number,
                "samples": result.samples,
                "size": result.bytes,
                "found": int(result.kept),
            },
        )

    def _plan_digest(self, number: int, count: int, digest: int, columns: bytes) -> str:
        """Returns a digest of all that decides this shard's bytes."""
        text = json.dumps([number, count, self._encoder.identity()], sort_keys=True)
        parts = (text.encode(), digest.to_bytes(32, "big"), self._options.digest(), columns)
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def _keyed(
        self, refs: Iterable[PackedRef], start: int, renamed: dict[bytes, str]
    ) -> Iterator[tuple[SampleRef, str]]:
        sequential = self._options.member_names == "sequential"
        for place, packed in enumerate(refs):
            ref = unpack_ref(packed)
            if packed.order in renamed:
                ref = ref._replace(id=renamed[packed.order])
            key = naming.sequential_key(start + place) if sequential else naming.key_of(ref.id)
            yield ref, key

    def _write(
        self,
        number: int,
        layout: sharding.Plan,
        keyed: Iterator[tuple[SampleRef, str]],
        columns: bytes,
        plan: str,
    ) -> ShardResult:
        names = naming.ShardNames(layout.hash)
        seen = self._output.see(names.parquet(number)), self._output.see(names.tar(number))
        with (
            self._cores.at_work() if self._cores else contextlib.nullcontext(),
            Reader(self._options.max_image_bytes) as reader,
            self._output.writing(names.parquet(number), seen[0]) as parquet,
            # Left first, the tar takes its name first: a shard whose Parquet is there is finished.
            self._output.writing(names.tar(number), seen[1]) as tar,
        ):
            result = write_shard(
                self._watched(load_and_encode(keyed, reader, self._encoder)),
                tar,
                parquet,
                number=number,
                names=names,
                columns=pa.ipc.read_schema(pa.py_buffer(columns)),
                plan=plan,
            )
            if result.samples == 0:
                raise RunError(_all_failed(result))
            self._make_way(names, result, seen[0])
            # Until the Parquet stands, nothing else tells whose the tar is.
            self._output.claim(names.tar(number), result.tar_sha256)
        self._output.disclaim(result.tar_sha256)
        return result

    def _make_way(self, names: naming.ShardNames, result: ShardResult, seen: Seen) -> None:
        """Removes what tells that a shard is finished, just before another takes its place.

        A tar beside the Parquet of another would pass for finished if the run ended between the
        two. Where another attempt has put the same there meanwhile, like is replaced by like, and
        the manifest that may stand by then stays.
        """
        name = names.parquet(result.number)
        standing = self._output.look(name)
        if standing is not None and standing.size == result.parquet_bytes:
            with self._output.read(name) as source:
                if hashlib.sha256(source.read()).hexdigest() == result.parquet_sha256:
                    return
        if standing is not None:
            self._output.claim(names.tar(result.number))
        self._output.remove(names.manifest)
        self._output.remove(name, seen)

    def _watched(self, samples: Iterator[ReadySample | Failure]) -> Iterator[ReadySample | Failure]:
        """Passes samples on, and tells whoever watches now and then."""
        counts: collections.Counter[str] = collections.Counter()
        told = time.monotonic()
        for sample in samples:
            if isinstance(sample, Failure):
                counts["failed"] += 1
            else:
                counts[sample.image.encoding] += 1
                counts["bytes"] += len(sample.image.data)
            if time.monotonic() - told > _TELL_EVERY:
                report(self._progress_address, counts)
                counts.clear()
                told = time.monotonic()
            yield sample
        report(self._progress_address, counts)


@functools.lru_cache(maxsize=2)
def _open_stock(packed: bytes) -> Stock:
    return Stock.unpack(packed)


def _weigh(blocks: Iterable[bytes]) -> tuple[int, int]:
    """Returns how many refs there are, and the sum of their digests."""
    count = total = 0
    for block in blocks:
        digests = open_block(block).digests
        count += len(digests)
        total = sharding.digest_sum(digests, total)
    return count, total


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


def _all_failed(result: ShardResult) -> str:
    first = result.failures[0]
    remedy = "give --probe=full, which leaves such images out before shards are planned"
    if all(failure.error == SOURCE_CHANGED for failure in result.failures):
        remedy = "run again, when nobody writes to the sources"
    return (
        f"all {len(result.failures)} images of shard {result.number} failed, the first, "
        f"{first.original_path or first.image_id}, with: {first.message}; an empty shard is never "
        f"written: {remedy}."
    )
