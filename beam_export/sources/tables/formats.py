"""Formats of tables by file name, and the errors of tables and rows."""

from __future__ import annotations

from typing import NamedTuple

from beam_export.sources.entries import source_kind

__all__ = [
    "BadRow",
    "TableError",
    "is_compressed",
    "is_json",
    "is_parquet",
    "is_tabbed",
    "is_table",
]


class TableError(Exception):
    """A table cannot be read to its end; the text completes "the table ..."."""


class BadRow(NamedTuple):
    """A row that holds no values: its number in the file, from 0, and why."""

    number: int
    reason: str


def is_table(name: str) -> bool:
    """Returns whether a file of that name is a table."""
    return source_kind(name) in ("parquet", "table")


def is_parquet(name: str) -> bool:
    """Returns whether a file is read as Parquet.

    An unknown suffix is: only `--input_format=parquet` lets such files through.
    """
    return source_kind(name) != "table"


def is_json(name: str) -> bool:
    """Returns whether a table has one JSON object per line, and not comma-separated values."""
    return _plain(name).endswith((".jsonl", ".ndjson"))


def is_tabbed(name: str) -> bool:
    """Returns whether a table has tab-separated values."""
    return _plain(name).endswith(".tsv")


def is_compressed(name: str) -> bool:
    """Returns whether a table is compressed by gzip."""
    return name.lower().endswith(".gz")


def _plain(name: str) -> str:
    return name.lower().removesuffix(".gz")
