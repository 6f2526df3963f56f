"""Steps for pipelines in Beam YAML, where images come and go as rows with a schema.

`examples/yaml/providers.yaml` gives them their names there: `ReadImages` and `WriteShards`. Source:
"Beam YAML Providers" in Beam's documentation.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.typehints.schemas import named_fields_from_element_type

from beam_export.errors import InputError, RunError, SampleError
from beam_export.metadata.json_text import json_text
from beam_export.pipeline.export import WriteShards
from beam_export.pipeline.join_folders import JoinFolders
from beam_export.pipeline.measure_images import MeasureImages
from beam_export.pipeline.plan_shards import AssignKeys
from beam_export.pipeline.read_samples import ReadSamples, Samples
from beam_export.planning.blocks import open_block, unpack_ref
from beam_export.planning.join import Tally
from beam_export.planning.steps import UNJOINED
from beam_export.samples import Failure, Sample, SampleRef, failure_of
from beam_export.shards.writer import ShardResult
from beam_export.sources.contents import FOLDER_TABLE, kinds_by_names
from beam_export.sources.entries import BrokenSourceError
from beam_export.sources.patterns import parse_inputs
from beam_export.sources.reader import Reader

__all__ = ["ReadImageRows", "ShardSummary", "WriteImageRows"]

_LOG = logging.getLogger("beam_export")

#: The columns of a row that are no metadata.
_OWN = ("id", "path", "image", "fields", "metadata")
#: Types that `columns` may name, with the Python types of the values in JSON.
_TYPES: dict[str, tuple[type, tuple[type, ...]]] = {
    "string": (str, (str,)),
    "int64": (int, (int,)),
    "float64": (float, (float, int)),
    "boolean": (bool, (bool,)),
}


class ReadImageRows(beam.PTransform):
    """Reads images as rows: `id`, `path`, `image` (bytes), `fields`, `metadata` (JSON text).

    `fields` maps extensions to the bytes of what travels with an image. Compressed tars are not
    read, as a row has no place where their members could wait.
    """

    def __init__(
        self,
        input: str,
        input_format: str = "auto",
        columns: Mapping[str, str] | None = None,
        max_image_bytes: int = 1 << 28,
        error_handling: Mapping[str, str] | None = None,
        metadata: str = "auto",
    ) -> None:
        """Makes a reader.

        Args:
            input: as the flag.
            input_format: as the flag.
            columns: metadata that become columns of their own, with their types: `string`, `int64`,
                `float64`, `boolean`. Null where a sample has none.
            max_image_bytes: as the flag.
            error_handling: `{output: NAME}` gives what cannot be read as a further output; without
                it, the first of these ends the pipeline.
            metadata: as the flag: `auto`, by which the tables of image folders are joined, or
                `none`.

        Raises:
            InputError: if a column is of no such type, or `metadata` is a table.
        """
        super().__init__()
        self._patterns = parse_inputs(input)
        self._format, self._max_bytes = input_format, max_image_bytes
        self._columns = dict(columns or {})
        for name, kind in self._columns.items():
            if kind not in _TYPES or name in _OWN:
                raise InputError(
                    f"ReadImages: columns has {name!r} as {kind!r}: give a name of metadata, and "
                    f"one of {', '.join(_TYPES)}."
                )
        if metadata not in ("auto", "none"):
            raise InputError(
                f"ReadImages: metadata is {metadata!r}: give auto or none, and join other tables "
                "by a Join in the pipeline."
            )
        self._joins = metadata == "auto" and input_format in ("auto", "files")
        self._failures = None if error_handling is None else error_handling.get("output", "errors")

    def _read(self, pbegin: beam.pvalue.PBegin) -> tuple[Samples, PCollection[bytes]]:
        """Returns what the input holds, and refs with the columns of folders' tables."""
        read = ReadSamples(
            self._patterns,
            exclude="",
            input_format=self._format,
            spills=_NoSpills(),
            max_bytes=self._max_bytes,
            joins_folders=self._joins and FOLDER_TABLE in kinds_by_names(self._patterns),
        )
        # refs: [SampleRef, ...], a PCollection per kind of input; failures: Failure
        found = pbegin | "ReadSamples" >> read
        blocks = found.refs | "Pack" >> AssignKeys("source", 0)
        if found.folders is not None:
            joined = blocks | "JoinFolders" >> JoinFolders(found.folders)
            blocks = joined.blocks
            joined.tally | "WarnOfTables" >> beam.Map(_warn_of_tables)
        return found, blocks

    def expand(self, pbegin: beam.pvalue.PBegin) -> Any:
        found, blocks = self._read(pbegin)
        # blocks: packed refs; failures: Failure
        measured = blocks | "MeasureImages" >> MeasureImages()
        # rows: beam.Row; failures: Failure
        rows = (
            measured.blocks
            | "Spread" >> beam.Reshuffle()
            | "ReadImages"
            >> beam.ParDo(_ReadRows(self._columns, self._max_bytes)).with_outputs(
                "failures", main="rows"
            )
        )
        fields: list[tuple[str, Any]] = [
            ("id", str),
            ("path", str),
            ("image", bytes),
            ("fields", Mapping[str, bytes]),
            ("metadata", str),
            *((name, _TYPES[kind][0] | None) for name, kind in self._columns.items()),
        ]
        typed = rows.rows | "Rows" >> beam.Map(_keep).with_output_types(
            RowTypeConstraint.from_fields(fields)
        )
        failures = (
            *found.failures,
            *measured.failures,
            rows.failures,
        ) | "Failures" >> beam.Flatten()
        if self._failures is None:
            failures | "NoFailures" >> beam.Map(_refuse)
            return typed
        # beam.Row of a Failure
        rows_of_failures = failures | "Failed" >> beam.Map(_failure_row).with_output_types(
            RowTypeConstraint.from_fields([(name, str) for name in Failure._fields])
        )
        return {"output": typed, self._failures: rows_of_failures}


