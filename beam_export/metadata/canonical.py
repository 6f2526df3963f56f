"""Encodes metadata values as canonical bytes, from which digests are computed.

Equal values have equal bytes on every run and machine and in any order of keys. Each value is
written as a letter for its type, its length and its content, so that different values have
different bytes: 1, 1.0, "1" and True are four values, and ["ab"] is not ["a", "b"]. Text is taken
as it is stored.
"""

from __future__ import annotations

import datetime
import decimal
import functools
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from beam_export.text import stored

__all__ = ["encode"]

#: Longest name, in characters, whose bytes are kept.
_SHORT = 100


def encode(value: Any) -> bytes:
    """Returns the canonical bytes of a metadata value.

    Raises:
        TypeError: if the value is of a type that is no metadata.

    >>> encode(1), encode(True), encode("1"), encode(["a", "b"])
    (b'i1:1', b'b1:1', b's1:1', b'l2:s1:as1:b')
    >>> encode({"b": 1, "a": 2}) == encode({"a": 2, "b": 1})
    True
    """
    parts: list[bytes] = []
    _write(value, parts)
    return b"".join(parts)


def _write(value: Any, parts: list[bytes]) -> None:
    kind = type(value)
    # The most frequent types first, without a call for each: all metadata goes through here.
    if kind is str:
        try:
            text = value.encode()
        except UnicodeEncodeError:
            text = stored(value).encode()
        parts.append(b"s%d:%b" % (len(text), text))
        return
    if kind is dict:
        _write_mapping(value, parts)
        return
    if (plain := _PLAIN.get(kind)) is not None:
        letter, content = plain(value)
        parts.append(b"%c%d:%b" % (letter, len(content), content))
        return
    if isinstance(value, (np.datetime64, np.timedelta64)):
        value = _from_numpy_time(value)
    elif isinstance(value, np.ndarray):
        # Item by item, since `tolist` turns nanoseconds into integers.
        times = value.ndim and value.dtype.kind in "mM"
        value = list(value) if times else value.tolist()
    elif isinstance(value, np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        _write_mapping(value, parts)
    elif isinstance(value, (list, tuple)):
        _write_items(letter=b"l", items=value, count=len(value), parts=parts)
    else:
        letter, content = _scalar(value)
        parts.append(b"%c%d:" % (letter, len(content)))
        parts.append(content)


def _write_mapping(value: Mapping[str, Any], parts: list[bytes]) -> None:
    parts.append(b"m%d:" % len(value))
    for name in sorted(value):
        if type(name) is str and len(name) <= _SHORT:
            parts.append(_short_name(name))
        else:
            _write(name, parts)
        _write(value[name], parts)


@functools.lru_cache(maxsize=4096)
def _short_name(name: str) -> bytes:
    """Returns the bytes of a name; kept, as nearly all samples have the same ones."""
    text = stored(name).encode()
    return b"s%d:%b" % (len(text), text)


def _write_items(letter: bytes, items: Iterable[Any], count: int, parts: list[bytes]) -> None:
    parts.append(b"%c%d:" % (letter, count))
    for item in items:
        _write(item, parts)


def _from_numpy_time(value: np.datetime64 | np.timedelta64) -> Any:
    """Returns the Python value of a numpy time or duration, so that its unit makes no difference.

    Where Python has none, for nanoseconds and far years, the value stays as it is.
    """
    if np.datetime_data(value.dtype)[0] == "ns" and not np.isnat(value):
        whole = value.astype("M8[us]" if isinstance(value, np.datetime64) else "m8[us]")
        if whole != value:
            return value
        value = whole
    plain = value.tolist()
    return value if isinstance(plain, int) else plain


def _scalar(value: Any) -> tuple[bytes, bytes]:
    for kind, plain in _PLAIN.items():
        if isinstance(value, kind):
            return plain(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b"y", bytes(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return b"t", f"{type(value).__name__} {value.isoformat()}".encode()
    if isinstance(value, (datetime.timedelta, decimal.Decimal)):
        return b"d", f"{type(value).__name__} {value!s}".encode()
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return b"u", f"{type(value).__name__} {value!s}".encode()
    raise TypeError(f"a value of type {type(value).__name__} cannot be a metadata value")


#: Encoders of the most frequent types; subclasses are looked up in this order.
_PLAIN: dict[type, Callable[[Any], tuple[bytes, bytes]]] = {
    str: lambda value: (b"s", stored(value).encode()),
    # A subclass of `int`, so before it.
    bool: lambda value: (b"b", b"1" if value else b"0"),
    int: lambda value: (b"i", b"%d" % value),
    # One form for all NaNs, whose bits depend on the machine.
    float: lambda value: (b"f", b"nan" if value != value else struct.pack(">d", value)),
    type(None): lambda _: (b"n", b""),
}
