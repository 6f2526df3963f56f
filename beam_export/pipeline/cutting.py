"""From buckets of keys to the segments of shards: by a number of samples, or by a size too."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, PCollection

from beam_export.planning import cut_by_size as packing
from beam_export.planning import plan as sharding
from beam_export.shards.tar import END_SIZE

__all__ = ["CutShards", "unpack"]

#: A bucket and what fell into it, packed.
_Group = tuple[int, Iterable[bytes]]


@dataclasses.dataclass
class CutShards(beam.PTransform):
    """Cuts buckets into segments; each bucket where it is.

    Attributes:
        counts: samples of each bucket, of one element.
        images_per_tar: samples a shard.
        limit: samples in all.
        max_tar_bytes: bytes of a shard's tar.
    """

    counts: PCollection[dict[int, int]]
    images_per_tar: int
    limit: int | None
    max_tar_bytes: int | None

    def expand(self, ranked: PCollection[_Group]) -> PCollection[sharding.Segment]:
        counts = AsSingleton(self.counts)
        if self.max_tar_bytes is None:
            return ranked | "CutSegments" >> beam.FlatMap(
                _cut_by_count, counts, self.images_per_tar, self.limit
            )
        most, room = self.images_per_tar, self.max_tar_bytes - END_SIZE
        entries = (
            ranked
            | "Summarise" >> beam.FlatMap(_summarise, counts, most, room, self.limit)
            | "Summaries" >> beam.combiners.ToList()
            | "Compose" >> beam.Map(packing.compose, most, room)
        )
        return ranked | "CutBySize" >> beam.FlatMap(
            _cut_by_size, counts, AsSingleton(entries), most, room, self.limit
        )


def unpack(packed: Iterable[bytes]) -> Iterator[Any]:
    """Yields what fell into a bucket: (order key, digest), and bytes if they are asked for."""
    for items in packed:
        yield from pickle.loads(items)


def _cut_by_count(
    group: _Group, counts: dict[int, int], per_shard: int, limit: int | None
) -> list[sharding.Segment]:
    bucket, packed = group
    offset = sharding.bucket_offsets(counts)[bucket]
    return sharding.segments(unpack(packed), offset, per_shard, limit)


def _within(group: _Group, counts: dict[int, int], limit: int | None) -> list[packing.Weighed]:
    """Returns a bucket's samples in order, those beyond the limit left out."""
    bucket, packed = group
    ordered = sorted(unpack(packed))
    if limit is None:
        return ordered
    return ordered[: max(0, limit - sharding.bucket_offsets(counts)[bucket])]


def _summarise(
    group: _Group, counts: dict[int, int], most: int, room: int, limit: int | None
) -> Iterator[packing.Summary]:
    ordered = _within(group, counts, limit)
    if ordered:
        yield packing.summarise(group[0], [size for _, _, size in ordered], most, room)


def _cut_by_size(
    group: _Group,
    counts: dict[int, int],
    entries: dict[int, packing.Entry],
    most: int,
    room: int,
    limit: int | None,
) -> list[sharding.Segment]:
    ordered = _within(group, counts, limit)
    return packing.cut(ordered, entries[group[0]], most, room) if ordered else []
