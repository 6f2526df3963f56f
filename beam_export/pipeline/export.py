"""ExportImages and WriteShards: the whole pipeline, each step a transform of another module.

ReadSamples      -> refs                      no pixels
AssignKeys       -> blocks of (key, ref)
ChooseSamples    -> blocks                    tables joined, images probed, samples selected
PlanShards       -> the plan                  one small side input
GroupIntoShards  -> (shard, [block, ...])     GroupIntoBatches, then Reshuffle
WriteEachShard   -> ShardResult               sort, read, encode, write tar and Parquet
WriteManifest    -> Manifest                  last
"""

from __future__ import annotations

import dataclasses
import time
import uuid
from typing import Literal

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection
from apache_beam.transforms.window import GlobalWindows

from beam_export.declaration import declared
from beam_export.errors import InputError
from beam_export.images.crash_guard import guarded
from beam_export.images.idle_cores import Cores
from beam_export.naming import ShardNames
from beam_export.options import ExportOptions
from beam_export.pipeline.beam_utils import Checkpoint
from beam_export.pipeline.export_run import ExportRun
from beam_export.pipeline.group_into_shards import GroupIntoShards
from beam_export.pipeline.plan_shards import AssignKeys, OnPlan, Planned, PlanShards
from beam_export.pipeline.proxies import spare_this_machine
from beam_export.pipeline.read_samples import ReadSamples
from beam_export.pipeline.resources import encoder_for, on_gpu_workers, runs_locally, threads_for
from beam_export.pipeline.result import ExportResult
from beam_export.pipeline.select_samples import ChooseSamples
from beam_export.pipeline.spill_samples import SpillSamples
from beam_export.pipeline.write_manifest import WriteManifest
from beam_export.pipeline.write_shards import WriteEachShard
from beam_export.planning.plan import open_plan
from beam_export.planning.preflight import check_columns, check_schema
from beam_export.samples import Failure, Sample
from beam_export.shards.lock import prepare_output, release
from beam_export.shards.output import Output
from beam_export.shards.resume import list_finished
from beam_export.shards.writer import ShardResult
from beam_export.sources.overlap import refuse_overlap
from beam_export.sources.patterns import parse_inputs

__all__ = ["ExportImages", "ExportResult", "WriteShards"]


@dataclasses.dataclass
class _WriteBlocks(beam.PTransform):
    """Plans and writes the samples in blocks of refs: the part that both transforms share."""

    run: ExportRun
    schema: pa.Schema | None
    source_failures: PCollection[Failure]
    skipped: PCollection[str]
    threads: int = 1
    columns: PCollection[tuple[bytes, str]] | None = None
    remove_image_data: bool = True
    from_json: PCollection[bool] | None = None

    def expand(self, blocks: PCollection[bytes]) -> ExportResult:
        run, options = self.run, self.run.options
        chosen = blocks | "ChooseSamples" >> ChooseSamples(
            options=options, threads=self.threads, schema=self.schema, columns=self.columns
        )
        # PCollection[bytes]: packed refs; of one element: the serialized schema of their columns.
        blocks, columns = chosen.blocks, chosen.columns
        name = None if options.deterministic_name else uuid.uuid4().hex[:12]
        on_plan = OnPlan(run.output, run.progress_address, options.clean)
        source_failures = (
            self.source_failures,
            chosen.source_failures,
        ) | "SourceFailures" >> beam.Flatten()
        early = (source_failures, chosen.probe_failures) | "EarlyFailures" >> beam.Flatten()
        planned = blocks | "PlanShards" >> PlanShards(
            options=options, name=name, on_plan=on_plan, schema=self.schema, failures=early
        )
        # PCollection[ShardResult]: one per shard.
        shards = self._write(blocks, planned, columns)
        manifest = shards | "WriteManifest" >> WriteManifest(
            run=run,
            started=time.time(),
            planned=planned,
            columns=columns,
            source_failures=source_failures,
            probe_failures=chosen.probe_failures,
            skipped=self.skipped,
            tally=chosen.tally,
            from_json=self.from_json,
        )
        write_failures = shards | "WriteFailures" >> beam.FlatMap(_failures_of).with_output_types(
            Failure
        )
        failures = (early, write_failures) | "AllFailures" >> beam.Flatten()
        given = (shards, failures, manifest, planned.plan)
        return ExportResult.of(given, run.output, not self.remove_image_data)

    def _write(
        self, blocks: PCollection[bytes], planned: Planned, columns: PCollection[bytes]
    ) -> PCollection[ShardResult]:
        # PCollection[bytes], of one element: packed `FinishedShards`.
        finished = planned.plan | "ListFinished" >> beam.Map(_list_finished, self.run.output)
        per_shard = self.run.options.images_per_tar
        return (
            blocks
            | "GroupIntoShards" >> GroupIntoShards(planned.plan, planned.decisions, per_shard)
            | "WriteShards"
            >> WriteEachShard(
                run=self.run,
                plan=planned.plan,
                decisions=planned.decisions,
                columns=columns,
                finished=finished,
            )
        )


