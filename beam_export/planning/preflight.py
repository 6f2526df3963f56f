"""Checks filter, caption and key against the columns that are known before anything runs.

Footers of Parquet files, of ours beside tars too, and headers of CSV files name all columns of
their rows: what a filter asks for is held against them while the pipeline is built. JSON says what
is in it only when it is read; where there is some, or very much to list, the pipeline finds the
columns and makes the same checks, before anything is written.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from beam_export.errors import InputError
from beam_export.metadata.schema import ColumnTypes, check_declared, output_name
from beam_export.naming import parse
from beam_export.options import ExportOptions
from beam_export.planning.select import check_asked
from beam_export.sources.entries import Listed, Source
from beam_export.sources.input_format import choose
from beam_export.sources.listing import list_images
from beam_export.sources.patterns import Pattern
from beam_export.sources.tables.lookup import check_key, list_tables
from beam_export.sources.tables.refs import metadata_schema
from beam_export.sources.tables.roles import roles_of_names, roles_of_schema
from beam_export.sources.tables.rows import (
    ParquetTable,
    TableError,
    is_json,
    is_parquet,
    read_header,
)
from beam_export.sources.tar.exports import own_columns
from beam_export.storage.open_files import open_source
from beam_export.storage.registry import storage_of
from beam_export.storage.uris import is_local, unpin
from beam_export.text import printable

__all__ = ["check_columns", "check_schema", "preview_columns"]

#: Files of an input that are listed, and of those the ones that are opened: more take too long to
#: read twice.
_MOST_LISTED = 20_000
_MOST_OPENED = 2_000
_AT_ONCE = 16
#: What makes a file unreadable here; the pipeline, which reads it too, reports it.
_UNREADABLE = (OSError, TableError, pa.ArrowException)

_T = TypeVar("_T")


class _Columns(NamedTuple):
    """The columns of a file: those with types, and the names of those without."""

    schema: pa.Schema = pa.schema([])
    names: tuple[str, ...] = ()
    where: str = ""


def check_columns(patterns: Sequence[Pattern], options: ExportOptions) -> None:
    """Holds the filter, the caption's column and the table's key against the columns there are.

    Raises:
        InputError: if something that is asked for is not there, or is of another type.
    """
    # Before the way out below: this checks --metadata_key, which needs neither of the two.
    table = _of_table(options)
    if options.filter is None and options.caption_column is None:
        return
    known = preview_columns(patterns, options, table)
    if known is not None:
        check_asked(known, options.filter, options.caption_column)


def check_schema(schema: pa.Schema | None, options: ExportOptions) -> None:
    """Checks as `check_columns` does, for columns that are declared or not known at all (None).

    Raises:
        InputError: if something that is asked for is not there, or is of another type.
    """
    _of_table(options)
    if schema is not None:
        known = {field.name: field.type for field in check_declared(schema)}
        check_asked(known, options.filter, options.caption_column)


def preview_columns(
    patterns: Sequence[Pattern], options: ExportOptions, table: list[_Columns] | None = None
) -> dict[str, pa.DataType | None] | None:
    """Returns the metadata columns by name, with None where only all values decide a type.

    Args:
        patterns: the input.
        options: of the export.
        table: columns of `--metadata`, where they are known.

    Returns:
        None if there may be others too.

    Raises:
        InputError: if two files declare types for a column that nothing unites.
    """
    if options.metadata is not None and table is None:
        return None
    sources = _sources(patterns, options)
    if sources is None:
        return None
    found = _all_of(_ahead(_of_source, sources))
    return None if found is None else _join([*found, *(table or [])])


def _join(found: Iterable[_Columns]) -> dict[str, pa.DataType | None]:
    types = ColumnTypes()
    untyped: set[str] = set()
    for columns in found:
        types.add_schema(columns.schema, columns.where)
        untyped.update(map(output_name, columns.names))
    declared = {field.name: field.type for field in types.finish()}
    return {**declared, **dict.fromkeys(sorted(untyped))}


def _all_of(found: Iterable[_T | None]) -> list[_T] | None:
    """Returns all, or None as soon as one is None."""
    kept = []
    for one in found:
        if one is None:
            return None
        kept.append(one)
    return kept


def _ahead(read: Callable[[_T], _Columns | None], given: list[_T]) -> Iterator[_Columns | None]:
    """Yields what `read` returns, in order; a few are read ahead, since reading mostly waits."""
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE, "preview") as pool:
        # In parts: `map` starts all that it is given, and the first None makes the rest useless.
        for start in range(0, len(given), _AT_ONCE):
            yield from pool.map(read, given[start : start + _AT_ONCE])


def _of_table(options: ExportOptions) -> list[_Columns] | None:
    """Returns the columns of `--metadata` without its key, None if they are not known.

    Raises:
        InputError: if there is no such key.
    """
    if options.metadata is None:
        return None
    try:
        files = list_tables(options.metadata)
    except (*_UNREADABLE, InputError):
        # Workers may see what this process does not; they raise if they do not either.
        return None
    key = options.metadata_key
    # All are read, though one None decides: reading is what checks the key, also of the first of
    # too many files.
    found = list(_ahead(_reader_of(key), files[:_MOST_OPENED]))
    return None if len(files) > _MOST_OPENED else _all_of(found)


def _reader_of(key: str) -> Callable[[str], _Columns | None]:
    def read(uri: str) -> _Columns | None:
        plain = unpin(uri)[0]
        columns = _of_file(uri, plain)
        if columns is None:
            return None
        names = [(name, pa.string()) for name in columns.names]
        check_key(pa.schema([*columns.schema, *names]), key, plain)
        rest = pa.schema([field for field in columns.schema if field.name != key])
        return columns._replace(
            schema=rest, names=tuple(name for name in columns.names if name != key)
        )

    return read


def _of_file(uri: str, name: str) -> _Columns | None:
    """Returns all columns of a table."""
    if not is_parquet(name) and is_json(name):
        return None
    try:
        with open_source(uri) as file:
            if is_parquet(name):
                return _Columns(ParquetTable(file).schema, where=printable(unpin(uri)[0]))
            return _Columns(names=tuple(read_header(file, name)))
    except _UNREADABLE:
        return None


def _of_source(source: Source) -> _Columns | None:
    """Returns the columns that the samples of a source will have."""
    if source.kind == "webdataset":
        return _of_tar(source)
    columns = _of_file(source.uri, source.relative)
    if columns is None:
        return None
    try:
        if columns.names:
            path = roles_of_names(columns.names).path
            return columns._replace(names=tuple(name for name in columns.names if name != path))
        roles = roles_of_schema(columns.schema)
        return columns._replace(schema=metadata_schema(columns.schema, roles))
    except TableError:
        return None


def _of_tar(source: Source) -> _Columns | None:
    if parse(source.name) is not None and source.name.endswith(".json"):
        return _Columns()
    if source.parquet is None:
        return None
    try:
        with open_source(source.parquet.uri) as file:
            columns = own_columns(pq.read_schema(file))
    except _UNREADABLE:
        return None
    return None if columns is None else _Columns(columns, where=printable(unpin(source.uri)[0]))


def _sources(patterns: Sequence[Pattern], options: ExportOptions) -> list[Source] | None:
    """Returns the sources of an input, None if they are too many or there is JSON beside images."""
    found: list[Source] = []
    left = _MOST_LISTED
    try:
        for pattern in patterns:
            left -= _files_below(pattern, left)
            if left < 0:
                return None
            for item in choose(list_images(pattern, options.output_dir), options.input_format):
                if isinstance(item, Source):
                    found.append(item)
                elif isinstance(item, Listed) and any(one.ext == "json" for one in item.fields):
                    return None
    except (*_UNREADABLE, InputError):
        return None
    return found if len(found) <= _MOST_OPENED else None


def _files_below(pattern: Pattern, most: int) -> int:
    """Returns how many files a listing would find, or more than `most`; opens none."""
    if not is_local(pattern.path):
        listed = storage_of(pattern.path).list(pattern.fixed)
        return sum(1 for _ in itertools.islice(listed, most + 1))
    top = pattern.path
    if not os.path.isdir(top):
        if os.path.lexists(top) or not pattern.is_glob:
            return 1
        top = os.path.dirname(pattern.fixed) or "."
    count = 0
    for _, folders, files in os.walk(top):
        count += len(folders) + len(files)
        if count > most:
            break
    return count
