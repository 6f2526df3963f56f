"""Checks a Huffman-coded JPEG by its layout, in a third of the time that a walk takes.

What differs from file to file is checked by itself: the size, the Huffman tables (many programs
make new ones for each image), the restart interval and the data of the scans. The rest, all other
segments in their order, is the same for all images of a program: so it is checked once and cached.
A file that is not plainly right is left to the slow way of `inspect`.

Source: ITU-T T.81 (09/92), part B.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import NamedTuple

from beam_export.images.jpeg.intervals import (
    ScanRule,
    check_coded,
    fewest_code_bits,
    is_sound_table,
)
from beam_export.images.jpeg.segments import (
    EOI,
    FILL,
    FRAMES,
    SOS,
    MarkerFinder,
    next_marker,
    segment_head,
    u16,
    walk,
)
from beam_export.images.jpeg.structure import (
    HUFFMAN_DCT,
    SKIPPED,
    JpegFacts,
    Structure,
)

__all__ = ["facts_by_layout"]

_DHT, _DQT, _DRI, _APP0, _APP14 = 0xC4, 0xDB, 0xDD, 0xE0, 0xEE
#: The frame header of an image that has some ten scans, whose ends are found at one go.
_PROGRESSIVE = 0xC2
#: Segments that are kept as they are: tables, JFIF, Adobe.
_KEPT = {_DQT, _APP0, _APP14}
#: Segments that are read here, and bytes of a layout that is cached; a file of more is walked. Its
#: JFIF segments may hold a thumbnail, of which no two are alike.
_MOST_SEGMENTS, _MOST_KEPT = 200, 16 << 10

#: In the cached layout, in place of those of the file: 16 x 16 pixels, a table of one code, and
#: data that is long enough for both (at most 4 units of 4 blocks, or 2 of 10, of 2 bits a block).
_SIZE = b"\0\x10\0\x10"
_TABLES = {
    number: bytes([0xFF, _DHT, 0, 20, number, 1]) + bytes(16)
    for number in (0, 1, 2, 3, 0x10, 0x11, 0x12, 0x13)
}
_DATA = bytes(16)
_END = b"\xff\xd9"

#: Numbers of Huffman tables, and the fewest bits that a block takes of each.
_Bits = tuple[tuple[int, int], ...]


class _ScanData(NamedTuple):
    """The data of a scan.

    Attributes:
        coded: the bytes; their number if there are no restart markers among them.
        interval: units between two restart markers; 0 for none.
        bits: the fewest bits that a block takes of each Huffman table, by the table's number.
    """

    coded: bytes | int
    interval: int
    bits: dict[int, int]


class _Layout(NamedTuple):
    """A file, taken apart.

    Attributes:
        kept: the segments that count, with another size, other Huffman tables and other data.
        width, height: pixels.
        scans: the data of each scan.
    """

    kept: bytes
    width: int
    height: int
    scans: list[_ScanData]


def facts_by_layout(data: bytes) -> JpegFacts | None:
    """Returns the facts of a whole JPEG of a usual kind; None for a file that must be walked."""
    found = _take_apart(data)
    if found is None or len(found.kept) > _MOST_KEPT or (known := _judge(found.kept)) is None:
        return None
    facts, rules = known
    for rule, scan in zip(rules, found.scans, strict=True):
        if not _is_long_enough(scan, rule, (found.width, found.height)):
            return None
    return JpegFacts(found.width, found.height, *facts[2:])


def _is_long_enough(scan: _ScanData, rule: ScanRule, size: tuple[int, int]) -> bool:
    coded, interval, bits = scan
    width, height = size
    if isinstance(coded, int):
        # What `check_coded` finds of data without restart markers.
        return coded * 8 >= rule.unit.units_in(width, height) * rule.fewest_bits(bits)
    try:
        check_coded(coded, rule.coded(width=width, height=height, interval=interval, huffman=bits))
    except ValueError:
        return False
    return True


def _take_apart(data: bytes) -> _Layout | None:
    """Returns the parts of a file; None if it has a segment that files rarely have."""
    parts = [data[:2]]
    scans: list[_ScanData] = []
    bits: dict[int, int] = {}
    find: Callable[[int], int] = functools.partial(next_marker, data, restarts=True)
    at, width, height, interval = 2, 0, 0, 0
    try:
        for _ in range(_MOST_SEGMENTS):
            fill, marker, size = segment_head(data, at)
            end = at + 2 + size
            if fill != FILL or size < 2:
                return None
            if marker == _DHT:
                kept, found = _judge_tables(data[at + 4 : end])
                if not found:
                    return None
                parts.append(kept)
                bits.update(found)
            elif marker in FRAMES:
                height, width = u16(data, at + 5), u16(data, at + 7)
                parts += data[at : at + 5], _SIZE, data[at + 9 : end]
                if marker == _PROGRESSIVE:
                    find = MarkerFinder(data).find
            elif marker in _KEPT:
                parts.append(data[at:end])
            elif marker == SOS:
                # Without an interval, a restart marker is one that may not be there.
                stop = next_marker(data, end) if interval else find(end)
                if stop <= end:
                    return None
                coded = data[end:stop] if interval else stop - end
                scans.append(_ScanData(coded, interval, bits.copy()))
                parts += data[at:end], _DATA
                if data[stop + 1] == EOI:
                    whole = width and height
                    return _Layout(b"".join(parts), width, height, scans) if whole else None
                end = stop
            elif marker == _DRI and size == 4:
                interval = u16(data, at + 4)
            elif marker not in SKIPPED:
                return None
            at = end
    except struct.error:  # it ends before
        pass
    return None


# Of optimised tables, those of DC come again in other images, and those of AC hardly ever do.
@functools.lru_cache(maxsize=256)
def _judge_tables(content: bytes) -> tuple[bytes, _Bits]:
    """Returns replacements of a segment's Huffman tables, and their bits; none if one is malformed.

    They are checked as in `Structure`.
    """
    kept, bits = [], []
    at, size = 0, len(content)
    while at < size:
        number, lengths = content[at], content[at + 1 : at + 17]
        symbols = content[at + 17 : at + 17 + sum(lengths)]
        at += 17 + sum(lengths)
        if number not in _TABLES or at > size or not is_sound_table(number, lengths, symbols):
            return b"", ()
        kept.append(_TABLES[number])
        bits.append((number, fewest_code_bits(number, lengths, symbols)))
    return b"".join(kept), tuple(bits)


@functools.lru_cache(maxsize=1024)
def _judge(kept: bytes) -> tuple[JpegFacts, tuple[ScanRule, ...]] | None:
    """Returns the facts by a sound layout, and a rule for the data of each scan; None for another.

    Cached, since the images of a dataset have few different layouts.
    """
    reader = Structure(kept + _END)
    try:
        for segment in walk(kept + _END):
            reader.take(segment)
        facts = reader.finish()
    except ValueError:
        return None
    return (facts, tuple(reader.rules)) if facts.process in HUFFMAN_DCT else None
