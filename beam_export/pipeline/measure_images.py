"""How large the images of tables are, and of what format: asked of those that are left alone.

A table names a file, which has to be looked at, or holds the image in a column of Parquet, which
has to be read up to it. So that is done as late as can be, after lists of ids and filters: then row
groups of which nothing is left are not read. Rows of one row group meet first, so that it is read
once, whoever they travelled with.
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
from beam_export.pipeline.read_tables import broken_table
from beam_export.planning.blocks import (
    PackedRef,
    is_measured,
    open_block,
    pack_block,
    unpack_ref,
    with_change,
)
from beam_export.samples import UNMEASURED, Failure, SampleRef, failure_of
from beam_export.sources.reader import locate
from beam_export.sources.tables.refs import Looked, look, looked
from beam_export.sources.tables.rows import ParquetTable, TableError
from beam_export.storage.local_file import check_unchanged
from beam_export.storage.open_files import open_source
from beam_export.storage.registry import ReplacedError
from beam_export.storage.uris import is_local, unpin

__all__ = ["MeasureImages", "Measured"]

#: Looks at files of an object store are waited for, not worked on.
_LOOKS_AT_ONCE = 16
#: Refs a block.
_BLOCK = 1000

_Group = tuple[str, str, int]


class Measured(NamedTuple):
    """Blocks of refs whose sizes are known, and the samples that have no image."""

    blocks: PCollection[bytes]
    failures: PCollection[Failure]


@dataclasses.dataclass
class MeasureImages(beam.PTransform):
    """Finds sizes and formats that refs do not know yet; all other blocks pass as they are."""

    def expand(self, blocks: PCollection[bytes]) -> Measured:
        sorted_out = blocks | "LookAtFiles" >> beam.ParDo(_LookAtFiles()).with_outputs(
            "rows", "failures", main="blocks"
        )
        inside = (
            sorted_out.rows
            | "RowGroups" >> beam.GroupByKey()
            | "LookAtRows" >> beam.ParDo(_LookAtRows()).with_outputs("failures", main="blocks")
        )
        return Measured(
            (sorted_out.blocks, inside.blocks) | "Blocks" >> beam.Flatten(),
            (sorted_out.failures, inside.failures) | "Failures" >> beam.Flatten(),
        )


class _LookAtFiles(beam.DoFn):
    """Yields blocks that are measured; `rows` are ((file, column, row group), block)."""

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
        yield from _packed(done, _files_looked_at(files))


def _packed(done: list[PackedRef], found: Iterable[PackedRef | Failure]) -> Iterator[Any]:
    for one in found:
        if isinstance(one, Failure):
            yield TaggedOutput("failures", one)
        else:
            done.append(one)
    for start in range(0, len(done), _BLOCK):
        yield pack_block(done[start : start + _BLOCK])


def _files_looked_at(
    refs: Sequence[tuple[PackedRef, SampleRef]],
) -> Iterator[PackedRef | Failure]:
    if all(is_local(ref.image.uri) for _, ref in refs):
        yield from map(_file_looked_at, refs)
        return
    with concurrent.futures.ThreadPoolExecutor(_LOOKS_AT_ONCE, "look") as pool:
        yield from pool.map(_file_looked_at, refs)


def _file_looked_at(pair: tuple[PackedRef, SampleRef]) -> PackedRef | Failure:
    packed, ref = pair
    try:
        uri, size = locate(ref.image.uri, "list")
    except SampleError as error:
        return failure_of(ref, error)
    return with_change(
        packed, ref._replace(image=ref.image._replace(uri=uri, size=size), size=size)
    )


class _LookAtRows(beam.DoFn):
    """Yields the refs of one row group, which is read once."""

    def process(self, element: tuple[_Group, Iterable[bytes]]) -> Iterator[Any]:
        (uri, column, group), blocks = element
        # More than one a row, where a file is given twice.
        refs: dict[int, list[PackedRef]] = {}
        for packed in (one for block in blocks for one in open_block(block).refs()):
            refs.setdefault(unpack_ref(packed).image.offset, []).append(packed)
        found: dict[int, Looked] = {}
        try:
            with open_source(uri) as file:
                try:
                    for row, image in look(ParquetTable(file), group, column, refs):
                        found[row] = image
                finally:
                    # Of what was replaced meanwhile, all that was seen is of nothing.
                    check_unchanged(file)
        except ReplacedError as error:
            yield from _lost(uri, itertools.chain.from_iterable(refs.values()), error)
            return
        except (TableError, OSError) as error:
            rest = (refs[row] for row in refs.keys() - found.keys())
            yield from _lost(uri, itertools.chain.from_iterable(rest), error)
        yield from _rows_looked_at(refs, found)


def _rows_looked_at(
    refs: Mapping[int, Iterable[PackedRef]], found: Mapping[int, Looked]
) -> Iterator[Any]:
    """Yields failures of rows without an image, and blocks of all others that were looked at."""
    done: list[PackedRef] = []
    elsewhere: list[tuple[PackedRef, SampleRef]] = []
    for row, image in found.items():
        for packed in refs[row]:
            ref = unpack_ref(packed)
            try:
                ref = looked(ref, image)
            except SampleError as error:
                yield TaggedOutput("failures", failure_of(ref, error))
                continue
            if ref.size == UNMEASURED:
                elsewhere.append((packed, ref))
            else:
                done.append(with_change(packed, ref))
    yield from _packed(done, _files_looked_at(elsewhere))


def _lost(
    uri: str, refs: Iterable[PackedRef], error: TableError | OSError
) -> Iterator[TaggedOutput]:
    """Yields failures of a table that cannot be read on, and of the rows that are lost with it.

    Raises:
        OSError: if it may be read at another time.
    """
    name = unpin(uri)[0].rstrip("/").rpartition("/")[2]
    broken = broken_table(name, uri, error)
    yield TaggedOutput("failures", broken)
    kind = ("read", broken.error) if isinstance(error, ReplacedError) else ("list", "TableError")
    told = SampleError(*kind, f"its row cannot be had: {broken.message}")
    for packed in sorted(refs):
        yield TaggedOutput("failures", failure_of(unpack_ref(packed), told))
