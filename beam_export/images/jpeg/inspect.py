"""Looks at a JPEG's structure without decoding it: is it whole, and what is it?

A file that passes `inspect` has every part a decoder asks for, up to its end-of-image marker: every
segment, every scan, every restart marker in its turn. The entropy-coded data itself is not
decoded: it is walked by a search for the next marker, so a check costs some 30 microseconds for
50 KB. What follows the end of the image (the further pictures of a
phone's MPF file, a motion photo's film) is nobody's business here.

Source: ITU-T T.81 (09/92), part B.
"""

from __future__ import annotations

import functools

from beam_export.images.jpeg.intervals import CodedScan, check_coded
from beam_export.images.jpeg.segments import EOI, FRAMES, SOS, next_marker, walk
from beam_export.images.jpeg.structure import HUFFMAN_DCT, SKIPPED, JpegFacts, Structure

__all__ = ["MAX_SIDE", "JpegFacts", "inspect", "inspect_head", "is_copyable"]

#: Pixels of a side that libjpeg reads and writes at most (`JPEG_MAX_DIMENSION`).
MAX_SIDE = 65_500

#: Segments of a head that count: frame, tables, restart interval, JFIF, Adobe, and the scan's own.
_HEAD = FRAMES | {0xC4, 0xDB, 0xDD, 0xE0, 0xEE, SOS}
#: Segments of a head that are looked at before it is walked like any other.
_HEAD_SEGMENTS = 100


def inspect(data: bytes) -> JpegFacts:
    """Returns the facts of a structurally whole JPEG.

    Raises:
        ValueError: if it is not whole; the text says why, as a phrase about "it".
    """
    if data[:2] != b"\xff\xd8":
        raise ValueError("it does not begin with a start-of-image marker")
    if (facts := _of_one_scan(data)) is not None:
        return facts
    reader = Structure(data)
    for segment in walk(data):
        reader.take(segment)
    return reader.finish()


def _of_one_scan(data: bytes) -> JpegFacts | None:
    """Returns the facts of a whole JPEG of one scan, the usual one; None if it is to be walked."""
    found = _first_head(data)
    if found is None or (known := _judge(found[0])) is None:
        return None
    start = found[1]
    facts, coded = known
    end = next_marker(data, start, restarts=not coded.interval)
    if data[end : end + 2] != b"\xff\xd9" or end <= start:
        return None
    if not coded.interval:
        return facts if end - start >= coded.fewest_bytes(coded.units) else None
    try:
        check_coded(data[start:end], coded)
    except ValueError:
        return None
    return facts


def _first_head(data: bytes) -> tuple[bytes, int] | None:
    """Returns what counts of a JPEG's head, up to its first scan's data, and where those begin.

    None if something stands there that hardly ever does.
    """
    parts = [data[:2]]
    at = 2
    try:
        for _ in range(_HEAD_SEGMENTS):
            if data[at] != 0xFF:
                return None
            marker, size = data[at + 1], data[at + 2] << 8 | data[at + 3]
            end = at + 2 + size
            if marker in _HEAD:
                parts.append(data[at:end])
                if marker == SOS:
                    return b"".join(parts), end
            elif marker not in SKIPPED or size < 2:
                return None
            at = end
    except IndexError:
        pass
    return None


@functools.lru_cache(maxsize=1024)
def _judge(head: bytes) -> tuple[JpegFacts, CodedScan] | None:
    """Returns facts and the scan to come by a sound head that it completes; None for any other.

    Kept, since the images of a dataset have few different heads: most are of one program and size.
    """
    closed = head + b"\0\xff\xd9"
    reader = Structure(closed)
    try:
        for segment in walk(closed):
            if segment[0] == EOI:
                return reader.one_scan()
            reader.take(segment)
    except ValueError:
        pass
    return None


def inspect_head(data: bytes) -> JpegFacts | None:
    """Returns the facts of a JPEG that has a sound head and an end; None for any other.

    What lies between the first scan header and the last end-of-image marker is not walked, which
    takes a tenth of the time: enough to tell who is to decode it.
    """
    if data[:2] != b"\xff\xd8":
        return None
    reader = Structure(data)
    try:
        for segment in walk(data):
            reader.take(segment)
            if segment[0] == SOS:
                whole = data.rfind(b"\xff\xd9") >= segment[4]
                return reader.facts() if whole else None
    except ValueError:
        pass
    return None


def is_copyable(facts: JpegFacts) -> bool:
    """Tells if every JPEG reader takes it: 8-bit Huffman-coded DCT, gray or YCbCr as usual."""
    return (
        facts.precision == 8
        and facts.process in HUFFMAN_DCT
        and (facts.color == "gray" or (facts.color == "ycbcr" and facts.sampling != ""))
        and max(facts.width, facts.height) <= MAX_SIDE
    )
