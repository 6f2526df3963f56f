"""Parses Thrift's compact protocol, the form of Parquet's metadata, without trusting it.

Source: Apache Thrift, compact protocol; parquet-format, `parquet.thrift`.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Struct", "read_struct"]

#: Fields of a struct by their numbers: integers, bytes, lists and structs.
Struct = dict[int, Any]

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_INTEGERS = frozenset({4, 5, 6})
#: Structs within structs; Parquet has seven.
_MOST_LEVELS = 32


def read_struct(data: bytes, at: int = 0) -> tuple[Struct, int]:
    """Returns a struct, and the offset of its end.

    Raises:
        ValueError: if there is none, or it has not come to its end.
    """
    try:
        return _struct(data, at, _MOST_LEVELS)
    except IndexError as error:
        raise ValueError("a struct has no end") from error


def _struct(data: bytes, at: int, levels: int) -> tuple[Struct, int]:
    if not levels:
        raise ValueError("structs are in each other without end")
    found: Struct = {}
    number = 0
    while data[at]:
        head = data[at]
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(data, at)
        kind = head & 0x0F
        # The kind of a field is its value here; in lists a boolean is a byte.
        if kind in (_TRUE, _FALSE):
            found[number] = kind == _TRUE
        else:
            found[number], at = _value(data=data, at=at, kind=kind, levels=levels)
    return found, at + 1


def _value(data: bytes, at: int, kind: int, levels: int) -> tuple[Any, int]:
    if kind in _INTEGERS:
        return _integer(data, at)
    if kind in (_BYTE, _TRUE, _FALSE):
        return data[at], at + 1
    if kind == _DOUBLE:
        return _taken(data, at, 8)
    if kind == _BINARY:
        size, at = _varint(data, at)
        return _taken(data, at, size)
    if kind in (_LIST, _SET):
        return _list(data, at, levels)
    if kind == _STRUCT:
        return _struct(data, at, levels - 1)
    raise ValueError(f"a value is of kind {kind}, which Parquet has not")


def _list(data: bytes, at: int, levels: int) -> tuple[list[Any], int]:
    count, kind = data[at] >> 4, data[at] & 0x0F
    at += 1
    if count == 15:
        count, at = _varint(data, at)
    # An item takes a byte at least, so that such a count is a lie.
    if count > len(data):
        raise ValueError("a list has more items than there are bytes")
    items = []
    for _ in range(count):
        item, at = _value(data=data, at=at, kind=kind, levels=levels)
        items.append(item)
    return items, at


def _taken(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(data):
        # As an index past the end does; a slice would only be shorter.
        raise IndexError
    return data[at : at + size], at + size


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """Returns an integer, which is a zigzag varint, and the offset of its end."""
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        octet = data[at]
        at += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
        shift += 7
        # 64 bits take ten octets; without this, Python's integers would grow with the file.
        if shift > 63:
            raise ValueError("an integer has no end")
