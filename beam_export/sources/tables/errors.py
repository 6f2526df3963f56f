"""What is wrong with tables and their rows."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["BadRow", "TableError"]


class TableError(Exception):
    """A table cannot be read to its end; the text completes "the table ..."."""


class BadRow(NamedTuple):
    """A row that holds no values: its number in the file, from 0, and why."""

    number: int
    reason: str
