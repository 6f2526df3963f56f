"""Reads CSV and JSON lines as streams; the types of CSV columns follow from all of their values.

A file is cut into blocks of lines, which any worker can process: lines are found one after the
other, and all else is done in any order. A CSV declares no types, so its values are read twice: to
infer the types of its columns, and to make rows. JSON values have types of their own.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import gzip
import io
import itertools
import json
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple, cast

from beam_export.metadata.arrow_types import is_exact
from beam_export.metadata.json_text import with_unicode_names
from beam_export.sources.tables.encoding import UTF8, Plain, decoded, undecodable
from beam_export.sources.tables.formats import BadRow, TableError, is_compressed, is_json, is_tabbed
from beam_export.text import printable, quantity

__all__ = [
    "TextBlock",
    "TextTypes",
    "first_row",
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
#: What a line may have that holds no value: spreadsheets write separators for empty rows.
_BLANK = " \t\r\n\f\v,;"
#: No zeros in front, which codes have: "007" stays what it is.
_INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
#: Characters of the longest number of 64 bits.
_INT_LENGTH = 20
_FLOAT = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|-?inf")
_BOOL = re.compile(r"true|false", re.IGNORECASE)
#: Bits, so that what files have seen is merged by `|`, in any order.
_BIT_INT, _BIT_FLOAT, _BIT_BOOL, _BIT_TEXT, _BIT_NAN, _BIT_NULL = 1, 2, 4, 8, 16, 32
#: Of an integer that no float holds exactly.
_BIT_WIDE = 64
#: What pyarrow and pandas read as null; of these, the first are floats that are no number.
_NANS = frozenset({"nan", "NaN", "-nan", "-NaN", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"})
_NULLS = frozenset(
    {
        *("NA", "N/A", "n/a", "NULL", "Null", "null", "None", "<NA>"),
        *("#N/A", "#N/A N/A", "#NA"),
    }
)

_Values = tuple[int, dict[str, Any]]


class TextTypes:
    """The types that the values of each CSV column fit; picklable, and merged in any order.

    Spaces around a number, a truth value or a word for null are none of it; those of text are.
    """

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def add(self, name: str, value: str) -> None:
        """Notes a value; an empty one is null, and fits every type."""
        seen = self._seen.setdefault(name, 0)
        if value and not seen & _BIT_TEXT:
            bare = value.strip()
            self._seen[name] = seen | (_type_bit(bare) if bare else _BIT_NULL)

    def merge(self, other: TextTypes) -> None:
        """Notes all that `other` has noted."""
        for name, seen in other._seen.items():
            self._seen[name] = self._seen.get(name, 0) | seen

    @property
    def columns(self) -> list[str]:
        """The names of all columns, in no order that means anything."""
        return sorted(self._seen)

    def converter(self, name: str) -> Callable[[str], Any]:
        """Returns the function that converts a column's text to its values.

        Words such as NA are null among numbers and truth values; among text they are text. So are
        numbers, where some have fractions and others more digits than a float.
        """
        seen = self._seen.get(name, _BIT_TEXT)
        kinds = seen & (_BIT_INT | _BIT_FLOAT | _BIT_BOOL | _BIT_TEXT)
        if kinds == _BIT_INT:
            plain: Callable[[str], Any] = int
        elif kinds == _BIT_INT | _BIT_FLOAT and seen & _BIT_WIDE:
            return str
        # NaNs alone are floats; a column of empty values alone, nothing makes numbers.
        elif kinds in (_BIT_FLOAT, _BIT_INT | _BIT_FLOAT) or seen == _BIT_NAN:
            plain = float
        elif kinds == _BIT_BOOL:
            plain = _to_bool
        else:
            return str
        return functools.partial(_or_null, plain) if seen & (_BIT_NAN | _BIT_NULL) else plain


def _type_bit(value: str) -> int:
    if _INT.fullmatch(value):
        # Beyond 64 bits it is a name made of digits, not a number to count with.
        if len(value) > _INT_LENGTH or not -(2**63) <= (number := int(value)) < 2**63:
            return _BIT_TEXT
        return _BIT_INT if is_exact(number) else _BIT_INT | _BIT_WIDE
    if _FLOAT.fullmatch(value):
        return _BIT_FLOAT
    if value in _NANS or value in _NULLS:
        return _BIT_NAN if value in _NANS else _BIT_NULL
    return _BIT_BOOL if _BOOL.fullmatch(value) else _BIT_TEXT


def _or_null(plain: Callable[[str], Any], value: str) -> Any:
    bare = value.strip()
    return None if not bare or bare in _NULLS or bare in _NANS else plain(bare)


def _to_bool(value: str) -> bool:
    return value.strip().lower() == "true"


def read_header(fh: BinaryIO, name: str, encoding: str) -> list[str]:
    """Returns the names of a CSV's columns.

    Raises:
        TableError: if it is none.
        InputError: if it cannot be decoded.
    """
    with _text_of(fh, name, encoding=encoding, newline="") as text:
        return _csv_lines(text, name)[0]


def first_row(fh: BinaryIO, name: str, encoding: str) -> dict[str, Any]:
    """Returns the values of a table's first row by column, None where a CSV has no row.

    Raises:
        TableError: if it is none.
        InputError: if it cannot be decoded.
    """
    if not is_json(name):
        with _text_of(fh, name, encoding=encoding, newline="") as text:
            header, lines = _csv_lines(text, name)
            return dict.fromkeys(header) | dict(zip(header, next(lines, ()), strict=False))
    with _text_of(fh, name, encoding=encoding, newline="\n") as text:
        row = _json_row(0, next(_json_lines(text), "{}"))
    return {} if isinstance(row, BadRow) else row[1]


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


def text_blocks(fh: BinaryIO, name: str, encoding: str = UTF8) -> Iterator[TextBlock]:
    """Yields a file in blocks of up to 1,000 rows; of a CSV, at least one.

    Args:
        fh: open for reading, at its start; it can be sought in.
        name: of the file, whose suffix is its format.
        encoding: of its text, if no byte-order mark says otherwise.

    Raises:
        TableError: if it cannot be read to its end.
        InputError: if it cannot be decoded.
    """
    if is_json(name):
        with _text_of(fh, name, encoding=encoding, newline="\n") as text:
            yield from _in_blocks(None, _json_lines(text), len)
        return
    # Line ends are left to `csv`, since quoted values may hold them.
    with _text_of(fh, name, encoding=encoding, newline="") as text:
        header, lines = _csv_lines(text, name)
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


def scan_text(fh: BinaryIO, name: str, encoding: str = UTF8) -> TextTypes:
    """Returns the types that the values of a CSV fit; the file is read to its end.

    Raises:
        TableError: if it cannot be.
        InputError: if it cannot be decoded.
    """
    types = TextTypes()
    if not is_json(name):
        for block in text_blocks(fh, name, encoding):
            types.merge(types_of_text(block))
    return types


def read_text(
    fh: BinaryIO,
    name: str,
    types: TextTypes,
    columns: Collection[str] | None = None,
    encoding: str = UTF8,
) -> Iterator[list[_Values | BadRow]]:
    """Yields rows of a CSV or of JSON lines in order, up to 1,000 at a time.

    Args:
        fh: open for reading, at its start.
        name: of the file, whose suffix is its format.
        types: of all CSV files of the input.
        columns: to give; None for all.
        encoding: of its text, if no byte-order mark says otherwise.

    Raises:
        TableError: if it cannot be read to its end.
        InputError: if it cannot be decoded.
    """
    for block in text_blocks(fh, name, encoding):
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
def _unpacked(fh: BinaryIO, name: str) -> Iterator[Plain]:
    """Opens the content of a file, which stays open itself."""
    buffered = io.BufferedReader(cast(io.RawIOBase, fh))
    try:
        if is_compressed(name):
            with gzip.GzipFile(fileobj=buffered, mode="rb") as plain:
                yield plain
        else:
            yield buffered
    finally:
        # Else it would close the file, which is the caller's, when it is collected.
        buffered.detach()


@contextlib.contextmanager
def _text_of(fh: BinaryIO, name: str, encoding: str, newline: str) -> Iterator[io.TextIOWrapper]:
    """Opens the text of a file, which stays open itself."""
    what = f"the table {printable(name)}"
    with _damage_as_table_error():
        try:
            with _unpacked(fh, name) as plain:
                text = decoded(plain, what, asked=encoding, newline=newline)
                try:
                    yield text
                finally:
                    text.detach()
        except UnicodeDecodeError as error:
            # A decoder does not count lines: they are counted where it is needed.
            fh.seek(0)
            with _unpacked(fh, name) as plain:
                raise undecodable(plain, what, encoding) from error


def _csv_lines(text: io.TextIOWrapper, name: str) -> tuple[list[str], Iterator[list[str]]]:
    """Returns the names of the columns, and an iterator of the lines that hold a value."""
    # Holds for the whole process; 128 KiB if it is not set, and values may be longer.
    csv.field_size_limit(_MAX_TEXT)
    first = next((line for line in _lines(text) if line.strip(_BLANK)), "")
    lines = itertools.chain([first], text)
    # Strict: a quote that never closes is an error, and does not swallow the rest in silence.
    reader = csv.reader(lines, delimiter=_delimiter(first, name), strict=True)
    names = [one.strip() for one in next(reader, [])]
    header = [one or f"column_{at}" for at, one in enumerate(names, 1)]
    twice = next((one for one in header if header.count(one) > 1), None)
    if twice is not None:
        raise TableError(f"has two columns that are called {twice!r}; rename one of them")
    return header, (line for line in reader if not _is_blank(line, header))


def _is_blank(line: list[str], header: list[str]) -> bool:
    """Returns whether a line is empty, or spaces alone where there are several columns."""
    return not line or (len(line) < len(header) and not "".join(line).strip())


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(_MAX_TEXT):
        yield line


def _delimiter(first: str, name: str) -> str:
    if is_tabbed(name):
        return "\t"
    # As spreadsheets write it where the comma is a decimal one.
    return ";" if ";" in first and "," not in first else ","


def _csv_row(
    number: int, line: list[str], makers: list[tuple[str, Callable[[str], Any]]]
) -> _Values | BadRow:
    if len(line) != len(makers):
        names = quantity(len(makers), "column is", "columns are")
        reason = f"it has {quantity(len(line), 'value')} where {names} named"
        return BadRow(number, reason)
    pairs = zip(makers, line, strict=True)
    return number, {column: make(value) if value else None for (column, make), value in pairs}


def _json_lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Yields the lines that are not empty."""
    while line := text.readline(_MAX_TEXT):
        if len(line) == _MAX_TEXT and not line.endswith("\n"):
            raise TableError(f"has a line of more than {_MAX_TEXT} characters, which is no row")
        if line.strip():
            yield line


def _json_row(number: int, text: str) -> _Values | BadRow:
    try:
        row = json.loads(text)
        # Lone surrogates come of escapes alone.
        row = with_unicode_names(row) if "\\u" in text else row
    except (ValueError, RecursionError) as error:
        return BadRow(number, f"it is not valid JSON: {type(error).__name__}")
    if not isinstance(row, dict):
        return BadRow(number, f"it is JSON of type {type(row).__name__}, and not an object")
    return number, row
