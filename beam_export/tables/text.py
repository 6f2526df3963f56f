"""CSV and JSON lines: read as streams, with types that follow from all of the values.

A CSV says nothing of types, so it is read twice: once for what its columns look like, and once
for the rows. JSON says what each value is.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import json
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, BinaryIO, cast

from beam_export.tables.errors import BadRow, TableError
from beam_export.tables.kinds import is_compressed, is_json, is_tabbed
from beam_export.text import printable

__all__ = ["TextTypes", "read_header", "read_text", "scan_text"]

_ROWS = 1_000
#: The longest value and the longest line; more is no table.
_MAX_TEXT = 64 << 20
#: No zeros in front, which codes have: "007" stays what it is.
_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_FLOAT = re.compile(
    r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[nN]a[nN]|-?inf"
)
_BOOL = re.compile(r"true|false", re.IGNORECASE)
_BIT_INT, _BIT_FLOAT, _BIT_BOOL, _BIT_TEXT = 1, 2, 4, 8

_Values = tuple[int, dict[str, Any]]


class TextTypes:
    """What the values of each CSV column look like; picklable, and merged in any order."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def add(self, name: str, value: str) -> None:
        """Notes a value; an empty one is null, and fits every type."""
        seen = self._seen.setdefault(name, 0)
        if value and not seen & _BIT_TEXT:
            self._seen[name] = seen | _look(value)

    def merge(self, other: TextTypes) -> None:
        """Notes all that `other` has noted."""
        for name, seen in other._seen.items():
            self._seen[name] = self._seen.get(name, 0) | seen

    @property
    def columns(self) -> list[str]:
        """The names of all columns, in no order that means anything."""
        return sorted(self._seen)

    def converter(self, name: str) -> Callable[[str], Any]:
        """Returns what makes a column's values of its text."""
        seen = self._seen.get(name, _BIT_TEXT)
        if seen == _BIT_INT:
            return int
        if seen and not seen & ~(_BIT_INT | _BIT_FLOAT):
            return float
        return _to_bool if seen == _BIT_BOOL else printable


def _look(value: str) -> int:
    if _INT.fullmatch(value):
        # What 64 bits cannot hold is a name made of digits, not a number to count with.
        return _BIT_INT if -(2**63) <= int(value) < 2**63 else _BIT_TEXT
    if _FLOAT.fullmatch(value):
        return _BIT_FLOAT
    return _BIT_BOOL if _BOOL.fullmatch(value) else _BIT_TEXT


def _to_bool(value: str) -> bool:
    return value.lower() == "true"


def read_header(fh: BinaryIO, name: str) -> list[str]:
    """Returns the names of a CSV's columns.

    Raises:
        TableError: if it is none.
    """
    with _telling(), _unpacked(fh, name) as plain, _csv_lines(plain, name) as (header, _):
        return header


def scan_text(fh: BinaryIO, name: str) -> TextTypes:
    """Returns what the values of a CSV look like, for which it is read to its end.

    Raises:
        TableError: if it cannot be.
    """
    types = TextTypes()
    if is_json(name):
        return types
    with (
        _telling(),
        _unpacked(fh, name) as plain,
        _csv_lines(plain, name) as (header, lines),
    ):
        for column in header:
            types.add(column, "")
        for line in lines:
            if len(line) == len(header):
                for column, value in zip(header, line, strict=True):
                    types.add(column, value)
    return types


def read_text(
    fh: BinaryIO, name: str, types: TextTypes, columns: Collection[str] | None = None
) -> Iterator[list[_Values | BadRow]]:
    """Yields rows of a CSV or of JSON lines in order, up to 1,000 at a time.

    Args:
        fh: open for reading, at its start.
        name: of the file; its suffix tells the format.
        types: of all CSV files of the input.
        columns: to give; None for all.

    Raises:
        TableError: if it cannot be read to its end.
    """
    with _telling(), _unpacked(fh, name) as plain:
        rows = _json_rows(plain) if is_json(name) else _csv_rows(plain, name, types)
        for batch in _batched(rows):
            yield batch if columns is None else [_only(row, columns) for row in batch]


def _batched(rows: Iterable[_Values | BadRow]) -> Iterator[list[_Values | BadRow]]:
    rows = iter(rows)
    while batch := list(itertools.islice(rows, _ROWS)):
        yield batch


def _only(row: _Values | BadRow, columns: Collection[str]) -> _Values | BadRow:
    if isinstance(row, BadRow):
        return row
    return row[0], {name: value for name, value in row[1].items() if name in columns}


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    """Tells damage from what may go away: errors of a disk or a network have a number."""
    try:
        yield
    except csv.Error as error:
        raise TableError(f"is not valid CSV: {error}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TableError(f"cannot be decompressed to its end: {error}") from error


@contextlib.contextmanager
def _unpacked(fh: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """Opens what is in a file; the file itself stays open."""
    buffered = io.BufferedReader(cast(io.RawIOBase, fh))
    try:
        if is_compressed(name):
            with gzip.GzipFile(fileobj=buffered, mode="rb") as plain:
                yield cast(BinaryIO, plain)
        else:
            yield buffered
    finally:
        buffered.detach()


@contextlib.contextmanager
def _csv_lines(fh: BinaryIO, name: str) -> Iterator[tuple[list[str], Iterator[list[str]]]]:
    """Gives the names of the columns, and the lines after them without empty ones."""
    csv.field_size_limit(_MAX_TEXT)
    # Bytes that are no UTF-8 may be those of a file's name, which only they find.
    text = io.TextIOWrapper(fh, "utf-8-sig", "surrogateescape", newline="")
    try:
        first = text.readline(_MAX_TEXT)
        lines = itertools.chain([first], text)
        reader = csv.reader(lines, delimiter=_delimiter(first, name), strict=True)
        names = [printable(one.strip()) for one in next(reader, [])]
        header = [one or f"column_{at}" for at, one in enumerate(names, 1)]
        twice = next((one for one in header if header.count(one) > 1), None)
        if twice is not None:
            raise TableError(f"has two columns that are called {twice!r}; rename one of them")
        yield header, (line for line in reader if line)
    finally:
        text.detach()


def _delimiter(first: str, name: str) -> str:
    if is_tabbed(name):
        return "\t"
    # As spreadsheets write it where the comma is a decimal one.
    return ";" if ";" in first and "," not in first else ","


def _csv_rows(fh: BinaryIO, name: str, types: TextTypes) -> Iterator[_Values | BadRow]:
    with _csv_lines(fh, name) as (header, lines):
        makers = [(column, types.converter(column)) for column in header]
        for number, line in enumerate(lines):
            if len(line) == len(header):
                values = [
                    make(value) if value else None
                    for (_, make), value in zip(makers, line, strict=True)
                ]
                yield number, dict(zip(header, values, strict=True))
            else:
                reason = f"it has {len(line)} values where {len(header)} columns are named"
                yield BadRow(number, reason)


def _json_rows(fh: BinaryIO) -> Iterator[_Values | BadRow]:
    number = 0
    while line := fh.readline(_MAX_TEXT):
        if len(line) == _MAX_TEXT and not line.endswith(b"\n"):
            raise TableError(f"has a line of more than {_MAX_TEXT} bytes, which is no row")
        text = line.removeprefix(b"\xef\xbb\xbf") if not number else line
        if text.strip():
            yield _json_row(number, text)
            number += 1


def _json_row(number: int, text: bytes) -> _Values | BadRow:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        return BadRow(number, f"it is not valid JSON: {type(error).__name__}")
    if not isinstance(row, dict):
        return BadRow(number, f"it is JSON of type {type(row).__name__}, and not an object")
    return number, row
