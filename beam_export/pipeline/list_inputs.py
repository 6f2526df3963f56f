"""ListInputs: the files behind patterns, told apart by how they are read, and notes on them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any, assert_never

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_export.errors import RunError
from beam_export.pipeline.progress import report
from beam_export.planning.blocks import REFS_PER_BLOCK
from beam_export.planning.join import Tally
from beam_export.planning.order import source_key
from beam_export.planning.spill_files import spill
from beam_export.planning.steps import BESIDE, LARGE_JSON, PARTS
from beam_export.samples import Failure
from beam_export.sources.contents import ALL_KINDS, kind_of_item
from beam_export.sources.entries import (
    FolderTable,
    Listed,
    ListedItem,
    Skipped,
    Source,
    SourceKind,
    skipped_kind,
)
from beam_export.sources.input_format import choose
from beam_export.sources.json_metadata import has_large_json
from beam_export.sources.listing import list_images
from beam_export.sources.patterns import Pattern
from beam_export.sources.several_images import PartsOfOthers
from beam_export.sources.tables.beside import naming_images
from beam_export.sources.tables.encoding import UTF8
from beam_export.text import printable, stored

__all__ = ["OTHER_KINDS", "ListInputs"]

#: Said of an input that is found to hold what there are no steps for.
OTHER_KINDS = "has changed since it was first looked at, and holds other kinds of files"


class ListInputs(beam.DoFn):
    """Yields packed blocks of (pattern number, first position, [Listed, ...]); all else tagged."""

    def __init__(
        self,
        exclude: str,
        input_format: str,
        progress_address: str | None,
        kinds: frozenset[str] = ALL_KINDS,
        joins: bool = False,
        drops_all: bool = False,
        encoding: str = UTF8,
    ) -> None:
        self._exclude, self._format = exclude, input_format
        self._progress_address, self._kinds, self._joins = progress_address, kinds, joins
        self._drops_all, self._encoding = drops_all, encoding

    def process(self, pattern: Pattern) -> Iterator[Any]:
        pattern = Pattern(*pattern)
        block: list[Listed] = []
        position = 0
        notes = _Notes(self._drops_all)
        for item in choose(list_images(pattern, self._exclude), self._format):
            self._check(item, pattern)
            if block and (len(block) == REFS_PER_BLOCK or isinstance(item, Source)):
                yield self._close(pattern, position, block)
                position += len(block)
                block = []
            if isinstance(item, Failure):
                yield TaggedOutput("failures", item)
            elif isinstance(item, Skipped):
                yield TaggedOutput("skipped", item.kind)
                notes.add_skipped(item)
            elif isinstance(item, FolderTable):
                yield from self._of_folder(item)
            elif isinstance(item, Source):
                placed = item._replace(order=source_key(pattern.number, position))
                position += 1
                yield TaggedOutput(_output_of(item.kind), placed)
            else:
                block.append(item)
                notes.add_image(item)
        if block:
            yield self._close(pattern, position, block)
        tally = notes.finish(self._encoding)
        if any(tally.counts.values()):
            yield TaggedOutput("notes", tally)

    def _of_folder(self, item: FolderTable) -> Iterator[TaggedOutput]:
        """Yields a table of an image folder, tagged by whether it is to be joined."""
        if self._joins:
            yield TaggedOutput("folder_tables", item)
        elif not item.near:
            yield TaggedOutput("skipped", skipped_kind(item.source.relative))

    def _check(self, item: ListedItem, pattern: Pattern) -> None:
        """Refuses what was not there when the pipeline was built, and would be lost in it."""
        if isinstance(item, FolderTable):
            # It is counted as skipped then.
            return
        kind = kind_of_item(item)
        if kind is not None and kind not in self._kinds:
            raise RunError(
                f"--input={printable(pattern.given)} {OTHER_KINDS}: run again, once nothing is "
                "written to it."
            )

    def _close(self, pattern: Pattern, position: int, block: list[Listed]) -> bytes:
        report(self._progress_address, {"listed": len(block)})
        return _pack_listed(pattern.number, position, block)


def _output_of(kind: SourceKind) -> str:
    match kind:
        case "webdataset":
            return "webdataset"
        case "parquet" | "table":
            return "tables"
        case _:
            assert_never(kind)


def _pack_listed(number: int, position: int, block: list[Listed]) -> bytes:
    plain = [
        (one.relative, tuple(one.image), [tuple(field) for field in one.fields]) for one in block
    ]
    return spill(pickle.dumps((number, position, plain), protocol=5))


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
