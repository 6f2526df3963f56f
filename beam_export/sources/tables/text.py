"""Reads CSV and JSON lines as streams; the types of CSV columns follow from all of their values.

A file is cut into blocks of lines, which any worker can process: lines are found one after the
other, and all else is done in any order. A CSV declares no types, so its values are read twice: to
infer the types of its columns, and to make rows. JSON values have types of their own.
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
from typing import Any, BinaryIO, NamedTuple, cast

from beam_export.sources.tables.formats import BadRow, TableError, is_compressed, is_json, is_tabbed
from beam_export.text import printable

__all__ = [
    "TextBlock",
    "TextTypes",
    "read_header",
    "read_text",
    "rows_of_text",
    "scan_text",
    "text_blocks",
    "types_of_text",
]

_ROWS = 1_000
#: Bytes, about, after which a block has enough, though its rows are fewer.
_BLOCK_BYTES = 4 << 20
#: The longest value and the longest line; more is no table.
_MAX_TEXT = 64 << 20
#: No zeros in front, which codes have: "007" stays what it is.
_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_FLOAT = re.compile(
    r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[nN]a[nN]|-?inf"
)
_BOOL = re.compile(r"true|false", re.IGNORECASE)
#: Bits, so that what files have seen is merged by `|`, in any order.
_BIT_INT, _BIT_FLOAT, _BIT_BOOL, _BIT_TEXT = 1, 2, 4, 8

_Values = tuple[int, dict[str, Any]]


class TextTypes:
    """The types that the values of each CSV column fit; picklable, and merged in any order."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def add(self, name: str, value: str) -> None:
        """Notes a value; an empty one is null, and fits every type."""
        seen = self._seen.setdefault(name, 0)
        if value and not seen & _BIT_TEXT:
            self._seen[name] = seen | _type_bit(value)

    def merge(self, other: TextTypes) -> None:
        """Notes all that `other` has noted."""
        for name, seen in other._seen.items():
            self._seen[name] = self._seen.get(name, 0) | seen

    @property
    def columns(self) -> list[str]:
        """The names of all columns, in no order that means anything."""
        return sorted(self._seen)

    def converter(self, name: str) -> Callable[[str], Any]:
        """Returns the function that converts a column's text to its values."""
        seen = self._seen.get(name, _BIT_TEXT)
        if seen == _BIT_INT:
            return int
        # 0 is a column of empty values alone, which nothing makes numbers.
        if seen and not seen & ~(_BIT_INT | _BIT_FLOAT):
            return float
        return _to_bool if seen == _BIT_BOOL else printable


def _type_bit(value: str) -> int:
    if _INT.fullmatch(value):
        # Beyond 64 bits it is a name made of digits, not a number to count with.
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
    with (
        _damage_as_table_error(),
        _unpacked(fh, name) as plain,
        _csv_lines(plain, name) as (header, _),
    ):
        return header


class TextBlock(NamedTuple):
    """Lines of a file that follow one another.

    Attributes:
        first: number of the first line that is a row, from 0.
        header: names of a CSV's columns; None for JSON lines.
        lines: values of a CSV's lines, or JSON as text.
    """

    first: int
    header: list[str] | None
    lines: list[Any]


def text_blocks(fh: BinaryIO, name: str) -> Iterator[TextBlock]:
    """Yields a file in blocks of up to 1,000 rows; of a CSV, at least one.

    Args:
        fh: open for reading, at its start.
        name: of the file, whose suffix is its format.

    Raises:
        TableError: if it cannot be read to its end.
    """
    with _damage_as_table_error(), _unpacked(fh, name) as plain:
        if is_json(name):
            yield from _in_blocks(None, _json_lines(plain), len)
            return
        with _csv_lines(plain, name) as (header, lines):
            # A CSV without a row has columns all the same, and their types.
            yield TextBlock(0, header, [])
            yield from _in_blocks(header, lines, _length)


def _length(line: list[str]) -> int:
    return sum(map(len, line))


def _in_blocks(
    header: list[str] | None, lines: Iterable[Any], length: Callable[[Any], int]
) -> Iterator[TextBlock]:
    first, held, size = 0, [], 0
    for line in lines:
        held.append(line)
        size += length(line)
        if len(held) == _ROWS or size >= _BLOCK_BYTES:
            yield TextBlock(first, header, held)
            first, held, size = first + len(held), [], 0
    if held:
        yield TextBlock(first, header, held)


