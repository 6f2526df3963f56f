"""Tables and lists that samples are looked up in: `--metadata`, `--ids`, `--exclude_ids`."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, cast

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsSingleton, PCollection, TaggedOutput

from beam_export.errors import InputError, RunError
from beam_export.pipeline.beam_utils import MergeAll
from beam_export.planning.join import Row, pack_rows
from beam_export.sources.decompress import CompressionError, Decompressed, compression_of
from beam_export.sources.entries import Source
from beam_export.sources.input_format import choose
from beam_export.sources.listing import is_local, list_images
from beam_export.sources.locating import refuse_irregular
from beam_export.sources.patterns import parse_inputs
from beam_export.sources.tables.lookup import check_key, keyed_rows, parquet_ids, text_ids
from beam_export.sources.tables.rows import (
    ParquetTable,
    TableError,
    TableTypes,
    is_parquet,
    read_rows,
    read_types,
)
from beam_export.storage.local_file import check_unchanged
from beam_export.storage.registry import ReplacedError, check_reachable, storage_of
from beam_export.storage.retry import is_lasting
from beam_export.storage.uris import unpin

__all__ = ["ReadIds", "ReadTable", "Table"]

#: Ids that travel together.
_IDS = 10_000
#: Enough to see a compression by.
_START = 10


class Table(NamedTuple):
    """A table, read.

    Attributes:
        rows: packed rows (`join.pack_rows`).
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
        types = files.types | "AllTypes" >> beam.CombineGlobally(MergeAll(TableTypes))
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
        refuse_irregular("--metadata", pattern.path)
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
        plain = unpin(uri)[0]
        with _opened("--metadata", uri) as file:
            if is_parquet(plain):
                table = ParquetTable(file)
                check_key(table.schema, self._key, plain)
                fields = [field for field in table.schema if field.name != self._key]
                yield TaggedOutput("columns", (pa.schema(fields).serialize().to_pybytes(), plain))
                yield from (_Part(uri, group) for group in range(len(table.groups)))
                return
            types = read_types(file, plain)
        # Ids are text, whatever they look like.
        types.text.add(self._key, "text")
        yield TaggedOutput("types", types)
        yield _Part(uri, 0)


def read_part(part: _Part, types: TableTypes, key: str) -> Iterator[bytes]:
    """Yields packed rows of a part of a table.

    Raises:
        InputError: if it cannot be read, or a row has no id.
    """
    uri, group = part
    plain = unpin(uri)[0]
    with _opened("--metadata", uri) as file:
        if is_parquet(plain):
            for first, rows in ParquetTable(file).rows(group):
                yield pack_rows(keyed_rows(enumerate(rows, first), key, True, plain))
        else:
            for texts in read_rows(file, plain, types):
                yield pack_rows(keyed_rows(texts, key, False, plain))


def read_ids(path: str, flag: str) -> Iterator[bytes]:
    """Yields packed rows of the ids in a file.

    Raises:
        InputError: if there is no such file, or it cannot be read.
    """
    if is_local(path) and os.path.isdir(path):
        raise InputError(f"{flag}={path} is a directory: give a file of ids, one a line.")
    parquet = path.lower().endswith(".parquet")
    with _opened(flag, path) as file:
        ids = (
            parquet_ids(ParquetTable(file), flag, path)
            if parquet
            else text_ids(iter(_decompressed(file).readline, b""))
        )
        while piece := [Row(ident) for ident in itertools.islice(ids, _IDS)]:
            yield pack_rows(piece)


class _Stream(io.RawIOBase):
    """What a compressed file holds, as a file."""

    def __init__(self, inner: Decompressed) -> None:
        super().__init__()
        self._inner = inner

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _decompressed(file: BinaryIO) -> BinaryIO:
    """Returns what a file holds, by its first bytes, whatever its name."""
    start = file.read(_START)
    if kind := compression_of(start):
        return cast(BinaryIO, io.BufferedReader(_Stream(Decompressed(file, kind, start))))
    file.seek(0)
    return file


@contextlib.contextmanager
def _opened(flag: str, uri: str) -> Iterator[BinaryIO]:
    """Opens a file; what is wrong with its content is the fault of whoever gave it.

    Raises:
        RunError: if it is another one than that which was listed, or changes while it is read: who
            reads another part of it may have read something else.
        InputError: if it cannot be read.
    """
    plain = unpin(uri)[0]
    try:
        with storage_of(uri).open(uri) as file:
            try:
                yield file
            finally:
                check_unchanged(file)
    except ReplacedError as error:
        raise RunError(
            f"{flag}={plain} was replaced while the run read it: wait until nobody writes to it, "
            "and run again."
        ) from error
    except (TableError, CompressionError) as error:
        raise InputError(f"{flag}={plain} {error}: give a table that is whole.") from error
    except OSError as error:
        if not is_lasting(error):
            raise
        refuse_irregular(flag, plain)
        raise InputError(f"{flag}={plain} cannot be opened: give a file that is there.") from error
