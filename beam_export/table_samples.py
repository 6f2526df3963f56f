"""From tables to refs: row groups of Parquet, and rows of texts, are elements of their own."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import pickle
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, DoOutputsTuple, PCollection, TaggedOutput

from beam_export.errors import InputError, SampleError
from beam_export.listing import is_local
from beam_export.locating import locate
from beam_export.pairing import Source
from beam_export.patience import is_lasting, open_source
from beam_export.progress import tell
from beam_export.samples import Failure, SampleRef, failure_of
from beam_export.tables import BadRow, TableError, TableTypes, read_rows, read_types
from beam_export.tables.kinds import is_parquet
from beam_export.tables.parquet import ParquetTable
from beam_export.tables.refs import UNMEASURED, Place, group_refs, metadata_schema, row_ref
from beam_export.tables.roles import roles_of_names, roles_of_schema
from beam_export.text import printable
from beam_export.uris import unpin

__all__ = ["ReadTables"]

#: Looks at files of an object store are waited for, not worked on.
_LOOKS_AT_ONCE = 16


@dataclasses.dataclass
class ReadTables(beam.PTransform):
    """Finds the samples of tables; gives `refs`, `failures` and `columns`.

    Attributes:
        watcher: address for `progress.tell`.
    """

    watcher: str | None = None

    def expand(self, tables: PCollection[Source]) -> dict[str, PCollection[Any]]:
        split = (
            tables
            | "SpreadTables" >> beam.Reshuffle()
            | "OpenTables"
            >> beam.ParDo(_OpenTable()).with_outputs("failures", "columns", "texts", main="groups")
        )
        groups = (
            split.groups
            | "SpreadGroups" >> beam.Reshuffle()
            | "ReadGroups"
            >> beam.ParDo(_ReadGroup(self.watcher)).with_outputs(
                "failures", "unmeasured", main="refs"
            )
        )
        texts = self._read_texts(split.texts)
        measured = (
            (groups.unmeasured, texts["unmeasured"])
            | "Unmeasured" >> beam.Flatten()
            | "SpreadUnmeasured" >> beam.Reshuffle()
            | "LookAtFiles"
            >> beam.ParDo(_Measure(self.watcher)).with_outputs("failures", main="refs")
        )
        failures = [split.failures, groups.failures, texts["failures"], measured.failures]
        return {
            "refs": (groups.refs, measured.refs) | "Refs" >> beam.Flatten(),
            "failures": failures | "Failures" >> beam.Flatten(),
            "columns": split.columns,
        }

    def _read_texts(self, texts: PCollection[Source]) -> dict[str, PCollection[Any]]:
        """Reads CSV and JSON lines: all of them for their types, and then again for their rows."""
        scanned = texts | "ScanTexts" >> beam.ParDo(_ScanText()).with_outputs(
            "failures", "types", main="texts"
        )
        types = scanned.types | "JoinTypes" >> beam.CombineGlobally(_join_types)
        read: DoOutputsTuple = scanned.texts | "ReadTexts" >> beam.ParDo(
            _ReadText(), AsSingleton(types)
        ).with_outputs("failures", main="unmeasured")
        failures = (scanned.failures, read.failures) | "TextFailures" >> beam.Flatten()
        return {"unmeasured": read.unmeasured, "failures": failures}


def _join_types(parts: Iterable[TableTypes]) -> TableTypes:
    joined = TableTypes()
    for part in parts:
        joined.merge(part)
    return joined


def _place(source: Source) -> Place:
    return Place(source.relative, source.uri, source.order)


def _refused(source: Source, error: TableError) -> InputError:
    return InputError(f"the table {printable(unpin(source.uri)[0])} {error}.")


def _broken(source: Source, error: TableError | OSError) -> TaggedOutput:
    """Returns the failure of a table that cannot be read to its end.

    Raises:
        OSError: if it may be read at another time.
    """
    if isinstance(error, OSError):
        if not is_lasting(error):
            raise error
        reason = f"the table cannot be read: {error.strerror}"
    else:
        reason = f"the table {error}"
    name, uri = printable(source.relative), printable(unpin(source.uri)[0])
    return TaggedOutput("failures", Failure(name, uri, "list", "BrokenSource", printable(reason)))


class _OpenTable(beam.DoFn):
    """Yields (Parquet file, row group), and texts as they are."""

    def process(self, source: Source) -> Iterator[Any]:
        source = Source(*source)
        if not is_parquet(source.relative):
            yield TaggedOutput("texts", source)
            return
        try:
            with open_source(source.uri) as file:
                table = ParquetTable(file)
        except (TableError, OSError) as error:
            yield _broken(source, error)
            return
        try:
            schema = metadata_schema(table.schema, roles_of_schema(table.schema))
        except TableError as error:
            raise _refused(source, error) from error
        yield TaggedOutput(
            "columns", (schema.serialize().to_pybytes(), printable(unpin(source.uri)[0]))
        )
        for group, (_, rows) in enumerate(table.groups):
            if rows:
                yield source, group


class _ReadGroup(beam.DoFn):
    """Yields lists of refs; those whose files are to be looked at go to `unmeasured`, packed."""

    def __init__(self, watcher: str | None) -> None:
        self._watcher = watcher

    def process(self, element: tuple[Source, int]) -> Iterator[Any]:
        source, group = Source(*element[0]), element[1]
        try:
            with open_source(source.uri) as file:
                table = ParquetTable(file)
                roles = roles_of_schema(table.schema)
                for found in group_refs(table, group, roles, _place(source)):
                    yield from _sorted_out(found, self._watcher)
        except (TableError, OSError) as error:
            yield _broken(source, error)


def _sorted_out(found: list[SampleRef | Failure], watcher: str | None) -> Iterator[Any]:
    refs = [one for one in found if isinstance(one, SampleRef)]
    yield from (TaggedOutput("failures", one) for one in found if isinstance(one, Failure))
    known = [ref for ref in refs if ref.size != UNMEASURED]
    if known:
        tell(watcher, {"listed": len(known)})
        yield known
    if len(known) < len(refs):
        unknown = [ref for ref in refs if ref.size == UNMEASURED]
        yield TaggedOutput("unmeasured", pickle.dumps(unknown, protocol=5))


class _ScanText(beam.DoFn):
    """Yields the texts that can be read, and on `types` what their columns look like."""

    def process(self, source: Source) -> Iterator[Any]:
        source = Source(*source)
        try:
            with open_source(source.uri) as file:
                types = read_types(file, source.relative)
        except (TableError, OSError) as error:
            yield _broken(source, error)
            return
        yield source
        yield TaggedOutput("types", types)


class _ReadText(beam.DoFn):
    """Yields packed lists of refs whose files are to be looked at."""

    def process(self, source: Source, types: TableTypes) -> Iterator[Any]:
        source = Source(*source)
        fits = False
        try:
            with open_source(source.uri) as file:
                for rows in read_rows(file, source.relative, types):
                    found = [_row_ref(row, _place(source)) for row in rows]
                    unfit = [one for one in found if isinstance(one, TableError)]
                    # One row without a path is bad data; a table without any is a wrong table.
                    fits = fits or len(unfit) < len(found)
                    if not fits:
                        raise _refused(source, unfit[0])
                    refs = [one for one in found if isinstance(one, SampleRef)]
                    if refs:
                        yield pickle.dumps(refs, protocol=5)
                    for row, one in zip(rows, found, strict=True):
                        if not isinstance(one, SampleRef):
                            yield TaggedOutput("failures", _lost(row, one, source))
        except (TableError, OSError) as error:
            yield _broken(source, error)


def _row_ref(row: Any, place: Place) -> SampleRef | Failure | TableError | BadRow:
    if isinstance(row, BadRow):
        return row
    number, values = row
    try:
        roles = roles_of_names(tuple(values))
    except TableError as error:
        return error
    return row_ref(values, number, roles, place)


def _lost(row: Any, why: Failure | TableError | BadRow, source: Source) -> Failure:
    if isinstance(why, Failure):
        return why
    number = why.number if isinstance(why, BadRow) else row[0]
    reason = f"cannot be read: {why.reason}" if isinstance(why, BadRow) else str(why)
    name, uri = (printable(f"{one}#{number}") for one in (source.relative, unpin(source.uri)[0]))
    return Failure(name, uri, "list", "ValueError", printable(f"its row {reason}"))


class _Measure(beam.DoFn):
    """Yields lists of refs that know how large their files are."""

    def __init__(self, watcher: str | None) -> None:
        self._watcher = watcher

    def process(self, packed: bytes) -> Iterator[Any]:
        refs: list[SampleRef] = pickle.loads(packed)
        if all(is_local(ref.image.uri) for ref in refs):
            looked = list(map(_measured, refs))
        else:
            with concurrent.futures.ThreadPoolExecutor(_LOOKS_AT_ONCE) as pool:
                looked = list(pool.map(_measured, refs))
        yield from (TaggedOutput("failures", one) for one in looked if isinstance(one, Failure))
        found = [one for one in looked if isinstance(one, SampleRef)]
        if found:
            tell(self._watcher, {"listed": len(found)})
            yield found


def _measured(ref: SampleRef) -> SampleRef | Failure:
    try:
        uri, size = locate(ref.image.uri, "list")
    except SampleError as error:
        return failure_of(ref, error)
    return ref._replace(image=ref.image._replace(uri=uri, size=size), size=size)