def types_of_text(block: TextBlock) -> TextTypes:
    """Returns the types that the values of a CSV's lines fit; none for JSON."""
    types = TextTypes()
    for column in block.header or ():
        types.add(column, "")
    if block.header is not None:
        for line in block.lines:
            if len(line) == len(block.header):
                for column, value in zip(block.header, line, strict=True):
                    types.add(column, value)
    return types


def rows_of_text(block: TextBlock, types: TextTypes) -> list[_Values | BadRow]:
    """Returns the rows of a block; `types` are those of all CSV files of the input."""
    numbered = enumerate(block.lines, block.first)
    if block.header is None:
        return [_json_row(number, line) for number, line in numbered]
    makers = [(column, types.converter(column)) for column in block.header]
    return [_csv_row(number, line, makers) for number, line in numbered]


def scan_text(fh: BinaryIO, name: str) -> TextTypes:
    """Returns the types that the values of a CSV fit; the file is read to its end.

    Raises:
        TableError: if it cannot be.
    """
    types = TextTypes()
    if not is_json(name):
        for block in text_blocks(fh, name):
            types.merge(types_of_text(block))
    return types


def read_text(
    fh: BinaryIO, name: str, types: TextTypes, columns: Collection[str] | None = None
) -> Iterator[list[_Values | BadRow]]:
    """Yields rows of a CSV or of JSON lines in order, up to 1,000 at a time.

    Args:
        fh: open for reading, at its start.
        name: of the file, whose suffix is its format.
        types: of all CSV files of the input.
        columns: to give; None for all.

    Raises:
        TableError: if it cannot be read to its end.
    """
    for block in text_blocks(fh, name):
        rows = rows_of_text(block, types)
        if rows:
            yield rows if columns is None else [_only(row, columns) for row in rows]


def _only(row: _Values | BadRow, columns: Collection[str]) -> _Values | BadRow:
    if isinstance(row, BadRow):
        return row
    return row[0], {name: value for name, value in row[1].items() if name in columns}


@contextlib.contextmanager
def _damage_as_table_error() -> Iterator[None]:
    """Raises damage as a TableError; errors of a disk or a network, which have a number, pass."""
    try:
        yield
    except csv.Error as error:
        raise TableError(f"is not valid CSV: {error}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TableError(f"cannot be decompressed to its end: {error}") from error


@contextlib.contextmanager
def _unpacked(fh: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """Opens the content of a file, which stays open itself."""
    buffered = io.BufferedReader(cast(io.RawIOBase, fh))
    try:
        if is_compressed(name):
            with gzip.GzipFile(fileobj=buffered, mode="rb") as plain:
                yield cast(BinaryIO, plain)
        else:
            yield buffered
    finally:
        # Else it would close the file, which is the caller's, when it is collected.
        buffered.detach()


@contextlib.contextmanager
def _csv_lines(fh: BinaryIO, name: str) -> Iterator[tuple[list[str], Iterator[list[str]]]]:
    """Yields once: the names of the columns, and an iterator of the lines that are not empty."""
    # Holds for the whole process; 128 KiB if it is not set, and values may be longer.
    csv.field_size_limit(_MAX_TEXT)
    # Bytes that are no UTF-8 may be those of a file's name, which only they find.
    # Line ends are left to `csv`, since quoted values may hold them.
    text = io.TextIOWrapper(fh, "utf-8-sig", "surrogateescape", newline="")
    try:
        first = text.readline(_MAX_TEXT)
        lines = itertools.chain([first], text)
        # Strict: a quote that never closes is an error, and does not swallow the rest in silence.
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


def _csv_row(
    number: int, line: list[str], makers: list[tuple[str, Callable[[str], Any]]]
) -> _Values | BadRow:
    if len(line) != len(makers):
        reason = f"it has {len(line)} values where {len(makers)} columns are named"
        return BadRow(number, reason)
    pairs = zip(makers, line, strict=True)
    return number, {column: make(value) if value else None for (column, make), value in pairs}


def _json_lines(fh: BinaryIO) -> Iterator[bytes]:
    """Yields the lines that are not empty."""
    first = True
    while line := fh.readline(_MAX_TEXT):
        if len(line) == _MAX_TEXT and not line.endswith(b"\n"):
            raise TableError(f"has a line of more than {_MAX_TEXT} bytes, which is no row")
        text = line.removeprefix(b"\xef\xbb\xbf") if first else line
        if text.strip():
            first = False
            yield text


def _json_row(number: int, text: bytes) -> _Values | BadRow:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        return BadRow(number, f"it is not valid JSON: {type(error).__name__}")
    if not isinstance(row, dict):
        return BadRow(number, f"it is JSON of type {type(row).__name__}, and not an object")
    return number, row
