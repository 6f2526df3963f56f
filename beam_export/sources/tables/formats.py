"""The formats of tables, by the names of their files."""

from __future__ import annotations

from beam_export.sources.entries import source_kind

__all__ = ["is_compressed", "is_json", "is_parquet", "is_tabbed", "is_table"]


def is_table(name: str) -> bool:
    """Tells whether a file of that name is a table."""
    return source_kind(name) in ("parquet", "table")


def is_parquet(name: str) -> bool:
    """Tells whether a file is Parquet: what is of no known kind, too, which was said outright."""
    return source_kind(name) != "table"


def is_json(name: str) -> bool:
    """Tells whether a table has an object of JSON a line, and not values between commas."""
    return _plain(name).endswith((".jsonl", ".ndjson"))


def is_tabbed(name: str) -> bool:
    """Tells whether a table has tabs between its values."""
    return _plain(name).endswith(".tsv")


def is_compressed(name: str) -> bool:
    """Tells whether a table is compressed by gzip."""
    return name.lower().endswith(".gz")


def _plain(name: str) -> str:
    return name.lower().removesuffix(".gz")
