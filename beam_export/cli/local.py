"""Runs of a pipeline on this machine: options, worker processes, progress, and cleaning up."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    StandardOptions,
)
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo
from apache_beam.transforms import environments
from google.protobuf import json_format, struct_pb2

from beam_export.cli import system_limits
from beam_export.cli.display import Progress
from beam_export.cli.gpus import LocalGpus
from beam_export.cli.processes import no_orphans
from beam_export.cli.watchdog import Watchdog
from beam_export.cli.worker import PROGRESS_ADDRESS, QUIET, command_line
from beam_export.errors import InputError
from beam_export.images import memory_budget as memory
from beam_export.pipeline import progress
from beam_export.planning.spill_files import spilling
from beam_export.shards.lock import release_output
from beam_export.shards.output import Output

__all__ = [
    "LOCAL",
    "local_options",
    "local_runner",
    "quiet",
    "released",
    "run_locally",
    "split_runner",
    "use_options",
]

#: Beam's names of the runners that run on this machine, in this process.
LOCAL = ("DirectRunner", "FnApiRunner")


def use_options(flags: list[str]) -> None:
    """Hands Beam's flags to Beam's file systems in this process: endpoints, keys.

    Making a pipeline does so too, but the output directory is read before there is one.
    """
    FileSystems.set_options(PipelineOptions(flags))


def local_options(
    flags: list[str], *, alone: bool = False, gpus: LocalGpus | None = None
) -> tuple[PipelineOptions, int]:
    """Returns the local runner's options, and its number of workers: by default one per core.

    Args:
        flags: Beam's, without `--runner`.
        alone: whether this process does all by itself, whatever the flags.
        gpus: that the workers share; None for none.

    Raises:
        InputError: if the number is negative, or too large for the GPUs, or the running mode one
            that is refused.
    """
    options = PipelineOptions(flags)
    direct = options.view_as(DirectOptions)
    given = {flag.partition("=")[0] for flag in flags}
    workers = direct.direct_num_workers if "--direct_num_workers" in given else 0
    if workers < 0:
        raise InputError(
            f"--direct_num_workers={workers} is negative: give 0 for all cores, or a number."
        )
    if direct.direct_running_mode == "multi_threading":
        raise InputError(
            "--direct_running_mode=multi_threading is refused, since this version of Beam corrupts "
            "streams in it: give multi_processing or in_memory."
        )
    gpus = gpus or LocalGpus()
    gpus.check(workers)
    workers = 1 if alone else workers or gpus.workers(system_limits.usable_cores())
    if "--direct_running_mode" in given and direct.direct_running_mode == "in_memory":
        workers = 1
    # With multi_processing the runner would start workers of its own instead of `cli.worker`.
    direct.direct_running_mode = "in_memory"
    direct.direct_num_workers = workers
    return options, workers


def local_runner(
    workers: int, verbose: bool, options: PipelineOptions | None = None
) -> FnApiRunner:
    """Returns Beam's `FnApiRunner`; with several workers, each is a process of its own.

    Args:
        workers: how many.
        verbose: whether their logs go to the terminal.
        options: handed to the workers, whose file systems need them; None for none.
    """
    if workers == 1:
        return FnApiRunner()
    if not verbose:
        os.environ[QUIET] = "1"
    command = command_line()
    return FnApiRunner(
        environments.SubprocessSDKEnvironment.from_command_string(command),
        provision_info=_provision_info(options),
    )


def _provision_info(options: PipelineOptions | None) -> ExtendedProvisionInfo | None:
    """Returns the options as workers receive them; by itself the local runner hands on none."""
    if options is None:
        return None
    given = options.get_all_options(drop_default=True, retain_unknown_options=True)
    # A struct has no integers, and 2.0 is not taken for one.
    named = {
        f"beam:option:{name}:v1": str(value) if type(value) is int else value
        for name, value in given.items()
    }
    info = beam_provision_api_pb2.ProvisionInfo(
        pipeline_options=json_format.ParseDict(named, struct_pb2.Struct()),
        retrieval_token="unused",
    )
    return ExtendedProvisionInfo(info)


def split_runner(flags: list[str]) -> tuple[str | None, list[str]]:
    """Returns the runner that `--runner` names, None if it is not given, and the other flags."""
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


def run_locally(
    build: Callable[[beam.Pipeline, str], None],
    options: PipelineOptions,
    workers: int,
    *,
    output: Output,
    bar: Progress,
    verbose: bool,
    again: Callable[[Exception], bool] = lambda _: False,
) -> None:
    """Runs a pipeline on this machine to its end.

    Args:
        build: adds the steps to a pipeline; gets the address that workers report progress to.
        options, workers: as `local_options` returns them.
        output: released at the end, and its temporary files swept.
        bar: the progress bar, closed at the end.
        verbose: whether Beam's logs go to the terminal.
        again: whether the pipeline is built and run once more, given the error that has ended it.
    """
    watchdog = Watchdog(functools.partial(release_output, output), starts_workers=workers > 1)

    def receive(counts: Mapping[str, int]) -> None:
        watchdog.receive(counts)
        bar.receive(counts)

    try:
        with (
            progress.listening(receive) as progress_address,
            quiet(verbose),
            # One process works in as many threads as there are cores.
            memory.shared_budget(workers if workers > 1 else os.cpu_count() or 1),
            spilling(),
            released(output),
        ):
            os.environ[PROGRESS_ADDRESS] = progress_address
            if workers > 1:
                system_limits.check_room()
            while True:
                try:
                    # Before the output is swept or the run begins again: a worker that is still
                    # alive would go on writing.
                    with no_orphans(), watchdog.watching():
                        _run_once(
                            build=build,
                            options=options,
                            workers=workers,
                            progress_address=progress_address,
                            verbose=verbose,
                        )
                    break
                except Exception as error:
                    if not again(error):
                        raise
    finally:
        bar.close()


def _run_once(
    build: Callable[[beam.Pipeline, str], None],
    options: PipelineOptions,
    workers: int,
    progress_address: str,
    verbose: bool,
) -> None:
    pipeline = beam.Pipeline(runner=local_runner(workers, verbose, options), options=options)
    build(pipeline, progress_address)
    pipeline.run().wait_until_finish()


@contextlib.contextmanager
def quiet(verbose: bool) -> Iterator[None]:
    """Keeps Beam's logs off the terminal in the block, and tracebacks of what it also raises."""
    with contextlib.ExitStack() as stack:
        if not verbose:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
            # Some loggers of Beam set a level of their own.
            stack.callback(logging.disable, logging.root.manager.disable)
            logging.disable(logging.CRITICAL)
        yield


@contextlib.contextmanager
def released(output: Output) -> Iterator[None]:
    """Unlocks the output for other runs and removes its temporary files as the block ends."""
    try:
        yield
    finally:
        release_output(output)
