"""ReadFolderTables, JoinFolders: the tables of image folders, joined by `--metadata=auto`.

They stand in the graph only where an input may hold such tables (`contents.kinds_by_names`).
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsIter, AsSingleton, PCollection, TaggedOutput

from beam_export.metadata.columns import ColumnChoice
from beam_export.metadata.schema import ColumnTypes
from beam_export.pipeline.beam_utils import CallOnce, MergeAll, merge_parts
from beam_export.pipeline.buckets import (
    blocks_of,
    count_buckets,
    count_refs,
    deal,
    pack_refs,
    refs_in,
)
from beam_export.pipeline.find_columns import ChooseColumns, choose_types
from beam_export.planning.blocks import PackedRef, open_block, unpack_ref
from beam_export.planning.join import Tally
from beam_export.planning.join_folders import (
    UnfitColumns,
    bucket_of_path,
    columns_in,
    join_folder_bucket,
    unfit_columns,
    without_unfit,
)
from beam_export.planning.spill_files import load, spill
from beam_export.planning.steps import UNFIT, UNJOINED
from beam_export.sources.entries import FolderTable, Source, skipped_kind
from beam_export.sources.tables.beside import way_of_metadata
from beam_export.sources.tables.folder_tables import (
    FILE_NAME,
    FolderRow,
    UnfitTableError,
    choose_columns_of_folder_rows,
    columns_of,
    pack_folder_rows,
    read_folder_rows,
    unpack_folder_rows,
)
from beam_export.sources.tables.rows import TableTypes
from beam_export.text import printable

__all__ = ["FolderTables", "JoinFolders", "ReadFolderTables"]

_UNREADABLE = "(a metadata table that cannot be read)"
#: The kind under which tables are counted that lie beside another in one folder.
_SEVERAL = "(several metadata tables in one folder)"


class FolderTables(NamedTuple):
    """The content of such tables.

    Attributes:
        rows: packed rows (`folder_tables.pack_folder_rows`).
        columns: (serialized Arrow schema, where it is from) of the columns that they declare.
        tallies: which tables there are, which are passed by and why, and which names of
            `--drop_columns` and `--text_columns` they have.
        skipped: tables that are passed by, by their kind.
    """

    rows: PCollection[bytes]
    columns: PCollection[tuple[bytes, str]]
    tallies: tuple[PCollection[Tally], ...]
    skipped: tuple[PCollection[str], ...]


@dataclasses.dataclass
class ReadFolderTables(beam.PTransform):
    """Reads the rows of such tables, those that can be read and name images.

    Attributes:
        encoding: of text, if no byte-order mark says otherwise.
        choice: of their columns.
    """

    encoding: str
    choice: ColumnChoice

    def expand(self, tables: PCollection[FolderTable]) -> FolderTables:
        # tables: Source; types: TableTypes; columns: (serialized Arrow schema, path); tallies:
        # Tally; skipped: str
        opened = (
            tables
            # Several inputs may have it near their images.
            | "ByPath" >> beam.Map(_by_path).with_output_types(tuple[bytes, bytes])
            | "OncePerPath" >> beam.GroupByKey()
            | "FirstOfPath" >> beam.MapTuple(_first_of_path)
            | "LookAtTables"
            >> beam.ParDo(_DescribeTable(self.encoding)).with_outputs(
                "types", "columns", "tallies", "skipped", main="tables"
            )
        )
        # one TableTypes
        types = opened.types | "AllTypes" >> MergeAll(TableTypes)
        # rows: packed rows; skipped: str
        read = opened.tables | "ReadRows" >> beam.ParDo(
            _ReadRows(self.encoding), AsSingleton(types)
        ).with_outputs("skipped", "tallies", main="rows")
        rows, columns = read.rows, opened.columns
        tallies: tuple[PCollection[Tally], ...] = (opened.tallies, read.tallies)
        if any(self.choice):
            choose = ChooseColumns(self.choice, choose_columns_of_folder_rows)
            # packed rows; one Tally
            rows, named = rows | "ChooseColumns" >> choose
            tallies = (*tallies, named)
            columns = columns | "ChooseTypes" >> choose_types(self.choice)
        return FolderTables(
            rows=rows, columns=columns, tallies=tallies, skipped=(opened.skipped, read.skipped)
        )


def _by_path(table: FolderTable) -> tuple[bytes, bytes]:
    source, others, near = table
    path = os.fsencode(Source(*source).path)
    return path, pickle.dumps((tuple(source), tuple(others), near), protocol=5)


def _first_of_path(_: bytes, found: Iterable[bytes]) -> FolderTable:
    source, others, near = min(map(pickle.loads, found))
    return FolderTable(Source(*source), others, near)


def _of_several(source: Source, others: Sequence[str]) -> Iterator[TaggedOutput]:
    """Yields what is counted and said of one of several tables in a folder."""
    yield TaggedOutput("skipped", _SEVERAL)
    if source.name < others[0]:
        names = " and ".join([source.relative, *others])
        tally = Tally()
        reason = (
            f"{names} stand in one folder, and none of them is taken: name one by --metadata, "
            f"with --metadata_key={FILE_NAME}"
        )
        tally.note(UNJOINED, [printable(reason)])
        yield TaggedOutput("tallies", tally)


class _DescribeTable(beam.DoFn):
    """Yields tables that name images; tagged, what is known of their columns."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding

    def process(self, table: FolderTable) -> Iterator[Any]:
        source = Source(*table.source)
        if table.others:
            yield from _of_several(source, table.others)
            return
        try:
            schema, types = columns_of(source, self._encoding)
        except UnfitTableError as error:
            yield from _passed_by(source, error)
            return
        tally = Tally()
        tally.note("folder_tables", [printable(source.relative)])
        yield TaggedOutput("tallies", tally)
        yield TaggedOutput("types", types)
        if schema is not None:
            serialized: bytes = schema.serialize().to_pybytes()
            yield TaggedOutput("columns", (serialized, printable(source.relative)))
        yield source


