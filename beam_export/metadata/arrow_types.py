"""The Arrow type of a Python value, and the common type of several types.

Types are unified as sets, not pairwise: {int64, uint64, float64} is float64, but int64 with uint64
alone is a conflict, and the order of arrival must not decide which of the two comes out.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pat

__all__ = [
    "EXACT_MAX",
    "INT64_MAX",
    "is_bytes",
    "is_exact",
    "is_list",
    "is_text",
    "numpy_type",
    "scalar_type",
    "storable",
    "unify",
    "unify_all",
    "usual_names",
]

INT64_MAX = 2**63 - 1
#: Floats hold all integers up to here.
EXACT_MAX = 2**53

_INT64_MIN = -(2**63)
_UINT64_MAX = 2**64 - 1
_UNITS = ("s", "ms", "us", "ns")
#: Arrow's largest decimal.
_MAX_DIGITS = 76


def scalar_type(value: Any) -> pa.DataType:
    """Returns the Arrow type of a scalar: a value that is no list, mapping or array.

    Raises:
        ValueError: if there is none; the message completes "the column holds ...".

    >>> scalar_type(1), scalar_type(2**63), scalar_type("a")
    (DataType(int64), DataType(uint64), DataType(string))
    """
    if value is None:
        return pa.null()
    if isinstance(value, np.generic):
        return numpy_type(value.dtype)
    if isinstance(value, datetime.datetime):
        # Times with any zone are of one type, in UTC.
        return pa.timestamp("us", None if value.utcoffset() is None else "UTC")
    if isinstance(value, int) and not isinstance(value, bool):
        return _int_type(value)
    if isinstance(value, decimal.Decimal):
        return _decimal_type(value)
    for python, arrow in _PYTHON:
        if isinstance(value, python):
            return arrow
    raise ValueError(f"a value of type {type(value).__name__}")


_PYTHON: tuple[tuple[type, pa.DataType], ...] = (
    (bool, pa.bool_()),
    (float, pa.float64()),
    (str, pa.string()),
    (bytes, pa.binary()),
    (bytearray, pa.binary()),
    (memoryview, pa.binary()),
    (datetime.date, pa.date32()),
    (datetime.time, pa.time64("us")),
    (datetime.timedelta, pa.duration("us")),
)


def is_exact(value: int) -> bool:
    """Returns whether a float holds an integer of 64 bits exactly.

    >>> is_exact(2**53), is_exact(2**53 + 1), is_exact(2**60)
    (True, False, True)
    """
    return -EXACT_MAX <= value <= EXACT_MAX or int(float(value)) == value


def _int_type(value: int) -> pa.DataType:
    if _INT64_MIN <= value <= INT64_MAX:
        return pa.int64()
    if 0 <= value <= _UINT64_MAX:
        return pa.uint64()
    bits = value.bit_length() + (value < 0)
    raise ValueError(f"an integer of {bits} bits (64 are the most)")


def _decimal_type(value: decimal.Decimal) -> pa.DataType:
    _, digits, exponent = value.as_tuple()
    if isinstance(exponent, str):
        if value.is_nan():
            return pa.null()
        raise ValueError("an infinite decimal number")
    scale = max(-exponent, 0)
    return _decimal(max(len(digits) + max(exponent, 0), scale), scale)


def _decimal(precision: int, scale: int) -> pa.DataType:
    if precision > _MAX_DIGITS:
        raise ValueError(f"a decimal number of {precision} digits ({_MAX_DIGITS} are the most)")
    make = pa.decimal128 if precision <= 38 else pa.decimal256
    return make(precision, scale)


def numpy_type(dtype: np.dtype[Any]) -> pa.DataType:
    """Returns the Arrow type of an array's items; raises ValueError as `scalar_type` does."""
    if dtype.kind == "U":
        return pa.string()
    if dtype.kind == "S":
        return pa.binary()
    if dtype.kind in "biu" or (dtype.kind == "f" and dtype.itemsize <= 8):
        return pa.from_numpy_dtype(dtype.newbyteorder("="))
    if dtype.kind in "mM":
        unit = np.datetime_data(dtype)[0]
        if unit == "D" and dtype.kind == "M":
            return pa.date32()
        if unit in _UNITS:
            return storable(pa.timestamp(unit) if dtype.kind == "M" else pa.duration(unit))
    raise ValueError(f"a numpy value of type {dtype}")


def storable(kind: pa.DataType) -> pa.DataType:
    """Returns a type as Parquet reads it back: it lacks seconds, and has days only as date32."""
    if pat.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    if pat.is_time32(kind):
        return pa.time32("ms")
    return pa.date32() if pat.is_date64(kind) else kind


def usual_names(kind: pa.DataType) -> pa.DataType:
    """Returns a type with Arrow's own names for what is in lists and maps, at any depth.

    Parquet has others: `element`, and for what is in a map the name of its column.

    >>> str(usual_names(pa.list_(pa.field("element", pa.int8()))))
    'list<item: int8>'
    """
    if pat.is_map(kind):
        return pa.map_(usual_names(kind.key_type), usual_names(kind.item_type), kind.keys_sorted)
    if is_list(kind):
        item = kind.value_field.with_type(usual_names(kind.value_type)).with_name("item")
        if pat.is_fixed_size_list(kind):
            return pa.list_(item, kind.list_size)
        return pa.large_list(item) if pat.is_large_list(kind) else pa.list_(item)
    if pat.is_struct(kind):
        return pa.struct([field.with_type(usual_names(field.type)) for field in kind])
    return kind


