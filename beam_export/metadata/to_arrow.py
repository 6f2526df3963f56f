"""Converts Python values to Arrow arrays of a given type, exactly or with an error; and back.

`pa.array` alone converts too much: for integers it truncates 1.5 to 1, for lists it splits "abc",
and for dates it drops the time of day. So the types of the values are checked first; columns of the
right types go to Arrow at once, as they are.
"""

from __future__ import annotations

import datetime
import decimal
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from beam_export.metadata.arrow_types import is_bytes, is_list, is_text
from beam_export.text import is_unicode, stored

__all__ = ["ColumnBuilder", "to_values"]

_MISFITS = (pa.ArrowException, TypeError, ValueError, OverflowError)


class ColumnBuilder:
    """Converts the values of one column to arrays.

    Converted are integers to floats (rounded beyond 2**53) and whole floats to integers, dates to
    timestamps (midnight), numpy scalars to Python's, and empty mappings to null unless the type is
    a struct. Of text that is no Unicode, U+FFFD takes the place of what is none (`text.stored`).
    Floats and times are stored in the precision of the type.

    Attributes:
        mended: ids of the samples with such text.
    """

    def __init__(self, field: pa.Field) -> None:
        self._field = field
        self._fitter = _Fitter(field.type)
        self.mended: set[str] = set()

    def build(self, values: Sequence[Any], ids: Sequence[str]) -> pa.Array:
        """Returns the array of `values`; `ids` are those of the samples, for error messages.

        Raises:
            ValueError: if a value does not fit the column's type.
        """
        fitter, kind = self._fitter, self._field.type
        try:
            if not fitter.safe.issuperset(map(type, values)):
                fitted: Sequence[Any] = [fitter.fit(value) for value in values]
                array = pa.array(fitted, kind)
            else:
                array = pa.array(values, kind)
        except _MISFITS:
            pairs = list(zip(values, ids, strict=True))
            array = pa.array([self._fit_alone(value, of) for value, of in pairs], kind)
            self.mended.update(of for value, of in pairs if not _is_unicode(value))
        if array.null_count and not self._field.nullable:
            missing = ids[array.is_null().index(True).as_py()]
            raise ValueError(
                f"sample {missing!r} has no value in metadata column {self._field.name!r}, which "
                "is declared not nullable; give it one or declare the column nullable"
            )
        return array

    def _fit_alone(self, value: Any, sample_id: str) -> Any:
        try:
            fitted = self._fitter.fit(value, careful=True)
            pa.array([fitted], self._field.type)
        except _MISFITS:
            raise ValueError(
                f"sample {sample_id!r} has a value of type {type(value).__name__} in metadata "
                f"column {self._field.name!r} that does not fit the column's type "
                f"{self._field.type}; change the value or declare another type"
            ) from None
        return fitted


