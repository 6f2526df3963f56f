"""Tables as bytes, and the rows that are read from them."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_export.sources.tables.rows import TableTypes, read_rows, read_types

#: An image as Hugging Face stores it.
HF = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def parquet(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def types_of(*files: tuple[bytes, str]) -> TableTypes:
    types = TableTypes()
    for data, name in files:
        types.merge(read_types(io.BytesIO(data), name))
    return types


def rows(data: bytes, name: str, types: TableTypes | None = None, **options: Any) -> list[Any]:
    types = types or types_of((data, name))
    return [row for batch in read_rows(io.BytesIO(data), name, types, **options) for row in batch]


def values(data: bytes, name: str, types: TableTypes | None = None) -> list[dict[str, Any]]:
    return [row[1] for row in rows(data, name, types)]
