"""Walks a JPEG's marker segments without checking them; reads the size and detects bombs.

The segments found are those that a decoder finds, whether the file is whole or not. `jpeg.inspect`
checks them; `frame_size` and `is_bomb` guard the decoding of any file.

Source: ITU-T T.81 (09/92), part B.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

__all__ = [
    "EOI",
    "FILL",
    "FRAMES",
    "MAX_SCANS",
    "SOI",
    "SOS",
    "MarkerFinder",
    "MarkerSegment",
    "frame_components",
    "frame_size",
    "has_scans",
    "is_bomb",
    "next_marker",
    "segment_head",
    "u16",
    "walk",
]

#: Scans beyond which an image is refused. Real files have 1 to 20; each scan costs a decoder a
#: pass over all blocks, and a few bytes are enough to ask for one.
MAX_SCANS = 256

#: 10,000 full segments are more bytes than any image may have; tiny ones only cost time.
_MAX_SEGMENTS = 10_000

SOI, EOI, SOS = 0xD8, 0xD9, 0xDA
_TEM = 0x01
_RESTARTS = range(0xD0, 0xD8)
#: Byte that begins a marker.
FILL = 0xFF
#: As an array, with which numpy compares bytes at once; a number would be converted each time.
_FILL_OCTET = np.array(FILL, np.uint8)

Octets = npt.NDArray[np.uint8]

#: Start-of-frame markers, of all processes.
FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})

#: Reads the fill byte, the marker and the size with which a segment begins.
segment_head = struct.Struct(">BBH").unpack_from

#: Those of progressive images, which have several scans.
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})

#: Bytes that are searched for markers at a time: what is made of them stays in a core's cache.
_CHUNK = 1 << 16


#: (marker, before, at, start, end, restarts): the content is `data[start:end]`; between the last
#: segment and this one lies `data[before:at]`, with restart markers in it or without. A plain tuple
#: for speed: there are a dozen per file.
MarkerSegment = tuple[int, int, int, int, int, bool]


def frame_size(data: bytes) -> tuple[int, int] | None:
    """Returns (width, height) of the first frame header, or None if there is none.

    The rest may be broken or missing: the first 64 KB of a file are often enough.
    """
    try:
        for marker, _, _, start, end, _ in walk(data):
            if marker in FRAMES and end - start >= 5:
                height, width = u16(data, start + 1), u16(data, start + 3)
                return (width, height) if width and height else None
            if marker == SOS:
                return None
    except ValueError:
        return None
    return None


def has_scans(data: bytes) -> bool:
    """Returns whether a decoder must hold the whole image while it reads several scans.

    It must if the frame is progressive, or if the first scan lacks a component.
    """
    components = 0
    try:
        for marker, _, _, start, *_ in walk(data):
            if marker in FRAMES:
                if marker in _PROGRESSIVE:
                    return True
                components = data[start + 5]
            if marker == SOS:
                return bool(data[start] < components)
    except (ValueError, IndexError):
        pass
    return False


def frame_components(data: bytes) -> int:
    """Returns how many components the first frame header declares, or 0 if there is none."""
    try:
        for marker, _, _, start, end, _ in walk(data):
            if marker in FRAMES and end - start >= 6:
                return data[start + 5]
            if marker == SOS:
                return 0
    except ValueError:
        pass
    return 0


def is_bomb(data: bytes) -> bool:
    """Returns whether decoding would take too long: too many scans or segments.

    Unlike `inspect` it passes over malformed segments, as decoders do.
    """
    if not _may_be_bomb(data):
        return False
    scans = segments = 0
    try:
        for segment in walk(data):
            segments += 1
            scans += segment[0] == SOS
            if scans > MAX_SCANS:
                return True
    except ValueError:
        # A file that breaks off ends the decoder too, unless it only has too many segments.
        return segments == _MAX_SEGMENTS
    return False


def _may_be_bomb(data: bytes) -> bool:
    """Returns whether there are as many bytes like markers as a bomb has: a quick first test."""
    octets = np.frombuffer(data, np.uint8)
    after_fill = octets[1:][octets[:-1] == 0xFF]
    scans = int(np.count_nonzero(after_fill == SOS))
    return scans > MAX_SCANS or len(after_fill) >= _MAX_SEGMENTS


def walk(data: bytes) -> Iterator[MarkerSegment]:
    """Yields marker segments in order up to end-of-image.

    Raises:
        ValueError: if the file ends before, or a segment does not fit into it.
    """
    position = 2
    for _ in range(_MAX_SEGMENTS):
        at = next_marker(data, position, restarts=True)
        restarts = at >= 0 and data[at + 1] in _RESTARTS
        if restarts:
            at = next_marker(data, at + 2)
        if at < 0:
            raise ValueError("it ends without an end-of-image marker")
        marker = data[at + 1]
        start = end = at + 2
        if marker not in (SOI, EOI, _TEM):
            start, end = at + 4, at + 2 + u16(data, at + 2)
            if not start <= end <= len(data):
                raise ValueError(f"its segment 0x{marker:02X} is longer than the file or too short")
        yield marker, position, at, start, end, restarts
        if marker == EOI:
            return
        position = end
    raise ValueError(f"it has more than {_MAX_SEGMENTS} segments")


def next_marker(data: bytes, position: int, restarts: bool = False) -> int:
    """Returns where the next marker begins from `position` on; -1 if there is none.

    In entropy-coded data 0xFF is followed by a stuffed 0x00, or is a restart marker, or fill.

    Args:
        data: a JPEG.
        position: behind a segment, or within a scan's data.
        restarts: whether restart markers count, which are passed over otherwise.
    """
    if data[position : position + 1] == b"\xff" and position + 1 < len(data):
        # Where no scan's data are, the next segment comes at once.
        following = data[position + 1]
        if following not in (0, FILL) and (restarts or following not in _RESTARTS):
            return position
    for at in range(position, len(data) - 1, _CHUNK):
        octets = np.frombuffer(data, np.uint8, min(_CHUNK + 1, len(data) - at), at)
        first = _first_marker(octets[:-1], octets[1:], restarts)
        if first is not None:
            return at + first
    return -1


class MarkerFinder:
    r"""Finds the markers of a JPEG, restart markers too, with few looks at the data.

    >>> MarkerFinder(b"..\xff\0.\xff\xff\xd9").find(2)
    6
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        #: Markers from where the search began, in order; nothing behind `_seen` has been looked at.
        self._found: list[int] = []
        self._next = self._seen = 0

    def find(self, position: int) -> int:
        """Returns where the next marker begins from `position` on; -1 if there is none.

        It is what `next_marker` finds.

        Args:
            position: not before that of an earlier call.
        """
        while True:
            while self._next < len(self._found):
                if (at := self._found[self._next]) >= position:
                    return at
                self._next += 1
            start = max(position, self._seen)
            if start >= len(self._data) - 1:
                return -1
            self._look(start)

    def _look(self, start: int) -> None:
        """Finds the markers of the next bytes."""
        octets = np.frombuffer(self._data, np.uint8, min(_CHUNK, len(self._data) - start), start)
        places = _marks(octets[:-1], octets[1:]).nonzero()[0].tolist()
        data = self._data
        self._found = [start + at for at in places if data[start + at + 1] != FILL]
        self._next = 0
        # The last byte may begin a marker whose second byte comes next.
        self._seen = start + len(octets) - 1


def _marks(octets: Octets, following: Octets) -> npt.NDArray[np.bool_]:
    """Returns where a fill byte stands that no zero follows, in two passes over the bytes."""
    marks: npt.NDArray[np.bool_] = octets == _FILL_OCTET
    np.minimum(marks.view(np.uint8), following, out=marks.view(np.uint8))
    return marks


def _first_marker(octets: Octets, following: Octets, restarts: bool) -> int | None:
    marks = _marks(octets, following)
    if not restarts:
        marks &= (following & 0xF8) != _RESTARTS.start
    first = int(marks.argmax())
    if marks[first] and following[first] == FILL:
        marks &= following != FILL
        first = int(marks.argmax())
    return first if marks[first] else None


def u16(data: bytes, at: int) -> int:
    """Returns the big-endian 16-bit number at `at`, 0 if the file ends before it."""
    return data[at] << 8 | data[at + 1] if at + 2 <= len(data) else 0
