"""CutShards: cuts ranked keys into the segments of shards, bucket by bucket."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsDict, AsIter, AsSingleton, PCollection

from beam_export.pipeline.beam_utils import CallOnce
from beam_export.planning.cut_by_size import (
    Bounds,
    BucketStart,
    Summary,
    compose,
    cut_bucket,
    summarise,
)
from beam_export.planning.order import bucket_offsets
from beam_export.planning.plan import Segment, segments, unpack_bucket
from beam_export.planning.splits import parts_by_split, split_starts
from beam_export.tar_blocks import END_SIZE

__all__ = ["CutShards", "RankedKeys"]

#: A bucket and what fell into it, packed.
RankedKeys = tuple[int, Iterable[bytes]]


@dataclasses.dataclass
class CutShards(beam.PTransform):
    """Cuts buckets into segments; each bucket where it is.

    Attributes:
        counts: (bucket, number of its samples), one per bucket.
        images_per_tar: samples a shard.
        limit: samples in all.
        max_tar_bytes: bytes of a shard's tar.
        by_split: whether each split has shards of its own; the last item of each sample is the
            number of its split then.
    """

    counts: PCollection[tuple[int, int]]
    images_per_tar: int
    limit: int | None
    max_tar_bytes: int | None
    by_split: bool = False

    def expand(self, ranked: PCollection[RankedKeys]) -> PCollection[Segment]:
        counts = AsDict(self.counts)
        if self.max_tar_bytes is not None:
            return self._by_size(ranked, counts, self.max_tar_bytes)
        if not self.by_split:
            return ranked | "CutSegments" >> beam.FlatMap(
                _cut_by_count, counts=counts, per_shard=self.images_per_tar, limit=self.limit
            )
        # (bucket, {split: samples of it})
        held = ranked | "CountSplits" >> beam.Map(_count_splits, counts=counts, limit=self.limit)
        # one {bucket: {split: rank within it}}
        starts = ranked.pipeline | "SplitStarts" >> CallOnce(
            dict[int, dict[int, int]], split_starts, AsIter(held)
        )
        # Segment
        return ranked | "CutSplits" >> beam.FlatMap(
            _cut_splits,
            counts=counts,
            starts=AsSingleton(starts),
            per_shard=self.images_per_tar,
            limit=self.limit,
        )

    def _by_size(
        self, ranked: PCollection[RankedKeys], counts: AsDict, most: int
    ) -> PCollection[Segment]:
        given = {
            "counts": counts,
            "bounds": Bounds(self.images_per_tar, most - END_SIZE),
            "limit": self.limit,
            "by_split": self.by_split,
        }
        # (split, Summary), one per bucket and split
        summaries = ranked | "Summarise" >> beam.FlatMap(_summarise, **given)
        # one {split: {bucket: BucketStart}}
        entries = ranked.pipeline | "Compose" >> CallOnce(
            dict[int, dict[int, BucketStart]],
            _compose,
            AsIter(summaries),
            bounds=given["bounds"],
        )
        # Segment
        return ranked | "CutBySize" >> beam.FlatMap(
            _cut_by_size, entries=AsSingleton(entries), **given
        )


def _cut_by_count(
    group: RankedKeys, counts: dict[int, int], per_shard: int, limit: int | None
) -> list[Segment]:
    bucket, packed = group
    offset = bucket_offsets(counts)[bucket]
    return segments(unpack_bucket(packed), offset=offset, per_shard=per_shard, limit=limit)


def _within(group: RankedKeys, counts: dict[int, int], limit: int | None) -> list[Any]:
    """Returns a bucket's samples in order, those beyond the limit left out."""
    bucket, packed = group
    ordered = sorted(unpack_bucket(packed))
    if limit is None:
        return ordered
    return ordered[: max(0, limit - bucket_offsets(counts)[bucket])]


def _parts(
    group: RankedKeys, counts: dict[int, int], limit: int | None, *, by_split: bool
) -> list[tuple[int, list[Any]]]:
    """Returns (split, its samples in order) of a bucket; without splits, all are of number 0."""
    ordered = _within(group, counts, limit)
    if by_split:
        return list(parts_by_split(ordered))
    return [(0, ordered)] if ordered else []


def _count_splits(
    group: RankedKeys, counts: dict[int, int], limit: int | None
) -> tuple[int, dict[int, int]]:
    parts = _parts(group, counts, limit, by_split=True)
    return group[0], {split: len(samples) for split, samples in parts}


def _cut_splits(
    group: RankedKeys,
    *,
    counts: dict[int, int],
    starts: dict[int, dict[int, int]],
    per_shard: int,
    limit: int | None,
) -> Iterator[Segment]:
    for split, samples in _parts(group, counts, limit, by_split=True):
        offset = starts[group[0]][split]
        for part in segments(samples, offset=offset, per_shard=per_shard, limit=None):
            yield part._replace(split=split)


def _summarise(
    group: RankedKeys,
    *,
    counts: dict[int, int],
    bounds: Bounds,
    limit: int | None,
    by_split: bool,
) -> Iterator[tuple[int, Summary]]:
    for split, samples in _parts(group, counts, limit, by_split=by_split):
        yield split, summarise(group[0], [size for _, _, size in samples], bounds)


def _compose(
    summaries: Iterable[tuple[int, Summary]], bounds: Bounds
) -> dict[int, dict[int, BucketStart]]:
    by_split: dict[int, list[Summary]] = collections.defaultdict(list)
    for split, summary in summaries:
        by_split[split].append(summary)
    return {split: compose(found, bounds) for split, found in by_split.items()}


def _cut_by_size(
    group: RankedKeys,
    *,
    counts: dict[int, int],
    entries: dict[int, dict[int, BucketStart]],
    bounds: Bounds,
    limit: int | None,
    by_split: bool,
) -> Iterator[Segment]:
    for split, samples in _parts(group, counts, limit, by_split=by_split):
        for part in cut_bucket(samples, entries[split][group[0]], bounds):
            yield part._replace(split=split)
