"""ReadTable, ReadIds: the tables and lists of `--metadata`, `--ids` and `--exclude_ids`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, PCollection, TaggedOutput

from beam_export.pipeline.beam_utils import MergeAll
from beam_export.sources.patterns import parse_inputs
from beam_export.sources.tables.lookup import list_tables, open_table_file, read_ids, read_part
from beam_export.sources.tables.rows import TableTypes
from beam_export.storage.registry import check_reachable
from beam_export.storage.uris import unpin

__all__ = ["ReadIds", "ReadTable", "Table"]


class Table(NamedTuple):
    """The content of a table.

    Attributes:
        rows: packed rows (`lookup.pack_rows`).
        columns: (serialized Arrow schema, where it is from) of the columns with types of their own.
    """

    rows: PCollection[bytes]
    columns: PCollection[tuple[bytes, str]]


@dataclasses.dataclass
class ReadTable(beam.PTransform):
    """Reads a table's rows by their key: Parquet by row group, in parallel.

    Attributes:
        path: as `--metadata`.
        key: name of the column with the ids.
    """

    path: str
    key: str

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
            >> beam.ParDo(_DescribeFile(self.key)).with_outputs("types", "columns", main="parts")
        )
        types = files.types | "AllTypes" >> beam.CombineGlobally(MergeAll(TableTypes))
        rows = (
            files.parts
            | "SpreadParts" >> beam.Reshuffle()
            # rows, packed
            | "ReadParts"
            >> beam.FlatMap(read_part, AsSingleton(types), self.key).with_output_types(bytes)
        )
        return Table(rows, files.columns)


@dataclasses.dataclass
class ReadIds(beam.PTransform):
    """Reads a list of ids, as packed rows that are keys alone.

    Attributes:
        flag: that gave the path.
        path: a text file with one id per line, or a Parquet file with a column of ids.
    """

    flag: str
    path: str

    def expand(self, pbegin: beam.pvalue.PBegin) -> PCollection[bytes]:
        check_reachable(self.flag, self.path)
        return (
            pbegin
            | "Path" >> beam.Create([self.path])
            | "ReadIds" >> beam.FlatMap(read_ids, self.flag).with_output_types(bytes)
        )


class _DescribeFile(beam.DoFn):
    """Yields the parts of a file; tagged `columns` or `types`, the types of its columns."""

    def __init__(self, key: str) -> None:
        self._key = key

    def process(self, uri: str) -> Iterator[Any]:
        found = open_table_file(uri, self._key)
        if found.schema is not None:
            schema: bytes = found.schema.serialize().to_pybytes()
            yield TaggedOutput("columns", (schema, unpin(uri)[0]))
        if found.types is not None:
            yield TaggedOutput("types", found.types)
        yield from found.parts
