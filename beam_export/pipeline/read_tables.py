"""ReadTables: the samples of tables as refs; an element per Parquet row group or block of lines."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, DoOutputsTuple, PCollection, TaggedOutput

from beam_export.packing import pack, unpack
from beam_export.pipeline.beam_utils import Checkpoint, MergeAll, split_failures
from beam_export.pipeline.progress import report
from beam_export.pipeline.read_tars import Spills
from beam_export.pipeline.resources import spreads
from beam_export.planning.join import Tally
from beam_export.planning.spill_files import load, spill
from beam_export.planning.steps import ODD_IDS
from beam_export.samples import Failure, SampleRef
from beam_export.sources.entries import Source
from beam_export.sources.tables.encoding import UTF8
from beam_export.sources.tables.formats import TableError, is_parquet
from beam_export.sources.tables.parquet import ParquetTable
from beam_export.sources.tables.refs import (
    broken_table,
    declared_columns,
    group_refs,
    table_place,
)
from beam_export.sources.tables.roles import Roles, column_of_no_ids, roles_of_table
from beam_export.sources.tables.text import TextBlock, TextTypes, text_blocks, types_of_text
from beam_export.sources.tables.text_refs import (
    KeptImages,
    check_paths,
    no_ids,
    text_refs,
    without_ids,
)
from beam_export.storage.local_file import check_unchanged
from beam_export.storage.open_files import open_source, unchanged
from beam_export.storage.registry import storage_of
from beam_export.text import printable

__all__ = ["ReadTables"]


@dataclasses.dataclass
class ReadTables(beam.PTransform):
    """Finds the samples of tables; returns `refs` (one of each kind), `failures` and `columns`.

    The sizes of their images are not known yet (`MeasureImages`).

    Attributes:
        progress_address: address for `progress.report`.
        encoding: of CSV and JSON lines, if no byte-order mark says otherwise.
        spills: where images go that stand in those as base64; None measures them only.
        kinds: which tables there may be: `parquet`, `table` (text).
    """

    progress_address: str | None = None
    encoding: str = UTF8
    spills: Spills | None = None
    kinds: frozenset[str] = frozenset({"parquet", "table"})

    def expand(self, tables: PCollection[Source]) -> dict[str, Any]:
        # Source
        if spreads(tables.pipeline):
            tables = tables | "SpreadTables" >> beam.Reshuffle()
        # groups: (Source, row group); texts: Source; columns: (Arrow schema, where it is from)
        split: DoOutputsTuple = tables | "OpenTables" >> beam.ParDo(_OpenTable()).with_outputs(
            "failures", "columns", "texts", "notes", main="groups"
        )
        read = []
        if "parquet" in self.kinds:
            read.append(self._read_groups(split.groups))
        if "table" in self.kinds:
            read.append(self._read_texts(split.texts))
        return {
            "refs": tuple(refs for one in read for refs in one["refs"]),
            "failures": (
                split.failures,
                *(failures for one in read for failures in one["failures"]),
            ),
            "columns": split.columns,
            "notes": (split.notes, *(notes for one in read for notes in one["notes"])),
        }

    def _read_groups(self, groups: PCollection[tuple[Source, int]]) -> dict[str, Any]:
        """Reads row groups of Parquet, each by one worker."""
        if spreads(groups.pipeline):
            groups = groups | "SpreadGroups" >> beam.Reshuffle()
        # refs: [SampleRef, ...]; failures: Failure; notes: Tally
        read: DoOutputsTuple = groups | "ReadGroups" >> beam.ParDo(
            _ReadGroup(self.progress_address)
        ).with_outputs("failures", "notes", main="refs")
        return {"refs": (read.refs,), "failures": (read.failures,), "notes": (read.notes,)}

    def _read_texts(self, texts: PCollection[Source]) -> dict[str, Any]:
        """Reads CSV and JSON lines: one worker per file finds the lines, all make refs of them."""
        # blocks: packed (Source, TextBlock); failures: Failure
        cut: DoOutputsTuple = texts | "CutTexts" >> beam.ParDo(
            _CutText(self.encoding)
        ).with_outputs("failures", main="blocks")
        blocks = cut.blocks
        if spreads(texts.pipeline):
            blocks = blocks | "SpreadLines" >> beam.Reshuffle()
        # one TextTypes: a column of CSV has one type in all files
        types = blocks | "LookAtValues" >> beam.Map(_types_of) | "JoinTypes" >> MergeAll(TextTypes)
        # refs: [SampleRef, ...]; failures: Failure
        read: DoOutputsTuple = blocks | "ReadLines" >> beam.ParDo(
            _ReadLines(self.progress_address, self.spills), AsSingleton(types)
        ).with_outputs("failures", "spilled", "notes", main="refs")
        # A checkpoint: a second reading would spill to other places.
        spilled = read.spilled | "Checkpoint" >> Checkpoint(list[SampleRef])
        return {
            "refs": (read.refs, spilled),
            "failures": (cut.failures, read.failures),
            "notes": (read.notes,),
        }


def _types_of(packed: bytes) -> TextTypes:
    return types_of_text(_unpack_lines(packed)[1])


def _pack_lines(source: Source, block: TextBlock, usual: Roles | None) -> bytes:
    return spill(pack((tuple(source), tuple(block), usual and tuple(usual))))


def _unpack_lines(packed: bytes) -> tuple[Source, TextBlock, Roles | None]:
    source, block, usual = unpack(load(packed))
    return Source(*source), TextBlock(*block), usual and Roles(*usual)


class _OpenTable(beam.DoFn):
    """Yields (Parquet file, row group); tables of text as they are, tagged."""

    def process(self, source: Source) -> Iterator[Any]:
        source = Source(*source)
        if not is_parquet(source.relative):
            yield TaggedOutput("texts", source)
            return
        try:
            with open_source(source.uri) as file:
                table = ParquetTable(file)
                # While it is open: what text holds, images or paths, its first values say.
                roles, columns = declared_columns(table, source)
                check_unchanged(file)
        except (TableError, OSError) as error:
            yield _broken(source, error)
            return
        yield TaggedOutput("columns", (columns.serialize().to_pybytes(), printable(source.path)))
        if name := column_of_no_ids(table.schema, roles):
            kind = str(table.schema.field(name).type)
            yield _odd_ids([no_ids(source, name, kind)], sum(rows for _, rows in table.groups))
        for group, (_, rows) in enumerate(table.groups):
            if rows:
                yield source, group


class _ReadGroup(beam.DoFn):
    """Yields lists of the refs of a row group."""

    def __init__(self, progress_address: str | None) -> None:
        self._progress_address = progress_address

    def process(self, element: tuple[Source, int]) -> Iterator[Any]:
        source, group = Source(*element[0]), element[1]
        lost: list[int] = []
        try:
            with open_source(source.uri) as file:
                table = ParquetTable(file)
                roles = roles_of_table(table)
                place = table_place(source)
                refs = group_refs(table, group, roles=roles, place=place, no_ids=lost.append)
                for found in unchanged(file, refs):
                    yield from _reported(found, self._progress_address)
            if any(lost):
                yield _odd_ids([without_ids(source, roles.id)], sum(lost))
        except (TableError, OSError) as error:
            yield _broken(source, error)


class _CutText(beam.DoFn):
    """Yields packed blocks of lines."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding

    def process(self, source: Source) -> Iterator[bytes | TaggedOutput]:
        source = Source(*source)
        unchecked: TextBlock | None = None
        checked = False
        usual: Roles | None = None
        try:
            with open_source(source.uri) as file:
                blocks = text_blocks(file, source.path, self._encoding)
                for block in unchanged(file, blocks):
                    if not checked and block.lines:
                        usual = check_paths(block, source)
                        checked = True
                    unchecked = None if checked else block
                    yield _pack_lines(source, block, usual)
            if unchecked is not None:
                # A CSV of no rows.
                check_paths(unchecked, source)
        except (TableError, OSError) as error:
            yield _broken(source, error)


