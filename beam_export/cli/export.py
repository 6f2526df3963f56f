"""The `export` command: picks the runner, runs the pipeline, and prints the summary."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
import traceback
from collections.abc import Mapping
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_export.cli import display, remote
from beam_export.cli.flags import ExportCommand
from beam_export.cli.gpus import local_gpus
from beam_export.cli.kept_lines import card_lines, index_lines
from beam_export.cli.local import (
    LOCAL,
    local_options,
    quiet,
    released,
    run_locally,
    split_runner,
    use_options,
)
from beam_export.cli.look import Look
from beam_export.cli.processes import end_workers, one_interrupt, temporary_folder
from beam_export.cli.system_limits import usable_cores
from beam_export.cli.watchdog import LOST
from beam_export.errors import RunError
from beam_export.images import idle_cores as cores
from beam_export.images.dali.device_share import shared_gpus
from beam_export.naming import ShardNames
from beam_export.pipeline import progress
from beam_export.pipeline.dry_run import DryRun
from beam_export.pipeline.export import ExportImages
from beam_export.pipeline.listed_items import OTHER_KINDS
from beam_export.planning.spill_files import spilling
from beam_export.shards.lock import prepare_output
from beam_export.shards.manifest import SealError, unseal
from beam_export.shards.output import Output
from beam_export.shards.reasons import read_failures, reasons
from beam_export.text import shown

__all__ = ["run_export"]

#: Attempts after a lost worker; in the last one, each image is decoded in a process of its own.
_LOSSES = 3
_RETRYING = (
    "a worker was lost: going on, with the images that it was decoding in processes of their own"
)
_RETRYING_ON_GPU = "a worker was lost, or its GPU: going on with a new one"
_LOST_ON_GPU = (
    f"a worker or its GPU was lost {_LOSSES + 1} times: see what nvidia-smi and the system's log "
    "say of the GPU, and run again, with --encoder=pillow if need be; the shards that are finished "
    "are kept."
)


def run_export(command: ExportCommand, look: Look) -> int:
    """Runs the command `export`, and returns its exit code.

    Args:
        command: what was given.
        look: what is known of the input.

    Raises:
        BeamExportError: if the input is wrong, or the run has failed.
    """
    started = time.monotonic()
    runner, flags = split_runner(command.beam_flags)
    use_options(flags)
    if command.dry_run:
        with temporary_folder():
            _dry_run(command, flags)
        return 0
    local = runner in (None, *LOCAL)
    # Unless the local workers are killed, Beam's runner may wait for one for ever.
    with one_interrupt(end_workers if local else lambda: None), temporary_folder():
        found = display.EarlierShards()
        if runner is None or local:
            remote.check_local(command)
            gpus = local_gpus(command.options)
            options, workers = local_options(flags, alone=look.alone, gpus=gpus)
            output = prepare_output(command.options, bound=True)
            with released(output), shared_gpus(gpus.devices, workers):
                found = _export_locally(
                    command=command,
                    look=look,
                    options=options,
                    workers=workers,
                    output=output,
                    on_gpu=bool(gpus.devices),
                )
        else:
            flags = remote.flags_for(dataclasses.replace(command, beam_flags=flags), runner)
            output = prepare_output(command.options, bound=False)
            if not _export_remotely(command=command, runner=runner, flags=flags, output=output):
                return 0
        print(_summary(output, found, time.monotonic() - started))
    return 0


def _export_locally(
    command: ExportCommand,
    look: Look,
    options: PipelineOptions,
    *,
    workers: int,
    output: Output,
    on_gpu: bool,
) -> display.EarlierShards:
    """Runs the export on this machine, and returns what it has found of earlier runs."""
    bar, verbose = display.Progress(), command.options.verbose
    kinds = look.kinds
    losses = 0

    def build(pipeline: beam.Pipeline, progress_address: str) -> None:
        pipeline | "Export" >> ExportImages(
            input=command.input,
            options=command.options,
            workers=workers,
            progress_address=progress_address,
            output=output,
            # This process must outlive whatever image has to be decoded after all.
            cautious=look.alone or losses == _LOSSES,
            cores=idle_cores,
            kinds=kinds,
            in_parts=look.many,
        )

    def again(error: Exception) -> bool:
        nonlocal losses, kinds
        if OTHER_KINDS in str(error) and kinds is not None:
            # Found while the input is listed, so nothing is written yet.
            kinds = None
            return True
        if isinstance(error, RunError) or not _is_loss(error):
            return False
        if losses == _LOSSES:
            if on_gpu:
                raise RunError(_LOST_ON_GPU) from error
            return False
        losses += 1
        bar.say(_RETRYING_ON_GPU if on_gpu else _RETRYING)
        return True

    with cores.shared_cores(workers) as idle_cores:
        run_locally(build, options, workers, output=output, bar=bar, verbose=verbose, again=again)
    return bar.found


def _is_loss(error: Exception) -> bool:
    """Returns whether a worker was lost, perhaps to an image, or had no memory for one."""
    text = "".join(traceback.format_exception(error))
    return LOST in text or "MemoryError" in text


def _export_remotely(command: ExportCommand, runner: str, flags: list[str], output: Output) -> bool:
    """Submits the export to a runner; returns whether it is finished, and not only submitted."""
    on_dataflow = runner == remote.DATAFLOW
    wait = not on_dataflow if command.wait is None else command.wait
    # The log of Dataflow's runner is the only progress that there is of a job.
    with quiet(command.options.verbose or on_dataflow):
        job = remote.submit(command=command, runner=runner, flags=flags, output=output)
        if on_dataflow or not wait:
            print(job.describe(), flush=True)
        if wait and job.started:
            job.follow()
        return wait and job.started


def _dry_run(command: ExportCommand, flags: list[str]) -> None:
    """Plans the export on this machine, whatever the runner, and prints the plan."""
    facts: dict[str, Any] = {}
    bar = display.Progress()

    def hear(counts: Mapping[str, Any]) -> None:
        facts.update(counts)
        # The plan is printed at the end.
        bar.receive({name: counts[name] for name in ("listed", "ranked") if name in counts})

    with (
        contextlib.closing(bar),
        progress.listening(hear) as progress_address,
        quiet(command.options.verbose),
        spilling(),
    ):
        pipeline = beam.Pipeline(runner=FnApiRunner())
        # `beam.Pipeline` has just set its own options.
        use_options(flags)
        pipeline | "DryRun" >> DryRun(command.input, command.options, progress_address)
        pipeline.run().wait_until_finish()
    print(display.plan(facts, resizes=command.options.spec().resizes, cores=usable_cores()))


def _reasons(output: Output, manifest: Mapping[str, Any]) -> list[str]:
    """Returns how many samples failed for each reason, of the table of failures."""
    name = ShardNames(manifest["hash"]).failures
    if all(one["name"] != name for one in manifest["tables"]):
        return []
    with output.read(name) as source:
        return reasons(read_failures(source))


def _run_facts(output: Output, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the facts of the run that wrote the export."""
    try:
        with output.read(ShardNames(manifest["hash"]).run) as source:
            return unseal(source.read())
    except (OSError, SealError):
        # Somebody has taken them away; nothing else says them.
        return {}


def _summary(output: Output, found: display.EarlierShards, seconds: float) -> str:
    standing = output.list_files()
    name = next(name for name in standing if name.endswith("-manifest.json"))
    with output.read(name) as source:
        manifest: dict[str, Any] = json.loads(source.read())
    # A run that finds all files complete writes none.
    untouched = all(file.updated <= output.since for file in standing.values())
    untouched = untouched and not found.mended_files
    summary = display.summary(
        manifest,
        output.directory,
        seconds,
        found=found,
        untouched=untouched,
        failures=_reasons(output, manifest),
        facts=_run_facts(output, manifest),
    )
    kept = (*card_lines(output, manifest["hash"]), *index_lines(output, manifest))
    return "\n".join([summary, *map(shown, kept)])
