"""Submits an export to a runner other than the local one, follows the job, and reports its end."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Container, Sequence
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.runners.runner import PipelineResult, PipelineState

from beam_export.cli.dataflow import dataflow_flags, job_message
from beam_export.cli.flags import ExportCommand
from beam_export.cli.processes import end_workers, no_orphans, processes_below
from beam_export.errors import InputError, RunError, find_error, known_error
from beam_export.pipeline.export import ExportImages
from beam_export.pipeline.proxies import spare_this_machine
from beam_export.shards.output import Output

__all__ = ["DATAFLOW", "Job", "check_local", "flags_for", "pipeline_on", "run", "submit"]

DATAFLOW = "DataflowRunner"
#: Runners whose jobs continue after the process that submitted them has exited.
_DETACHED = (DATAFLOW, "FlinkRunner", "PortableRunner", "SparkRunner")


def check_local(command: ExportCommand) -> None:
    """Checks that no flag is given that only other runners have.

    Raises:
        InputError: if one is.
    """
    if command.options.gpu is not None:
        raise InputError(_no_gpu(command.options.gpu))
    if command.wait is False:
        raise InputError(
            "--wait=false leaves a job to a cluster, and the local runner has none: drop it, or "
            "give --runner=DataflowRunner."
        )


def flags_for(command: ExportCommand, runner: str) -> list[str]:
    """Returns Beam's flags for a runner.

    Raises:
        InputError: if they contradict the runner.
    """
    flags = command.beam_flags
    if runner == DATAFLOW:
        flags = dataflow_flags(command.input, command.options, flags)
    elif command.options.gpu is not None:
        raise InputError(_no_gpu(command.options.gpu))
    if command.wait is False and not _can_detach(runner, flags):
        raise InputError(
            "--wait=false leaves a job to a cluster, but here its workers would end with this "
            "process: drop it, or give another --runner or --environment_type."
        )
    return list(flags)


def _no_gpu(gpu: str) -> str:
    return (
        f"--gpu={gpu} asks Dataflow for workers with a GPU, and --runner is not DataflowRunner: "
        "drop it; on this machine --encoder=auto uses a GPU that is here, and for workers "
        "elsewhere that have one give --encoder=dali --device=gpu, since auto is Pillow there."
    )


def _can_detach(runner: str, flags: Sequence[str]) -> bool:
    kind = PipelineOptions(list(flags)).view_as(PortableOptions).environment_type
    return runner in _DETACHED and kind != "LOOPBACK"


class Job:
    """An export that was submitted to a runner.

    Args:
        result: what the runner has returned.
        options: those of the pipeline.
        runner: its name.
        output: swept if the job fails.
        others: the processes below this one that are none of the job's workers.
    """

    def __init__(
        self,
        result: Any,
        *,
        options: PipelineOptions,
        runner: str,
        output: Output,
        others: Container[int],
    ) -> None:
        self._result, self._options = result, options
        self._runner, self._output = runner, output
        # Engines may keep workers for minutes, and Beam ends those of LOOPBACK at this process's
        # exit only, and not if that is sudden.
        self._others = others
        self._on_dataflow = runner == DATAFLOW

    @property
    def started(self) -> bool:
        """Whether the job was started; with a template location it is only described."""
        return not self._on_dataflow or bool(self._result.has_job)

    def describe(self) -> str:
        """Returns the message about the job: its id and where to find it."""
        if self._on_dataflow:
            name = self._result.job_id() if self.started else None
            return job_message(self._options, name)
        return f"submitted as job {getattr(self._result, '_job_id', '')} to {self._runner}"

    def follow(self) -> None:
        """Waits for the end of the job.

        Raises:
            BeamExportError: if the job failed with an error of this tool.
            RuntimeError: if the job failed for another reason.
        """
        try:
            state = self._result.wait_until_finish()
        except KeyboardInterrupt:
            self._interrupted()
            raise
        except Exception as error:
            self._sweep()
            known = known_error(error) or find_error(_messages(self._result))
            if known is None:
                raise
            raise known from error
        if state not in (None, PipelineState.DONE):
            self._sweep()
            raise RunError(
                f"the job ended as {state}, not as DONE: see what the runner says of it, and run "
                "again; the shards that are finished are kept."
            )
        end_workers(self._others)

    def _interrupted(self) -> None:
        if self._on_dataflow:
            print(f"the job goes on:\n{self.describe()}")
            return
        # Best effort: the job may have ended already.
        with contextlib.suppress(Exception):
            self._result.cancel()
        self._sweep()

    def _sweep(self) -> None:
        """Removes temporary files, once nobody on this machine goes on writing."""
        end_workers(self._others)
        self._output.sweep()


def _messages(result: Any) -> str:
    """Returns all messages of a portable runner's job, since the last is not always the reason."""
    found = [getattr(message, "message_response", None) for message in _message_list(result)]
    return "\n".join(message.message_text for message in found if message is not None)


def _message_list(result: Any) -> Sequence[Any]:
    return getattr(result, "_messages", None) or ()


def _put_python_on_path() -> None:
    """Makes `python` on the PATH this interpreter, with which Beam starts the workers of LOOPBACK.

    Without it, in a virtual environment that is not activated, the job would wait for them forever.
    """
    folder = os.path.dirname(sys.executable)
    found = shutil.which("python")
    if found is None or os.path.dirname(found) != folder:
        os.environ["PATH"] = os.pathsep.join((folder, os.environ.get("PATH", os.defpath)))


def submit(command: ExportCommand, runner: str, flags: Sequence[str], output: Output) -> Job:
    """Submits an export to a runner.

    Raises:
        InputError: if the runner is unknown, or not installed.
    """
    if runner == DATAFLOW:
        # Its log is the only progress that there is of the job.
        logging.getLogger("apache_beam.runners.dataflow.dataflow_runner").setLevel(logging.INFO)
    pipeline = pipeline_on(runner, flags)
    others = processes_below(os.getpid())
    try:
        pipeline | "Export" >> ExportImages(command.input, command.options, output=output)
        return Job(
            _start(pipeline), options=pipeline.options, runner=runner, output=output, others=others
        )
    except BaseException:
        output.sweep()
        raise


def pipeline_on(runner: str, flags: Sequence[str]) -> beam.Pipeline:
    """Returns an empty pipeline for a runner.

    Raises:
        InputError: if the runner is unknown, or not installed.
    """
    _put_python_on_path()
    # A job server on this machine may address it by its full host name.
    spare_this_machine(full_name=True)
    try:
        return beam.Pipeline(options=PipelineOptions([*flags, f"--runner={runner}"]))
    except (ImportError, ValueError) as error:
        raise InputError(
            f"--runner={runner} cannot be had here ({str(error).splitlines()[0]}): give another, "
            "or install what it needs, pip install 'beam_export[gcp]' for Dataflow."
        ) from error


def run(pipeline: beam.Pipeline) -> None:
    """Runs a pipeline to its end, and that of its workers on this machine.

    Raises:
        InputError: if no job server answers.
    """
    with no_orphans():
        _start(pipeline).wait_until_finish()


def _start(pipeline: beam.Pipeline) -> PipelineResult:
    """Submits a pipeline, and returns its result, which can be waited for.

    Raises:
        InputError: if no job server answers.
    """
    try:
        return pipeline.run()
    except grpc.FutureTimeoutError as error:
        endpoint = pipeline.options.view_as(PortableOptions).job_endpoint
        raise InputError(
            f"--job_endpoint={endpoint} does not answer: start a job server there, or give the "
            "address of one."
        ) from error
