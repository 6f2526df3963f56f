"""The Parquet file beside each tar, and the tables under `_meta`.

The same rows give the same bytes: rows are cut into batches and row groups by their number alone,
and nothing of the machine or the time is written. Works on binary file objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat

from beam_export.metadata.arrow_types import is_text
from beam_export.metadata.schema import STRUCTURAL, output_name
from beam_export.metadata.to_arrow import ColumnBuilder, to_values

__all__ = [
    "FAILURES",
    "PARQUET_ERRORS",
    "ROWS_PER_GROUP",
    "SHARDS",
    "ShardRow",
    "ShardTable",
    "check_pages",
    "read_facts",
    "read_images",
    "read_shard_rows",
    "stored_values",
    "whole_table",
    "write_table",
]

#: Of format.md, part 4.2: another number would change the bytes of large shards.
ROWS_PER_GROUP = 65_536
#: Rows that are held as Python values; beyond them, Arrow's arrays take far less memory.
_ROWS_PER_BATCH = 1_000
_PREFIX = "beam_export."

#: What pyarrow raises of bytes in memory that are no Parquet file, or a damaged one: an OSError is
#: about the bytes then, not about a disk.
PARQUET_ERRORS = (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError)

#: `_meta/images-{hash}-shards.parquet`: one row per shard, by number.
SHARDS: pa.Schema = pa.schema(
    [
        ("shard", pa.int32()),
        ("tar_file", pa.string()),
        ("parquet_file", pa.string()),
        ("samples", pa.int64()),
        ("bytes", pa.int64()),
        ("parquet_bytes", pa.int64()),
        ("tar_sha256", pa.string()),
        ("parquet_sha256", pa.string()),
        ("plan", pa.string()),
        ("failed", pa.int64()),
        ("copied", pa.int64()),
        ("encoded", pa.int64()),
    ]
)

#: `_meta/images-{hash}-failures.parquet`: one row per failure (format.md, part 4.3).
FAILURES: pa.Schema = pa.schema(
    [(name, pa.string()) for name in ("image_id", "original_path", "stage", "error", "message")]
)

#: Columns whose values hardly ever repeat: a dictionary would be built and thrown away.
_UNIQUE = frozenset(
    {
        *("image_id", "member_name", "original_path", "offset", "size", "sha256"),
        *("source_sha256", "shard", "parquet_file", "bytes", "parquet_bytes"),
        *("tar_sha256", "parquet_sha256", "plan", "message"),
    }
)


class ShardRow(NamedTuple):
    """One image of a shard, column by column (format.md, part 4.2)."""

    image_id: str
    tar_file: str
    member_name: str
    original_path: str
    offset: int
    size: int
    width: int | None
    height: int | None
    sha256: str
    source_sha256: str | None
    encoding: str
    metadata: Mapping[str, Any]


class ShardTable:
    """Writes the Parquet file of one shard, row by row."""

    def __init__(self, fh: BinaryIO, columns: pa.Schema) -> None:
        """Makes a table of no rows; nothing is written before 65,536 rows or `close`.

        Args:
            fh: a binary file, open for writing; it stays open.
            columns: the metadata columns, as `ColumnTypes.finish` or `check_declared` gives
                them. Metadata that has no column here is left out.
        """
        self._fh = fh
        self._schema = pa.schema([*STRUCTURAL, *columns], metadata=columns.metadata)
        self._builders = [ColumnBuilder(field) for field in self._schema]
        self._names = columns.names
        self._rows: list[ShardRow] = []
        self._room = _ROWS_PER_BATCH
        self._batches: list[pa.RecordBatch] = []
        self._held = 0
        # Made late: a writer that is abandoned writes a footer when it is collected.
        self._writer: pq.ParquetWriter | None = None

    def append(self, row: ShardRow) -> None:
        """Adds a row.

        Raises:
            ValueError: if a value of this or one of the last 1,000 rows does not fit its column.
        """
        self._rows.append(row)
        if len(self._rows) == self._room:
            self._convert()

    def mended(self) -> set[str]:
        """Returns the ids of the samples with text that is no Unicode, of all rows so far.

        Raises:
            ValueError: as `append` does.
        """
        if self._rows:
            self._convert()
        return set().union(*(builder.mended for builder in self._builders))

    def close(self, facts: Mapping[str, str]) -> None:
        """Writes what is held, the file-level key-values `facts`, and the footer.

        Raises:
            ValueError: as `append` does.
        """
        if self._rows:
            self._convert()
        if self._batches:
            self._write_group()
        writer = self._open()
        writer.add_key_value_metadata({key: facts[key] for key in sorted(facts)})
        writer.close()

    def _convert(self) -> None:
        *structural, metadata = zip(*self._rows, strict=True)
        values = [*structural, *(stored_values(metadata, name) for name in self._names)]
        pairs = zip(self._builders, values, strict=True)
        arrays = [builder.build(column, structural[0]) for builder, column in pairs]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._held += len(self._rows)
        self._rows.clear()
        if self._held == ROWS_PER_GROUP:
            self._write_group()
        # 65,536 is no multiple of 1,000: the last batch of a row group is shorter.
        self._room = min(_ROWS_PER_BATCH, ROWS_PER_GROUP - self._held)

    def _write_group(self) -> None:
        table = pa.Table.from_batches(self._batches, self._schema)
        self._batches = []
        self._held = 0
        self._open().write_table(table, row_group_size=ROWS_PER_GROUP)

    def _open(self) -> pq.ParquetWriter:
        if self._writer is None:
            self._writer = _writer(self._fh, self._schema)
        return self._writer


def stored_values(metadata: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    """Returns what each sample's metadata has for the column of that name in the export.

    >>> stored_values([{"width": 3}, {"input_width": 4, "width": 5}, {}], "input_width")
    [3, 5, None]
    """
    input_name = _INPUT_NAMES.get(name)
    if input_name is None:
        return [one.get(name) for one in metadata]
    # `input_width` is `width` renamed, or came under that name from an export of ours.
    return [one[input_name] if input_name in one else one.get(name) for one in metadata]


_INPUT_NAMES = {output_name(name): name for name in STRUCTURAL.names}


def _writer(fh: BinaryIO, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        fh,
        schema,
        compression="zstd",
        compression_level=3,
        use_dictionary=[field.name for field in schema if _repeats(field)],
        write_statistics=True,
        write_page_index=True,
        write_page_checksum=True,
    )


def _repeats(field: pa.Field) -> bool:
    """Returns whether a dictionary may pay: for text and whole numbers that repeat."""
    plain = is_text(field.type) or pat.is_integer(field.type) or pat.is_dictionary(field.type)
    return bool(plain and field.name not in _UNIQUE)


def write_table(fh: BinaryIO, table: pa.Table) -> None:
    """Writes a whole table; the same rows give the same bytes, however the table is chunked."""
    writer = _writer(fh, table.schema)
    writer.write_table(table.combine_chunks(), row_group_size=ROWS_PER_GROUP)
    writer.close()


def read_facts(fh: BinaryIO) -> dict[str, str]:
    """Returns the file-level key-values of a shard's Parquet that are ours."""
    stored = pq.read_metadata(fh).metadata or {}
    texts = {key.decode(): value for key, value in stored.items()}
    return {key: texts[key].decode() for key in sorted(texts) if key.startswith(_PREFIX)}


