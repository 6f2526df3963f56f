"""The table of the shards' indexes, `_meta/images-{hash}-indexes.parquet`: a row per shard.

It lists the shards' files for loaders, and keeps what those of the whole dataset are made of, so
that a later run need not read the tars again.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from beam_export.index_kinds import KINDS
from beam_export.naming import ShardNames
from beam_export.shards.indexes.shard import IndexFile, ShardIndexes
from beam_export.shards.parquet import whole_table, write_table

__all__ = ["INDEXES", "IndexedShard", "indexes_table", "kinds_of", "read_indexes", "shard_row"]

#: Key of the schema's metadata: the kinds of indexes that the dataset has, with commas between.
_KINDS = b"index_kinds"

INDEXES: pa.Schema = pa.schema(
    [
        ("shard", pa.int32()),
        ("tar_file", pa.string()),
        ("tar_sha256", pa.string()),
        ("tar_md5", pa.string()),
        ("image_exts", pa.string()),
        ("field_exts", pa.string()),
        ("dali_file", pa.string()),
        ("dali_bytes", pa.int64()),
        ("dali_sha256", pa.string()),
        ("energon_file", pa.string()),
        ("energon_bytes", pa.int64()),
        ("energon_sha256", pa.string()),
    ]
)


class IndexedShard(NamedTuple):
    """A shard, and what is known of it for indexes.

    Attributes:
        number: of the shard.
        samples: in it.
        bytes: of its tar.
        tar_sha256: hex.
        indexes: what is known.
    """

    number: int
    samples: int
    bytes: int
    tar_sha256: str
    indexes: ShardIndexes


def indexes_table(shards: Iterable[IndexedShard], names: ShardNames) -> bytes:
    """Returns the table of the shards' indexes, as a file; shards come by number."""
    rows = [_row(shard, names) for shard in shards]
    kinds = sorted({kind for shard in shards for kind in shard.indexes.kinds})
    schema = INDEXES.with_metadata({_KINDS: ",".join(kinds)})
    buffer = io.BytesIO()
    write_table(buffer, pa.Table.from_pylist(rows, schema=schema))
    return buffer.getvalue()


def _row(shard: IndexedShard, names: ShardNames) -> dict[str, Any]:
    known = shard.indexes
    row = {
        "shard": shard.number,
        "tar_file": names.tar(shard.number),
        "tar_sha256": shard.tar_sha256,
        "tar_md5": known.tar_md5,
        "image_exts": ",".join(known.images),
        "field_exts": ",".join(known.fields),
    }
    for loader, file, name in (
        ("dali", known.dali, names.dali_index(shard.number)),
        ("energon", known.energon, names.energon_index(shard.number)),
    ):
        if file is not None:
            row[f"{loader}_file"] = name
            row.update({f"{loader}_bytes": file.bytes, f"{loader}_sha256": file.sha256})
    return row


def kinds_of(schema: pa.Schema) -> tuple[str, ...]:
    """Returns the kinds of indexes that a dataset has, by the schema of the table."""
    stored = (schema.metadata or {}).get(_KINDS, b"").decode("utf-8", "replace").split(",")
    return tuple(kind for kind in KINDS if kind in stored)


def read_indexes(data: bytes) -> tuple[tuple[str, ...], dict[int, tuple[str, ShardIndexes]]]:
    """Returns the kinds, and (SHA-256 of the tar, what is known) of each shard, of a table.

    Raises:
        ValueError: if it is not such a table; others of `PARQUET_ERRORS` too.
    """
    table = whole_table(pa.BufferReader(data))
    if table.schema.names != INDEXES.names:
        raise ValueError("it is not a table of indexes")
    kinds = kinds_of(table.schema)
    return kinds, {row["shard"]: shard_row(row, kinds) for row in table.to_pylist()}


def shard_row(row: Mapping[str, Any], kinds: tuple[str, ...]) -> tuple[str, ShardIndexes]:
    """Returns the SHA-256 of a shard's tar, and what is known of it, of a row of the table."""
    return row["tar_sha256"], ShardIndexes(
        kinds=kinds,
        images=_exts(row["image_exts"]),
        fields=_exts(row["field_exts"]),
        dali=_file(row, "dali"),
        energon=_file(row, "energon"),
        tar_md5=row["tar_md5"],
    )


def _exts(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _file(row: Mapping[str, Any], loader: str) -> IndexFile | None:
    if row[f"{loader}_file"] is None:
        return None
    return IndexFile(row[f"{loader}_bytes"], row[f"{loader}_sha256"])
