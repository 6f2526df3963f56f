"""Reads the Parquet beside a tar of an earlier export: ours, NeMo Curator's or img2dataset's.

The exporter is recognised by the columns of its Parquet file. Ours has all of `STRUCTURAL`.
Curator's (`ImageWriterStage`, 1.4.0) has five, with all metadata as the `repr` of a dict.
img2dataset's (1.47) has `key` and `status`, and also rows for what it could not download.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from beam_export.metadata.schema import STRUCTURAL
from beam_export.samples import Earlier
from beam_export.sources.tables.formats import TableError
from beam_export.sources.tables.parquet import ParquetTable, rows_of
from beam_export.sources.tar.literals import parse_literal
from beam_export.tar_blocks import BLOCK

__all__ = [
    "CURATOR",
    "IMG2DATASET",
    "OWN",
    "EarlierRow",
    "ExportTable",
    "kind_of_table",
    "own_columns",
    "read_export_table",
]

OWN, CURATOR, IMG2DATASET = "beam_export", "NeMo Curator", "img2dataset"

_CURATOR = frozenset({"image_id", "tar_file", "member_name", "original_path", "metadata"})
_IMG2DATASET = frozenset({"key", "status", "url"})
#: Rows of a shard of img2dataset's that may have failed, and bytes of a Parquet's values.
_MOST_LOST = 1_000_000
_MOST_BYTES = 1 << 30


class EarlierRow(NamedTuple):
    """The row of one image in the Parquet of an earlier export.

    Attributes:
        member: name of the image's member; for img2dataset, the key.
        id, path: what to call it and where it came from; empty if the row does not say.
        metadata: column name to value.
        offset, size: of the image in the tar; -1 if the row does not say.
        failed: what went wrong and how, if the row says that the image is not there.
        earlier: facts of the image that the new export keeps.
    """

    member: str
    id: str
    path: str
    metadata: dict[str, Any]
    offset: int = -1
    size: int = -1
    failed: tuple[str, str] | None = None
    earlier: Earlier | None = None


class ExportTable(NamedTuple):
    """The content of a Parquet file that describes a tar.

    Attributes:
        kind: `OWN`, `CURATOR` or `IMG2DATASET`.
        columns: types of the metadata columns that have any.
        rows: in their order.
        tar_bytes: size of the tar that it describes, if it says so; else -1.
        json_member: extension of the members that were made of the columns; empty if none were.
    """

    kind: str
    columns: pa.Schema
    rows: list[EarlierRow]
    tar_bytes: int
    json_member: str = ""


def kind_of_table(schema: pa.Schema) -> str:
    """Returns which exporter writes a Parquet of that schema, or `""` if none does."""
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
    kept = [field for field in schema if field.name not in known]
    return pa.schema(kept, schema.metadata)


def read_export_table(data: bytes, tar_bytes: int = 1 << 40) -> ExportTable | None:
    """Returns the content of the Parquet beside a tar; None if it is not of an export.

    Args:
        data: of the Parquet.
        tar_bytes: of the tar, which can hold only so many members.

    Raises:
        ValueError: if it cannot be read, or says more than it can of such a tar.
    """
    try:
        table = ParquetTable(io.BytesIO(data))
        kind = kind_of_table(table.schema)
        if not kind:
            return None
        columns = _metadata_of(table.schema, kind)
        count = sum(group.rows for group in table.groups)
        # img2dataset's has rows of images that are not in the tar.
        if count > tar_bytes // BLOCK + _MOST_LOST:
            raise ValueError(f"the Parquet beside the tar has {count} rows, more than the tar can")
        rows = [
            _MAKERS[kind](row, {name: row[name] for name in columns.names}) for row in _rows(table)
        ]
    except (TableError, OSError) as error:
        # Arrow reads from memory here: an OSError is damage, not a disk.
        raise ValueError("the Parquet beside the tar is damaged") from error
    stated = table.facts.get(b"beam_export.tar_bytes", b"")
    return ExportTable(
        kind=kind,
        columns=columns,
        rows=rows,
        tar_bytes=int(stated) if stated.isdigit() else -1,
        json_member=table.facts.get(b"beam_export.json_member", b"").decode("utf-8", "replace"),
    )


def _rows(table: ParquetTable) -> Iterator[dict[str, Any]]:
    held = 0
    for group in range(len(table.groups)):
        for _, batch in table.batches(group):
            # A dictionary may have a megabyte in each of a million rows.
            held += batch.nbytes
            if held > _MOST_BYTES:
                raise ValueError(f"the Parquet beside the tar holds more than {_MOST_BYTES} bytes")
            yield from rows_of(batch)


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
        member=_text(row["member_name"]),
        id=_text(row["image_id"]),
        path=_text(row["original_path"]),
        metadata=metadata,
    )


def _img2dataset(row: Mapping[str, Any], metadata: dict[str, Any]) -> EarlierRow:
    failed = None
    if row["status"] != "success":
        failed = (_text(row["status"]) or "Failed", _text(row.get("error_message")).strip())
    key = _text(row["key"])
    return EarlierRow(
        member=key,
        id="",
        # An image that is there has a place in the tar; one that is not has its URL alone.
        path=_text(row["url"]) if failed else "",
        metadata=metadata,
        failed=failed,
    )


_MAKERS = {OWN: _own, CURATOR: _curator, IMG2DATASET: _img2dataset}
