"""Rows of a shard's Parquet, and the samples that they and the bytes of the tar make together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from beam_export.exports.members import SamplePlace, members_in
from beam_export.metadata.schema import STRUCTURAL
from beam_export.metadata.to_arrow import to_values
from beam_export.samples import Sample
from beam_export.tar_blocks import BLOCK

__all__ = ["Rows", "sample_ends"]

_PLACED = ("member_name", "offset", "size", "sha256")
_STRUCTURAL = frozenset(STRUCTURAL.names)


class Rows(NamedTuple):
    """A row group of a shard.

    Attributes:
        shard: its number.
        first: number of the first row's sample.
        table: all columns.
        ends: offset in the tar behind each sample.
    """

    shard: int
    first: int
    table: pa.Table
    ends: np.ndarray

    @property
    def behind(self) -> int:
        """Number of the sample behind the last row's."""
        return self.first + len(self.ends)

    def places(self, first: int, count: int) -> list[SamplePlace]:
        """Returns where samples lie in the tar, from the row `first` of these on."""
        columns = [self.table[name].slice(first, count).to_pylist() for name in _PLACED]
        ends = self.ends[first : first + count].tolist()
        return [
            SamplePlace(member=member, offset=offset, size=size, end=end, sha256=sha256)
            for member, offset, size, sha256, end in zip(*columns, ends, strict=True)
        ]

    def values(self, row: int) -> dict[str, Any]:
        """Returns the values of all columns in one row of these."""
        cells = self.table.slice(row, 1)
        return {name: to_values(_whole(cells[name]))[0] for name in cells.column_names}

    def samples(self, first: int, count: int, data: bytes) -> Iterator[Sample]:
        """Yields the samples of some rows.

        Args:
            first: number of a row of these.
            count: how many.
            data: what the tar holds from the first of these samples to the end of the last.

        Raises:
            DamagedSampleError: if the tar does not hold what the rows say.
        """
        places = self.places(first, count)
        rows = self.table.slice(first, count)
        ids, paths = (rows[name].to_pylist() for name in ("image_id", "original_path"))
        view, base = memoryview(data), places[0].start
        for place, metadata, id, path in zip(places, _metadata(rows), ids, paths, strict=True):
            fields = members_in(view[place.start - base : place.end - base], place)
            image = fields.pop(next(iter(fields)))
            yield Sample(id=id, image=image, path=path or "", metadata=metadata, fields=fields)


def _metadata(rows: pa.Table) -> list[dict[str, Any]]:
    """Returns the values of each row's metadata columns, None where it is null."""
    names = [name for name in rows.column_names if name not in _STRUCTURAL]
    if not names:
        return [{} for _ in range(len(rows))]
    columns = [to_values(_whole(rows[name])) for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def sample_ends(offsets: np.ndarray, sizes: np.ndarray, end: int) -> np.ndarray:
    """Returns the offset behind each sample: where the header of the next one begins.

    >>> sample_ends(np.array([512, 2048]), np.array([700, 9]), 3072).tolist()
    [1536, 3072]

    Args:
        offsets: of the images' bytes, in the order of the tar.
        sizes: of the images.
        end: offset behind the last sample.

    Raises:
        ValueError: if the images do not follow one another.
    """
    ends = np.append(offsets[1:] - BLOCK, end)
    if (ends < offsets + sizes).any() or (len(offsets) and offsets[0] < BLOCK):
        raise ValueError("its offsets and sizes do not follow one another")
    return ends
