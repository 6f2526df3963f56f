"""The local runner: what its flags ask for, how many workers it has, and what they are told."""

from __future__ import annotations

import os

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo
from apache_beam.transforms import environments
from google.protobuf import json_format, struct_pb2

from beam_export.cli.worker import QUIET, command_line
from beam_export.errors import InputError

__all__ = ["LOCAL", "local_options", "local_runner", "use_options"]

#: Names of what is the local runner here.
LOCAL = ("DirectRunner", "FnApiRunner")


def use_options(flags: list[str]) -> None:
    """Tells the file systems of this process what Beam's flags say of them: endpoints, keys.

    Whoever makes a pipeline does so too, but that is later than the output is looked at.
    """
    FileSystems.set_options(PipelineOptions(flags))


def local_options(flags: list[str]) -> tuple[PipelineOptions, int]:
    """Returns the local runner's options and its number of workers: one a core by default.

    Raises:
        InputError: if they make no sense.
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
    workers = workers or _cores()
    if "--direct_running_mode" in given and direct.direct_running_mode == "in_memory":
        workers = 1
    # The runner would start workers of its own making if it were told of multi_processing.
    direct.direct_running_mode = "in_memory"
    direct.direct_num_workers = workers
    return options, workers


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def local_runner(
    workers: int, verbose: bool, options: PipelineOptions | None = None
) -> FnApiRunner:
    """Returns Beam's fast local runner; with several workers, each is a process.

    Args:
        workers: how many.
        verbose: whether they may say all that they say.
        options: what they are told; their file systems need it.
    """
    if workers == 1:
        return FnApiRunner()
    if not verbose:
        os.environ[QUIET] = "1"
    command = command_line()
    return FnApiRunner(
        environments.SubprocessSDKEnvironment.from_command_string(command),
        provision_info=_told(options),
    )


def _told(options: PipelineOptions | None) -> ExtendedProvisionInfo | None:
    """Returns what workers get of the options; by itself the local runner tells them none."""
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
