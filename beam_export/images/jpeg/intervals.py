"""The entropy-coded data of a JPEG's scan: its restart markers, and whether there is enough of it.

Nothing is decoded: restart markers are looked for and counted, and the bytes between two of them
are held against the fewest that so many blocks can take.

Source: ITU-T T.81 (09/92), A.2 (units), B.2.1 and E.1.4 (restart intervals), F.1.2 (codes).
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["CodedScan", "check_coded", "fewest_code_bits", "split_intervals"]

# The fill bytes that may precede a marker (B.1.1.2) stay with the data.
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_CYCLE = bytes(range(0xD0, 0xD8))
_DC_CLASS = 0
_END_OF_BLOCK = b"\0"
#: The coefficients behind the first take four codes at least, unless one ends the block: each
#: code passes over 15 zeros and gives one more.
_FEWEST_AC_CODES = 4


class CodedScan(NamedTuple):
    """What a scan's data must hold.

    Attributes:
        units: its minimum coded units, padding included.
        interval: units between two restart markers; 0 for no markers at all.
        unit_bits: the fewest that any unit takes; 0 where many units may share one code.
    """

    units: int
    interval: int
    unit_bits: int

    def fewest_bytes(self, units: int) -> int:
        """Returns the bytes without which so many units cannot be."""
        return max(1, -(-self.unit_bits * units // 8))


def check_coded(coded: bytes | int, scan: CodedScan) -> None:
    """Holds the data of a scan, from its header to the next marker, against what it must be.

    Args:
        coded: the data; its length is enough where there are no restart markers in it.
        scan: what it must hold.

    Raises:
        ValueError: if restart markers are missing, too many or not in turn, or if there is too
            little data; the text says which, as a phrase about "it".
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
    """Returns the data between restart markers, without these.

    Raises:
        ValueError: if they are not all there, and in turn.
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


def fewest_code_bits(number: int, lengths: bytes, symbols: bytes) -> int:
    """Returns the fewest bits that a block takes of a Huffman table: of one code, or some.

    Args:
        number: class << 4 | destination.
        lengths: how many codes there are of 1, 2, ... 16 bits.
        symbols: what the codes stand for, from short to long.
    """
    every = [bits for bits, count in enumerate(lengths, 1) for _ in range(count)]
    if not every:
        return 0
    if number >> 4 == _DC_CLASS:
        return every[0]
    end = symbols.find(_END_OF_BLOCK)
    without_end = _FEWEST_AC_CODES * every[0]
    return min(without_end, every[end]) if 0 <= end < len(every) else without_end
