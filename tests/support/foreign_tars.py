"""Tars as other tools write them, and the Parquet of an export beside a tar."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_export.metadata.schema import STRUCTURAL

FORMATS = {
    "ustar": tarfile.USTAR_FORMAT,
    "gnu": tarfile.GNU_FORMAT,
    "pax": tarfile.PAX_FORMAT,
}
#: The zero blocks that an archive ends with.
END = bytes(1024)
#: Samples of an image, a class and a text, some longer than a block.
TRIPLES = [
    (f"{key}.{ext}", f"{key} {ext}".encode() * length)
    for key, length in (("a", 1), ("b/c", 100), ("d", 700))
    for ext in ("jpg", "cls", "txt")
]


def make_tar(members: Iterable[tuple[str, bytes]]) -> bytes:
    return _write(members)[0]


def unended_tar(
    members: Iterable[tuple[str, bytes]], fmt: str = "ustar", mtime: float = 0
) -> bytes:
    """Returns a tar without its end blocks."""
    data, end = _write(members, fmt, mtime)
    return data[:end]


def _write(
    members: Iterable[tuple[str, bytes]], fmt: str = "ustar", mtime: float = 0
) -> tuple[bytes, int]:
    """Returns a tar, and where its end blocks begin."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=FORMATS[fmt]) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), mtime
            tar.addfile(info, io.BytesIO(data))
        end = tar.offset
    return file.getvalue(), end


def table(rows: Sequence[dict[str, Any]], schema: pa.Schema | None = None, **facts: str) -> bytes:
    file = io.BytesIO()
    made = pa.Table.from_pylist(list(rows), schema)
    pq.write_table(made.replace_schema_metadata(facts), file)
    return file.getvalue()


def own_table(tar: bytes, metadata: dict[str, dict[str, Any]], schema: pa.Schema) -> bytes:
    """Returns what an export of ours writes beside a tar: a row an image."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        rows = [
            {
                **dict.fromkeys(STRUCTURAL.names),
                "image_id": f"id of {info.name}",
                "member_name": info.name,
                "original_path": f"from/{info.name}",
                "offset": info.offset_data,
                "size": info.size,
                "source_sha256": "ab" * 32,
                **metadata.get(info.name, {}),
            }
            for info in opened
            if info.name.endswith(".jpg")
        ]
    whole = pa.schema([*STRUCTURAL, *schema])
    return table(rows, whole, **{"beam_export.tar_bytes": str(len(tar))})
