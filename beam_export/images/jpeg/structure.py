"""Checks the segments of a JPEG against each other, and collects the facts of the image.

Source: ITU-T T.81 (09/92), part B and A.1.1 (sampling); JFIF 1.02; for the colour space, which no
standard fixes, what libjpeg does (`default_decompress_parms`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from beam_export.images.jpeg.intervals import (
    CodedScan,
    ScanRule,
    ScanUnit,
    check_coded,
    fewest_code_bits,
    is_sound_table,
)
from beam_export.images.jpeg.segments import EOI, FRAMES, MAX_SCANS, SOS, MarkerSegment, u16

__all__ = [
    "HUFFMAN_DCT",
    "SKIPPED",
    "JpegFacts",
    "MissingScansError",
    "Structure",
]

_DHT, _DQT, _DNL, _DRI, _APP0, _APP14 = 0xC4, 0xDB, 0xDC, 0xDD, 0xE0, 0xEE

_PROCESSES = {
    0xC0: "baseline",
    0xC1: "extended",
    0xC2: "progressive",
    0xC3: "lossless",
    0xC9: "arithmetic",
    0xCA: "arithmetic progressive",
    0xCB: "arithmetic lossless",
}
HUFFMAN_DCT = ("baseline", "extended", "progressive")

#: Segments that may stand anywhere and say nothing of the structure: DAC, APPn, COM.
SKIPPED = {0xCC, 0xFE, *range(0xE0, 0xF0)}
_KNOWN = SKIPPED | {EOI}

#: Samples of luma for one of chroma, across and down, that every reader takes.
_SAMPLINGS = {(1, 1): "444", (1, 2): "440", (2, 1): "422", (2, 2): "420", (4, 1): "411"}
_FACTORS = {1, 2, 4}


class JpegFacts(NamedTuple):
    """Facts of a JPEG by its headers.

    Attributes:
        width, height: pixels as stored, before any EXIF orientation.
        components: 1, 3 or 4.
        precision: bits per sample.
        process: `baseline`, `extended`, `progressive`, `lossless`, `arithmetic`,
            `arithmetic progressive` or `arithmetic lossless`.
        color: `gray`, `ycbcr`, `rgb`, `cmyk` or `ycck`, as libjpeg reads it.
        sampling: `444`, `440`, `422`, `420` or `411`; `""` for any other, and for gray.
    """

    width: int
    height: int
    components: int
    precision: int
    process: str
    color: str
    sampling: str


class MissingScansError(ValueError):
    """A JPEG of complete scans that lacks others: its picture has parts or details missing."""


class _Component(NamedTuple):
    h: int
    v: int
    table: int


class Structure:
    """Takes segments in file order, and checks each against those before it.

    `take` and `finish` raise ValueError for what is not whole; the message is a phrase about "it".
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._jfif = False
        self._adobe: int | None = None
        self._quant: set[int] = set()
        # Fewest bits of a block, by table class << 4 | destination, as in the file.
        self._huffman: dict[int, int] = {}
        self._unsound: set[int] = set()
        self._interval = 0
        self._process = ""
        self._precision = self._width = self._height = 0
        self._components: dict[int, _Component] = {}
        self._h_max = self._v_max = 1
        self._begun: set[int] = set()  # components whose pixels have begun to come
        # Of a progressive image's components, by coefficient: the lowest bit that has come, 0 if
        # none has; and 1 if none has.
        self._bits: dict[int, tuple[bytearray, bytearray]] = {}
        self._scans = 0
        #: Of each scan so far of Huffman-coded blocks.
        self.rules: list[ScanRule] = []
        #: What the last scan's data must hold; None if it is not of Huffman-coded blocks.
        self.coded: CodedScan | None = None
        self._in_scan = False

    def take(self, segment: MarkerSegment) -> None:
        """Checks the next segment, and what lies between the last one and it."""
        marker, before, at, start, end, restarts = segment
        if self._in_scan or at > before:
            self._take_gap(before, at, restarts)
        content = self._data[start:end]
        if marker in FRAMES:
            self._take_frame(marker, content)
        elif marker == SOS:
            self._take_scan(content)
        elif marker == _DQT:
            self._take_quant(content)
        elif marker == _DHT:
            self._take_huffman(content)
        elif marker == _APP0:
            self._jfif |= content[:5] == b"JFIF\0" and len(content) >= 14
        elif marker == _APP14 and content[:5] == b"Adobe" and len(content) >= 12:
            self._adobe = content[11]
        elif marker == _DRI:
            if len(content) != 2:
                raise ValueError("its restart interval is malformed")
            self._interval = u16(content, 0)
        elif marker == _DNL:
            # Some readers obey it and some do not.
            if u16(content, 0) != self._height:
                raise ValueError("it has another height behind its first scan")
        elif marker not in _KNOWN:
            raise ValueError(f"it has a marker 0x{marker:02X} where none may stand")

    def finish(self) -> JpegFacts:
        """Returns the facts after the last segment, if all scans have come."""
        if not self._scans:
            raise ValueError("it has no scan")
        missing = len(self._components) - len(self._begun)
        if missing:
            raise MissingScansError(f"{missing} of its components are in no scan")
        if any(any(lowest) or any(absent) for lowest, absent in self._bits.values()):
            raise MissingScansError("its last scans are missing")
        return self.facts()

    def facts(self) -> JpegFacts:
        """Returns the facts by the segments so far."""
        return JpegFacts(
            self._width,
            self._height,
            len(self._components),
            self._precision,
            self._process,
            _color_of(tuple(self._components), self._jfif, self._adobe),
            _sampling_of([(c.h, c.v) for c in self._components.values()]),
        )

    def _take_gap(self, before: int, at: int, restarts: bool) -> None:
        """Checks a scan's data after its header, or else that there are only fill bytes."""
        if self._in_scan:
            if at == before:
                raise ValueError("it has an empty scan")
            if self.coded is not None:
                coded = self._data[before:at] if restarts else at - before
                check_coded(coded, self.coded)
            self._in_scan = False
        elif self._data[before:at].strip(b"\xff"):
            raise ValueError("it has stray bytes between its segments")

    def _take_frame(self, marker: int, content: bytes) -> None:
        """Reads a frame header (T.81 B.2.2)."""
        if self._process:
            raise ValueError("it has two frame headers")
        if marker not in _PROCESSES:
            raise ValueError("it is hierarchical")
        if len(content) < 6 or len(content) != 6 + 3 * content[5]:
            raise ValueError("its frame header is malformed")
        self._process = _PROCESSES[marker]
        self._precision = content[0]
        self._height, self._width = u16(content, 1), u16(content, 3)
        if not self._width or not self._height:
            raise ValueError(f"its frame header declares {self._width} x {self._height} pixels")
        if content[5] not in (1, 3, 4):
            raise ValueError(f"it has {content[5]} components")
        for at in range(6, len(content), 3):
            sampling = content[at + 1]
            self._components[content[at]] = _Component(
                sampling >> 4, sampling & 15, content[at + 2]
            )
        self._check_components(content[5])

    def _check_components(self, count: int) -> None:
        parts = self._components.values()
        if len(parts) != count:
            raise ValueError("two of its components have one number")
        if any(not (1 <= c.h <= 4 and 1 <= c.v <= 4 and c.table <= 3) for c in parts):
            raise ValueError("its frame header is malformed")
        self._h_max, self._v_max = max(c.h for c in parts), max(c.v for c in parts)
        # libjpeg decodes whole ratios alone.
        if any(self._h_max % c.h or self._v_max % c.v for c in parts):
            raise ValueError("its chroma is sampled at a fraction")

    def _take_quant(self, content: bytes) -> None:
        """Reads quantisation tables (T.81 B.2.4.1)."""
        at = 0
        while at < len(content):
            precision, table = content[at] >> 4, content[at] & 15
            at += 1 + 64 * (precision + 1)
            if precision > 1 or table > 3 or at > len(content):
                raise ValueError("its quantisation tables are malformed")
            self._quant.add(table)

    def _take_huffman(self, content: bytes) -> None:
        """Reads Huffman tables (T.81 B.2.4.2); libjpeg judges the codes of those that are used."""
        at = 0
        while at < len(content):
            number, lengths = content[at], content[at + 1 : at + 17]
            at += 17 + sum(lengths)
            symbols = content[at - sum(lengths) : at]
            if number & 0xEF > 3 or sum(lengths) > 256 or at > len(content):
                raise ValueError("its Huffman tables are malformed")
            self._unsound.discard(number)
            if not is_sound_table(number, lengths, symbols):
                self._unsound.add(number)
            self._huffman[number] = fewest_code_bits(number, lengths, symbols)

    def _check_huffman(self, needed: set[int]) -> None:
        """Checks that there are Huffman tables for a scan, and that they can be used."""
        if not needed <= self._huffman.keys():
            raise ValueError("it has a scan before its Huffman tables")
        if needed & self._unsound:
            raise ValueError("its Huffman tables are malformed")

    def _take_scan(self, content: bytes) -> None:
        """Reads a scan header (T.81 B.2.3)."""
        self._scans += 1
        self._in_scan = True
        if self._scans > MAX_SCANS:
            raise ValueError(f"it has more than {MAX_SCANS} scans")
        if not self._process:
            raise ValueError("it has a scan before its frame header")
        count = content[0] if content else 0
        if not 1 <= count <= 4 or len(content) != 4 + 2 * count:
            raise ValueError("its scan header is malformed")
        ids, tables = content[1 : 1 + 2 * count : 2], content[2 : 2 + 2 * count : 2]
        if len(set(ids)) != count or not set(ids) <= self._components.keys():
            raise ValueError("its scan header names components that are not there")
        parts = [self._components[number] for number in ids]
        if count > 1 and sum(c.h * c.v for c in parts) > 10:
            raise ValueError("its scan has units of more than 10 blocks")
        if "lossless" not in self._process and not self._quant.issuperset([c.table for c in parts]):
            raise ValueError("it has a scan before its quantisation tables")
        first, last, approximation = content[-3:]
        progress = None
        if self._process == "progressive":
            self._take_progressive(
                ids=ids, tables=tables, first=first, last=last, approximation=approximation
            )
            progress = first, approximation >> 4
        else:
            self._take_sequential(ids, tables)
        self.coded = None
        if self._process in HUFFMAN_DCT:
            rule = ScanRule(self._unit_of(ids, tables), progress)
            self.rules.append(rule)
            self.coded = rule.coded(
                width=self._width,
                height=self._height,
                interval=self._interval,
                huffman=self._huffman,
            )

    def _take_sequential(self, ids: bytes, tables: bytes) -> None:
        if self._begun & set(ids):
            raise ValueError("it has a component in two scans")
        self._begun.update(ids)
        needed = {t >> 4 for t in tables} | {0x10 | t & 15 for t in tables}
        if self._process == "lossless":
            needed = {t >> 4 for t in tables}
        if "arithmetic" not in self._process:
            self._check_huffman(needed)

    def _take_progressive(
        self, ids: bytes, tables: bytes, first: int, last: int, approximation: int
    ) -> None:
        """Checks what libjpeg's `start_pass_phuff_decoder` checks (T.81 G.1.1.1)."""
        high, low = approximation >> 4, approximation & 15
        is_dc = first == 0
        if last != 0 if is_dc else not first <= last <= 63 or len(ids) != 1:
            raise ValueError("its scan header is malformed")
        if low > 13 or (high and low != high - 1):
            raise ValueError("its scan header is malformed")
        if is_dc:
            self._begun.update(ids)
            needed = set() if high else {t >> 4 for t in tables}
        else:
            needed = {0x10 | t & 15 for t in tables}
        self._check_huffman(needed)
        self._progress(ids=ids, first=first, last=last, high=high, low=low)

    def _progress(self, ids: bytes, first: int, last: int, high: int, low: int) -> None:
        """Records the bits that have come, and checks their order (T.81 G.1.1.1.2)."""
        span, count = slice(first, last + 1), last + 1 - first
        for number in ids:
            if number not in self._bits:
                self._bits[number] = bytearray(64), bytearray(b"\1" * 64)
            lowest, absent = self._bits[number]
            # All coefficients at once: there are 64 of them in each of some ten scans.
            if lowest[span] != bytes((high,)) * count or (first and absent[0]):
                raise ValueError("its scans are not in order")
            lowest[span] = bytes((low,)) * count
            absent[span] = bytes(count)

    def _unit_of(self, ids: bytes, tables: bytes) -> ScanUnit:
        parts = [self._components[number] for number in ids]
        numbers = [(table >> 4, 0x10 | table & 15) for table in tables]
        # The unit of a component that comes alone is a block, whatever its sampling.
        h, v = (parts[0].h, parts[0].v) if len(parts) == 1 else (1, 1)
        blocks = [1] if len(parts) == 1 else [part.h * part.v for part in parts]
        return ScanUnit(
            8 * self._h_max // h,
            8 * self._v_max // v,
            tuple((count, dc, ac) for count, (dc, ac) in zip(blocks, numbers, strict=True)),
        )


