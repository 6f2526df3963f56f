"""MeasureImages: the size and format of the images that tables name or hold.

A table names a file, whose size has to be asked for, or holds the image in a column of Parquet,
which has to be read up to it. So this comes after lists of ids and filters: row groups of which
nothing is left are never read. Refs of one row group are grouped first, so that it is read once.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput

from beam_export.errors import SampleError
from beam_export.planning.blocks import (
    REFS_PER_BLOCK,
    PackedRef,
    is_measured,
    open_block,
    pack_block,
    unpack_ref,
    with_change,
)
from beam_export.samples import UNMEASURED, Failure, SampleRef, failure_of
from beam_export.sources.reader import locate
from beam_export.sources.tables.formats import TableError
from beam_export.sources.tables.parquet import ParquetTable
from beam_export.sources.tables.refs import (
    MeasuredImage,
    broken_table,
    measure_rows,
    with_measured_size,
)
from beam_export.storage.base import ReplacedError
from beam_export.storage.local_file import check_unchanged
from beam_export.storage.open_files import open_source
from beam_export.storage.uris import is_local, unpin

__all__ = ["MeasureImages", "Measured"]

#: Files of an object store whose size is asked for at a time: the threads only wait.
_AT_ONCE = 16

_Group = tuple[str, str, int]


class Measured(NamedTuple):
    """Blocks of refs whose sizes are known, and the samples that have no image."""

    blocks: PCollection[bytes]
    failures: tuple[PCollection[Failure], ...]


@dataclasses.dataclass
class MeasureImages(beam.PTransform):
    """Adds the sizes and formats of images that refs lack; all other blocks pass unchanged.

    Takes and returns blocks of refs (`blocks.pack_block`).
    """

    def expand(self, blocks: PCollection[bytes]) -> Measured:
        # blocks: packed refs, measured; rows: ((URI, column, row group), packed refs); failures:
        # Failure
        files = blocks | "LookAtFiles" >> beam.ParDo(_MeasureFiles()).with_outputs(
            "rows", "failures", main="blocks"
        )
        rows = (
            files.rows
            | "RowGroups" >> beam.GroupByKey()
            # blocks: packed refs, measured; failures: Failure
            | "LookAtRows" >> beam.ParDo(_MeasureRows()).with_outputs("failures", main="blocks")
        )
        return Measured(
            (files.blocks, rows.blocks) | "Blocks" >> beam.Flatten(),
            (files.failures, rows.failures),
        )


class _MeasureFiles(beam.DoFn):
    """Yields measured blocks; `rows` are ((URI, column, row group), block)."""

    def process(self, block: bytes) -> Iterator[Any]:
        if is_measured(block):
            yield block
            return
        done: list[PackedRef] = []
        files: list[tuple[PackedRef, SampleRef]] = []
        rows: dict[_Group, list[PackedRef]] = {}
        for packed in open_block(block).refs():
            ref = unpack_ref(packed)
            image = ref.image
            if ref.size != UNMEASURED:
                done.append(packed)
            elif image.column is not None:
                rows.setdefault((image.uri, image.column, image.group), []).append(packed)
            else:
                files.append((packed, ref))
        for key, refs in rows.items():
            yield TaggedOutput("rows", (key, pack_block(refs)))
        yield from _pack_measured(done, _measure_files(files))


def _pack_measured(done: list[PackedRef], found: Iterable[PackedRef | Failure]) -> Iterator[Any]:
    for one in found:
        if isinstance(one, Failure):
            yield TaggedOutput("failures", one)
        else:
            done.append(one)
    for start in range(0, len(done), REFS_PER_BLOCK):
        yield pack_block(done[start : start + REFS_PER_BLOCK])


def _measure_files(
    refs: Sequence[tuple[PackedRef, SampleRef]],
) -> Iterator[PackedRef | Failure]:
    if all(is_local(ref.image.uri) for _, ref in refs):
        yield from map(_measure_file, refs)
        return
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE, "measure") as pool:
        yield from pool.map(_measure_file, refs)


def _measure_file(pair: tuple[PackedRef, SampleRef]) -> PackedRef | Failure:
    packed, ref = pair
    try:
        uri, size = locate(ref.image.uri, "list")
    except SampleError as error:
        return failure_of(ref, error)
    return with_change(
        packed, ref._replace(image=ref.image._replace(uri=uri, size=size), size=size)
    )


class _MeasureRows(beam.DoFn):
    """Yields measured blocks of the refs of one row group, which is read once."""

    def process(self, element: tuple[_Group, Iterable[bytes]]) -> Iterator[Any]:
        (uri, column, group), blocks = element
        # Several per row, where a file is given twice.
        refs: dict[int, list[PackedRef]] = {}
        for packed in (one for block in blocks for one in open_block(block).refs()):
            refs.setdefault(unpack_ref(packed).image.offset, []).append(packed)
        found: dict[int, MeasuredImage] = {}
        try:
            with open_source(uri) as file:
                try:
                    for row, image in measure_rows(
                        ParquetTable(file), group, column=column, wanted=refs
                    ):
                        found[row] = image
                finally:
                    # Of a file that was replaced meanwhile, no size is of use.
                    check_unchanged(file)
        except ReplacedError as error:
            yield from _lost(uri, itertools.chain.from_iterable(refs.values()), error)
            return
        except (TableError, OSError) as error:
            rest = (refs[row] for row in refs.keys() - found.keys())
            yield from _lost(uri, itertools.chain.from_iterable(rest), error)
        yield from _join_rows(refs, found)


def _join_rows(
    refs: Mapping[int, Iterable[PackedRef]], found: Mapping[int, MeasuredImage]
) -> Iterator[Any]:
    """Yields failures of rows without an image, and measured blocks of all others."""
    done: list[PackedRef] = []
    in_files: list[tuple[PackedRef, SampleRef]] = []
    for row, image in found.items():
        for packed in refs[row]:
            ref = unpack_ref(packed)
            try:
                ref = with_measured_size(ref, image)
            except SampleError as error:
                yield TaggedOutput("failures", failure_of(ref, error))
                continue
            if ref.size == UNMEASURED:
                in_files.append((packed, ref))
            else:
                done.append(with_change(packed, ref))
    yield from _pack_measured(done, _measure_files(in_files))


def _lost(
    uri: str, refs: Iterable[PackedRef], error: TableError | OSError
) -> Iterator[TaggedOutput]:
    """Yields the failure of a table that cannot be read on, and those of the rows lost with it.

    Raises:
        OSError: if it may be read at another time.
    """
    name = unpin(uri)[0].rstrip("/").rpartition("/")[2]
    broken = broken_table(name, uri, error)
    yield TaggedOutput("failures", broken)
    kind = ("read", broken.error) if isinstance(error, ReplacedError) else ("list", "TableError")
    reason = SampleError(*kind, f"its row cannot be had: {broken.message}")
    for packed in sorted(refs):
        yield TaggedOutput("failures", failure_of(unpack_ref(packed), reason))