def whole_table(fh: BinaryIO | pa.BufferReader, columns: Sequence[str] | None = None) -> pa.Table:
    """Returns the rows of a Parquet file, read by this thread alone; pages' checksums are checked.

    Arrow's own threads may still hold memory of Python's when `pyarrow.parquet.read_table` has
    returned. A Python that shuts down then ends them as they let go of it, and itself with an abort
    ("terminate called without an active exception").

    Args:
        fh: the file.
        columns: names of those that are read; all if not given.
    """
    with pq.ParquetFile(fh, page_checksum_verification=True) as file:
        if columns is None:
            return file.read(use_threads=False)
        return file.read(columns=list(columns), use_threads=False).select(list(columns))


def check_pages(fh: BinaryIO) -> None:
    """Reads every page of a Parquet file and checks its checksum.

    Raises:
        OSError: if a checksum is wrong or a page cannot be read; or another of `PARQUET_ERRORS`.
    """
    file = pq.ParquetFile(fh, page_checksum_verification=True)
    for _ in file.iter_batches(_ROWS_PER_BATCH, use_threads=False):
        pass


def read_images(fh: BinaryIO) -> tuple[list[str], list[str]]:
    """Returns member name, and `copied` or `encoded`, of each row of a shard's Parquet."""
    names = ["member_name", "encoding"]
    members, encodings = (column.to_pylist() for column in whole_table(fh, names).columns)
    return members, encodings


def read_shard_rows(fh: BinaryIO) -> Iterator[ShardRow]:
    """Yields the rows of a shard's Parquet, with one batch of them in memory at a time.

    `metadata` has every metadata column, None where it is null.

    Raises:
        ValueError: if the file is not a shard's.
    """
    file = pq.ParquetFile(fh)
    names = file.schema_arrow.names
    missing = [name for name in STRUCTURAL.names if name not in names]
    if missing:
        raise ValueError(
            f"the Parquet file has no column {missing[0]!r}, so it does not describe a shard of "
            "an export; give one that does"
        )
    own = [name for name in names if name not in STRUCTURAL.names]
    for batch in file.iter_batches(_ROWS_PER_BATCH, use_threads=False):
        metadata = [to_values(batch.column(name)) for name in own]
        dicts = (
            [dict(zip(own, values, strict=True)) for values in zip(*metadata, strict=True)]
            if own
            else [{} for _ in range(batch.num_rows)]
        )
        structural = [batch.column(name).to_pylist() for name in STRUCTURAL.names]
        yield from map(ShardRow, *structural, dicts)
