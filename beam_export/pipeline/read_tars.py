"""ReadTars: the samples of WebDataset tars as refs, one element per tar."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import pickle
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Protocol

import apache_beam as beam
from apache_beam.pvalue import DoOutputsTuple, PCollection, TaggedOutput

from beam_export.metadata.columns import ColumnChoice
from beam_export.naming import parse
from beam_export.pipeline.beam_utils import Checkpoint, split_failures
from beam_export.pipeline.progress import report
from beam_export.pipeline.resources import spreads
from beam_export.planning.blocks import REFS_PER_BLOCK
from beam_export.planning.join import Tally
from beam_export.planning.spill_files import load, spill
from beam_export.planning.steps import LARGE_JSON, SEVERAL
from beam_export.samples import Failure, SampleRef
from beam_export.sources.decompress import compression_of_file
from beam_export.sources.entries import (
    BrokenSourceError,
    Skipped,
    Source,
    broken_source,
    unreadable_source,
)
from beam_export.sources.json_metadata import MAX_JSON, has_large_json, with_json
from beam_export.sources.reader import Reader
from beam_export.sources.several_images import holds_several
from beam_export.sources.tar.exports import ExportTable
from beam_export.sources.tar.members import find_members, missing_shards, read_companion
from beam_export.sources.tar.refs import RefOutcome, Spill, tar_refs
from beam_export.sources.tar.walk import stream_members
from beam_export.storage.local_file import check_unchanged
from beam_export.storage.open_files import open_with_retries, unchanged
from beam_export.storage.registry import storage_of
from beam_export.text import printable

__all__ = ["ReadTars", "Spills"]

#: Blocks of a tar whose JSON is read where the tar is; that of later ones is read by all workers.
_KEPT = 8


class Spills(Protocol):
    """Keeps the members of compressed tars until their shard is written."""

    def spilling(self) -> contextlib.AbstractContextManager[tuple[str, BinaryIO]]:
        """Opens a temporary file that stays until the end of the run."""


@dataclasses.dataclass
class ReadTars(beam.PTransform):
    """Finds the samples of tars; returns `refs` (by how they were read), `failures` and more.

    Of an uncompressed tar the headers are read by one worker, one after the other, and then small
    JSON; of a tar of many samples, by all workers. A compressed one is read once, and the data of
    its members are spilled, so that only refs go on.

    Attributes:
        spills: where the members of compressed tars go; None measures them only.
        max_bytes: members of compressed tars that are larger are failures.
        progress_address: address for `progress.report`.
        choice: of the columns that JSON gives.
    """

    spills: Spills | None
    max_bytes: int
    progress_address: str | None
    choice: ColumnChoice = ColumnChoice()  # noqa: RUF009 (a tuple)

    def expand(self, tars: PCollection[Source]) -> dict[str, Any]:
        do = _ReadTar(
            self.spills, self.max_bytes, progress_address=self.progress_address, choice=self.choice
        )
        # Source: a tar, or the manifest of an export
        if spreads(tars.pipeline):
            tars = tars | "SpreadTars" >> beam.Reshuffle()
        read: DoOutputsTuple = (
            tars
            # refs, spilled: [SampleRef, ...]; later: the same pickled, its JSON still to be read;
            # columns: (serialized Arrow schema, where it is from); skipped: str; failures: Failure
            | "ReadTar"
            >> beam.ParDo(do).with_outputs(
                "failures", "skipped", "columns", "notes", "spilled", "later", main="refs"
            )
        )
        blocks = read.later
        if spreads(tars.pipeline):
            blocks = blocks | "SpreadSamples" >> beam.Reshuffle()
        # [SampleRef, ...], complete
        later = blocks | "ReadJson" >> beam.ParDo(_ReadJson(self.choice)).with_outputs(
            "failures", main="refs"
        )
        # A checkpoint: a second reading would spill to other places.
        spilled = read.spilled | "Checkpoint" >> Checkpoint(list[SampleRef])
        return {
            "refs": (read.refs, spilled, later.refs),
            "failures": (read.failures, later.failures),
            "skipped": read.skipped,
            "columns": read.columns,
            "notes": read.notes,
        }


@dataclasses.dataclass(eq=False)
class _ReadTar(beam.DoFn):
    """Yields lists of refs, in the order of the tar; failures, columns and the rest are tagged."""

    spills: Spills | None
    max_bytes: int
    progress_address: str | None
    choice: ColumnChoice = ColumnChoice()  # noqa: RUF009 (a tuple)

    def process(self, source: Source) -> Iterator[Any]:
        source = Source(*source)
        try:
            if parse(source.name) is not None and source.name.endswith(".json"):
                for failure in missing_shards(source):
                    yield TaggedOutput("failures", failure)
            else:
                yield from self._read(source)
        except BrokenSourceError as error:
            yield TaggedOutput("failures", broken_source(source.name, source.path, str(error)))
        except OSError as error:
            what = "the tar or the Parquet beside it"
            failure = unreadable_source(source.name, source.path, what=what, error=error)
            yield TaggedOutput("failures", failure)

    def _read(self, source: Source) -> Iterator[Any]:
        table = read_companion(source)
        if table is None and source.parquet is not None:
            # Of no exporter that is known: its columns could mean anything.
            yield TaggedOutput("skipped", ".parquet")
        if table is not None:
            schema: bytes = table.columns.serialize().to_pybytes()
            yield TaggedOutput("columns", (schema, printable(source.path)))
        with open_with_retries(source.uri) as tar:
            if compression_of_file(tar):
                yield from self._read_compressed(tar, source, table)
            else:
                yield from self._read_seekable(tar, source, table)

    def _read_seekable(
        self, tar: BinaryIO, source: Source, table: ExportTable | None
    ) -> Iterator[Any]:
        members = find_members(tar, source, table)
        outcomes = tar_refs(members, source.path, table=table, data_uri=source.uri)
        blocks = 0
        with Reader(MAX_JSON) as reader:
            for one in unchanged(tar, self._blocks(outcomes, source)):
                if not isinstance(one, list):
                    yield one
                    continue
                blocks += 1
                if blocks > _KEPT:
                    yield TaggedOutput("later", spill(pickle.dumps(one, protocol=5)))
                else:
                    yield from split_failures(with_json(one, reader, self.choice))

    def _read_compressed(
        self, tar: BinaryIO, source: Source, table: ExportTable | None
    ) -> Iterator[Any]:
        opened = self.spills.spilling() if self.spills else _nowhere()
        with opened as (path, target):
            spill = Spill(target)
            members = list(spill.members(stream_members(tar, self.max_bytes)))
        check_unchanged(tar)
        if path and (spilled := storage_of(path).stat(path)) is not None:
            path = spilled.pinned
        # Its JSON is at hand, and may be nowhere else.
        outcomes = tar_refs(
            members,
            source.path,
            read=spill.read,
            table=table,
            data_uri=path,
            choice=self.choice,
        )
        for one in self._blocks(outcomes, source):
            yield TaggedOutput("spilled", one) if isinstance(one, list) else one

    def _blocks(self, outcomes: Iterable[RefOutcome], source: Source) -> Iterator[Any]:
        block: list[SampleRef] = []
        places = itertools.count()
        several: list[str] = []
        large: list[str] = []
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                yield TaggedOutput("failures", outcome)
            elif isinstance(outcome, Skipped):
                yield TaggedOutput("skipped", outcome.kind)
            else:
                order = source.order + next(places).to_bytes(8, "big")
                block.append(outcome._replace(order=order))
                if holds_several(outcome.fields):
                    several.append(outcome.id)
                if self._gives_no_columns(outcome):
                    large.append(outcome.id)
                if len(block) == REFS_PER_BLOCK:
                    yield self._full(block)
                    block = []
        if block:
            yield self._full(block)
        if several or large:
            tally = Tally()
            tally.note(SEVERAL, several)
            tally.note(LARGE_JSON, large)
            yield TaggedOutput("notes", tally)

    def _gives_no_columns(self, ref: SampleRef) -> bool:
        """Returns whether a sample's JSON is too large to give columns that are wanted."""
        wanted = ref.earlier is None and not self.choice.drops_all
        return wanted and has_large_json(ref.fields)

    def _full(self, block: list[SampleRef]) -> list[SampleRef]:
        report(self.progress_address, {"listed": len(block)})
        return block


@contextlib.contextmanager
def _nowhere() -> Iterator[tuple[str, None]]:
    yield "", None


class _ReadJson(beam.DoFn):
    """Yields lists of refs with the keys of their JSON members; takes such lists, pickled."""

    def __init__(self, choice: ColumnChoice) -> None:
        self._choice = choice

    def process(self, packed: bytes) -> Iterator[Any]:
        refs = pickle.loads(load(packed))
        with Reader(MAX_JSON) as reader:
            yield from split_failures(with_json(refs, reader, self._choice))
