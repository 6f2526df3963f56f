"""Packs and tags what is listed by how it is read, each thing with its place in the listing."""

from __future__ import annotations

import dataclasses
import pickle
import struct
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, assert_never

from apache_beam.pvalue import TaggedOutput

from beam_export.errors import RunError
from beam_export.pipeline.progress import report
from beam_export.planning.blocks import REFS_PER_BLOCK
from beam_export.planning.join import Tally
from beam_export.planning.order import source_key
from beam_export.planning.spill_files import load, spill
from beam_export.planning.steps import BESIDE, LARGE_JSON, PARTS
from beam_export.samples import Failure
from beam_export.sources.contents import kind_of_item
from beam_export.sources.entries import (
    FolderTable,
    Item,
    Listed,
    ListedItem,
    Skipped,
    Source,
    SourceKind,
    skipped_kind,
)
from beam_export.sources.json_metadata import has_large_json
from beam_export.sources.lookup_files import LookupFiles
from beam_export.sources.patterns import Pattern
from beam_export.sources.several_images import PartsOfOthers
from beam_export.sources.tables.beside import naming_images
from beam_export.text import printable, stored

__all__ = [
    "OTHER_KINDS",
    "TAGS",
    "Emitter",
    "ListingSegment",
    "Starts",
    "open_listed",
    "place_source",
]

#: Said of an input that is found to hold what there are no steps for.
OTHER_KINDS = "has changed since it was first looked at, and holds other kinds of files"
#: Outputs of what lists, beside blocks.
TAGS = ("failures", "skipped", "notes", "webdataset", "tables", "folder_tables")
#: The place of a source in a listing in parts: numbers of pattern and segment, and its place there.
_PLACE = struct.Struct(">IQQ")

#: The first position of each (pattern number, segment), of a listing in parts.
Starts = Mapping[tuple[int, int], int]


def open_listed(packed: bytes, starts: Starts | None) -> tuple[int, int, list[Any]]:
    """Returns (pattern number, first position, [(path, image, fields), ...]) of a block.

    Args:
        packed: of `Listing.blocks`.
        starts: of `Listing.starts`.
    """
    number, segment, position, plain = pickle.loads(load(packed))
    return number, position + (starts[number, segment] if starts else 0), plain


def place_source(source: Source, starts: Starts) -> Source:
    """Returns a source of a listing in parts with its place in the whole as its order.

    Args:
        source: with what stands for its order in the segment.
        starts: of `Listing.starts`.
    """
    source = Source(*source)
    number, segment, position = _PLACE.unpack(source.order)
    return source._replace(order=source_key(number, starts[number, segment] + position))


class ListingSegment(NamedTuple):
    """A segment of the listing of a pattern; of a whole listing there is one.

    Attributes:
        pattern: what is listed.
        number: of the segment (`listing_parts`).
        in_parts: whether it is yet to be known at which position it begins.
    """

    pattern: Pattern
    number: int = 0
    in_parts: bool = False

    def order(self, position: int) -> bytes:
        """Returns the order of the source at a position of it; in parts, what stands for that."""
        if self.in_parts:
            return _PLACE.pack(self.pattern.number, self.number, position)
        return source_key(self.pattern.number, position)


@dataclasses.dataclass(frozen=True)
class Emitter:
    """Tags what is listed by how it is read; attributes as those of `ListInputs`."""

    progress_address: str | None
    kinds: frozenset[str]
    joins: bool
    drops_all: bool
    encoding: str
    lookups: LookupFiles = LookupFiles()  # noqa: RUF009 (a tuple)

    def emit(
        self, items: Iterable[Item], segment: ListingSegment, notes: _Notes
    ) -> Generator[Any, None, int]:
        """Yields blocks of images, and all else tagged; returns how many have a position.

        Args:
            items: in order.
            segment: that they are in.
            notes: are added to.
        """
        block: list[Listed] = []
        position = 0
        for item in items:
            self._check(item, segment.pattern)
            if block and (len(block) == REFS_PER_BLOCK or isinstance(item, Source)):
                yield self._close(block, segment, position)
                position += len(block)
                block = []
            if isinstance(item, Failure):
                yield TaggedOutput("failures", item)
            elif isinstance(item, Skipped):
                if not item.uri or not self.lookups.have(item.uri):
                    yield TaggedOutput("skipped", item.kind)
                    notes.add_skipped(item)
            elif isinstance(item, FolderTable):
                yield from self._of_folder(item)
            elif isinstance(item, Source):
                yield TaggedOutput(
                    _output_of(item.kind), item._replace(order=segment.order(position))
                )
                position += 1
            else:
                block.append(item)
                notes.add_image(item)
        if block:
            yield self._close(block, segment, position)
        return position + len(block)

    def finish(self, notes: _Notes) -> Iterator[TaggedOutput]:
        """Yields the notes, if there are any."""
        tally = notes.finish(self.encoding)
        if any(tally.counts.values()):
            yield TaggedOutput("notes", tally)

    def notes(self) -> _Notes:
        """Returns notes on what is emitted next."""
        return _Notes(self.drops_all)

    def _of_folder(self, item: FolderTable) -> Iterator[TaggedOutput]:
        """Yields a table of an image folder, tagged by whether it is to be joined."""
        if self.joins:
            yield TaggedOutput("folder_tables", item)
        elif not item.near and not self.lookups.have(item.source.uri):
            yield TaggedOutput("skipped", skipped_kind(item.source.relative))

    def _check(self, item: ListedItem, pattern: Pattern) -> None:
        """Refuses what was not there when the pipeline was built, and would be lost in it."""
        if isinstance(item, FolderTable):
            # It is counted as skipped then.
            return
        kind = kind_of_item(item)
        if kind is not None and kind not in self.kinds:
            raise RunError(
                f"--input={printable(pattern.given)} {OTHER_KINDS}: run again, once nothing is "
                "written to it."
            )

    def _close(self, block: list[Listed], segment: ListingSegment, position: int) -> bytes:
        report(self.progress_address, {"listed": len(block)})
        plain = [
            (one.relative, tuple(one.image), [tuple(field) for field in one.fields])
            for one in block
        ]
        place = (segment.pattern.number, segment.number, position)
        return spill(pickle.dumps((*place, plain), protocol=5))


def _output_of(kind: SourceKind) -> str:
    match kind:
        case "webdataset":
            return "webdataset"
        case "parquet" | "table":
            return "tables"
        case _:
            assert_never(kind)


class _Notes:
    """Notes what the end of the run says of the files of an input."""

    def __init__(self, drops_all: bool) -> None:
        self._drops_all = drops_all
        self._parts = PartsOfOthers()
        self._large: list[str] = []
        self._tables: list[Source] = []

    def add_image(self, item: Listed) -> None:
        self._parts.add(item.relative)
        if has_large_json(item.fields) and not self._drops_all:
            self._large.append(stored(item.relative))

    def add_skipped(self, item: Skipped) -> None:
        if item.table is not None:
            self._tables.append(item.table)

    def finish(self, encoding: str) -> Tally:
        """Returns all notes; `encoding` is that of tables of text."""
        tally = Tally()
        tally.note(PARTS, map(stored, self._parts.finish()))
        tally.note(LARGE_JSON, self._large)
        tally.note(BESIDE, map(printable, naming_images(self._tables, encoding)))
        return tally
