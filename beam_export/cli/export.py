"""Runs an export: which runner, with how many workers, watched how, and cleaned up after."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_export.cli import display, limits
from beam_export.cli import remote as elsewhere
from beam_export.cli.flags import ExportCommand
from beam_export.cli.interrupts import one_interrupt
from beam_export.cli.local import LOCAL, local_options, local_runner, use_options
from beam_export.cli.processes import end_workers, no_orphans
from beam_export.cli.scratch import scratch
from beam_export.cli.watchdog import LOST, Watchdog
from beam_export.cli.worker import WATCHER
from beam_export.errors import RunError
from beam_export.images import idle_cores as cores
from beam_export.images import memory_budget as memory
from beam_export.pipeline import progress
from beam_export.pipeline.dry_run import DryRun
from beam_export.pipeline.export import ExportImages
from beam_export.shards.leftovers import find_card
from beam_export.shards.lock import prepare_output, release
from beam_export.shards.output import Output

__all__ = [
    "quiet",
    "run_export",
    "run_here",
    "split_runner",
]

#: How often a run begins again after a worker was lost; the last time, each image is decoded in a
#: process of its own.
_LOSSES = 3
_TRIED_AGAIN = (
    "a worker was lost: going on, with the images that it was decoding in processes of their own"
)


def run_export(command: ExportCommand) -> int:
    """Runs `export`; returns its exit code."""
    started = time.monotonic()
    runner, flags = split_runner(command.beam_flags)
    use_options(flags)
    if command.dry_run:
        _dry_run(command, flags)
        return 0
    here = runner in (None, *LOCAL)
    # Where its workers are not ended, Beam's runner may wait for one for ever.
    with one_interrupt(end_workers if here else lambda: None), scratch():
        found = display.Found()
        if runner is None or here:
            elsewhere.check_local(command)
            local = local_options(flags)
            output = prepare_output(command.options, bound=True)
            with _released(output):
                found = _run_locally(command, *local, output)
        else:
            flags = elsewhere.flags_for(dataclasses.replace(command, beam_flags=flags), runner)
            output = prepare_output(command.options, bound=False)
            if not _run_elsewhere(command, runner, flags, output):
                return 0
        print(_summary(output, found, time.monotonic() - started))
    return 0


def split_runner(flags: list[str]) -> tuple[str | None, list[str]]:
    """Returns the runner that is asked for, and the flags without it."""
    runner = PipelineOptions(flags).view_as(StandardOptions).runner
    rest, skip = [], False
    for flag in flags:
        if skip or flag.startswith("--runner="):
            skip = False
        elif flag == "--runner":
            skip = True
        else:
            rest.append(flag)
    return (_full_name(runner) if runner else None), rest


def _full_name(runner: str) -> str:
    """Returns a runner's own name for any spelling that Beam takes: `dataflow`, a class's path."""
    names = {name.lower(): name for name in (*StandardOptions.KNOWN_RUNNER_NAMES, *LOCAL)}
    plain = runner.lower()
    return names.get(plain) or names.get(f"{plain}runner") or _last_part(runner)


def _last_part(runner: str) -> str:
    known = (*StandardOptions.ALL_KNOWN_RUNNERS, *LOCAL)
    ours = any(path.rpartition(".")[2] == runner.rpartition(".")[2] for path in known)
    return runner.rpartition(".")[2] if ours else runner


def _run_locally(
    command: ExportCommand, options: PipelineOptions, workers: int, output: Output
) -> display.Found:
    """Runs the export, and returns what it has found in the output."""
    shown, verbose = display.Progress(), command.options.verbose
    losses = 0

    def build(pipeline: beam.Pipeline, watcher: str) -> None:
        pipeline | "Export" >> ExportImages(
            command.input,
            command.options,
            workers,
            watcher,
            output,
            losses == _LOSSES,
            idle_cores,
        )

    def again(error: Exception) -> bool:
        nonlocal losses
        if losses == _LOSSES or isinstance(error, RunError) or not _is_loss(error):
            return False
        losses += 1
        shown.say(_TRIED_AGAIN)
        return True

    with cores.shared(workers) as idle_cores:
        run_here(build, options, workers, output=output, shown=shown, verbose=verbose, again=again)
    return shown.found


def run_here(
    build: Callable[[beam.Pipeline, str], None],
    options: PipelineOptions,
    workers: int,
    *,
    output: Output,
    shown: display.Progress,
    verbose: bool,
    again: Callable[[Exception], bool] = lambda _: False,
) -> None:
    """Runs a pipeline on this machine to its end.

    Args:
        build: adds the steps, and is given the address for `progress.tell`.
        options, workers: as `local_options` returns them.
        output: whose temporary files are swept if the run fails.
        shown: shows how far it is.
        verbose: whether Beam may say all that it says.
        again: tells, of what has ended the pipeline, whether it is to be built and run once more.
    """
    dog = Watchdog(functools.partial(release, output), starts_workers=workers > 1)

    def heard(counts: Mapping[str, int]) -> None:
        dog.heard(counts)
        shown.heard(counts)

    try:
        with (
            progress.listening(heard) as watcher,
            quiet(verbose),
            # One process works in as many threads as there are cores.
            memory.shared(workers if workers > 1 else os.cpu_count() or 1),
            _released(output),
        ):
            os.environ[WATCHER] = watcher
            if workers > 1:
                limits.check_room()
            while True:
                try:
                    # Before anybody sweeps or begins again: one that still lives would write on.
                    with no_orphans(), dog.watching():
                        _run_once(build, options, workers, watcher, verbose)
                    break
                except Exception as error:
                    if not again(error):
                        raise
    finally:
        shown.close()


def _run_once(
    build: Callable[[beam.Pipeline, str], None],
    options: PipelineOptions,
    workers: int,
    watcher: str,
    verbose: bool,
) -> None:
    pipeline = beam.Pipeline(runner=local_runner(workers, verbose, options), options=options)
    build(pipeline, watcher)
    pipeline.run().wait_until_finish()


def _is_loss(error: Exception) -> bool:
    """Tells whether a worker was lost, to an image perhaps, or had no memory for one."""
    text = "".join(traceback.format_exception(error))
    return LOST in text or "MemoryError" in text


def _run_elsewhere(command: ExportCommand, runner: str, flags: list[str], output: Output) -> bool:
    """Returns whether the export is done, and not only submitted."""
    on_dataflow = runner == elsewhere.DATAFLOW
    wait = not on_dataflow if command.wait is None else command.wait
    # What a job on Dataflow says on its way is all that is seen of it.
    with quiet(command.options.verbose or on_dataflow):
        job = elsewhere.submit(command, runner, flags, output)
        if on_dataflow or not wait:
            print(job.describe(), flush=True)
        if wait and job.started:
            job.follow()
        return wait and job.started


def _dry_run(command: ExportCommand, flags: list[str]) -> None:
    """Makes the plan on this machine, whatever the runner, and prints it."""
    facts: dict[str, int] = {}
    with progress.listening(facts.update) as watcher, quiet(command.options.verbose):
        pipeline = beam.Pipeline(runner=FnApiRunner())
        # A pipeline that is made sets its own.
        use_options(flags)
        pipeline | "DryRun" >> DryRun(command.input, command.options, watcher)
        pipeline.run().wait_until_finish()
    print(display.plan(facts))


def _summary(output: Output, found: display.Found, seconds: float) -> str:
    standing = output.standing()
    name = next(name for name in standing if name.endswith("-manifest.json"))
    with output.read(name) as source:
        manifest: dict[str, Any] = json.loads(source.read())
    # A run that finds everything as it would write it leaves all files alone.
    untouched = all(file.updated <= output.since for file in standing.values())
    untouched = untouched and not found.mended_files
    told = display.summary(manifest, output.directory, seconds, found=found, untouched=untouched)
    return f"{told}\n{display.CARD_KEPT}" if find_card(output) == "kept" else told


@contextlib.contextmanager
def quiet(verbose: bool) -> Iterator[None]:
    """Keeps tracebacks off the terminal that Beam prints of what it also raises."""
    with contextlib.ExitStack() as stack:
        if not verbose:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
            # Some loggers of Beam set a level of their own.
            stack.callback(logging.disable, logging.root.manager.disable)
            logging.disable(logging.CRITICAL)
        yield


@contextlib.contextmanager
def _released(output: Output) -> Iterator[None]:
    """Lets others write to the output, and removes the temporary files, however the run ends."""
    try:
        yield
    finally:
        release(output)
