"""The end of a job on another engine: its workers on this machine end too, and nobody else."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState

from beam_export.cli import remote
from beam_export.cli.processes import processes_below
from beam_export.shards.output import Output


class Result:
    """A job with a worker on this machine, which its engine would keep for the next job."""

    def __init__(self, end: str | BaseException) -> None:
        self._end = end
        self.worker: subprocess.Popen[bytes] | None = None
        self.cancelled_with_a_worker = False

    def wait_until_finish(self) -> str:
        self.worker = subprocess.Popen(["sleep", "60"])
        if isinstance(self._end, BaseException):
            raise self._end
        return self._end

    def cancel(self) -> None:
        assert self.worker is not None
        self.cancelled_with_a_worker = self.worker.poll() is None


def follow(result: Result, place: Path) -> None:
    options, output = PipelineOptions([]), Output(str(place), "token")
    others = set(processes_below(os.getpid()))
    remote.Job(
        result, options=options, runner="PortableRunner", output=output, others=others
    ).follow()


def run(result: Result, place: Path) -> None:
    class Pipeline:
        def run(self) -> Any:
            return result

    remote.run(Pipeline())  # type: ignore[arg-type]


ENDS = [PipelineState.DONE, PipelineState.FAILED, RuntimeError("no"), KeyboardInterrupt()]


@pytest.mark.parametrize("end", ENDS, ids=["done", "failed", "error", "interrupt"])
@pytest.mark.parametrize("followed", [follow, run])
def test_workers_end_with_the_job_however_that_ends(
    followed: Callable[[Result, Path], None], end: str | BaseException, tmp_path: Path
) -> None:
    result = Result(end)
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            with contextlib.suppress(Exception, KeyboardInterrupt):
                followed(result, tmp_path)
            assert result.worker is not None
            assert result.worker.wait(10) == -9
            assert other.poll() is None
        finally:
            other.kill()


def test_a_job_that_is_interrupted_is_cancelled_before_it_is_left_without_workers(
    tmp_path: Path,
) -> None:
    result = Result(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        follow(result, tmp_path)
    assert result.worker is not None
    assert result.worker.wait(10) == -9
    assert result.cancelled_with_a_worker
