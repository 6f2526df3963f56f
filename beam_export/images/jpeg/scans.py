"""Splits a JPEG into parts that decode by themselves: scans, and restart intervals.

What does not matter to the coded data (application segments, comments, bytes between segments) is
left out, so that a decoder has no remarks on it.

Source: ITU-T T.81 (09/92), part B.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from beam_export.images.jpeg.intervals import CodedScan
from beam_export.images.jpeg.segments import EOI, FRAMES, SOS, u16, walk
from beam_export.images.jpeg.structure import Structure

__all__ = ["Scan", "close", "one_interval", "open_scans"]

_DAC, _DHT, _DQT, _DRI = 0xCC, 0xC4, 0xDB, 0xDD
_TABLES = (_DHT, _DQT, _DAC)
_KEPT = {*FRAMES, *_TABLES, _DRI, SOS}
_BASELINE, _EXTENDED = 0xC0, 0xC1
_BLOCK = 8
#: Most units across a frame that is made for one interval.
_MOST_ACROSS = 1024
_ALL_COEFFICIENTS = b"\0\x3f\0"
#: Out of order: the first one has the number 0.
_WRONG_RESTART = b"\xff\xd1"
_START, _END = b"\xff\xd8", b"\xff\xd9"
_THE_END = (EOI, b"", b"")


class Scan(NamedTuple):
    """One scan of a JPEG.

    Attributes:
        before: segments of all tables up to it.
        head: the segments between the last scan and this one's data, in their order.
        header: the content of its own header.
        frame: (marker, content) of the frame's header.
        data: entropy-coded.
        coded: what `data` must hold.
    """

    before: bytes
    head: bytes
    header: bytes
    frame: tuple[int, bytes]
    data: bytes
    coded: CodedScan

    @property
    def components(self) -> int:
        """Number of components in the scan."""
        return self.header[0]

    @property
    def is_sequential(self) -> bool:
        """Whether each block is coded as a whole."""
        return self.frame[0] in (_BASELINE, _EXTENDED)

    @property
    def pixels(self) -> int:
        """Pixels of the whole image."""
        return u16(self.frame[1], 1) * u16(self.frame[1], 3)

    def shortened(self, count: int) -> Scan:
        """Returns the scan without its last `count` bytes."""
        return self._replace(data=self.data[:-count])


def open_scans(data: bytes, most_between: int) -> list[Scan]:
    """Returns the scans of a JPEG of Huffman-coded blocks.

    Args:
        data: the JPEG.
        most_between: most bytes between two segments that are tolerated.

    Raises:
        ValueError: if it is not whole, as of `jpeg.inspect`, in the parts that are kept.
    """
    parts, between = _kept_parts(data)
    if between > most_between:
        raise ValueError(f"it has {between} bytes between its segments")
    whole = _START + b"".join(head + coded for _, head, coded in parts) + _END
    reader = Structure(whole)
    scans: list[Scan] = []
    before, head, frame = b"", b"", (0, b"")
    for found, (marker, segment, coded) in zip(walk(whole), [*parts, _THE_END], strict=True):
        reader.take(found)
        head += segment
        if marker in _TABLES:
            before += segment
        elif marker in FRAMES:
            frame = (marker, segment[4:])
        elif marker == SOS and reader.coded is not None:
            scans.append(
                Scan(
                    before=before,
                    head=head,
                    header=segment[4:],
                    frame=frame,
                    data=coded,
                    coded=reader.coded,
                )
            )
            head = b""
    reader.finish()
    if not scans:
        raise ValueError("its blocks are not Huffman-coded")
    return scans


def _kept_parts(data: bytes) -> tuple[list[tuple[int, bytes, bytes]], int]:
    """Returns (marker, segment, coded data after it) of what is kept, and the longest gap."""
    found = list(walk(data))
    between = 0
    is_sequential = False
    parts: list[tuple[int, bytes, bytes]] = []
    for segment, following in itertools.pairwise(found):
        after = data[following[1] : following[2]]
        if segment[0] != SOS:
            between = max(between, len(after.strip(b"\xff")))
            after = b""
        if segment[0] in _KEPT:
            content = data[segment[3] : segment[4]]
            if segment[0] == SOS and is_sequential:
                content = content[:-3] + _ALL_COEFFICIENTS
            is_sequential |= segment[0] in (_BASELINE, _EXTENDED)
            parts.append((segment[0], _segment(segment[0], content), after))
    return parts, between


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def close(done: Iterable[Scan], tagged: Sequence[tuple[Scan, int]]) -> bytes:
    """Returns a JPEG of some scans; an empty segment follows each of the last ones.

    Args:
        done: scans from the first on.
        tagged: the next scans, each with the marker of the segment after it.
    """
    first = b"".join(scan.head + scan.data for scan in done)
    last = b"".join(scan.head + scan.data + _segment(tag, b"") for scan, tag in tagged)
    return _START + first + last + _END


def one_interval(scan: Scan, data: bytes, units: int) -> bytes:
    """Returns a JPEG of one restart interval of a sequential scan.

    Its frame has more units than the interval, and a restart marker out of order follows the data:
    a decoder that gets there has had all that it needed, and reports the marker.
    """
    marker, frame = scan.frame
    header = scan.header
    numbers = header[1 : 1 + 2 * header[0] : 2]
    of = {frame[at]: frame[at : at + 3] for at in range(6, len(frame), 3)}
    parts = [of[number] for number in numbers]
    if len(parts) == 1:
        # Alone, a component's units are its blocks, whatever its sampling.
        parts = [parts[0][:1] + b"\x11" + parts[0][2:]]
    across = min(units + 1, _MOST_ACROSS)
    down = units // across + 1
    width = across * _BLOCK * max(part[1] >> 4 for part in parts)
    height = down * _BLOCK * max(part[1] & 15 for part in parts)
    size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    made = frame[:1] + size + bytes([len(parts)]) + b"".join(parts)
    segments = scan.before + _segment(marker, made) + _segment(_DRI, units.to_bytes(2, "big"))
    return _START + segments + _segment(SOS, header) + data + _WRONG_RESTART + _END