def _color_of(numbers: Sequence[int], jfif: bool, adobe: int | None) -> str:
    """Returns `gray`, `ycbcr`, `rgb`, `cmyk` or `ycck`, as libjpeg decides it.

    Args:
        numbers: numbers of the components, in the frame's order.
        jfif: whether there is a JFIF segment.
        adobe: transform of the Adobe segment; None if there is none.
    """
    if len(numbers) == 1:
        return "gray"
    if len(numbers) == 4:
        return "ycck" if adobe == 2 else "cmyk"
    if jfif:
        return "ycbcr"
    if adobe is not None:
        return "rgb" if adobe == 0 else "ycbcr"
    return "rgb" if tuple(numbers) == tuple(b"RGB") else "ycbcr"


def _sampling_of(factors: Sequence[tuple[int, int]]) -> str:
    """Returns `444`, `440`, `422`, `420` or `411` by the ratio of luma to chroma, or `""`.

    Args:
        factors: (horizontal, vertical) of each component; anything but three gives `""`.
    """
    if len(factors) != 3 or factors[1] != factors[2]:
        return ""
    if not {side for pair in factors for side in pair} <= _FACTORS:
        return ""
    (luma_h, luma_v), (chroma_h, chroma_v) = factors[:2]
    if luma_h % chroma_h or luma_v % chroma_v:
        return ""
    return _SAMPLINGS.get((luma_h // chroma_h, luma_v // chroma_v), "")
