"""ReadSamples: the samples behind `--input` as refs, in source order."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput

from beam_export.pipeline.beam_utils import split_failures
from beam_export.pipeline.progress import report
from beam_export.pipeline.read_tables import ReadTables
from beam_export.pipeline.read_tars import ReadTars, Spills
from beam_export.planning.blocks import REFS_PER_BLOCK
from beam_export.planning.order import source_key
from beam_export.samples import Failure, Member, SampleRef
from beam_export.sources.entries import Listed, Skipped, Source
from beam_export.sources.input_format import choose
from beam_export.sources.json_metadata import MAX_JSON, with_json
from beam_export.sources.listing import list_images
from beam_export.sources.patterns import Pattern
from beam_export.sources.reader import Reader
from beam_export.storage.registry import check_reachable
from beam_export.storage.uris import unpin
from beam_export.text import printable

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
        from_json: whether the columns of all samples with a `.json` are made of its keys, and not
            of a Parquet beside a tar, of one element.
    """

    refs: tuple[PCollection[list[SampleRef]], ...]
    failures: PCollection[Failure]
    skipped: PCollection[str]
    columns: PCollection[tuple[bytes, str]]
    from_json: PCollection[bool]


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
    """

    patterns: list[Pattern]
    exclude: str
    progress_address: str | None = None
    input_format: str = "auto"
    spills: Spills | None = None
    max_bytes: int = 1 << 28

    def expand(self, pbegin: beam.pvalue.PBegin) -> Samples:
        for pattern in self.patterns:
            check_reachable("--input", pattern.path)
        listed = (
            pbegin
            | "Patterns" >> beam.Create(self.patterns)  # Pattern
            # blocks: (pattern number, first position, [Listed, ...]), packed; webdataset, tables:
            # Source; skipped: str
            | "ListInputs"
            >> beam.ParDo(
                _ListInputs(self.exclude, self.input_format, self.progress_address)
            ).with_outputs("failures", "skipped", "webdataset", "tables", main="blocks")
        )
        files = (
            listed.blocks
            | "SpreadBlocks" >> beam.Reshuffle()
            # [SampleRef, ...]
            | "MakeRefs" >> beam.ParDo(_MakeRefs()).with_outputs("failures", main="refs")
        )
        tables = listed.tables | "ReadTables" >> ReadTables(self.progress_address)
        tars = listed.webdataset | "ReadTars" >> ReadTars(
            self.spills, self.max_bytes, self.progress_address
        )
        failures = (listed.failures, files.failures, tables["failures"], tars["failures"])
        # One bool: whether no tar has columns of its own.
        from_json = (
            tars["columns"]
            | "CountBeside" >> beam.combiners.Count.Globally()
            | "FromJson" >> beam.Map(lambda count: count == 0).with_output_types(bool)
        )
        return Samples(
            refs=(files.refs, *tables["refs"], *tars["refs"]),
            failures=failures | "ListFailures" >> beam.Flatten(),
            skipped=(listed.skipped, tars["skipped"]) | "Skipped" >> beam.Flatten(),
            columns=(tables["columns"], tars["columns"]) | "Columns" >> beam.Flatten(),
            from_json=from_json,
        )


class _ListInputs(beam.DoFn):
    """Yields packed blocks of (pattern number, first position, [Listed, ...]), and `Source`s."""

    def __init__(self, exclude: str, input_format: str, progress_address: str | None) -> None:
        self._exclude, self._format, self._progress_address = (
            exclude,
            input_format,
            progress_address,
        )

    def process(self, pattern: Pattern) -> Iterator[Any]:
        pattern = Pattern(*pattern)
        block: list[Listed] = []
        position = 0
        for item in choose(list_images(pattern, self._exclude), self._format):
            if block and (len(block) == REFS_PER_BLOCK or isinstance(item, Source)):
                yield self._close(pattern, position, block)
                position += len(block)
                block = []
            if isinstance(item, Failure):
                yield TaggedOutput("failures", item)
            elif isinstance(item, Skipped):
                yield TaggedOutput("skipped", item.kind)
            elif isinstance(item, Source):
                placed = item._replace(order=source_key(pattern.number, position))
                position += 1
                yield TaggedOutput("webdataset" if item.kind == "webdataset" else "tables", placed)
            else:
                block.append(item)
        if block:
            yield self._close(pattern, position, block)

    def _close(self, pattern: Pattern, position: int, block: list[Listed]) -> bytes:
        report(self._progress_address, {"listed": len(block)})
        return _pack_listed(pattern.number, position, block)


def _pack_listed(number: int, position: int, block: list[Listed]) -> bytes:
    plain = [
        (one.relative, tuple(one.image), [tuple(field) for field in one.fields]) for one in block
    ]
    return pickle.dumps((number, position, plain), protocol=5)


class _MakeRefs(beam.DoFn):
    """Yields a list of refs per block; their JSON sidecars are read for metadata columns."""

    def process(self, packed: bytes) -> Iterator[Any]:
        number, position, plain = pickle.loads(packed)
        refs = [
            _make_ref(source_key(number, place), relative, image=Member(*image), fields=fields)
            for place, (relative, image, fields) in enumerate(plain, position)
        ]
        with Reader(MAX_JSON) as reader:
            yield from split_failures(with_json(refs, reader))


def _make_ref(order: bytes, relative: str, image: Member, fields: list[Any]) -> SampleRef:
    return SampleRef(
        order=order,
        id=printable(relative.rpartition(".")[0]),
        path=unpin(image.uri)[0],
        image=image,
        fields=tuple(Member(*field) for field in fields),
        metadata={},
        size=image.size,
    )