class _ReadRows(beam.DoFn):
    """Yields packed rows of a table, up to where it is damaged; one that is, is counted too."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding

    def process(self, source: Source, types: TableTypes) -> Iterator[Any]:
        source = Source(*source)
        try:
            yield from read_folder_rows(source, types, self._encoding)
        except UnfitTableError as error:
            yield from _passed_by(source, error)


def _passed_by(source: Source, error: UnfitTableError) -> Iterator[TaggedOutput]:
    """Yields the kind under which a table is counted that is passed by, and why it is, tagged."""
    kind = _UNREADABLE if error.unreadable else skipped_kind(source.relative)
    yield TaggedOutput("skipped", kind)
    tally = Tally()
    way = way_of_metadata(source.relative, error.names)
    tally.note(UNJOINED, [printable(f"{error}{f'; it {way}' if way else ''}")])
    yield TaggedOutput("tallies", tally)


class JoinedFolders(NamedTuple):
    """Blocks of samples with the columns of their folders' tables, and what matched."""

    blocks: PCollection[bytes]
    columns: PCollection[tuple[bytes, str]]
    tally: PCollection[Tally]


@dataclasses.dataclass
class JoinFolders(beam.PTransform):
    """Joins images with the rows that name them; columns that images have already stay.

    Attributes:
        tables: that were read.
    """

    tables: FolderTables

    def expand(self, blocks: PCollection[bytes]) -> JoinedFolders:
        # one frozenset of names
        names = blocks | "ColumnsOf" >> beam.Map(columns_in)
        own = blocks.pipeline | "OwnColumns" >> CallOnce(frozenset[str], _union, AsIter(names))
        refs = blocks | "CountRefs" >> beam.Map(count_refs)
        rows = self.tables.rows | "CountRows" >> beam.Map(
            lambda packed: len(unpack_folder_rows(packed))
        )
        # one int: number of buckets
        buckets = AsSingleton(blocks.pipeline | "Buckets" >> count_buckets((refs, rows)))
        # blocks: packed refs; tally: Tally; types: ColumnTypes; one of each per bucket
        joined = (
            {
                "refs": blocks | "DealRefs" >> deal(_deal_refs, pack_refs, buckets),
                "rows": self.tables.rows | "DealRows" >> deal(_deal_rows, _pack_rows, buckets),
            }
            | "Meet" >> beam.CoGroupByKey()
            | "JoinBucket"
            >> beam.FlatMapTuple(_join, AsSingleton(own)).with_outputs(
                "tally", "types", main="blocks"
            )
        )
        # one Tally
        matched = blocks.pipeline | "AllTallies" >> CallOnce(
            Tally, _merged, *map(AsIter, (joined.tally, *self.tables.tallies))
        )
        columns = self.tables.columns | "JoinedColumns" >> beam.FlatMap(
            _left, AsSingleton(own), AsSingleton(matched)
        ).with_output_types(tuple[bytes, str])
        # one UnfitColumns
        unfit = blocks.pipeline | "UnfitColumns" >> CallOnce(
            UnfitColumns, _unfit, *map(AsIter, (joined.types, columns)), own=AsSingleton(own)
        )
        tally = blocks.pipeline | "NoteUnfit" >> CallOnce(
            Tally, _with_unfit, tally=AsSingleton(matched), unfit=AsSingleton(unfit)
        )
        fit = joined.blocks | "WithoutUnfit" >> beam.Map(
            without_unfit, AsSingleton(unfit), AsSingleton(own)
        ).with_output_types(bytes)
        return JoinedFolders(
            fit, columns | "FitColumns" >> beam.Map(_fit, AsSingleton(unfit)), tally
        )


