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
import os
import time
import uuid
from typing import Literal

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection
from apache_beam.transforms.window import GlobalWindows

from beam_export.declaration import declared
from beam_export.errors import InputError, leave_unmarked
from beam_export.images.crash_guard import guarded
from beam_export.images.idle_cores import Cores
from beam_export.index_kinds import index_kinds
from beam_export.naming import ShardNames
from beam_export.options import ExportOptions
from beam_export.pipeline.beam_utils import Checkpoint
from beam_export.pipeline.export_run import ExportRun
from beam_export.pipeline.group_into_shards import GroupIntoShards
from beam_export.pipeline.plan_shards import AssignKeys, OnPlan, Planned, PlanShards
from beam_export.pipeline.proxies import spare_this_machine
from beam_export.pipeline.read_samples import ReadSamples, Samples
from beam_export.pipeline.resources import encoder_for, on_gpu_workers, runs_locally, threads_for
from beam_export.pipeline.result import ExportResult
from beam_export.pipeline.select_samples import ChooseSamples, Chosen
from beam_export.pipeline.spill_samples import SpillSamples
from beam_export.pipeline.write_manifest import WriteManifest
from beam_export.pipeline.write_shards import WriteEachShard
from beam_export.planning.plan import open_plan
from beam_export.planning.preflight import check_columns, check_schema, joins_folders
from beam_export.samples import Failure, Sample
from beam_export.shards.lock import prepare_output, release_output
from beam_export.shards.output import Output
from beam_export.shards.resume import list_finished
from beam_export.shards.writer import ShardResult
from beam_export.sources.contents import ALL_KINDS, FOLDER_TABLE, kinds_by_names
from beam_export.sources.lookup_files import lookup_files
from beam_export.sources.overlap import refuse_overlap
from beam_export.sources.patterns import Pattern, parse_inputs

__all__ = ["ExportImages", "WriteShards"]


@dataclasses.dataclass
class _WriteBlocks(beam.PTransform):
    """Plans and writes the samples in blocks of refs: the part that both transforms share."""

    run: ExportRun
    schema: pa.Schema | None
    samples: Samples
    threads: int = 1
    remove_image_data: bool = True
    reads_json: bool = False

    def expand(self, blocks: PCollection[bytes]) -> ExportResult:
        run, options = self.run, self.run.options
        # blocks: packed refs; columns: one serialized Arrow schema
        chosen = blocks | "ChooseSamples" >> ChooseSamples(
            options=options,
            threads=self.threads,
            schema=self.schema,
            columns=self.samples.columns,
            measured=self.samples.measured,
            folders=self.samples.folders,
        )
        source_failures = (*self.samples.failures, *chosen.source_failures)
        # Failure, a PCollection per step that finds some
        early = (*source_failures, *chosen.probe_failures)
        # plan, decisions, sample, rules: one packed value; counts: (bucket, number of keys)
        planned = self._plan(chosen, early)
        # ShardResult, one per shard
        shards = self._write(chosen, planned)
        # one Manifest
        manifest = shards | "WriteManifest" >> WriteManifest(
            run=run,
            started=time.time(),
            planned=planned,
            columns=chosen.columns,
            source_failures=source_failures,
            probe_failures=chosen.probe_failures,
            skipped=self.samples.skipped,
            tallies=(*chosen.tallies, *self.samples.notes),
            companions=self.samples.companions if self.reads_json else None,
        )
        # Failure
        late = shards | "WriteFailures" >> beam.FlatMap(_failures_of).with_output_types(Failure)
        failures = (*early, late) | "AllFailures" >> beam.Flatten()
        given = (shards, failures, manifest, planned.plan)
        return ExportResult.of(given, run.output, not self.remove_image_data)

    def _plan(self, chosen: Chosen, failures: tuple[PCollection[Failure], ...]) -> Planned:
        name = None if self.run.options.deterministic_name else uuid.uuid4().hex[:12]
        return chosen.blocks | "PlanShards" >> PlanShards(
            options=self.run.options,
            name=name,
            on_plan=_on_plan(self.run),
            schema=self.schema,
            failures=failures,
            skipped=self.samples.skipped,
            classes=chosen.classes,
            splits=chosen.splits,
            columns=chosen.columns,
            names=chosen.names,
        )

    def _write(self, chosen: Chosen, planned: Planned) -> PCollection[ShardResult]:
        # one packed FinishedShards
        finished = planned.plan | "ListFinished" >> beam.Map(_list_finished, self.run)
        grouped = chosen.blocks | "GroupIntoShards" >> GroupIntoShards(
            plan=planned.plan,
            decisions=planned.decisions,
            images_per_tar=self.run.options.images_per_tar,
            splits=chosen.splits,
        )  # (shard, [packed refs, ...])
        return grouped | "WriteShards" >> WriteEachShard(
            run=self.run,
            plan=planned.plan,
            decisions=planned.decisions,
            columns=chosen.columns,
            rules=planned.rules,
            finished=finished,
        )  # ShardResult


