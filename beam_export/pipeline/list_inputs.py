"""ListInputs: the files behind patterns, told apart by how they are read, and notes on them."""

from __future__ import annotations

import dataclasses
import itertools
import operator
import pickle
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import AsIter, AsSingleton, DoOutputsTuple, PCollection, TaggedOutput

from beam_export.pipeline.beam_utils import AnySides, CallOnce, elements_of, sides_of
from beam_export.pipeline.listed_items import TAGS, Emitter, ListingSegment, place_source
from beam_export.planning.join import Tally
from beam_export.samples import Failure
from beam_export.sources.asked import nothing_at
from beam_export.sources.contents import ALL_KINDS
from beam_export.sources.entries import (
    FolderTable,
    Source,
)
from beam_export.sources.input_format import Choice, choose, choose_held
from beam_export.sources.listing import list_images
from beam_export.sources.listing_parts import (
    LAST_SEGMENT,
    divide,
    first_positions,
    is_refused_if_empty,
    list_part,
)
from beam_export.sources.lookup_files import LookupFiles
from beam_export.sources.patterns import Pattern
from beam_export.sources.tables.encoding import UTF8

__all__ = ["ListInputs", "ListPattern", "Listing"]


class Listing(NamedTuple):
    """What inputs hold, by how it is read.

    Attributes:
        blocks: packed images with sidecars, for `open_listed`.
        starts: a `Starts`; None if the listing is not in parts.
        webdataset: `Source`s: tars.
        tables: `Source`s.
        folder_tables: `FolderTable`s that are to be joined.
        failures: `Failure`s.
        skipped: kinds of files that are no samples.
        notes: `Tally`s of what the end of the run says.
    """

    blocks: tuple[PCollection[bytes], ...]
    starts: PCollection[Any] | None
    webdataset: PCollection[Source]
    tables: PCollection[Source]
    folder_tables: PCollection[FolderTable]
    failures: tuple[PCollection[Failure], ...]
    skipped: tuple[PCollection[str], ...]
    notes: tuple[PCollection[Tally], ...]


@dataclasses.dataclass
class ListInputs(beam.PTransform):
    """Lists the files behind patterns; gives a `Listing`.

    Attributes:
        patterns: what to list, in order.
        exclude: a directory to leave out, which may lie inside an input: the output.
        input_format: as the flag.
        progress_address: address for `progress.report`.
        kinds: what the inputs hold, if that is known; other kinds are refused.
        joins: whether tables in image folders are joined.
        drops_all: whether no columns are made of JSON.
        encoding: of tables of text.
        lookups: files that flags name, which are not passed by.
        in_parts: whether several workers list the folders of one pattern, which takes further
            steps: where there are many files.
    """

    patterns: list[Pattern]
    exclude: str
    input_format: str = "auto"
    progress_address: str | None = None
    kinds: frozenset[str] = ALL_KINDS
    joins: bool = False
    drops_all: bool = False
    encoding: str = UTF8
    lookups: LookupFiles = LookupFiles()  # noqa: RUF009 (a tuple)
    in_parts: bool = False

    def expand(self, pbegin: beam.pvalue.PBegin) -> Listing:
        emitter = Emitter(
            progress_address=self.progress_address,
            kinds=self.kinds,
            joins=self.joins,
            drops_all=self.drops_all,
            encoding=self.encoding,
            lookups=self.lookups,
        )
        patterns = pbegin | "Patterns" >> beam.Create(self.patterns)  # Pattern
        if self.in_parts:
            return self._list_parts(patterns, emitter)
        # blocks: packed (pattern number, segment, first position, [Listed, ...]); webdataset,
        # tables: Source; folder_tables: FolderTable; skipped: str; failures: Failure; notes: Tally
        whole = patterns | "ListInputs" >> beam.ParDo(
            ListPattern(self.exclude, self.input_format, emitter)
        ).with_outputs(*TAGS, main="blocks")
        return Listing(
            blocks=(whole.blocks,),
            starts=None,
            webdataset=whole.webdataset,
            tables=whole.tables,
            folder_tables=whole.folder_tables,
            failures=(whole.failures,),
            skipped=(whole.skipped,),
            notes=(whole.notes,),
        )

    def _list_parts(self, patterns: PCollection[Pattern], emitter: Emitter) -> Listing:
        # As above, with places in segments; counts: (pattern number, segment, items); held:
        # (pattern number, packed Held)
        parts = (
            patterns
            | "Divide" >> beam.FlatMap(_divide, self.exclude).with_output_types(bytes)
            | "SpreadParts" >> beam.Reshuffle()  # packed Part
            | "ListParts"
            >> beam.ParDo(_ListPart(self.exclude, self.input_format, emitter)).with_outputs(
                *TAGS, "counts", "held", main="blocks"
            )
        )
        last: DoOutputsTuple = patterns | "ListHeld" >> beam.ParDo(
            _ListHeld(self.input_format, emitter), **sides_of("held", [parts.held])
        ).with_outputs(*TAGS, main="blocks")
        starts = patterns.pipeline | "Starts" >> CallOnce(
            Any, first_positions, AsIter(parts.counts)
        )
        return Listing(
            blocks=(parts.blocks, last.blocks),
            starts=starts,
            webdataset=_placed("Tars", (parts.webdataset, last.webdataset), starts),
            tables=_placed("Tables", (parts.tables, last.tables), starts),
            folder_tables=last.folder_tables,
            failures=(parts.failures, last.failures),
            skipped=(parts.skipped, last.skipped),
            notes=(parts.notes, last.notes),
        )