def _is_unicode(value: Any) -> bool:
    """Returns whether all text in a value can be stored as it is."""
    if isinstance(value, str):
        return is_unicode(value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return True
    return all(map(_is_unicode, value))


class _Fitter:
    """Converts values to what `pa.array` takes exactly, for one type and the types within it.

    Attributes:
        safe: the Python types whose values `pa.array` converts exactly, or raises.
    """

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind
        # `to_pandas_dtype` would need pandas.
        self._dtype = pa.array([], kind).to_numpy().dtype if _is_plain_number(kind) else None
        self._items = _Fitter(kind.value_type) if is_list(kind) else None
        fields = kind if pat.is_struct(kind) else ()
        self._fields = {field.name: _Fitter(field.type) for field in fields}
        self._timed = pat.is_timestamp(kind) or pat.is_duration(kind)
        self._nested = is_list(kind) or pat.is_struct(kind) or pat.is_map(kind)
        safe, self._fit_scalar = _rule(kind)
        self.safe = frozenset((type(None), *safe))

    def fit(self, value: Any, careful: bool = False) -> Any:
        """Returns a value that `pa.array` converts exactly.

        Args:
            value: any metadata value.
            careful: also convert values of safe types, some of which `pa.array` refuses.
        """
        if not careful and type(value) in self.safe:
            return value
        if isinstance(value, np.ndarray):
            value = self._open_array(value)
        if isinstance(value, (np.datetime64, np.timedelta64)) and self._timed:
            return self._fit_numpy_time(value)
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or (not self._nested and isinstance(value, Mapping) and not value):
            return None
        if self._items is not None:
            return self._fit_items(value, self._items, careful)
        if pat.is_struct(self._kind):
            if not isinstance(value, Mapping):
                raise TypeError
            return {
                name: fitter.fit(value.get(name), careful) for name, fitter in self._fields.items()
            }
        return self._fit_scalar(value)

    def _fit_items(self, value: Any, items: _Fitter, careful: bool) -> Any:
        if isinstance(value, np.ndarray):
            return value
        if not isinstance(value, (list, tuple)):
            raise TypeError
        if not careful and items.safe.issuperset(map(type, value)):
            return value
        return [items.fit(item, careful) for item in value]

    def _open_array(self, value: np.ndarray[Any, Any]) -> Any:
        if value.ndim == 0:
            return value[()]
        if value.ndim == 1 and self._items is not None and value.dtype == self._items._dtype:
            return value
        # Rows stay arrays. `tolist` would truncate times, or turn them into integers.
        return list(value) if value.ndim > 1 or value.dtype.kind in "mM" else value.tolist()

    def _fit_numpy_time(self, value: np.datetime64 | np.timedelta64) -> int | None:
        """Returns the integer that Arrow stores for a time or a duration."""
        if np.isnat(value):
            return None
        letter = "M" if isinstance(value, np.datetime64) else "m"
        if (letter == "M") != pat.is_timestamp(self._kind):
            raise TypeError
        converted = value.astype(f"{letter}8[{self._kind.unit}]")
        if converted.astype(value.dtype) != value:
            raise OverflowError
        return int(converted.astype(np.int64))


def _is_plain_number(kind: pa.DataType) -> bool:
    return bool(pat.is_integer(kind) or pat.is_floating(kind))


def _fit_int(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return _only(value, int)


def _fit_float(value: Any) -> float:
    return float(_only(value, (int, float)))


def _fit_text(value: Any) -> Any:
    return stored(_only(value, str))


def _fit_bytes(value: Any) -> bytes:
    return bytes(_only(value, (bytes, bytearray, memoryview)))


def _fit_date(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        raise TypeError
    return _only(value, datetime.date)


def _fit_timestamp(value: Any) -> datetime.datetime:
    if isinstance(value, datetime.datetime):
        return value
    return datetime.datetime.combine(_only(value, datetime.date), datetime.time())


def _fit_decimal(value: Any) -> Any:
    number = _only(value, (decimal.Decimal, int))
    return None if isinstance(number, decimal.Decimal) and number.is_nan() else number


def _only(value: Any, types: Any) -> Any:
    # In Python bool is a subclass of int; in metadata the two are different.
    if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
        raise TypeError
    return value


_Rule = tuple[tuple[type, ...], Callable[[Any], Any]]
_RULES: tuple[tuple[Callable[[pa.DataType], bool], _Rule], ...] = (
    (pat.is_null, ((), lambda value: _only(value, type(None)))),
    (pat.is_boolean, ((bool,), lambda value: _only(value, bool))),
    (pat.is_integer, ((int,), _fit_int)),
    (pat.is_floating, ((float, int), _fit_float)),
    (is_text, ((str,), _fit_text)),
    (is_bytes, ((bytes,), _fit_bytes)),
    (pat.is_date, ((datetime.date,), _fit_date)),
    (pat.is_timestamp, ((datetime.datetime,), _fit_timestamp)),
    (pat.is_time, ((datetime.time,), lambda value: _only(value, datetime.time))),
    (pat.is_duration, ((datetime.timedelta,), lambda value: _only(value, datetime.timedelta))),
    (pat.is_decimal, ((decimal.Decimal, int), _fit_decimal)),
)


def _rule(kind: pa.DataType) -> _Rule:
    """Returns the safe Python types of an Arrow type, and the conversion of all other values."""
    if pat.is_dictionary(kind):
        return _rule(kind.value_type)
    for belongs, rule in _RULES:
        if belongs(kind):
            return rule
    # A type that only a user's schema brings (an extension, a map): left to Arrow.
    return (), lambda value: value


def to_values(column: pa.Array) -> list[Any]:
    """Returns the values of a column as Python values, and as numpy values where Python has none.

    Nanoseconds and far years become numpy values: `to_pylist` returns pandas objects or raises,
    depending on what is installed.
    """
    kind = column.type
    if not _has_nanoseconds(kind):
        try:
            return list(column.to_pylist())
        except (OverflowError, ValueError):
            if not (pat.is_temporal(kind) and not pat.is_time(kind)):
                raise
    if is_list(kind):
        return _list_values(column)
    if pat.is_struct(kind):
        values = [to_values(field) for field in column.flatten()]
        names = [field.name for field in kind]
        rows = zip(*values, strict=True)
        valid = column.is_valid().to_pylist()
        return [
            dict(zip(names, row, strict=True)) if there else None
            for row, there in zip(rows, valid, strict=True)
        ]
    moments = column.to_numpy(zero_copy_only=False)
    return [None if np.isnat(moment) else moment for moment in moments]


def _list_values(column: pa.Array) -> list[Any]:
    items = iter(to_values(column.flatten()))
    lengths = pc.list_value_length(column).to_pylist()
    return [None if n is None else list(itertools.islice(items, n)) for n in lengths]


def _has_nanoseconds(kind: pa.DataType) -> bool:
    if is_list(kind):
        return _has_nanoseconds(kind.value_type)
    if pat.is_struct(kind):
        return any(_has_nanoseconds(field.type) for field in kind)
    return bool((pat.is_timestamp(kind) or pat.is_duration(kind)) and kind.unit == "ns")
