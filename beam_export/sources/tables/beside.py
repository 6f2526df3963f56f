"""Looks whether tables that lie beside image files, and are passed by, name those images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from beam_export.errors import InputError
from beam_export.sources.entries import Source
from beam_export.sources.tables.folder_tables import FILE_NAME
from beam_export.sources.tables.formats import TableError, is_parquet
from beam_export.sources.tables.parquet import ParquetTable
from beam_export.sources.tables.roles import key_of_names
from beam_export.sources.tables.text import first_names
from beam_export.storage.open_files import open_source

__all__ = ["naming_images"]

#: Tables that are looked into: a folder may hold one for each image.
_MOST = 20
_UNREADABLE = (OSError, TableError, InputError, pa.ArrowException)


def naming_images(tables: Iterable[Source], encoding: str) -> Iterator[str]:
    """Yields a sentence for each of the first tables that have a column of paths or ids.

    Args:
        tables: that lie beside image files.
        encoding: of text, if no byte-order mark says otherwise.
    """
    for table in sorted(tables, key=_relative)[:_MOST]:
        try:
            key, is_path = key_of_names(_names(table, encoding))
        except _UNREADABLE:
            # It is counted in any case; nobody has asked for what is in it.
            continue
        if way := _way(table.relative, key, is_path):
            yield f"{table.relative} has a column {key!r}: {way}"


def _relative(table: Source) -> str:
    return table.relative


def _names(table: Source, encoding: str) -> list[str]:
    with open_source(table.uri) as file:
        if is_parquet(table.relative):
            return list(ParquetTable(file).schema.names)
        return first_names(file, table.relative, encoding)


def _way(relative: str, key: str, is_path: bool) -> str:
    """Returns how a table would be joined; empty if it would not."""
    if not is_path or "/" not in relative:
        named = f" --metadata_key={key}" if key != "image_id" else ""
        return f"--metadata=.../{relative}{named} would join it" if key else ""
    # Ids are relative to the input, and its paths to the folder that it lies in.
    return "called metadata.csv it would be joined by itself" if key == FILE_NAME else ""