def _warn_of_tables(tally: Tally) -> None:
    """Logs which tables of image folders are not joined, and why."""
    for said in tally.shown(UNJOINED):
        _LOG.warning("ReadImages: not joined: %s", said)


def _keep(row: beam.Row) -> beam.Row:
    return row


def _failure_row(failure: Failure) -> beam.Row:
    return beam.Row(**failure._asdict())


def _refuse(failure: Failure) -> None:
    raise RunError(
        f"ReadImages: {failure.original_path or failure.image_id} cannot be read: "
        f"{failure.message}; give error_handling with an output to go on without what is lost."
    )


class _NoSpills:
    """Refuses compressed tars: a `Spills`."""

    def spilling(self) -> contextlib.AbstractContextManager[tuple[str, BinaryIO]]:
        raise BrokenSourceError("it is compressed, and ReadImages reads plain tars: unpack it")


class _ReadRows(beam.DoFn):
    """Yields a row per ref of a packed block."""

    def __init__(self, columns: Mapping[str, str], max_bytes: int) -> None:
        self._columns, self._max_bytes = columns, max_bytes

    def process(self, block: bytes) -> Iterator[Any]:
        with Reader(self._max_bytes) as reader:
            for packed in open_block(block).refs():
                ref = unpack_ref(packed)
                try:
                    yield _row_of(ref, reader, self._columns)
                except SampleError as error:
                    yield TaggedOutput("failures", failure_of(ref, error))


def _row_of(ref: SampleRef, reader: Reader, columns: Mapping[str, str]) -> beam.Row:
    parts = []
    for found in reader.read_all([ref.image, *ref.fields]):
        if isinstance(found, SampleError):
            raise found
        parts.append(found)
    exts = [field.ext for field in ref.fields]
    own = {name: _typed(ref.metadata.get(name), name, kind) for name, kind in columns.items()}
    rest = {name: value for name, value in ref.metadata.items() if name not in columns}
    return beam.Row(
        id=ref.id,
        path=ref.path,
        image=parts[0],
        fields=dict(zip(exts, parts[1:], strict=True)),
        metadata=json_text(rest),
        **own,
    )


def _typed(value: Any, name: str, kind: str) -> Any:
    """Returns a value as a column of that type has it.

    Raises:
        SampleError: if it is of another type.
    """
    made, taken = _TYPES[kind]
    if value is None:
        return None
    if not isinstance(value, taken) or (isinstance(value, bool) and kind != "boolean"):
        reason = f"its {name} is of type {type(value).__name__}, not {kind}"
        raise SampleError("read", "TypeError", reason)
    return made(value)


class ShardSummary(NamedTuple):
    """A shard that was written, as a row."""

    shard: int
    samples: int
    bytes: int
    tar_sha256: str
    failed: int


class WriteImageRows(beam.PTransform):
    """Writes rows as shards; gives a row per shard (`ShardSummary`).

    A row has `id`, and `image` (encoded bytes) or `path`, or both; it may have `fields` (extension
    to bytes) and `metadata` (a JSON object as text). Every other column is metadata.
    """

    def __init__(self, output_dir: str, **options: Any) -> None:
        """Makes a writer; the options are those of `WriteShards`.

        Raises:
            InputError: if an option makes no sense.
        """
        super().__init__()
        for option in options:
            if option not in WriteShards.__dataclass_fields__:
                raise InputError(
                    f"WriteShards has no option {option!r}: give one of those in the README."
                )
        self._write = WriteShards(output_dir, **options)

    def expand(self, rows: PCollection[Any]) -> PCollection[ShardSummary]:
        names = [name for name, _ in named_fields_from_element_type(rows.element_type)]
        if "id" not in names or not {"image", "path"} & set(names):
            raise InputError(
                f"WriteShards was given rows with the columns {', '.join(names)}: name their ids "
                "`id`, and their encoded bytes `image` or the paths of their files `path`."
            )
        samples = rows | "Samples" >> beam.Map(_sample_of).with_output_types(Sample)
        # shards: ShardResult
        result = samples | "WriteShards" >> self._write
        return result.shards | "Shards" >> beam.Map(_summary).with_output_types(ShardSummary)


def _summary(shard: ShardResult) -> ShardSummary:
    return ShardSummary(
        shard=shard.number,
        samples=shard.samples,
        bytes=shard.bytes,
        tar_sha256=shard.tar_sha256,
        failed=len(shard.failures),
    )


def _sample_of(row: Any) -> Sample:
    """Returns the sample that a row describes.

    >>> sample = _sample_of(beam.Row(id="a", image=b"..", metadata='{"x": 1}', score=0.5))
    >>> sample.id, dict(sample.metadata)
    ('a', {'x': 1, 'score': 0.5})

    Raises:
        InputError: if `metadata` is no JSON object.
    """
    values = row._asdict()
    text = values.get("metadata") or "{}"
    try:
        metadata = json.loads(text)
    except (TypeError, ValueError):
        metadata = None
    if not isinstance(metadata, dict):
        raise InputError(
            f"WriteShards was given a row of the id {values['id']!r} whose `metadata` is no JSON "
            "object as text: give one, or name the column otherwise."
        )
    own = {name: value for name, value in values.items() if name not in _OWN}
    return Sample(
        id=values["id"],
        image=values.get("image"),
        path=values.get("path") or "",
        metadata={**metadata, **own},
        fields=values.get("fields") or {},
    )
