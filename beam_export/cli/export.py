"""The `export` command: picks the runner, runs the pipeline, and prints the summary."""

from __future__ import annotations

import dataclasses
import json
import time
import traceback
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_export.cli import display, remote
from beam_export.cli.flags import ExportCommand
from beam_export.cli.local import (
    LOCAL,
    local_options,
    quiet,
    released,
    run_locally,
    split_runner,
    use_options,
)
from beam_export.cli.processes import end_workers, one_interrupt, temporary_folder
from beam_export.cli.watchdog import LOST
from beam_export.errors import RunError
from beam_export.images import idle_cores as cores
from beam_export.pipeline import progress
from beam_export.pipeline.dry_run import DryRun
from beam_export.pipeline.export import ExportImages
from beam_export.shards.leftovers import find_card
from beam_export.shards.lock import prepare_output
from beam_export.shards.output import Output

__all__ = ["run_export"]

#: Attempts after a lost worker; in the last one, each image is decoded in a process of its own.
_LOSSES = 3
_RETRYING = (
    "a worker was lost: going on, with the images that it was decoding in processes of their own"
)


def run_export(command: ExportCommand) -> int:
    """Runs the command `export`, and returns its exit code.

    Raises:
        BeamExportError: if the input is wrong, or the run has failed.
    """
    started = time.monotonic()
    runner, flags = split_runner(command.beam_flags)
    use_options(flags)
    if command.dry_run:
        _dry_run(command, flags)
        return 0
    local = runner in (None, *LOCAL)
    # Unless the local workers are killed, Beam's runner may wait for one for ever.
    with one_interrupt(end_workers if local else lambda: None), temporary_folder():
        found = display.Found()
        if runner is None or local:
            remote.check_local(command)
            options, workers = local_options(flags)
            output = prepare_output(command.options, bound=True)
            with released(output):
                found = _export_locally(
                    command=command, options=options, workers=workers, output=output
                )
        else:
            flags = remote.flags_for(dataclasses.replace(command, beam_flags=flags), runner)
            output = prepare_output(command.options, bound=False)
            if not _export_remotely(command=command, runner=runner, flags=flags, output=output):
                return 0
        print(_summary(output, found, time.monotonic() - started))
    return 0


def _export_locally(
    command: ExportCommand, options: PipelineOptions, workers: int, output: Output
) -> display.Found:
    """Runs the export on this machine, and returns what it has found of earlier runs."""
    bar, verbose = display.Progress(), command.options.verbose
    losses = 0

    def build(pipeline: beam.Pipeline, progress_address: str) -> None:
        pipeline | "Export" >> ExportImages(
            input=command.input,
            options=command.options,
            workers=workers,
            progress_address=progress_address,
            output=output,
            cautious=losses == _LOSSES,
            cores=idle_cores,
        )

    def again(error: Exception) -> bool:
        nonlocal losses
        if losses == _LOSSES or isinstance(error, RunError) or not _is_loss(error):
            return False
        losses += 1
        bar.say(_RETRYING)
        return True

    with cores.shared(workers) as idle_cores:
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
    facts: dict[str, int] = {}
    with progress.listening(facts.update) as progress_address, quiet(command.options.verbose):
        pipeline = beam.Pipeline(runner=FnApiRunner())
        # `beam.Pipeline` has just set its own options.
        use_options(flags)
        pipeline | "DryRun" >> DryRun(command.input, command.options, progress_address)
        pipeline.run().wait_until_finish()
    print(display.plan(facts))


def _summary(output: Output, found: display.Found, seconds: float) -> str:
    standing = output.list_files()
    name = next(name for name in standing if name.endswith("-manifest.json"))
    with output.read(name) as source:
        manifest: dict[str, Any] = json.loads(source.read())
    # A run that finds all files complete writes none.
    untouched = all(file.updated <= output.since for file in standing.values())
    untouched = untouched and not found.mended_files
    summary = display.summary(manifest, output.directory, seconds, found=found, untouched=untouched)
    return f"{summary}\n{display.CARD_KEPT}" if find_card(output) == "kept" else summary
