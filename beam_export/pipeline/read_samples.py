"""ReadSamples: the samples behind `--input` as refs, in source order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, DoOutputsTuple, PCollection

from beam_export.metadata.columns import ColumnChoice
from beam_export.pipeline.beam_utils import split_failures
from beam_export.pipeline.join_folders import FolderTables, ReadFolderTables
from beam_export.pipeline.list_inputs import Listing, ListInputs
from beam_export.pipeline.listed_items import Starts, open_listed
from beam_export.pipeline.read_tables import ReadTables
from beam_export.pipeline.read_tars import ReadTars, Spills
from beam_export.pipeline.resources import spreads
from beam_export.planning.join import Tally
from beam_export.planning.order import source_key
from beam_export.samples import Failure, Member, SampleRef
from beam_export.sources.contents import ALL_KINDS
from beam_export.sources.json_metadata import MAX_JSON, with_json
from beam_export.sources.lookup_files import LookupFiles
from beam_export.sources.patterns import Pattern
from beam_export.sources.reader import Reader
from beam_export.sources.tables.encoding import UTF8
from beam_export.storage.registry import check_reachable
from beam_export.storage.uris import unpin
from beam_export.text import stored

__all__ = ["ReadSamples", "Samples"]


class Samples(NamedTuple):
    """The content of the inputs.

    Attributes:
        refs: lists of refs whose `order` is their place in source order; one per kind of source,
            since a `Flatten` would pickle them.
        failures: samples that are known and cannot be read.
        skipped: files that are no images, by suffix.
        columns: (serialized Arrow schema, where it is from) of metadata whose types the inputs
            declare: those that refs name as `typed`.
        companions: an element per tar whose columns are those of a Parquet beside it, and not made
            of the keys of a `.json`.
        measured: whether the sizes of all images are known.
        folders: the tables of image folders; None if they are passed by.
        notes: what the end of the run says of the samples.
    """

    refs: tuple[PCollection[list[SampleRef]], ...]
    failures: tuple[PCollection[Failure], ...]
    skipped: tuple[PCollection[str], ...]
    columns: tuple[PCollection[tuple[bytes, str]], ...]
    companions: tuple[PCollection[bool], ...]
    measured: bool
    folders: FolderTables | None = None
    notes: tuple[PCollection[Tally], ...] = ()


@dataclasses.dataclass
class ReadSamples(beam.PTransform):
    """Finds the samples behind patterns, without reading images.

    Attributes:
        patterns: what to list, in order.
        exclude: a directory to leave out, which may lie inside an input: the output.
        progress_address: address for `progress.report`.
        input_format: as the flag.
        spills: where the members of compressed tars go; None if they are not to be written.
        max_bytes: larger members of compressed tars are failures.
        table_encoding: as the flag.
        kinds: what the inputs hold, if that is known: for other kinds there are no steps.
        columns: which columns are taken of what JSON and tables hold.
        joins_folders: whether tables in image folders are joined.
        lookups: files that flags name (`ListInputs`).
        in_parts: whether several workers list one pattern (`ListInputs`).
    """

    patterns: list[Pattern]
    exclude: str
    progress_address: str | None = None
    input_format: str = "auto"
    spills: Spills | None = None
    max_bytes: int = 1 << 28
    table_encoding: str = UTF8
    kinds: frozenset[str] = ALL_KINDS
    columns: ColumnChoice = ColumnChoice()  # noqa: RUF009 (a tuple)
    joins_folders: bool = False
    lookups: LookupFiles = LookupFiles()  # noqa: RUF009 (a tuple)
    in_parts: bool = False

    def expand(self, pbegin: beam.pvalue.PBegin) -> Samples:
        for pattern in self.patterns:
            check_reachable("--input", pattern.path)
        listed = pbegin | ListInputs(
            self.patterns,
            self.exclude,
            self.input_format,
            progress_address=self.progress_address,
            kinds=self.kinds,
            joins=self.joins_folders,
            drops_all=self.columns.drops_all,
            encoding=self.table_encoding,
            lookups=self.lookups,
            in_parts=self.in_parts,
        )
        found = Samples((), listed.failures, listed.skipped, (), (), True, notes=listed.notes)
        if "files" in self.kinds or not self.kinds:
            found = _add_files(found, listed, self.columns)
        if tables := self.kinds & {"parquet", "table"}:
            read = ReadTables(
                self.progress_address, self.table_encoding, spills=self.spills, kinds=tables
            )
            found = _add_tables(found, listed.tables | "ReadTables" >> read)
        if "webdataset" in self.kinds:
            read_tars = ReadTars(
                self.spills,
                self.max_bytes,
                progress_address=self.progress_address,
                choice=self.columns,
            )
            found = _add_tars(found, listed.webdataset | "ReadTars" >> read_tars)
        if self.joins_folders:
            read_folders = ReadFolderTables(self.table_encoding, self.columns)
            folders = listed.folder_tables | "ReadFolderTables" >> read_folders
            found = found._replace(folders=folders, skipped=(*found.skipped, *folders.skipped))
        return found


def _add_files(found: Samples, listed: Listing, choice: ColumnChoice) -> Samples:
    for number, blocks in enumerate(listed.blocks):
        # What parts of a listing hold back comes behind.
        name = f"{number}" if number else ""
        if spreads(blocks.pipeline):
            blocks = blocks | f"SpreadBlocks{name}" >> beam.Reshuffle()
        sides = [] if listed.starts is None else [AsSingleton(listed.starts)]
        # refs: [SampleRef, ...]; failures: Failure
        files: DoOutputsTuple = blocks | f"MakeRefs{name}" >> beam.ParDo(
            _MakeRefs(choice), *sides
        ).with_outputs("failures", main="refs")
        found = found._replace(
            refs=(*found.refs, files.refs), failures=(*found.failures, files.failures)
        )
    return found


def _add_tables(found: Samples, tables: Mapping[str, Any]) -> Samples:
    return found._replace(
        refs=(*found.refs, *tables["refs"]),
        failures=(*found.failures, *tables["failures"]),
        columns=(*found.columns, tables["columns"]),
        notes=(*found.notes, *tables["notes"]),
        measured=False,
    )


def _add_tars(found: Samples, tars: Mapping[str, Any]) -> Samples:
    # True, one per tar with a Parquet
    companions = tars["columns"] | "Companions" >> beam.Map(_is_there).with_output_types(bool)
    return found._replace(
        refs=(*found.refs, *tars["refs"]),
        failures=(*found.failures, *tars["failures"]),
        skipped=(*found.skipped, tars["skipped"]),
        columns=(*found.columns, tars["columns"]),
        companions=(companions,),
        notes=(*found.notes, tars["notes"]),
    )


def _is_there(_: object) -> bool:
    return True


class _MakeRefs(beam.DoFn):
    """Yields a list of refs per block; their JSON sidecars are read for metadata columns."""

    def __init__(self, choice: ColumnChoice) -> None:
        self._choice = choice

    def process(self, packed: bytes, starts: Starts | None = None) -> Iterator[Any]:
        number, position, plain = open_listed(packed, starts)
        refs = [
            _make_ref(source_key(number, place), relative, image=Member(*image), fields=fields)
            for place, (relative, image, fields) in enumerate(plain, position)
        ]
        with Reader(MAX_JSON) as reader:
            yield from split_failures(with_json(refs, reader, self._choice))


def _make_ref(order: bytes, relative: str, image: Member, fields: list[Any]) -> SampleRef:
    return SampleRef(
        order=order,
        id=stored(relative.rpartition(".")[0]),
        path=unpin(image.uri)[0],
        image=image,
        fields=tuple(Member(*field) for field in fields),
        metadata={},
        size=image.size,
    )
