"""What tests of the whole chain share: runs of a pipeline, and of an export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from support.exports import Export, read_export

import beam_export
from beam_export.cli import local, processes
from beam_export.errors import known_error, mark_errors


def run_pipeline(
    build: Callable[[beam.Pipeline], object], *, workers: int = 1, runner: object = None
) -> None:
    """Runs what `build` adds to a pipeline: in memory, or with as many processes as workers.

    Raises:
        BeamExportError: what is wrong, out of whatever the runner wrapped it in.
    """
    # As the command does, which looks for the marks too.
    mark_errors()
    options = PipelineOptions(["--direct_num_workers", str(workers)])
    chosen = runner or (
        FnApiRunner() if workers == 1 else local.local_runner(workers, verbose=False)
    )
    with processes.no_orphans():
        pipeline = beam.Pipeline(runner=chosen, options=options)
        build(pipeline)
        try:
            pipeline.run().wait_until_finish()
        except Exception as error:
            known = known_error(error)
            if known is None:
                raise
            raise known from error


def run_export(source: Path | str, out: Path | str, *, workers: int = 1, **options: Any) -> Export:
    """Exports as the command line does, and returns what stands in the output directory."""
    made = beam_export.ExportOptions(output_dir=str(out), **options)
    run_pipeline(lambda p: p | beam_export.ExportImages(str(source), made), workers=workers)
    return read_export(out)