def _list_finished(plan: bytes, output: Output) -> bytes:
    return list_finished(output, ShardNames(open_plan(plan).hash)).pack()


def _failures_of(result: ShardResult) -> tuple[Failure, ...]:
    return result.failures


@dataclasses.dataclass
class ExportImages(beam.PTransform):
    """Exports the images behind patterns: what the command line runs.

    Attributes:
        input: as `--input`.
        options: of the export.
        workers: threads that encode in each worker process; with `cores`, the most of them.
        progress_address: address for `progress.report`.
        output: the output directory, locked for this run already; else it is prepared here.
        cautious: whether each image is decoded in a process of its own.
        cores: what the worker processes share, if they are of this machine.
    """

    input: str
    options: ExportOptions
    workers: int = 1
    progress_address: str | None = None
    output: Output | None = None
    cautious: bool = False
    cores: Cores | None = None

    def expand(self, pbegin: beam.pvalue.PBegin) -> ExportResult:
        patterns = parse_inputs(self.input)
        refuse_overlap(patterns, self.options.output_dir)
        check_columns(patterns, self.options)
        encoder = encoder_for(self.options, pbegin.pipeline, threads=self.workers, cores=self.cores)
        output = self.output or _prepared(self.options, pbegin.pipeline)
        run = ExportRun(
            options=self.options,
            output=output,
            encoder=guarded(encoder, output, cautious=self.cautious),
            progress_address=self.progress_address,
            cores=self.cores,
        )
        # refs: PCollections of list[SampleRef], one per kind of input; failures: of Failure;
        # skipped: of str, what a file is that is no sample.
        samples = pbegin | "ReadSamples" >> ReadSamples(
            patterns,
            exclude=self.options.output_dir,
            progress_address=self.progress_address,
            input_format=self.options.input_format,
            spills=output,
            max_bytes=self.options.max_image_bytes,
        )
        # PCollection[bytes]: packed refs with their order keys.
        blocks = samples.refs | "AssignKeys" >> AssignKeys(self.options.order, self.options.seed)
        return blocks | "Export" >> _WriteBlocks(
            run=run,
            schema=None,
            source_failures=samples.failures,
            skipped=samples.skipped,
            threads=self.workers,
            columns=samples.columns,
            from_json=samples.from_json,
        )


