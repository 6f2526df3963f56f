"""From tables to refs: row groups of Parquet, and blocks of lines, are elements of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, DoOutputsTuple, PCollection, TaggedOutput

from beam_export.errors import InputError
from beam_export.packing import pack, unpack
from beam_export.pipeline.beam_utils import MergeAll
from beam_export.pipeline.json_members import sorted_out
from beam_export.pipeline.progress import report
from beam_export.samples import SOURCE_CHANGED, Failure, SampleRef
from beam_export.sources.entries import Source
from beam_export.sources.tables.refs import Place, group_refs, metadata_schema, row_ref
from beam_export.sources.tables.roles import roles_of_names, roles_of_schema
from beam_export.sources.tables.rows import (
    BadRow,
    ParquetTable,
    TableError,
    TextBlock,
    TextTypes,
    is_parquet,
    rows_of_text,
    text_blocks,
    types_of_text,
)
from beam_export.storage.local_file import check_unchanged
from beam_export.storage.open_files import open_source, unchanged
from beam_export.storage.registry import ReplacedError
from beam_export.storage.retry import is_permanent
from beam_export.storage.uris import unpin
from beam_export.text import printable

__all__ = ["ReadTables", "broken_table"]


@dataclasses.dataclass
class ReadTables(beam.PTransform):
    """Finds the samples of tables; gives `refs` (one of each kind), `failures` and `columns`.

    How large their images are is not known yet (`MeasureImages`).

    Attributes:
        progress_address: address for `progress.report`.
    """

    progress_address: str | None = None

    def expand(self, tables: PCollection[Source]) -> dict[str, Any]:
        split = (
            tables
            | "SpreadTables" >> beam.Reshuffle()
            | "OpenTables"
            >> beam.ParDo(_OpenTable()).with_outputs("failures", "columns", "texts", main="groups")
        )
        groups = (
            split.groups
            | "SpreadGroups" >> beam.Reshuffle()
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
        """Reads CSV and JSON lines: a worker a file finds the lines, and all make refs of them."""
        cut: DoOutputsTuple = texts | "CutTexts" >> beam.ParDo(_CutText()).with_outputs(
            "failures", main="blocks"
        )
        blocks = cut.blocks | "SpreadLines" >> beam.Reshuffle()
        types = (
            blocks
            | "LookAtValues" >> beam.Map(_types_of)
            | "JoinTypes" >> beam.CombineGlobally(MergeAll(TextTypes))
        )
        read: DoOutputsTuple = blocks | "ReadLines" >> beam.ParDo(
            _ReadLines(self.progress_address), AsSingleton(types)
        ).with_outputs("failures", main="refs")
        return {"refs": read.refs, "failures": (cut.failures, read.failures)}


def _types_of(packed: bytes) -> TextTypes:
    return types_of_text(_opened(packed)[1])


def _packed(source: Source, block: TextBlock) -> bytes:
    return pack((tuple(source), tuple(block)))


def _opened(packed: bytes) -> tuple[Source, TextBlock]:
    source, block = unpack(packed)
    return Source(*source), TextBlock(*block)


def _place(source: Source) -> Place:
    return Place(source.relative, source.uri, source.order)


def _refused(source: Source, error: TableError) -> InputError:
    return InputError(f"the table {printable(unpin(source.uri)[0])} {error}.")


def _broken(source: Source, error: TableError | OSError) -> TaggedOutput:
    """Returns it as the failure of its source.

    Raises:
        OSError: if it may be read at another time.
    """
    return TaggedOutput("failures", broken_table(source.relative, source.uri, error))


def broken_table(name: str, uri: str, error: TableError | OSError) -> Failure:
    """Returns the failure of a table that cannot be read to its end, or has been replaced.

    Raises:
        OSError: if it may be read at another time.
    """
    where = printable(unpin(uri)[0])
    if isinstance(error, ReplacedError):
        reason = "the table has been replaced since it was listed"
        return Failure(printable(name), where, "list", SOURCE_CHANGED, reason)
    if isinstance(error, OSError):
        if not is_permanent(error):
            raise error
        reason = f"the table cannot be read: {error.strerror}"
    else:
        reason = f"the table {error}"
    return Failure(printable(name), where, "list", "BrokenSource", printable(reason))


class _OpenTable(beam.DoFn):
    """Yields (Parquet file, row group), and texts as they are."""

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
        try:
            schema = metadata_schema(table.schema, roles_of_schema(table.schema))
        except TableError as error:
            raise _refused(source, error) from error
        yield TaggedOutput(
            "columns", (schema.serialize().to_pybytes(), printable(unpin(source.uri)[0]))
        )
        for group, (_, rows) in enumerate(table.groups):
            if rows:
                yield source, group


class _ReadGroup(beam.DoFn):
    """Yields lists of refs."""

    def __init__(self, progress_address: str | None) -> None:
        self._progress_address = progress_address

    def process(self, element: tuple[Source, int]) -> Iterator[Any]:
        source, group = Source(*element[0]), element[1]
        try:
            with open_source(source.uri) as file:
                table = ParquetTable(file)
                roles = roles_of_schema(table.schema)
                for found in unchanged(file, group_refs(table, group, roles, _place(source))):
                    yield from _told(found, self._progress_address)
        except (TableError, OSError) as error:
            yield _broken(source, error)


def _told(found: Iterable[SampleRef | Failure], progress_address: str | None) -> Iterator[Any]:
    for one in sorted_out(found):
        if isinstance(one, list):
            report(progress_address, {"listed": len(one)})
        yield one


class _CutText(beam.DoFn):
    """Yields packed blocks of lines."""

    def process(self, source: Source) -> Iterator[bytes | TaggedOutput]:
        source = Source(*source)
        fits = False
        try:
            with open_source(source.uri) as file:
                for block in unchanged(file, text_blocks(file, source.relative)):
                    # One row without a path is bad data; a table without any is a wrong table.
                    if not fits:
                        _check_fits(block, source)
                        fits = True
                    yield _packed(source, block)
        except (TableError, OSError) as error:
            yield _broken(source, error)


def _check_fits(block: TextBlock, source: Source) -> None:
    """Makes sure that the first lines of a table have a path.

    Raises:
        InputError: if none has.
    """
    unfit: TableError | None = None
    for row in [(0, dict.fromkeys(block.header))] if block.header else _rows(block):
        found = _row_ref(row, _place(source))
        if not isinstance(found, TableError):
            return
        unfit = unfit or found
    if unfit is not None:
        raise _refused(source, unfit)


def _rows(block: TextBlock) -> list[Any]:
    return rows_of_text(block, TextTypes())


class _ReadLines(beam.DoFn):
    """Yields lists of refs of a block of lines."""

    def __init__(self, progress_address: str | None) -> None:
        self._progress_address = progress_address

    def process(self, packed: bytes, types: TextTypes) -> Iterator[Any]:
        source, block = _opened(packed)
        rows = rows_of_text(block, types)
        found = (_row_ref(row, _place(source)) for row in rows)
        pairs = zip(rows, found, strict=True)
        outcomes = (
            one if isinstance(one, SampleRef) else _lost(row, one, source) for row, one in pairs
        )
        yield from _told(outcomes, self._progress_address)


def _row_ref(row: Any, place: Place) -> SampleRef | Failure | TableError | BadRow:
    if isinstance(row, BadRow):
        return row
    number, values = row
    try:
        roles = roles_of_names(tuple(values))
    except TableError as error:
        return error
    return row_ref(values, number, roles, place)


def _lost(row: Any, why: Failure | TableError | BadRow, source: Source) -> Failure:
    if isinstance(why, Failure):
        return why
    number = why.number if isinstance(why, BadRow) else row[0]
    reason = f"cannot be read: {why.reason}" if isinstance(why, BadRow) else str(why)
    name, uri = (printable(f"{one}#{number}") for one in (source.relative, unpin(source.uri)[0]))
    return Failure(name, uri, "list", "ValueError", printable(f"its row {reason}"))
