"""Summarises a column of any type as its rows stream by: numbers, moments, text, truth values."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from beam_export.exports.report.distribution import Distribution
from beam_export.metadata.arrow_types import is_text
from beam_export.text import cut

__all__ = [
    "ClassSummary",
    "ColumnSummary",
    "NumberSummary",
    "TextSummary",
    "moment_text",
    "summary_for",
]

#: Different texts that are counted; of more, only their lengths are.
_MOST_TEXTS = 1_000
#: Characters of a text that is counted; longer ones are told apart by a digest.
_LONGEST = 200


class ColumnSummary(Protocol):
    """What is known of a column."""

    def add(self, column: pa.Array) -> None:
        """Adds values."""


class NumberSummary:
    """Numbers, or moments as seconds since the epoch.

    Attributes:
        distribution: of the values.
        moments: whether they are dates or times.
    """

    def __init__(self, most_entries: int, moments: bool = False) -> None:
        self.distribution, self.moments = Distribution(most_entries), moments

    def add(self, column: pa.Array) -> None:
        """See `ColumnSummary.add`."""
        values = column.drop_null()
        self.distribution.add(_numbers(values, self.moments), column.null_count)


class ClassSummary:
    """Numbers of classes whose names are known.

    Attributes:
        names: of the classes, by number.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._distribution = Distribution(most_entries=max(len(names), 1) + 1_000)

    def add(self, column: pa.Array) -> None:
        """See `ColumnSummary.add`."""
        self._distribution.add(_numbers(column.drop_null(), moments=False), column.null_count)

    @property
    def missing(self) -> int:
        """How many have no class."""
        return self._distribution.missing

    def counts(self) -> list[tuple[str, int]]:
        """Returns each class that occurs with its number of images, the most frequent first."""
        values, counts = self._distribution.entries()
        found = zip(map(self._name, values.tolist()), counts.tolist(), strict=True)
        return sorted(found, key=lambda one: (-one[1], one[0]))

    def _name(self, number: float) -> str:
        place = int(number)
        return self.names[place] if 0 <= place < len(self.names) else str(place)


class TextSummary:
    """Text: how often each occurs, while there are few different ones; else how long they are.

    Attributes:
        missing: null values.
        lengths: in characters.
    """

    def __init__(self, most_entries: int) -> None:
        self.missing = 0
        self.lengths = Distribution(most_entries)
        self._counts: dict[tuple[str, bytes], int] | None = {}

    def add(self, column: pa.Array) -> None:
        """See `ColumnSummary.add`."""
        texts = column.drop_null()
        self.missing += column.null_count
        self.lengths.add(pc.utf8_length(texts).to_numpy(zero_copy_only=False))
        if self._counts is None or not len(texts):
            return
        for one in pc.value_counts(texts):
            key = _key(one["values"].as_py())
            self._counts[key] = self._counts.get(key, 0) + one["counts"].as_py()
            if len(self._counts) > _MOST_TEXTS:
                self._counts = None
                return

    def counts(self) -> list[tuple[str, int]] | None:
        """Returns each text, cut if it is long, with its count, the most frequent first.

        None if there are more than a thousand different ones.
        """
        if self._counts is None:
            return None
        found = ((text, count) for (text, _), count in sorted(self._counts.items()))
        return sorted(found, key=lambda one: -one[1])


class TruthSummary(TextSummary):
    """Truth values, counted as the text `true` and `false`."""

    def add(self, column: pa.Array) -> None:
        """See `ColumnSummary.add`."""
        super().add(column.cast(pa.string()))


def summary_for(
    field: pa.Field, names: Sequence[str] | None, most_entries: int
) -> ColumnSummary | None:
    """Returns an empty summary of a column; None if its type has none: bytes, lists, ...

    Args:
        field: of the column.
        names: of its classes, if it holds numbers of classes.
        most_entries: bounds the memory of a column of numbers.
    """
    kind = field.type.value_type if pat.is_dictionary(field.type) else field.type
    if names is not None and pat.is_integer(kind):
        return ClassSummary(names)
    if pat.is_integer(kind) or pat.is_floating(kind) or pat.is_decimal(kind):
        return NumberSummary(most_entries)
    if pat.is_date(kind) or pat.is_timestamp(kind):
        return NumberSummary(most_entries, moments=True)
    if pat.is_boolean(kind):
        return TruthSummary(most_entries)
    return TextSummary(most_entries) if is_text(kind) else None


def _numbers(values: pa.Array, moments: bool) -> np.ndarray:
    """Returns values as floating-point numbers; moments as seconds since the epoch."""
    kind = values.type
    if moments:
        units = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
        scale = units[kind.unit] if pat.is_timestamp(kind) else units["ms"]
        if pat.is_date32(kind):
            return _array(values.cast(pa.int32())) * 86_400.0
        return _array(values.cast(pa.int64())) / scale
    return _array(values.cast(pa.float64()) if pat.is_decimal(kind) else values)


def _array(values: pa.Array) -> np.ndarray:
    numbers: np.ndarray = values.to_numpy(zero_copy_only=False).astype(np.float64)
    return numbers


def _key(text: str) -> tuple[str, bytes]:
    """Returns what a text is counted under: little, however long it is."""
    if len(text) <= _LONGEST:
        return text, b""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return cut(text, _LONGEST), digest


def moment_text(seconds: float) -> str:
    """Returns a moment as text: a date, with the time of day where it has one.

    >>> moment_text(0), moment_text(1_700_000_000.0), moment_text(-62_135_596_800.0)
    ('1970-01-01', '2023-11-14 22:13', '0001-01-01')
    """
    epoch = datetime.datetime(1970, 1, 1)
    try:
        found = epoch + datetime.timedelta(seconds=round(seconds))
    except OverflowError:
        return f"{seconds:.4g} s"
    # Not by strftime, which writes the year 1 as "1".
    return found.isoformat(" ", "minutes")[: 10 if seconds % 86_400 == 0 else 16]