# Neither comparison nor printing is a dataclass's here: they stay those of Beam's transforms.
@dataclasses.dataclass(eq=False, repr=False)
class WriteShards(beam.PTransform):
    """Writes a PCollection of `Sample` as shards; gives an `ExportResult`.

    Every keyword means what the flag of that name means (`ExportOptions`); `order="source"` is by
    id here. Elements are computed once: bytes and arrays are encoded and spilled to a temporary
    place under `output_dir`, and only refs go on.

    Args:
        output_dir: local directory, or one on any file system that Beam knows.
        images_per_tar: samples per shard.
        deterministic_name: whether `{hash}` is made of the content; else of a random token.
        remove_image_data: whether `result.samples` come without their image.
        resume: whether shards that an earlier run of the same samples and options has finished are
            kept; if not, and there are any, that is an error.
        clean: whether what earlier runs have left in `output_dir` is removed.
        verbose: whether to log one line per shard, at level INFO.
        schema: types of the metadata columns, in their order; None infers them from all samples.

    Raises:
        InputError: if an option makes no sense, or the directory cannot be written to.
    """

    output_dir: str
    images_per_tar: int = 1000
    deterministic_name: bool = True
    remove_image_data: bool = False
    verbose: bool = False
    _: dataclasses.KW_ONLY
    schema: pa.Schema | None = None
    # Written out so that editors and type checkers know them; a test holds them to ExportOptions.
    metadata: str | None = None
    metadata_key: str = "image_id"
    filter: str | None = None
    ids: str | None = None
    exclude_ids: str | None = None
    caption_column: str | None = None
    max_tar_bytes: int | None = None
    member_names: Literal["id", "sequential"] = "id"
    order: Literal["source", "shuffled"] = "source"
    seed: int = 0
    limit: int | None = None
    duplicates: Literal["error", "first", "rename"] = "error"
    probe: Literal["off", "header", "full"] = "off"
    encode: Literal["auto", "always", "never"] = "auto"
    encoder: Literal["auto", "pillow", "dali"] = "auto"
    device: Literal["auto", "cpu", "gpu"] = "auto"
    quality: int = 92
    subsampling: Literal["420", "422", "444"] = "420"
    resize: int | None = None
    resize_mode: Literal["no", "keep_ratio", "keep_ratio_largest", "center_crop", "border"] = (
        "keep_ratio"
    )
    damaged: Literal["fail", "keep"] = "fail"
    max_pixels: int = 250_000_000
    max_image_bytes: int = 268_435_456
    max_failed_fraction: float = 0.01
    resume: bool = True
    clean: bool = False
    gpu: str | None = None

    def __post_init__(self) -> None:
        super().__init__()
        names = [field.name for field in dataclasses.fields(self)]
        given = {name: getattr(self, name) for name in names if name in declared(ExportOptions)}
        self._options = ExportOptions(**given)

    def expand(self, samples: PCollection[Sample]) -> ExportResult:
        if not samples.is_bounded:
            raise InputError(
                "WriteShards was given an unbounded PCollection, whose shards would never be "
                "complete: give it a bounded one, a window's files written by a batch pipeline say."
            )
        options = self._options
        check_schema(self.schema, options)
        threads = threads_for(samples.pipeline)
        encoder = encoder_for(options, samples.pipeline, threads)
        output = _prepared(options, samples.pipeline)
        run = ExportRun(options=options, output=output, encoder=guarded(encoder, output))
        spill = beam.ParDo(
            SpillSamples(output, run.encoder, order=options.order, seed=options.seed)
        )
        # blocks: PCollection[bytes], packed refs; failures: PCollection[Failure].
        spilled = (
            samples
            | "OneWindow" >> beam.WindowInto(GlobalWindows())
            | "SpillSamples"
            >> on_gpu_workers(spill, options, samples.pipeline).with_outputs(
                "failures", main="blocks"
            )
        )
        # A checkpoint: whatever computed the samples is not run again for the steps to come.
        blocks = spilled.blocks | "Checkpoint" >> Checkpoint(bytes)
        failures = spilled.failures | "CheckpointFailures" >> Checkpoint(Failure)
        nothing = samples.pipeline | "NothingSkipped" >> beam.Create([], reshuffle=False)
        return blocks | "Export" >> _WriteBlocks(
            run=run,
            schema=self.schema,
            source_failures=failures,
            skipped=nothing,
            threads=threads,
            remove_image_data=self.remove_image_data,
        )


def _prepared(options: ExportOptions, pipeline: beam.Pipeline) -> Output:
    """Returns the output directory, locked for a pipeline of a user's own."""
    spare_this_machine()
    local = runs_locally(pipeline)
    output = prepare_output(options, bound=local)
    # At the end of a `with` block the pipeline has ended, however it did; else the next run sweeps.
    ends = getattr(pipeline, "_extra_context", None)
    if local and ends is not None:
        ends.callback(_end, output)
    return output


def _end(output: Output) -> None:
    # Notes that are left name the images that may have ended a worker, for the next run.
    if not any(output.notes()):
        release(output)