def _union(names: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*names)


def _merged(*tallies: Iterable[Tally]) -> Tally:
    return merge_parts(itertools.chain(*tallies), Tally)


def _deal_refs(block: bytes, buckets: int) -> Iterator[tuple[int, PackedRef]]:
    for packed in open_block(block).refs():
        yield bucket_of_path(unpack_ref(packed).path, buckets), packed


def _deal_rows(packed: bytes, buckets: int) -> Iterator[tuple[int, FolderRow]]:
    for row in unpack_folder_rows(packed):
        yield bucket_of_path(row.path, buckets), row


def _pack_rows(rows: list[FolderRow]) -> Iterator[bytes]:
    yield spill(pack_folder_rows(rows))


def _join(
    bucket: int, met: Mapping[str, Iterable[bytes]], own: frozenset[str] = frozenset()
) -> Iterator[Any]:
    rows = [row for packed in met["rows"] for row in unpack_folder_rows(load(packed))]
    types = ColumnTypes()
    joined, tally = join_folder_bucket(refs_in(met["refs"]), rows, own=own, types=types)
    yield TaggedOutput("tally", tally)
    yield TaggedOutput("types", types)
    yield from blocks_of(joined)


def _left(
    declared: tuple[bytes, str], own: frozenset[str], tally: Tally
) -> Iterator[tuple[bytes, str]]:
    """Yields the declared columns that were joined: none, where no row matched."""
    if tally["folder_samples_matched"]:
        schema = pa.ipc.read_schema(pa.py_buffer(declared[0]))
        kept = [field for field in schema if field.name not in own]
        yield pa.schema(kept, schema.metadata).serialize().to_pybytes(), declared[1]


def _unfit(
    parts: Iterable[ColumnTypes], declared: Iterable[tuple[bytes, str]], own: frozenset[str]
) -> UnfitColumns:
    types: ColumnTypes = merge_parts(parts, ColumnTypes)
    for schema, where in declared:
        types.add_schema(pa.ipc.read_schema(pa.py_buffer(schema)), where)
    return unfit_columns(types, own)


def _with_unfit(tally: Tally, unfit: UnfitColumns) -> Tally:
    """Returns a tally that has what is left out, too."""
    noted = Tally()
    noted.merge(tally)
    noted.note(UNFIT, map(printable, [*unfit.reasons.values(), *filter(None, [unfit.all])]))
    return noted


def _fit(declared: tuple[bytes, str], unfit: UnfitColumns) -> tuple[bytes, str]:
    schema = pa.ipc.read_schema(pa.py_buffer(declared[0]))
    names = [name for name in schema.names if not unfit.all and name not in unfit.reasons]
    kept = pa.schema([schema.field(name) for name in names], schema.metadata)
    return kept.serialize().to_pybytes(), declared[1]
