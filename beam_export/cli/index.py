"""The `index` command: makes the indexes for loaders of an export that exists."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import apache_beam as beam

from beam_export.cli import display, remote
from beam_export.cli.flags import IndexCommand
from beam_export.cli.kept_lines import index_lines
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
from beam_export.index_kinds import COUNTS, index_kinds
from beam_export.options import ExportOptions
from beam_export.pipeline.index_export import IndexExport, StandingExport, find_export
from beam_export.shards.index_files import find_kinds
from beam_export.shards.leftovers import remove_or_refuse
from beam_export.shards.lock import prepare_output
from beam_export.shards.output import Output
from beam_export.text import quantity, shown

__all__ = ["run_index"]


def run_index(command: IndexCommand) -> int:
    """Runs the command `index`, and returns its exit code.

    Raises:
        BeamExportError: if there is no complete export, somebody else's files stand where indexes
            are to be written, or the run has failed.
    """
    started = time.monotonic()
    use_options(command.beam_flags)
    options = ExportOptions(output_dir=command.output_dir, index=command.index)
    # Read first: nothing is made in a directory that holds no export.
    find_export(options.output_dir)
    runner, flags = split_runner(command.beam_flags)
    local = runner if runner not in (None, *LOCAL) else None
    with one_interrupt(end_workers if local is None else lambda: None), temporary_folder():
        output = prepare_output(options, bound=local is None)
        with released(output):
            export, kinds = _prepare(output, options)
            indexing = IndexExport(output=output, export=export, kinds=kinds)
            if local is None:
                _run_here(command, indexing, flags)
            else:
                _run_there(command, indexing, runner=local, flags=flags)
    print("\n".join(map(shown, _summary(output, kinds, time.monotonic() - started))))
    return 0


def _prepare(output: Output, options: ExportOptions) -> tuple[StandingExport, tuple[str, ...]]:
    """Returns the export and the kinds of its indexes, once nothing stands in their way."""
    export = find_export(output.directory)
    hash_, shards = export.names.hash, len(export.shards)
    kinds = index_kinds(options.index)
    remove_or_refuse(output, hash_, shards, clean=False, indexes=kinds)
    return export, find_kinds(output, export.names, kinds)


def _run_here(command: IndexCommand, indexing: IndexExport, flags: list[str]) -> None:
    def add(pipeline: beam.Pipeline, progress_address: str) -> None:
        pipeline | "Index" >> dataclasses.replace(indexing, progress_address=progress_address)

    shards = indexing.export.shards
    options, workers = local_options(flags, alone=len(shards) == 1)
    bar = display.Progress()
    bar.expect(sum(row["samples"] for row in shards), "indexing")
    run_locally(add, options, workers, output=indexing.output, bar=bar, verbose=command.verbose)


def _run_there(
    command: IndexCommand, indexing: IndexExport, *, runner: str, flags: list[str]
) -> None:
    with quiet(command.verbose):
        pipeline = remote.pipeline_on(runner, flags)
        pipeline | "Index" >> indexing
        remote.run(pipeline)


def _summary(output: Output, kinds: tuple[str, ...], seconds: float) -> Iterator[str]:
    """Yields the lines at the end of a run."""
    export = find_export(output.directory)
    files = output.list_files()
    written = any(file.updated > output.since for file in files.values())
    loaders = ", ".join(kind for kind in kinds if kind != COUNTS)
    shards = quantity(len(export.shards), "shard")
    if written:
        yield f"indexed {shards} for {loaders}, in {seconds:.1f} s"
    else:
        yield f"the indexes of {shards} for {loaders} are there already: nothing was written"
    yield from index_lines(output, export.manifest)
    yield f"  {output.path(export.names.manifest)}"
