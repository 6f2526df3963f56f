"""ReadTable, ReadIds: the tables and lists of `--metadata`, `--ids` and `--exclude_ids`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, PCollection, TaggedOutput

from beam_export.metadata.columns import ColumnChoice
from beam_export.pipeline.beam_utils import MergeAll
from beam_export.pipeline.find_columns import ChooseColumns, choose_types
from beam_export.planning.join import Tally
from beam_export.sources.patterns import parse_inputs
from beam_export.sources.tables.id_lists import read_ids
from beam_export.sources.tables.lookup import (
    choose_columns_of_rows,
    list_tables,
    open_table_file,
    read_part,
)
from beam_export.sources.tables.rows import TableTypes
from beam_export.storage.registry import check_reachable
from beam_export.storage.uris import unpin

__all__ = ["ReadIds", "ReadTable", "Table"]


class Table(NamedTuple):
    """The content of a table.

    Attributes:
        rows: packed rows (`lookup.pack_rows`).
        columns: (serialized Arrow schema, where it is from) of the columns with types of their own.
        tallies: which names of `--drop_columns` and `--text_columns` it has; none without those.
    """

    rows: PCollection[bytes]
    columns: PCollection[tuple[bytes, str]]
    tallies: tuple[PCollection[Tally], ...]


@dataclasses.dataclass
class ReadTable(beam.PTransform):
    """Reads a table's rows by their key: Parquet by row group, in parallel.

    Attributes:
        path: as `--metadata`.
        key: name of the column with the ids.
        encoding: of text, if no byte-order mark says otherwise.
        choice: of its columns.
    """

    path: str
    key: str
    encoding: str
    choice: ColumnChoice

    def expand(self, pbegin: beam.pvalue.PBegin) -> Table:
        for pattern in parse_inputs(self.path):
            check_reachable("--metadata", pattern.path)
        files = (
            pbegin
            | "Path" >> beam.Create([self.path])
            | "ListFiles" >> beam.FlatMap(list_tables).with_output_types(str)  # pinned URI
            | "SpreadFiles" >> beam.Reshuffle()
            # parts: TablePart; types: TableTypes; columns: (serialized Arrow schema, path)
            | "LookAtFiles"
            >> beam.ParDo(_DescribeFile(self.key, self.encoding)).with_outputs(
                "types", "columns", main="parts"
            )
        )
        types = files.types | "AllTypes" >> MergeAll(TableTypes)
        rows = (
            files.parts
            | "SpreadParts" >> beam.Reshuffle()
            # packed rows
            | "ReadParts"
            >> beam.FlatMap(
                read_part, AsSingleton(types), key=self.key, encoding=self.encoding
            ).with_output_types(bytes)
        )
        columns = files.columns
        if any(self.choice):
            # values: packed rows; tally: one Tally
            chosen = rows | "ChooseColumns" >> ChooseColumns(self.choice, choose_columns_of_rows)
            # (serialized Arrow schema, path)
            columns = columns | "ChooseTypes" >> choose_types(self.choice)
            return Table(chosen.values, columns, (chosen.tally,))
        return Table(rows, columns, ())


@dataclasses.dataclass
class ReadIds(beam.PTransform):
    """Reads a list of ids, as packed rows that are keys alone.

    Attributes:
        flag: that gave the path.
        path: a text file with one id per line, or a Parquet file with a column of ids.
        encoding: of text, if no byte-order mark says otherwise.
    """

    flag: str
    path: str
    encoding: str

    def expand(self, pbegin: beam.pvalue.PBegin) -> PCollection[bytes]:
        check_reachable(self.flag, self.path)
        return (
            pbegin
            | "Path" >> beam.Create([self.path])
            # packed rows
            | "ReadIds"
            >> beam.FlatMap(read_ids, self.flag, encoding=self.encoding).with_output_types(bytes)
        )


class _DescribeFile(beam.DoFn):
    """Yields the parts of a file; tagged `columns` or `types`, the types of its columns."""

    def __init__(self, key: str, encoding: str) -> None:
        self._key, self._encoding = key, encoding

    def process(self, uri: str) -> Iterator[Any]:
        found = open_table_file(uri, self._key, self._encoding)
        if found.schema is not None:
            schema: bytes = found.schema.serialize().to_pybytes()
            yield TaggedOutput("columns", (schema, unpin(uri)[0]))
        if found.types is not None:
            yield TaggedOutput("types", found.types)
        yield from found.parts