def _on_plan(run: ExportRun) -> OnPlan:
    return OnPlan(
        output=run.output,
        progress_address=run.progress_address,
        clean=run.options.clean,
        indexes=index_kinds(run.options.index),
    )


def _list_finished(plan: bytes, run: ExportRun) -> bytes:
    names = ShardNames(open_plan(plan).hash)
    return list_finished(run.output, names, index_kinds(run.options.index)).pack()


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
        kinds: what the input can hold (`contents.ALL_KINDS`), if that is known; if it then holds
            something else, the run fails.
        in_parts: whether the folders of an input are listed by several workers: there are many
            files.
    """

    input: str
    options: ExportOptions
    workers: int = 1
    progress_address: str | None = None
    output: Output | None = None
    cautious: bool = False
    cores: Cores | None = None
    kinds: frozenset[str] | None = None
    in_parts: bool = False

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
        # refs: [SampleRef, ...], a PCollection per kind of input; failures: Failure; skipped: str,
        # the kind of a file that is no sample; columns: (serialized Arrow schema, where it is
        # from)
        samples = pbegin | "ReadSamples" >> self._read(patterns, output)
        # packed refs with their order keys
        blocks = samples.refs | "AssignKeys" >> AssignKeys(self.options.order, self.options.seed)
        return blocks | "Export" >> _WriteBlocks(
            run=run, schema=None, samples=samples, threads=self.workers, reads_json=True
        )

    def _read(self, patterns: list[Pattern], output: Output) -> ReadSamples:
        kinds = self.kinds
        if kinds is None:
            # When it is run, and where, it may hold other sources than it does here and now.
            kinds = ALL_KINDS - {FOLDER_TABLE} | kinds_by_names(patterns)
        return ReadSamples(
            patterns,
            exclude=self.options.output_dir,
            progress_address=self.progress_address,
            input_format=self.options.input_format,
            spills=output,
            max_bytes=self.options.max_image_bytes,
            table_encoding=self.options.table_encoding,
            kinds=kinds,
            columns=self.options.columns,
            joins_folders=joins_folders(kinds, self.options),
            lookups=lookup_files(self.options),
            in_parts=self.in_parts,
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

    output_dir: str | os.PathLike[str]
    images_per_tar: int = 1000
    deterministic_name: bool = True
    remove_image_data: bool = False
    verbose: bool = False
    _: dataclasses.KW_ONLY
    schema: pa.Schema | None = None
    # Written out so that editors and type checkers know them; a test holds them to ExportOptions.
    metadata: str | None = "auto"
    metadata_key: str = "image_id"
    table_encoding: str = "utf-8"
    drop_columns: str | None = None
    text_columns: str | None = None
    filter: str | None = None
    ids: str | None = None
    exclude_ids: str | None = None
    caption_column: str | None = None
    json_columns: str | None = None
    max_tar_bytes: int | None = None
    member_names: Literal["id", "sequential"] = "id"
    order: Literal["source", "shuffled"] = "source"
    seed: int = 0
    limit: int | None = None
    duplicates: Literal["error", "first", "rename"] = "error"
    labels: Literal["none", "folder"] = "none"
    ragged_fields: Literal["keep", "drop", "fill", "error"] = "keep"
    split: str | None = None
    probe: Literal["off", "header", "full"] = "off"
    encode: Literal["auto", "always", "never"] = "auto"
    encoder: Literal["auto", "pillow", "dali"] = "auto"
    device: Literal["auto", "cpu", "gpu"] = "auto"
    quality: int = 92
    subsampling: Literal["420", "422", "444"] = "420"
    ensure: str | None = None
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
    index: str | None = None
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
        # blocks: packed refs; failures: Failure
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
        given = Samples((), (failures,), skipped=(), columns=(), companions=(), measured=True)
        return blocks | "Export" >> _WriteBlocks(
            run=run,
            schema=self.schema,
            samples=given,
            threads=threads,
            remove_image_data=self.remove_image_data,
        )


def _prepared(options: ExportOptions, pipeline: beam.Pipeline) -> Output:
    """Returns the output directory, locked for a pipeline of a user's own."""
    spare_this_machine()
    local = runs_locally(pipeline)
    if local:
        leave_unmarked()
    output = prepare_output(options, bound=local)
    # At the end of a `with` block the pipeline has ended, however it did; else the next run sweeps.
    ends = getattr(pipeline, "_extra_context", None)
    if local and ends is not None:
        ends.callback(_end, output)
    return output


def _end(output: Output) -> None:
    # Notes that are left name the images that may have ended a worker, for the next run.
    if not any(output.notes()):
        release_output(output)
