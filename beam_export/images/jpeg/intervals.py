"""Checks a JPEG scan's entropy-coded data: its restart markers, and whether it is long enough.

Nothing is decoded: restart markers are found and counted, and the bytes between two of them are
compared with the fewest that so many blocks can take.

Source: ITU-T T.81 (09/92), A.2 (units), B.2.1 and E.1.4 (restart intervals), F.1.2 (codes).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from typing import NamedTuple

__all__ = [
    "CodedScan",
    "ScanRule",
    "ScanUnit",
    "check_coded",
    "fewest_code_bits",
    "is_sound_table",
    "split_intervals",
]

# The fill bytes that may precede a marker (B.1.1.2) stay with the data.
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_CYCLE = bytes(range(0xD0, 0xD8))
_DC_CLASS = 0
#: The most bits of a DC difference, as libjpeg has it, and the most codes of a table.
_MOST_BITS, _MOST_CODES = 15, 256
#: A code of n bits takes 2**(16-n) of the 2**16 leaves of the tree of codes.
_LEAVES = [1 << (16 - n) for n in range(1, 17)]
_END_OF_BLOCK = b"\0"
#: The coefficients after the first take at least four codes, unless one ends the block: each code
#: passes over 15 zeros and gives one coefficient.
_FEWEST_AC_CODES = 4


class ScanUnit(NamedTuple):
    """A scan's minimum coded unit: of one component, it is one block (T.81 A.2).

    Attributes:
        width, height: pixels of the image that it covers.
        blocks: for each component (blocks in a unit, number of the DC table, of the AC table);
            numbers are as in the file, class << 4 | destination.
    """

    width: int
    height: int
    blocks: tuple[tuple[int, int, int], ...]

    def units_in(self, width: int, height: int) -> int:
        """Returns the number of units of an image, padding included.

        Args:
            width, height: pixels.

        >>> ScanUnit(16, 8, ()).units_in(33, 16)
        6
        """
        return -(-width // self.width) * -(-height // self.height)

    def fewest_bits(self, huffman: Mapping[int, int]) -> int:
        """Returns the fewest bits of a unit: each block takes a DC code and AC codes.

        With it a file of some bytes that declares a huge image is refused, and one that was cut
        and closed again.

        Args:
            huffman: fewest bits of a block by each table, by the table's number.

        >>> ScanUnit(16, 16, ((4, 0x00, 0x10), (1, 0x01, 0x11), (1, 0x01, 0x11))).fewest_bits(
        ...     {0x00: 2, 0x10: 4, 0x01: 2, 0x11: 2}
        ... )  # 4:2:0: four blocks of luma, two of chroma
        32
        """
        bits = 0
        for count, dc, ac in self.blocks:
            bits += count * (huffman.get(dc, 0) + huffman.get(ac, 0))
        return bits


class ScanRule(NamedTuple):
    """What a scan's header says of the size of its data, whatever the image's size and tables.

    Attributes:
        unit: its minimum coded unit.
        progress: of a progressive scan (first coefficient, high bit of the approximation); None for
            a sequential one.
    """

    unit: ScanUnit
    progress: tuple[int, int] | None

    def fewest_bits(self, huffman: Mapping[int, int]) -> int:
        """Returns the fewest bits of a unit; 0 where many units may share one code.

        In a first pass over the first coefficients there is a DC code per block. Later passes bring
        one bit per block, and a run of blocks may have no AC codes at all.

        Args:
            huffman: as of `ScanUnit.fewest_bits`.
        """
        if self.progress is None:
            return self.unit.fewest_bits(huffman)
        first, high = self.progress
        if first:
            return 0
        return sum(n * (1 if high else huffman.get(dc, 0)) for n, dc, _ in self.unit.blocks)

    def coded(
        self, *, width: int, height: int, interval: int, huffman: Mapping[int, int]
    ) -> CodedScan:
        """Returns the size that the data must have, of an image of `width` x `height` pixels.

        Args:
            width, height: pixels.
            interval: units between two restart markers; 0 for no markers at all.
            huffman: as of `ScanUnit.fewest_bits`.
        """
        return CodedScan(self.unit.units_in(width, height), interval, self.fewest_bits(huffman))


class CodedScan(NamedTuple):
    """The size that a scan's data must have.

    Attributes:
        units: its minimum coded units, padding included.
        interval: units between two restart markers; 0 for no markers at all.
        unit_bits: fewest bits of a unit; 0 where many units may share one code.
    """

    units: int
    interval: int
    unit_bits: int

    def fewest_bytes(self, units: int) -> int:
        """Returns the fewest bytes of a number of units.

        >>> CodedScan(units=100, interval=0, unit_bits=6).fewest_bytes(100)
        75
        """
        return max(1, -(-self.unit_bits * units // 8))


def check_coded(coded: bytes | int, scan: CodedScan) -> None:
    """Checks the data of a scan, from its header to the next marker.

    Args:
        coded: the data, or its length if there are no restart markers in it.
        scan: what it must hold.

    Raises:
        ValueError: if restart markers are missing, too many or out of order, or if there is too
            little data; the message is a phrase about "it".
    """
    if isinstance(coded, int):
        _check_numbers(b"", scan)
        full: list[int] = []
        last = coded
    else:
        *full, last = map(len, split_intervals(coded, scan))
    if full and min(full) < scan.fewest_bytes(scan.interval):
        raise ValueError("its restart intervals are too short for its size")
    if last < scan.fewest_bytes(scan.units - scan.interval * len(full)):
        raise ValueError("its scans are too short for its size")


def split_intervals(coded: bytes, scan: CodedScan) -> list[bytes]:
    """Returns the data of each restart interval, without the markers.

    Raises:
        ValueError: if they are not all there, in order.
    """
    pieces = _RESTART.split(coded)
    _check_numbers(b"".join(pieces[1::2]), scan)
    return pieces[::2]


def _check_numbers(numbers: bytes, scan: CodedScan) -> None:
    wanted = -(-scan.units // scan.interval) - 1 if scan.interval else 0
    if len(numbers) != wanted:
        raise ValueError(f"it has {len(numbers)} restart markers in a scan that has {wanted}")
    if not (_CYCLE * (wanted // 8 + 1)).startswith(numbers):
        raise ValueError("its restart markers are not in turn")


def is_sound_table(number: int, lengths: bytes, symbols: bytes) -> bool:
    """Returns whether libjpeg takes a Huffman table (`jpeg_make_d_derived_tbl`).

    Its codes fit a tree, and none is of ones alone (T.81 C.2). A symbol of a DC table is a number
    of bits.

    >>> is_sound_table(0x10, bytes([1, 1, *[0] * 14]), b"ab")  # codes 0 and 10
    True
    >>> is_sound_table(0x10, bytes([2, *[0] * 15]), b"ab")  # codes 0 and 1
    False

    Args:
        number: class << 4 | destination.
        lengths: number of codes of 1, 2, ... 16 bits.
        symbols: of the codes.
    """
    if number >> 4 == _DC_CLASS and max(symbols, default=0) > _MOST_BITS:
        return False
    leaves = sum(map(operator.mul, lengths, _LEAVES))
    return leaves < 1 << 16 and len(symbols) <= _MOST_CODES


def fewest_code_bits(number: int, lengths: bytes, symbols: bytes) -> int:
    """Returns the fewest bits that a block takes by a Huffman table.

    Args:
        number: class << 4 | destination.
        lengths: number of codes of 1, 2, ... 16 bits.
        symbols: of the codes, from short to long.

    >>> fewest_code_bits(0x00, bytes([0, 2, 1, *[0] * 13]), b"abc")  # DC: its shortest code
    2
    >>> fewest_code_bits(0x10, bytes([0, 2, 1, *[0] * 13]), b"ab\\0")  # AC: an end of block
    3
    """
    shortest = 1 + len(lengths) - len(lengths.lstrip(b"\0"))
    if shortest > len(lengths):
        return 0
    if number >> 4 == _DC_CLASS:
        return shortest
    end = symbols.find(_END_OF_BLOCK, 0, sum(lengths))
    without_end = _FEWEST_AC_CODES * shortest
    if end < 0:
        return without_end
    # The end of a block is a frequent symbol: its code is among the first.
    codes = 0
    for bits, count in enumerate(lengths, 1):
        codes += count
        if codes > end:
            return min(without_end, bits)
    return without_end
