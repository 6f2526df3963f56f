"""Checks filter, caption, split and key against the columns that are known before anything runs.

Footers of Parquet files, of ours beside tars too, and headers of CSV files name all columns of
their rows: what a filter asks for is held against them while the pipeline is built. JSON says what
is in it only when it is read; where there is some, or very much to list, the pipeline finds the
columns and makes the same checks, before anything is written.
"""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar, assert_never

import pyarrow as pa

from beam_export.errors import InputError
from beam_export.metadata.columns import ColumnChoice
from beam_export.metadata.filter import describe_columns
from beam_export.metadata.schema import ColumnTypes, check_declared, output_name
from beam_export.naming import parse
from beam_export.options import ExportOptions
from beam_export.planning.labels import CLASS_TYPES, renamed
from beam_export.planning.members import check_json_columns
from beam_export.planning.select import check_asked
from beam_export.planning.splits import SPLIT, check_split_column, refuse_two_columns, with_split
from beam_export.sources.contents import FOLDER_TABLE
from beam_export.sources.entries import FolderTable, Item, Listed, Source
from beam_export.sources.input_format import choose
from beam_export.sources.listing import list_images
from beam_export.sources.patterns import Pattern, parse_inputs
from beam_export.sources.tables.formats import TableError, is_json, is_parquet
from beam_export.sources.tables.lookup import check_key, list_tables
from beam_export.sources.tables.parquet import ParquetTable
from beam_export.sources.tables.refs import metadata_schema
from beam_export.sources.tables.roles import roles_of_names, roles_of_schema
from beam_export.sources.tables.text import read_header
from beam_export.sources.tar.exports import own_columns
from beam_export.storage.open_files import open_source
from beam_export.storage.registry import check_reachable, storage_of
from beam_export.storage.uris import is_local, unpin
from beam_export.text import printable

__all__ = ["check_columns", "check_schema", "joins_folders", "preview_columns"]

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
    """Holds filter, caption, split and the table's key against the columns there are.

    Raises:
        InputError: if something that is asked for is not there, or is of another type.
    """
    # Before the way out below: this checks --metadata_key, which needs neither of the two.
    table = _of_table(options)
    choice = options.columns
    column = None if options.split_rule is None else options.split_rule.column
    asked = (options.filter, options.caption_column, options.json_columns, column)
    if not any((*asked, *choice)):
        return
    known = preview_columns(patterns, options, table)
    if known is not None:
        _check_choice(known, choice)
        _check_asked(choice.of_types(known), options)


def _check_asked(types: Mapping[str, pa.DataType | None], options: ExportOptions) -> None:
    """Holds all that is asked for against the columns that are left."""
    made = {**renamed(types), **CLASS_TYPES} if options.labels == "folder" else types
    check_asked(made, options.filter, options.caption_column)
    rule = options.split_rule
    if rule is not None:
        if rule.column is not None:
            check_split_column(rule.column, made)
        refuse_two_columns(made)
        made = {**with_split(made, rule.text), SPLIT: pa.string()}
    check_json_columns(options.json_columns, made)


def _check_choice(types: Mapping[str, pa.DataType | None], choice: ColumnChoice) -> None:
    unknown = choice.unused(types)
    if unknown is not None:
        flag = "drop_columns" if unknown in choice.drop else "text_columns"
        raise InputError(
            f"--{flag} names a column {unknown!r} that is not there: the metadata columns are "
            f"{describe_columns(types) or 'none'}."
        )


def joins_folders(kinds: Collection[str], options: ExportOptions) -> bool:
    """Returns whether tables in image folders are to be joined, and there may be some.

    Steps that join them take time in every run, so that they are left out where none can be.

    Args:
        kinds: that the input can hold (`contents.ALL_KINDS`).
        options: of the export.
    """
    asked = options.metadata == "auto" and options.input_format in ("auto", "files")
    return asked and FOLDER_TABLE in kinds


def check_schema(schema: pa.Schema | None, options: ExportOptions) -> None:
    """Checks as `check_columns` does, for columns that are declared or not known at all (None).

    Raises:
        InputError: if something that is asked for is not there, or is of another type.
    """
    _of_table(options)
    if schema is not None:
        known = {field.name: field.type for field in check_declared(schema)}
        _check_asked(options.columns.of_types(known), options)


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
    if options.tables is not None and table is None:
        return None
    sources = _sources(patterns, options)
    if sources is None:
        return None
    found = _all_of(_ahead(functools.partial(_of_source, options.table_encoding), sources))
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
        InputError: if there is no such key, or no file system for a path.
    """
    if options.tables is None:
        return None
    for pattern in parse_inputs(options.tables):
        check_reachable("--metadata", pattern.path)
    try:
        files = list_tables(options.tables)
    except (*_UNREADABLE, InputError):
        # Workers may see what this process does not; they raise if they do not either.
        return None
    key = options.metadata_key
    # All are read, though one None decides: reading is what checks the key, also of the first of
    # too many files.
    found = list(_ahead(_reader_of(key, options.table_encoding), files[:_MOST_OPENED]))
    return None if len(files) > _MOST_OPENED else _all_of(found)


def _reader_of(key: str, encoding: str) -> Callable[[str], _Columns | None]:
    def read(uri: str) -> _Columns | None:
        plain = unpin(uri)[0]
        columns = _of_file(uri, plain, encoding)
        if columns is None:
            return None
        names = [(name, pa.string()) for name in columns.names]
        check_key(pa.schema([*columns.schema, *names]), key, plain)
        rest = pa.schema([field for field in columns.schema if field.name != key])
        return columns._replace(
            schema=rest, names=tuple(name for name in columns.names if name != key)
        )

    return read


def _of_file(uri: str, name: str, encoding: str) -> _Columns | None:
    """Returns all columns of a table; the name is for its suffix, and for messages."""
    if not is_parquet(name) and is_json(name):
        return None
    try:
        with open_source(uri) as file:
            if is_parquet(name):
                return _Columns(ParquetTable(file).schema, where=printable(unpin(uri)[0]))
            return _Columns(names=tuple(read_header(file, name, encoding)))
    except _UNREADABLE:
        return None


def _of_source(encoding: str, source: Source) -> _Columns | None:
    """Returns the columns that the samples of a source will have."""
    match source.kind:
        case "webdataset":
            return _of_tar(source)
        case "parquet" | "table":
            return _of_table_source(encoding, source)
        case _:
            assert_never(source.kind)


def _of_table_source(encoding: str, source: Source) -> _Columns | None:
    columns = _of_file(source.uri, source.path, encoding)
    if columns is None:
        return None
    try:
        if columns.names:
            roles = roles_of_names(columns.names)
            left = (name for name in columns.names if name not in (roles.path, roles.image))
            return columns._replace(names=tuple(left))
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
            columns = own_columns(ParquetTable(file).schema)
    except _UNREADABLE:
        return None
    return None if columns is None else _Columns(columns, where=printable(unpin(source.uri)[0]))


def _sources(patterns: Sequence[Pattern], options: ExportOptions) -> list[Source] | None:
    """Returns the sources of an input; None if they are too many, or images have columns."""
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
                elif _gives_columns(item, options):
                    return None
    except (*_UNREADABLE, InputError):
        return None
    return found if len(found) <= _MOST_OPENED else None


def _gives_columns(item: Item, options: ExportOptions) -> bool:
    """Returns whether an item gives columns to images that are known only when it is read."""
    if isinstance(item, FolderTable):
        return options.metadata == "auto" and not item.others
    return isinstance(item, Listed) and any(one.ext == "json" for one in item.fields)


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
