"""The Parquet beside a tar that an earlier export wrote: ours, NeMo Curator's or img2dataset's.

Which one it is is told by its columns. Ours has all of `STRUCTURAL`. Curator's
(`ImageWriterStage`, 1.4.0) has five, with all metadata as the `repr` of a dict. img2dataset's
(1.47) has `key` and `status`, and rows for what it could not download too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from beam_export.convert import to_values
from beam_export.literals import parse_literal
from beam_export.samples import Earlier
from beam_export.schema import STRUCTURAL

__all__ = [
    "CURATOR",
    "IMG2DATASET",
    "OWN",
    "Beside",
    "EarlierRow",
    "kind_of_table",
    "own_columns",
    "read_beside",
]

OWN, CURATOR, IMG2DATASET = "beam_export", "NeMo Curator", "img2dataset"

_CURATOR = frozenset({"image_id", "tar_file", "member_name", "original_path", "metadata"})
_IMG2DATASET = frozenset({"key", "status", "url"})
_ROWS_PER_BATCH = 1_000


class EarlierRow(NamedTuple):
    """What an earlier export knew of one image.

    Attributes:
        member: name of the image's member; for img2dataset, the key.
        id, path: what to call it and where it came from; empty if the row does not say.
        metadata: column name to value.
        offset, size: of the image in the tar; -1 if the row does not say.
        failed: what went wrong and how, if the row says that the image is not there.
        earlier: what is to be kept of its facts.
    """

    member: str
    id: str
    path: str
    metadata: dict[str, Any]
    offset: int = -1
    size: int = -1
    failed: tuple[str, str] | None = None
    earlier: Earlier | None = None


class Beside(NamedTuple):
    """A Parquet that describes a tar.

    Attributes:
        kind: `OWN`, `CURATOR` or `IMG2DATASET`.
        columns: types of the metadata columns that have any.
        rows: in their order.
        tar_bytes: size of the tar that it describes, if it says so; else -1.
    """

    kind: str
    columns: pa.Schema
    rows: list[EarlierRow]
    tar_bytes: int


def kind_of_table(schema: pa.Schema) -> str:
    """Returns whose export a Parquet of that schema describes, or `""` if none's."""
    names = set(schema.names)
    if names.issuperset(STRUCTURAL.names):
        return OWN
    if names >= _CURATOR:
        return CURATOR
    return IMG2DATASET if names >= _IMG2DATASET else ""


def own_columns(schema: pa.Schema) -> pa.Schema | None:
    """Returns the metadata columns of a Parquet of ours, all that its samples have; else None."""
    return _metadata_of(schema, OWN) if kind_of_table(schema) == OWN else None


def _metadata_of(schema: pa.Schema, kind: str) -> pa.Schema:
    known = {OWN: frozenset(STRUCTURAL.names), CURATOR: _CURATOR}.get(kind, frozenset())
    return pa.schema([field for field in schema if field.name not in known])


def read_beside(data: bytes) -> Beside | None:
    """Returns what the Parquet beside a tar says; None if it is not of an export.

    Raises:
        ValueError: if it cannot be read.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        schema = file.schema_arrow
        kind = kind_of_table(schema)
        if not kind:
            return None
        columns = _metadata_of(schema, kind)
        rows = [
            _MAKERS[kind](row, {name: row[name] for name in columns.names})
            for batch in file.iter_batches(batch_size=_ROWS_PER_BATCH)
            for row in _rows(batch)
        ]
    except (pa.ArrowException, OSError) as error:
        # Arrow reads from memory here: an OSError is damage, not a disk.
        raise ValueError("the Parquet beside the tar is damaged") from error
    facts = file.metadata.metadata or {}
    tar_bytes = facts.get(b"beam_export.tar_bytes", b"")
    return Beside(kind, columns, rows, int(tar_bytes) if tar_bytes.isdigit() else -1)


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    names = batch.schema.names
    for values in zip(*map(to_values, batch.columns), strict=True):
        yield dict(zip(names, values, strict=True))


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _own(row: Mapping[str, Any], metadata: dict[str, Any]) -> EarlierRow:
    return EarlierRow(
        member=_text(row["member_name"]),
        id=_text(row["image_id"]),
        path=_text(row["original_path"]),
        metadata=metadata,
        offset=_whole(row["offset"]),
        size=_whole(row["size"]),
        earlier=Earlier(row["source_sha256"]),
    )


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else -1


def _curator(row: Mapping[str, Any], metadata: dict[str, Any]) -> EarlierRow:
    text = row["metadata"]
    parsed: Any = text
    if isinstance(text, str):
        try:
            parsed = parse_literal(text)
        except ValueError:
            # Kept as it came, in a column of its own: nothing is lost, and nothing guessed.
            parsed = {"metadata": text}
    if parsed is not None:
        parsed = parsed if isinstance(parsed, dict) else {"metadata": text}
        metadata = {**parsed, **metadata}
    return EarlierRow(
        _text(row["member_name"]), _text(row["image_id"]), _text(row["original_path"]), metadata
    )


def _img2dataset(row: Mapping[str, Any], metadata: dict[str, Any]) -> EarlierRow:
    failed = None
    if row["status"] != "success":
        failed = (_text(row["status"]) or "Failed", _text(row.get("error_message")).strip())
    key = _text(row["key"])
    return EarlierRow(key, "", _text(row["url"]) if failed else "", metadata, failed=failed)


_MAKERS = {OWN: _own, CURATOR: _curator, IMG2DATASET: _img2dataset}
