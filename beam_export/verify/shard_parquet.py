"""Opens a shard's Parquet, or a table under `_meta`, and checks that its form is the right one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from beam_export.metadata.arrow_types import usual_names
from beam_export.metadata.schema import STRUCTURAL
from beam_export.samples import Failure
from beam_export.shards.parquet import (
    PARQUET_ERRORS,
    ROWS_PER_GROUP,
    ShardRow,
    read_facts,
    read_shard_rows,
    whole_table,
)
from beam_export.shards.writer import failures_from_json
from beam_export.verify.findings import Faults

__all__ = ["ShardFile", "open_shard_file", "read_table"]

#: All but `source_sha256`, null for arrays, and the size, null if nobody could read the image.
_NEVER_NULL = (
    *("image_id", "tar_file", "member_name", "original_path", "offset", "size", "sha256"),
    "encoding",
)
_FACTS = ("version", "plan", "tar_sha256", "tar_bytes", "failures")


class ShardFile(NamedTuple):
    """A shard's Parquet that could be opened.

    Attributes:
        file: its name.
        data: its bytes.
        facts: its key-values that are ours.
        failures: the shard's failures.
        schema: digest of its schema.
        described: name of each column, and type with Arrow's own names for what is inside.
        columns: the metadata columns.
        faults: gets what is found while the rows are read.
    """

    file: str
    data: bytes
    facts: dict[str, str]
    failures: tuple[Failure, ...]
    schema: str
    described: tuple[tuple[str, str], ...]
    columns: pa.Schema
    faults: Faults

    def rows(self) -> Iterator[ShardRow]:
        """Yields the rows; one that cannot be read is a fault, and ends them."""
        try:
            for row in read_shard_rows(pa.BufferReader(self.data)):
                yield self._whole(row)
        except PARQUET_ERRORS as error:
            self.faults.add(self.file, f"its rows cannot be read ({_first_line(error)})")

    def _whole(self, row: ShardRow) -> ShardRow:
        missing = [name for name in _NEVER_NULL if getattr(row, name) is None]
        if not missing:
            return row
        self.faults.add(self.file, f"it is null in: {', '.join(missing)}", row.image_id or "")
        # The row goes on, as others are to be compared too, and all that follows takes text.
        return row._replace(image_id=row.image_id or "")


def open_shard_file(data: bytes, file: str, faults: Faults) -> ShardFile | None:
    """Returns a shard's Parquet, opened; None, with a fault, if it is damaged."""
    try:
        opened = pq.ParquetFile(pa.BufferReader(data))
        schema = opened.schema_arrow
        facts = read_facts(pa.BufferReader(data))
    except PARQUET_ERRORS as error:
        faults.add(file, f"it cannot be read as Parquet ({_first_line(error)})")
        return None
    if schema.names[: len(STRUCTURAL)] != STRUCTURAL.names or any(
        schema.field(field.name).type != field.type for field in STRUCTURAL
    ):
        faults.add(file, "its first columns are not those of a shard, or of another type")
        return None
    # Rows are cut into groups by their number alone, so that the same plan gives the same bytes.
    groups = -(-opened.metadata.num_rows // ROWS_PER_GROUP)
    if opened.metadata.num_row_groups != groups:
        faults.add(file, f"it has {opened.metadata.num_row_groups} row groups, not {groups}")
    return ShardFile(
        file=file,
        data=data,
        facts=facts,
        failures=_failures(facts, file, faults),
        # Of the serialized schema, which has more than names and types: nullability, key-values.
        schema=hashlib.sha256(schema.serialize().to_pybytes()).hexdigest(),
        described=tuple((field.name, str(usual_names(field.type))) for field in schema),
        columns=pa.schema(
            [field for field in schema if field.name not in STRUCTURAL.names], schema.metadata
        ),
        faults=faults,
    )


def _failures(facts: dict[str, str], file: str, faults: Faults) -> tuple[Failure, ...]:
    for name in _FACTS:
        if f"beam_export.{name}" not in facts:
            faults.add(file, f"its key-values lack beam_export.{name}")
    text = facts.get("beam_export.failures", "[]")
    try:
        failures = failures_from_json(text)
        # `failures_from_json` takes any values; what is no text could not be sorted below.
        if not all(isinstance(word, str) for failure in failures for word in failure):
            raise TypeError
    except (ValueError, TypeError, RecursionError):
        faults.add(file, "its beam_export.failures are no failures")
        return ()
    # Compared as text, since the bytes of a shard are to be the same on every run.
    if text != json.dumps([one._asdict() for one in sorted(failures)], sort_keys=True):
        faults.add(file, "its beam_export.failures are not written as they should be")
    return failures


def read_table(
    data: bytes, file: str, schema: pa.Schema, faults: Faults
) -> list[dict[str, Any]] | None:
    """Returns the rows of a table under `_meta`; None, with a fault, if it is damaged."""
    try:
        table = whole_table(pa.BufferReader(data))
        if not table.schema.equals(schema):
            faults.add(file, "its columns are not those of such a table")
            return None
        rows: list[dict[str, Any]] = table.to_pylist()
    except PARQUET_ERRORS as error:
        faults.add(file, f"it cannot be read as Parquet ({_first_line(error)})")
        return None
    return rows


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
