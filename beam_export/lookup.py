"""Tables and lists that samples are looked up in: `--metadata`, `--ids`, `--exclude_ids`."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import AsSingleton, PCollection, TaggedOutput

from beam_export.errors import InputError
from beam_export.inputs import choose
from beam_export.joining import Row, pack_rows
from beam_export.listing import is_local, list_images
from beam_export.pairing import Source
from beam_export.paths import check_reachable
from beam_export.patterns import parse_inputs
from beam_export.rows import check_key, keyed_rows, parquet_ids, text_ids
from beam_export.tables import (
    ParquetTable,
    TableError,
    TableTypes,
    is_parquet,
    read_rows,
    read_types,
)

__all__ = ["ReadIds", "ReadTable", "Table"]

#: Ids that travel together.
_IDS = 10_000


class Table(NamedTuple):
    """A table, read.

    Attributes:
        rows: packed rows (`joining.pack_rows`).
        columns: (serialized Arrow schema, where it is from) of the columns with types of their own.
    """

    rows: PCollection[bytes]
    columns: PCollection[tuple[bytes, str]]


class _Part(NamedTuple):
    """A piece of a table that is read at one go: a Parquet file's row group, else all of a file."""

    uri: str
    group: int


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
            | "ListFiles" >> beam.FlatMap(list_tables).with_output_types(str)
            | "SpreadFiles" >> beam.Reshuffle()
            | "LookAtFiles"
            >> beam.ParDo(_LookAtFile(self.key)).with_outputs("types", "columns", main="parts")
        )
        types = files.types | "AllTypes" >> beam.CombineGlobally(_MergeTypes())
        rows = (
            files.parts
            | "SpreadParts" >> beam.Reshuffle()
            | "ReadParts"
            >> beam.FlatMap(read_part, AsSingleton(types), self.key).with_output_types(bytes)
        )
        return Table(rows, files.columns)


@dataclasses.dataclass
class ReadIds(beam.PTransform):
    """Reads a list of ids; gives packed rows that are keys alone.

    Attributes:
        flag: that gave the path.
        path: a text file with an id a line, or a Parquet file with a column of them.
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


def list_tables(path: str) -> list[str]:
    """Returns the files of a table: itself, or those in a directory or behind a pattern.

    Raises:
        InputError: if there is none.
    """
    found: list[str] = []
    for pattern in parse_inputs(path):
        # What is not there is told below, as what it was given for.
        with contextlib.suppress(InputError):
            items = choose(list_images(pattern, ""), "table")
            found.extend(item.uri for item in items if isinstance(item, Source))
    if not found:
        raise InputError(
            f"--metadata={path} names no table: give a .parquet, .csv or .jsonl file that is "
            "there, or a directory or pattern of such files."
        )
    return found


class _LookAtFile(beam.DoFn):
    """Yields the parts of a file; beside them what is known of its columns before it is read."""

    def __init__(self, key: str) -> None:
        self._key = key

    def process(self, uri: str) -> Iterator[Any]:
        with _opened("--metadata", uri) as file:
            if is_parquet(uri):
                table = ParquetTable(file)
                check_key(table.schema, self._key, uri)
                fields = [field for field in table.schema if field.name != self._key]
                yield TaggedOutput("columns", (pa.schema(fields).serialize().to_pybytes(), uri))
                yield from (_Part(uri, group) for group in range(len(table.groups)))
                return
            types = read_types(file, uri)
        # Ids are text, whatever they look like.
        types.text.add(self._key, "text")
        yield TaggedOutput("types", types)
        yield _Part(uri, 0)


class _MergeTypes(beam.CombineFn):
    """Joins what is known of a table's files, so that a column of CSV has one type in all."""

    def create_accumulator(self) -> TableTypes:
        return TableTypes()

    def add_input(self, types: TableTypes, other: TableTypes) -> TableTypes:
        types.merge(other)
        return types

    def merge_accumulators(self, parts: Iterable[TableTypes]) -> TableTypes:
        merged = TableTypes()
        for part in parts:
            merged.merge(part)
        return merged

    def extract_output(self, types: TableTypes) -> TableTypes:
        return types


def read_part(part: _Part, types: TableTypes, key: str) -> Iterator[bytes]:
    """Yields packed rows of a part of a table.

    Raises:
        InputError: if it cannot be read, or a row has no id.
    """
    uri, group = part
    with _opened("--metadata", uri) as file:
        if is_parquet(uri):
            for first, rows in ParquetTable(file).rows(group):
                yield pack_rows(keyed_rows(enumerate(rows, first), key, True, uri))
        else:
            for texts in read_rows(file, uri, types):
                yield pack_rows(keyed_rows(texts, key, False, uri))


def read_ids(path: str, flag: str) -> Iterator[bytes]:
    """Yields packed rows of the ids in a file.

    Raises:
        InputError: if there is no such file, or it cannot be read.
    """
    if is_local(path) and os.path.isdir(path):
        raise InputError(f"{flag}={path} is a directory: give a file of ids, one a line.")
    parquet = path.lower().endswith(".parquet")
    with _opened(flag, path, "uncompressed" if parquet else "auto") as file:
        ids = (
            parquet_ids(ParquetTable(file), flag, path)
            if parquet
            else text_ids(iter(file.readline, b""))
        )
        while piece := [Row(ident) for ident in itertools.islice(ids, _IDS)]:
            yield pack_rows(piece)


@contextlib.contextmanager
def _opened(flag: str, uri: str, compression: str = "uncompressed") -> Iterator[BinaryIO]:
    """Opens a file; what is wrong with its content is the fault of whoever gave it."""
    try:
        file = FileSystems.open(uri, compression_type=compression)
    except (FileNotFoundError, PermissionError, BeamIOError) as error:
        raise InputError(f"{flag}={uri} cannot be opened: give a file that is there.") from error
    with file:
        try:
            yield file
        except TableError as error:
            raise InputError(f"{flag}={uri} {error}: give a table that is whole.") from error
