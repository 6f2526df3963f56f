from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.sources.tables.thrift import Struct, read_struct

INTEGER, BINARY, LIST, STRUCT = 6, 8, 9, 12


def varint(value: int) -> bytes:
    made = b""
    while value >= 0x80:
        made += bytes([value & 0x7F | 0x80])
        value >>= 7
    return made + bytes([value])


def encoded(value: object) -> tuple[int, bytes]:
    """Returns (kind, bytes) of a value, as Thrift's compact protocol writes it."""
    match value:
        case int():
            return INTEGER, varint(value << 1 if value >= 0 else (-value << 1) - 1)
        case bytes():
            return BINARY, varint(len(value)) + value
        case list():
            items = [encoded(one) for one in value]
            kind = items[0][0] if items else INTEGER
            head = bytes([min(15, len(items)) << 4 | kind])
            count = varint(len(items)) if len(items) > 14 else b""
            return LIST, head + count + b"".join(data for _, data in items)
    assert isinstance(value, dict)
    return STRUCT, struct(value)


def struct(fields: Struct) -> bytes:
    made, last = b"", 0
    for number, value in fields.items():
        if isinstance(value, bool):
            kind, data = 1 if value else 2, b""
        else:
            kind, data = encoded(value)
        step = number - last
        made += bytes([step << 4 | kind]) if 0 < step < 16 else bytes([kind]) + varint(number << 1)
        made, last = made + data, number
    return made + b"\0"


NUMBERS = st.integers(-(2**63), 2**63 - 1)
VALUES = st.recursive(
    NUMBERS | st.binary(max_size=20) | st.lists(NUMBERS, max_size=20),
    lambda inner: st.dictionaries(st.integers(1, 60), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.integers(1, 60), VALUES | st.booleans(), max_size=6), st.binary())
def test_what_was_written_comes_back(fields: Struct, behind: bytes) -> None:
    fields = dict(sorted(fields.items()))
    data = struct(fields)
    assert read_struct(b"?" + data + behind, 1) == (fields, 1 + len(data))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_struct_or_an_error(data: bytes) -> None:
    try:
        _, end = read_struct(data)
    except ValueError:
        return
    assert end <= len(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no end"),
        (struct({1: b"abc"})[:-2], "no end"),
        (b"\x18" + varint(2**40), "no end"),
        (b"\x16" + b"\xff" * 20, "an integer has no end"),
        (b"\x19\xf6" + varint(2**40), "more items than there are bytes"),
        (b"\x1b\0", "kind 11"),
        (b"\x1c" * 40, "in each other"),
    ],
)
def test_what_does_not_end_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_struct(data)
