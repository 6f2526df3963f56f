"""Parses headers of foreign tars: blocks of 512 bytes, and the extended records between them.

Layouts are those of POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block", and of
the GNU tar manual, "Basic Tar Format", for what GNU tar adds.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

__all__ = ["Header", "HeaderError", "parse_header", "parse_pax"]

#: The fields of a header that are looked at: name, size, checksum, typeflag, magic, prefix.
_FIELDS = struct.Struct("100s24x12s12x8sc100x6s82x155s12x")
#: A record's length has few digits: the records of a member have at most a few MB.
_MAX_DIGITS = 9
#: Records that say what a member is called and how large it is; the others are about its file.
_WANTED = frozenset({b"path", b"size"})
_SPARSE = b"GNU.sparse."
_SPARSE_NAME = b"GNU.sparse.name"


class HeaderError(Exception):
    """A header or its extended records are damaged; the text says how."""


class Header(NamedTuple):
    """The content of a header.

    Attributes:
        name: bytes of the name, with the prefix of ustar before it.
        size: bytes of data that follow, before padding.
        kind: the typeflag: one byte.
        more: whether blocks with more of an old GNU sparse map follow.
    """

    name: bytes
    size: int
    kind: bytes
    more: bool


def parse_header(block: bytes) -> Header:
    """Returns the content of a block of 512 bytes that is a header: v7, ustar or GNU.

    Raises:
        HeaderError: if its checksum is not the sum of its bytes, or its size is no number.
    """
    name, length, checksum, kind, magic, prefix = _FIELDS.unpack(block)
    # Old tars summed bytes as signed ones; readers take both.
    stored = _number(checksum)
    total = _sum_but_checksum(block) + 8 * ord(" ")
    if stored != total and (stored is None or stored != total - 256 * _high_bytes(block)):
        raise HeaderError("there is no header of a member: the checksum is wrong")
    size = _number(length)
    if size is None:
        raise HeaderError("the size of a member is not a number")
    name = name.partition(b"\0")[0]
    # GNU tar, whose magic is `ustar  `, keeps times and sparse maps where ustar has the prefix.
    if prefix[0] and magic == b"ustar\0":
        name = prefix.partition(b"\0")[0] + b"/" + name
    return Header(name, size, kind, block[482] != 0)


def parse_pax(data: bytes) -> dict[bytes, bytes]:
    """Returns the pax records that matter: `path`, `size` and the mark of GNU's sparse files.

    A record is `LENGTH KEY=VALUE\\n`, with its own length in decimal digits; an empty value says
    that an earlier one no longer holds. A sparse file is `{b"GNU.sparse.name": its name or b""}`.

    Raises:
        HeaderError: if something is not such a record.
    """
    found: dict[bytes, bytes] = {}
    start = 0
    while start < len(data) and data[start]:
        digits, space, _ = data[start : start + _MAX_DIGITS + 1].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        record = data[start + len(digits) + 1 : start + length]
        key, equals, value = record[:-1].partition(b"=")
        if start + length > len(data) or not record.endswith(b"\n") or not equals:
            raise HeaderError("the pax records of a member are damaged")
        if key in _WANTED or key == _SPARSE_NAME:
            found[key] = value
        elif key.startswith(_SPARSE):
            found.setdefault(_SPARSE_NAME, b"")
        start += length
    return found


def _number(field: bytes) -> int | None:
    """Returns a numeric field: octal digits, or GNU's base-256; None if it is neither."""
    # As nearly all writers have it: digits and a NUL; for a checksum, digits, a NUL and a space.
    plain = field[:-1] if field[-1] == 0 else field[:-2] if field[-2:] == b"\0 " else b""
    if plain.isdigit() and not plain.strip(b"01234567"):
        return int(plain, 8)
    if field[0] & 0x80:
        negative = field[0] & 0x40
        return None if negative else int.from_bytes(bytes([field[0] & 0x3F]) + field[1:], "big")
    digits = field.partition(b"\0")[0].strip(b" ")
    if not digits:
        return None if field.strip(b"\0 ") else 0
    return None if digits.translate(None, b"01234567") else int(digits, 8)


def _sum_but_checksum(block: bytes) -> int:
    """Returns the sum of a block's bytes, but for the 8 of its checksum.

    The low half of Adler-32 (RFC 1950), less 1, is the sum of up to 256 bytes. Python's own `sum`
    takes seven times as long, which would be most of a walk's time.
    """
    whole = (zlib.adler32(block[:256]) & 0xFFFF) + (zlib.adler32(block[256:]) & 0xFFFF)
    return whole - 1 - (zlib.adler32(block[148:156]) & 0xFFFF)


def _high_bytes(block: bytes) -> int:
    """Returns how many bytes, but for the checksum's own, are negative as signed ones."""
    return sum(byte >> 7 for byte in block[:148]) + sum(byte >> 7 for byte in block[156:])
