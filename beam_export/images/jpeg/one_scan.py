"""Checks a JPEG of one scan, the usual kind, in a third of the time that a walk takes.

What differs from file to file is checked by itself: the size, the Huffman tables (many programs
make new ones for each image) and the data of the scan. The rest of the head is the same for all
images of a program, so it is checked once and cached. A file that is not plainly right is left to
the slow way of `inspect`.

Source: ITU-T T.81 (09/92), part B.
"""

from __future__ import annotations

import functools
import operator
from typing import NamedTuple

from beam_export.images.jpeg.intervals import CodedScan, ScanUnit, check_coded, fewest_code_bits
from beam_export.images.jpeg.segments import EOI, FRAMES, SOS, next_marker, u16, walk
from beam_export.images.jpeg.structure import LEAVES, SKIPPED, JpegFacts, Structure

__all__ = ["facts_of_one_scan"]

_DHT, _DQT, _DRI, _APP0, _APP14 = 0xC4, 0xDB, 0xDD, 0xE0, 0xEE
#: Segments of a head that count: frame, tables, restart interval, JFIF, Adobe, and the scan's own.
_COUNTS = FRAMES | {_DQT, _DRI, _APP0, _APP14, SOS}
#: Segments of a head that are read here; a longer head is walked.
_MOST_SEGMENTS = 100
_FILL = 0xFF
_END = b"\xff\xd9"

#: In the cached head, in place of those of the file: 16 x 16 pixels, and a table of one code.
_SIZE = b"\0\x10\0\x10"
_TABLES = {
    number: bytes([0xFF, _DHT, 0, 20, number, 1]) + bytes(16)
    for number in (0, 1, 2, 3, 0x10, 0x11, 0x12, 0x13)
}

#: Numbers of Huffman tables, and the fewest bits that a block takes of each.
_Bits = tuple[tuple[int, int], ...]


class _Head(NamedTuple):
    """The head of a file, up to the data of its first scan.

    Attributes:
        kept: the segments that count, with another size and other Huffman tables.
        width, height: pixels.
        bits: the fewest bits that a block takes of each Huffman table, by the table's number.
        end: where the scan's data begins.
    """

    kept: bytes
    width: int
    height: int
    bits: dict[int, int]
    end: int


def facts_of_one_scan(data: bytes) -> JpegFacts | None:
    """Returns the facts of a whole JPEG of one scan; None for a file that must be walked."""
    head = _read_head(data)
    if head is None or (known := _judge(head.kept)) is None:
        return None
    facts, unit, interval = known
    stop = next_marker(data, head.end, restarts=not interval)
    if data[stop : stop + 2] != _END or stop <= head.end:
        return None
    scan = CodedScan(unit.units_in(head.width, head.height), interval, unit.fewest_bits(head.bits))
    try:
        check_coded(data[head.end : stop] if interval else stop - head.end, scan)
    except ValueError:
        return None
    return JpegFacts(head.width, head.height, *facts[2:])


def _read_head(data: bytes) -> _Head | None:
    """Returns the head of a file; None if it has a segment that heads rarely have."""
    parts = [data[:2]]
    bits: dict[int, int] = {}
    at, width, height = 2, 0, 0
    try:
        for _ in range(_MOST_SEGMENTS):
            if data[at] != _FILL:
                return None
            marker, size = data[at + 1], data[at + 2] << 8 | data[at + 3]
            end = at + 2 + size
            if marker == _DHT:
                kept, found = _judge_tables(data[at + 4 : end])
                if not found:
                    return None
                parts.append(kept)
                bits.update(found)
            elif marker in FRAMES:
                height, width = u16(data, at + 5), u16(data, at + 7)
                parts += data[at : at + 5], _SIZE, data[at + 9 : end]
            elif marker in _COUNTS:
                parts.append(data[at:end])
                if marker == SOS:
                    return (
                        _Head(b"".join(parts), width, height, bits, end)
                        if width and height
                        else None
                    )
            elif marker not in SKIPPED or size < 2:
                return None
            at = end
    except IndexError:
        pass
    return None


@functools.lru_cache(maxsize=256)
def _judge_tables(content: bytes) -> tuple[bytes, _Bits]:
    """Returns replacements of a segment's Huffman tables, and their bits; none if one is malformed.

    They are checked as in `Structure`.
    """
    kept, bits = [], []
    at = 0
    while at < len(content):
        number, lengths = content[at], content[at + 1 : at + 17]
        symbols = at + 17
        at = symbols + sum(lengths)
        leaves = sum(map(operator.mul, lengths, LEAVES))
        if number not in _TABLES or leaves > 1 << 16 or at > len(content) or at > symbols + 256:
            return b"", ()
        kept.append(_TABLES[number])
        bits.append((number, fewest_code_bits(number, lengths, content[symbols:at])))
    return b"".join(kept), tuple(bits)


@functools.lru_cache(maxsize=1024)
def _judge(kept: bytes) -> tuple[JpegFacts, ScanUnit, int] | None:
    """Returns facts, units and restart interval by a sound head; None for any other.

    Cached, since the images of a dataset have few different heads, sizes and codes left out.
    """
    closed = kept + b"\0\xff\xd9"
    reader = Structure(closed)
    try:
        for segment in walk(closed):
            if segment[0] == EOI:
                return reader.one_scan()
            reader.take(segment)
    except ValueError:
        pass
    return None