class _ReadLines(beam.DoFn):
    """Yields a list of the refs of a block of lines; tagged, if images of it were spilled."""

    def __init__(self, progress_address: str | None, spills: Spills | None) -> None:
        self._progress_address, self._spills = progress_address, spills

    def process(self, packed: bytes, types: TextTypes) -> Iterator[Any]:
        source, block, usual = _unpack_lines(packed)
        odd: list[str] = []
        with contextlib.ExitStack() as stack:
            kept = KeptImages(lambda: self._begin(stack))
            refs = text_refs(block, types, source, keep=kept.keep, no_id=odd.append, usual=usual)
            found = list(refs)
        if odd:
            yield _odd_ids(odd, len(odd))
        if kept.path is None:
            yield from _reported(found, self._progress_address)
            return
        # Pinned only now that the file is whole.
        status = storage_of(kept.path).stat(kept.path) if kept.path else None
        uri = kept.path if status is None else status.pinned
        for one in _reported(found, self._progress_address):
            yield TaggedOutput("spilled", _placed(one, uri)) if isinstance(one, list) else one

    def _begin(self, stack: contextlib.ExitStack) -> tuple[str, BinaryIO | None]:
        return ("", None) if self._spills is None else stack.enter_context(self._spills.spilling())


def _odd_ids(said: list[str], rows: int) -> TaggedOutput:
    """Returns the note on rows whose column of ids can be none, tagged."""
    tally = Tally()
    tally.add(ODD_IDS, rows)
    tally.show(ODD_IDS, said)
    return TaggedOutput("notes", tally)


def _placed(refs: list[SampleRef], uri: str) -> list[SampleRef]:
    """Returns refs with the place of the file that was spilled."""
    return [
        ref if ref.image.uri else ref._replace(image=ref.image._replace(uri=uri)) for ref in refs
    ]


def _reported(found: Iterable[SampleRef | Failure], progress_address: str | None) -> Iterator[Any]:
    """Yields failures, tagged, and a list of refs, whose number is added to the progress."""
    for one in split_failures(found):
        if isinstance(one, list):
            report(progress_address, {"listed": len(one)})
        yield one


def _broken(source: Source, error: TableError | OSError) -> TaggedOutput:
    """Returns the failure of a table, tagged.

    Raises:
        OSError: if it may be readable at another time.
    """
    return TaggedOutput("failures", broken_table(source.relative, source.uri, error))
