"""Deals samples, and rows of tables, into the buckets in which they meet to be joined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsIter, AsSingleton, PCollection

from beam_export.pipeline.beam_utils import CallOnce, GroupInBundle
from beam_export.planning.blocks import REFS_PER_BLOCK, PackedRef, open_block, pack_block
from beam_export.planning.join_keys import bucket_count

__all__ = ["blocks_of", "count_buckets", "count_refs", "deal", "pack_refs", "refs_in"]


def count_refs(block: bytes) -> int:
    """Returns the number of samples in a block."""
    return len(open_block(block).ids)


def count_buckets(counts: Iterable[PCollection[int]]) -> beam.PTransform:
    """Returns the step that gives the number of buckets.

    Args:
        counts: of samples, and of the rows of each table, by block.
    """
    return CallOnce(int, _bucket_count, *map(AsIter, counts))


def _bucket_count(*counts: Iterable[int]) -> int:
    return bucket_count(map(sum, counts))


def deal(assign: Any, pack: Any, *sides: AsSingleton) -> beam.PTransform:
    """Returns the step that gives (bucket, packed values); its arguments are GroupInBundle's."""
    dealt = beam.ParDo(GroupInBundle(assign, pack), *sides)
    return dealt.with_output_types(tuple[int, bytes])


def pack_refs(refs: list[PackedRef]) -> Iterator[bytes]:
    """Yields the samples that one bundle has for a bucket, packed."""
    yield pack_block(refs)


def refs_in(blocks: Iterable[bytes]) -> list[PackedRef]:
    """Returns the samples of a bucket."""
    return [ref for block in blocks for ref in open_block(block).refs()]


def blocks_of(refs: list[PackedRef]) -> Iterator[bytes]:
    """Yields packed blocks of samples that were joined, none of them too large."""
    for start in range(0, len(refs), REFS_PER_BLOCK):
        yield pack_block(refs[start : start + REFS_PER_BLOCK])
