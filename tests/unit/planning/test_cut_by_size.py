"""Shards by size: a bucket at a time gives what one greedy pass gives."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.planning.cut_by_size import Bounds, Weighed, compose, cut_bucket, summarise
from beam_export.planning.plan import make_plan


def greedy(sizes: list[int], most: int, room: int) -> list[int]:
    """Returns the samples of each shard, by one pass over all."""
    counts: list[int] = []
    weight = 0
    for size in sizes:
        if counts and counts[-1] < most and weight + size <= room:
            counts[-1] += 1
            weight += size
        else:
            counts.append(1)
            weight = size
    return counts


def by_buckets(sizes: list[int], cuts: list[int], most: int, room: int) -> list[int]:
    """Returns the samples of each shard, worked out in buckets that begin at `cuts`."""
    samples: list[Weighed] = [
        (place.to_bytes(4, "big"), bytes([place % 256]) * 32, size)
        for place, size in enumerate(sizes)
    ]
    edges = sorted({0, len(sizes), *cuts})
    buckets = {
        number: samples[start:stop]
        for number, (start, stop) in enumerate(itertools.pairwise(edges))
    }
    bounds = Bounds(most, room)
    summaries = [
        summarise(number, [size for _, _, size in part], bounds) for number, part in buckets.items()
    ]
    random.Random(len(sizes)).shuffle(summaries)
    entries = compose(summaries, bounds)
    parts = [
        segment
        for number, part in buckets.items()
        for segment in cut_bucket(part[::-1], entries[number], bounds)
    ]
    plan = make_plan(parts, b"", None)
    assert plan.total == len(sizes)
    assert sorted({part.shard for part in parts}) == list(range(len(plan.firsts)))
    # A plan that finds each sample's shard by its key agrees with how many each holds.
    found = [plan.shard_of(key) for key, _, _ in samples]
    counts = [found.count(shard) for shard in range(len(plan.firsts))]
    assert counts == [plan.count(shard) for shard in range(len(plan.firsts))]
    return counts


@given(
    st.lists(st.integers(1, 30) | st.just(200), min_size=1, max_size=60),
    st.lists(st.integers(0, 60), max_size=12),
    st.integers(1, 12),
    st.integers(0, 90),
)
def test_any_buckets_give_what_one_greedy_pass_gives(
    sizes: list[int], cuts: list[int], most: int, room: int
) -> None:
    inside = [place for place in cuts if place < len(sizes)]
    assert by_buckets(sizes, inside, most, room) == greedy(sizes, most, room)


@pytest.mark.parametrize("most", [1, 2, 5, 7, 100])
@pytest.mark.parametrize("room", [1, 6, 1000])
def test_either_bound_holds_across_buckets(most: int, room: int) -> None:
    sizes = [1] * 40
    for width in (1, 3, 8, 40):
        assert by_buckets(sizes, list(range(0, 40, width)), most, room) == greedy(sizes, most, room)


def test_no_shard_is_larger_unless_one_sample_alone_is() -> None:
    dice = random.Random(1)
    sizes = [dice.choice([1, 5, 20, 300]) for _ in range(3000)]
    counts = by_buckets(sizes, list(range(0, 3000, 97)), 50, 100)
    start = 0
    for count in counts:
        assert sum(sizes[start : start + count]) <= 100 or count == 1
        start += count
