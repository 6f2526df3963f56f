"""Looks whether tables that lie beside image files, and are passed by, name or hold images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from beam_export.errors import InputError
from beam_export.metadata.arrow_types import is_bytes
from beam_export.sources.entries import Source
from beam_export.sources.tables.folder_tables import FILE_NAME
from beam_export.sources.tables.formats import TableError, is_parquet
from beam_export.sources.tables.lookup import may_be_ids
from beam_export.sources.tables.parquet import ParquetTable
from beam_export.sources.tables.roles import key_of_names, may_be_images, roles_of_table
from beam_export.sources.tables.text import first_row
from beam_export.sources.tables.text_refs import roles_of_row
from beam_export.storage.open_files import open_source

__all__ = ["naming_images", "way_of_metadata"]

#: Tables that are looked into: a folder may hold one for each image.
_MOST = 20
_UNREADABLE = (OSError, TableError, InputError, pa.ArrowException)


def naming_images(tables: Iterable[Source], encoding: str) -> Iterator[str]:
    """Yields a sentence for each of the first tables that have a column of images, paths or ids.

    Args:
        tables: that lie beside image files.
        encoding: of text, if no byte-order mark says otherwise.
    """
    for table in sorted(tables, key=_relative)[:_MOST]:
        try:
            image, names = _columns(table, encoding)
        except _UNREADABLE:
            # It is counted in any case; nobody has asked for what is in it.
            continue
        if image:
            yield (
                f"{table.relative} holds images itself, in its column {image!r}: give it as an "
                "--input of its own to export them"
            )
        elif way := _way(table.relative, *key_of_names(names)):
            yield f"{table.relative} {way}"


def way_of_metadata(relative: str, names: Sequence[str]) -> str:
    """Returns how a table of Hugging Face's name that has no `file_name` would be joined.

    >>> way_of_metadata("a/metadata.csv", ["path"]), way_of_metadata("metadata.csv", ["text"])
    ("has a column 'path': called 'file_name' it would be joined by itself", '')
    """
    key, is_path = key_of_names(names)
    if is_path and "/" in relative and key != FILE_NAME:
        return f"has a column {key!r}: called {FILE_NAME!r} it would be joined by itself"
    return "" if is_path and "/" in relative else _way(relative, key, is_path)


def _relative(table: Source) -> str:
    return table.relative


def _columns(table: Source, encoding: str) -> tuple[str, Sequence[str]]:
    """Returns the column of images, empty if there is none, and those that may name images."""
    with open_source(table.uri) as file:
        if is_parquet(table.relative):
            parquet = ParquetTable(file)
            names = [field.name for field in parquet.schema if may_be_ids(field.type)]
            return _image_column(parquet), names
        row = first_row(file, table.relative, encoding)
    with contextlib.suppress(TableError):
        return roles_of_row(row).image, list(row)
    return "", list(row)


def _image_column(table: ParquetTable) -> str:
    """Returns the column of a Parquet file that holds images; empty if there is none."""
    with contextlib.suppress(TableError):
        image = roles_of_table(table).image
        # Bytes of another name may be anything: alone they are an image where all are asked for.
        if image and (may_be_images((image,)) or not is_bytes(table.schema.field(image).type)):
            return image
    return ""


def _way(relative: str, key: str, is_path: bool) -> str:
    """Returns what column a table has, and how it would be joined by it; empty if it would not."""
    if not key:
        return ""
    has = f"has a column {key!r}"
    if not is_path or "/" not in relative:
        named = f" --metadata_key={key}" if key != "image_id" else ""
        return f"{has}: --metadata=.../{relative}{named} would join it"
    # Ids are relative to the input, and its paths to the folder that it lies in.
    return f"{has}: called metadata.csv it would be joined by itself" if key == FILE_NAME else ""
