"""ReadTables: the samples of tables as refs; an element per Parquet row group or block of lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, DoOutputsTuple, PCollection, TaggedOutput

from beam_export.packing import pack, unpack
from beam_export.pipeline.beam_utils import MergeAll, split_failures
from beam_export.pipeline.progress import report
from beam_export.samples import Failure, SampleRef
from beam_export.sources.entries import Source
from beam_export.sources.tables.refs import (
    broken_table,
    check_paths,
    declared_columns,
    group_refs,
    place_of,
    text_refs,
)
from beam_export.sources.tables.roles import roles_of_schema
from beam_export.sources.tables.rows import (
    ParquetTable,
    TableError,
    TextBlock,
    TextTypes,
    is_parquet,
    text_blocks,
    types_of_text,
)
from beam_export.storage.local_file import check_unchanged
from beam_export.storage.open_files import open_source, unchanged
from beam_export.text import printable

__all__ = ["ReadTables"]


@dataclasses.dataclass
class ReadTables(beam.PTransform):
    """Finds the samples of tables; returns `refs` (one of each kind), `failures` and `columns`.

    The sizes of their images are not known yet (`MeasureImages`).

    Attributes:
        progress_address: address for `progress.report`.
    """

    progress_address: str | None = None

    def expand(self, tables: PCollection[Source]) -> dict[str, Any]:
        split = (
            tables  # Source
            | "SpreadTables" >> beam.Reshuffle()
            # groups: (Source, row group); texts: Source; columns: (Arrow schema, where it is from)
            | "OpenTables"
            >> beam.ParDo(_OpenTable()).with_outputs("failures", "columns", "texts", main="groups")
        )
        groups = (
            split.groups
            | "SpreadGroups" >> beam.Reshuffle()
            # [SampleRef, ...]
            | "ReadGroups"
            >> beam.ParDo(_ReadGroup(self.progress_address)).with_outputs("failures", main="refs")
        )
        texts = self._read_texts(split.texts)
        failures = [split.failures, groups.failures, *texts["failures"]]
        return {
            "refs": (groups.refs, texts["refs"]),
            "failures": failures | "Failures" >> beam.Flatten(),
            "columns": split.columns,
        }

    def _read_texts(self, texts: PCollection[Source]) -> dict[str, Any]:
        """Reads CSV and JSON lines: one worker per file finds the lines, all make refs of them."""
        # blocks: (Source, TextBlock), packed
        cut: DoOutputsTuple = texts | "CutTexts" >> beam.ParDo(_CutText()).with_outputs(
            "failures", main="blocks"
        )
        blocks = cut.blocks | "SpreadLines" >> beam.Reshuffle()
        # One TextTypes: a column of CSV has one type in all files.
        types = (
            blocks
            | "LookAtValues" >> beam.Map(_types_of)
            | "JoinTypes" >> beam.CombineGlobally(MergeAll(TextTypes))
        )
        # [SampleRef, ...]
        read: DoOutputsTuple = blocks | "ReadLines" >> beam.ParDo(
            _ReadLines(self.progress_address), AsSingleton(types)
        ).with_outputs("failures", main="refs")
        return {"refs": read.refs, "failures": (cut.failures, read.failures)}


def _types_of(packed: bytes) -> TextTypes:
    return types_of_text(_unpack_lines(packed)[1])


def _pack_lines(source: Source, block: TextBlock) -> bytes:
    return pack((tuple(source), tuple(block)))


def _unpack_lines(packed: bytes) -> tuple[Source, TextBlock]:
    source, block = unpack(packed)
    return Source(*source), TextBlock(*block)


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
                check_unchanged(file)
        except (TableError, OSError) as error:
            yield _broken(source, error)
            return
        schema: bytes = declared_columns(table, source).serialize().to_pybytes()
        yield TaggedOutput("columns", (schema, printable(source.path)))
        for group, (_, rows) in enumerate(table.groups):
            if rows:
                yield source, group


class _ReadGroup(beam.DoFn):
    """Yields lists of the refs of a row group."""

    def __init__(self, progress_address: str | None) -> None:
        self._progress_address = progress_address

    def process(self, element: tuple[Source, int]) -> Iterator[Any]:
        source, group = Source(*element[0]), element[1]
        try:
            with open_source(source.uri) as file:
                table = ParquetTable(file)
                roles = roles_of_schema(table.schema)
                refs = group_refs(table, group, roles=roles, place=place_of(source))
                for found in unchanged(file, refs):
                    yield from _reported(found, self._progress_address)
        except (TableError, OSError) as error:
            yield _broken(source, error)


class _CutText(beam.DoFn):
    """Yields packed blocks of lines."""

    def process(self, source: Source) -> Iterator[bytes | TaggedOutput]:
        source = Source(*source)
        checked = False
        try:
            with open_source(source.uri) as file:
                for block in unchanged(file, text_blocks(file, source.relative)):
                    if not checked:
                        check_paths(block, source)
                        checked = True
                    yield _pack_lines(source, block)
        except (TableError, OSError) as error:
            yield _broken(source, error)


class _ReadLines(beam.DoFn):
    """Yields a list of the refs of a block of lines."""

    def __init__(self, progress_address: str | None) -> None:
        self._progress_address = progress_address

    def process(self, packed: bytes, types: TextTypes) -> Iterator[Any]:
        source, block = _unpack_lines(packed)
        yield from _reported(text_refs(block, types, source), self._progress_address)


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