def _placed(
    name: str, sources: tuple[PCollection[Source], ...], starts: PCollection[Any]
) -> PCollection[Source]:
    """Returns sources with their place in the listing as their order."""
    return (
        sources
        | f"{name}OfParts" >> beam.Flatten()
        | f"Place{name}" >> beam.Map(place_source, AsSingleton(starts)).with_output_types(Source)
    )


def _divide(pattern: Pattern, exclude: str) -> Iterator[bytes]:
    # Pickled: as elements, named tuples would come as plain ones.
    return map(pickle.dumps, divide(Pattern(*pattern), exclude))


class ListPattern(beam.DoFn):
    """Yields all behind a pattern."""

    def __init__(self, exclude: str, input_format: str, emitter: Emitter) -> None:
        self._exclude, self._format, self._emitter = exclude, input_format, emitter

    def process(self, pattern: Pattern) -> Iterator[Any]:
        pattern = Pattern(*pattern)
        notes = self._emitter.notes()
        items = choose(list_images(pattern, self._exclude), self._format)
        yield from self._emitter.emit(items, ListingSegment(pattern), notes)
        yield from self._emitter.finish(notes)


class _ListPart(beam.DoFn):
    """Yields what of a part of a listing can be decided by itself, and what cannot, tagged."""

    def __init__(self, exclude: str, input_format: str, emitter: Emitter) -> None:
        self._exclude, self._format, self._emitter = exclude, input_format, emitter

    def process(self, packed: bytes) -> Iterator[Any]:
        part = pickle.loads(packed)
        notes, choice = self._emitter.notes(), Choice(self._format)
        listed = list_part(part, self._exclude)
        for number, group in itertools.groupby(listed, key=operator.itemgetter(0)):
            items = choice.take(map(operator.itemgetter(1), group), number)
            segment = ListingSegment(part.pattern, number, in_parts=True)
            count = yield from self._emitter.emit(items, segment, notes)
            yield TaggedOutput("counts", (part.pattern.number, number, count))
        yield from self._emitter.finish(notes)
        yield TaggedOutput("held", (part.pattern.number, pickle.dumps(choice.held())))


class _ListHeld(AnySides):
    """Yields what the parts of a pattern have held back, now that all of it is known."""

    def __init__(self, input_format: str, emitter: Emitter) -> None:
        self._format, self._emitter = input_format, emitter

    def process(self, pattern: Pattern, **sides: Iterable[tuple[int, bytes]]) -> Iterator[Any]:
        pattern = Pattern(*pattern)
        found = elements_of("held", sides)
        parts = [pickle.loads(held) for number, held in found if number == pattern.number]
        if not any(part.anything for part in parts) and is_refused_if_empty(pattern):
            raise nothing_at(pattern)
        notes = self._emitter.notes()
        segment = ListingSegment(pattern, LAST_SEGMENT, in_parts=True)
        yield from self._emitter.emit(choose_held(parts, self._format), segment, notes)
        yield from self._emitter.finish(notes)