def is_list(kind: pa.DataType) -> bool:
    """Returns whether values of the type are lists."""
    return bool(pat.is_list(kind) or pat.is_large_list(kind) or pat.is_fixed_size_list(kind))


def is_text(kind: pa.DataType) -> bool:
    """Returns whether values of the type are text."""
    return bool(pat.is_string(kind) or pat.is_large_string(kind) or pat.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Returns whether values of the type are bytes."""
    plain = pat.is_binary(kind) or pat.is_large_binary(kind) or pat.is_binary_view(kind)
    return bool(plain or pat.is_fixed_size_binary(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pat.is_integer(kind) or pat.is_floating(kind))


def _is_moment(kind: pa.DataType) -> bool:
    return bool(pat.is_date(kind) or pat.is_timestamp(kind))


def unify(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    """Returns the common type of two types, which holds the values of both.

    Null goes with any type. Integers and floats become float64, which rounds integers beyond 2**53.
    Of widths and units the larger and the finer is taken; a date beside timestamps is its midnight.
    Lists are unified by item, structs by field, where a missing field is null.

    Raises:
        ValueError: if there is no such type.

    >>> unify(pa.int32(), pa.float32()), unify(pa.date32(), pa.timestamp("ms"))
    (DataType(double), TimestampType(timestamp[ms]))
    """
    return unify_all([a, b])


def unify_all(types: Iterable[pa.DataType]) -> pa.DataType:
    """Returns the common type of all types, as `unify` does, whatever their order."""
    distinct = sorted({kind for kind in types if not pat.is_null(kind)}, key=str)
    if len(distinct) > 1:
        plain = (kind.value_type if pat.is_dictionary(kind) else kind for kind in distinct)
        distinct = sorted(set(plain), key=str)
    if len(distinct) < 2:
        return distinct[0] if distinct else pa.null()
    for belongs, join in _FAMILIES:
        if all(belongs(kind) for kind in distinct):
            return join(distinct)
    raise _conflict(distinct)


def _conflict(types: Sequence[pa.DataType]) -> ValueError:
    return ValueError(f"no type holds both {' and '.join(str(kind) for kind in types)}")


def _join_numbers(types: Sequence[pa.DataType]) -> pa.DataType:
    widest = max(types, key=lambda kind: kind.bit_width)
    floats = sum(pat.is_floating(kind) for kind in types)
    if floats:
        return widest if floats == len(types) else pa.float64()
    unsigned = sum(pat.is_unsigned_integer(kind) for kind in types)
    if unsigned in (0, len(types)):
        return widest
    if pa.uint64() in types:
        raise _conflict(types)
    return pa.int64()


def _join_texts(types: Sequence[pa.DataType]) -> pa.DataType:
    return pa.large_string() if pa.large_string() in types else pa.string()


def _join_bytes(types: Sequence[pa.DataType]) -> pa.DataType:
    return pa.large_binary() if pa.large_binary() in types else pa.binary()


def _join_moments(types: Sequence[pa.DataType]) -> pa.DataType:
    stamps = [kind for kind in types if pat.is_timestamp(kind)]
    if not stamps:
        return pa.date32()
    zones = {kind.tz for kind in stamps}
    if len(zones) > 1:
        if None in zones:
            raise _conflict(types)
        zones = {"UTC"}
    return pa.timestamp(_finest(stamps), zones.pop())


def _join_times(types: Sequence[pa.DataType]) -> pa.DataType:
    unit = _finest(types)
    return pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)


def _join_durations(types: Sequence[pa.DataType]) -> pa.DataType:
    return pa.duration(_finest(types))


def _finest(types: Sequence[pa.DataType]) -> str:
    units = {kind.unit for kind in types}
    return next(unit for unit in reversed(_UNITS) if unit in units)


def _join_decimals(types: Sequence[pa.DataType]) -> pa.DataType:
    scale = max(kind.scale for kind in types)
    joined = _decimal(max(kind.precision - kind.scale for kind in types) + scale, scale)
    # With one decimal256 it is a decimal256, however few digits that takes.
    wide = any(pat.is_decimal256(kind) for kind in types)
    return pa.decimal256(joined.precision, scale) if wide else joined


def _join_lists(types: Sequence[pa.DataType]) -> pa.DataType:
    items = unify_all(kind.value_type for kind in types)
    large = any(pat.is_large_list(kind) for kind in types)
    return pa.large_list(items) if large else pa.list_(items)


def _join_structs(types: Sequence[pa.DataType]) -> pa.DataType:
    fields: dict[str, list[pa.DataType]] = {}
    for kind in types:
        for field in kind:
            fields.setdefault(field.name, []).append(field.type)
    return pa.struct([(name, unify_all(fields[name])) for name in sorted(fields)])


_Family = tuple[Callable[[pa.DataType], bool], Callable[[Sequence[pa.DataType]], pa.DataType]]
_FAMILIES: tuple[_Family, ...] = (
    (_is_number, _join_numbers),
    (is_text, _join_texts),
    (is_bytes, _join_bytes),
    (_is_moment, _join_moments),
    (pat.is_time, _join_times),
    (pat.is_duration, _join_durations),
    (pat.is_decimal, _join_decimals),
    (is_list, _join_lists),
    (pat.is_struct, _join_structs),
)
