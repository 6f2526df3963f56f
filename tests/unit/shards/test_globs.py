"""Globs of shards: all of a split's, none of others', none twice, and as few as can be."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_export.naming import ShardNames
from beam_export.shards.globs import number_globs, tar_globs

#: What the globs may be made of.
GLOB = re.compile(r"(?:[0-9]|\[[0-9]-[0-9]\])+")


def matched(patterns: list[str], total: int) -> list[int]:
    """Returns the numbers below `total` that patterns match, in the order of a reader."""
    names = [f"{number:06d}" for number in range(total)]
    return [int(name) for one in patterns for name in fnmatch.filter(names, one)]


@st.composite
def cuts(draw: st.DrawFn, most: int) -> tuple[range, int]:
    """Draws the shards of a split, and how many there are in all."""
    total = draw(st.integers(1, most) | st.sampled_from([10, 100, 1000]))
    first = draw(st.integers(0, total - 1))
    stop = draw(st.integers(first + 1, total) | st.just(total))
    return range(first, stop), total


@given(cuts(1300))
@example((range(9, 11), 20))
@example((range(99, 101), 1001))
@example((range(5, 25), 30))
def test_all_shards_of_a_split_are_matched_in_order_and_no_others(cut: tuple[range, int]) -> None:
    shards, total = cut
    patterns = number_globs(shards, total)
    assert matched(patterns, total) == list(shards)
    assert all(GLOB.fullmatch(one) for one in patterns)


def fewest(start: int, stop: int, width: int) -> int:
    """Returns how few runs cover numbers, by trying all."""
    best = {start: 0}
    for at in range(start, stop):
        if at not in best:
            continue
        for free in range(width):
            block = 10**free
            if at % block:
                break
            for count in range(1, 11 - at // block % 10):
                end = at + count * block
                best[end] = min(best.get(end, stop), best[at] + 1)
    return best[stop]


@given(st.integers(0, 999), st.integers(1, 1000))
@example(0, 1000)
@example(1, 999)
@example(195, 806)
def test_they_are_as_few_as_can_be(start: int, stop: int) -> None:
    if start >= stop:
        start, stop = stop - 1, start + 1
    # One more shard behind: the last number is not free.
    assert len(number_globs(range(start, stop), 1001)) == fewest(start, stop, 6)


@pytest.mark.parametrize(
    ("shards", "total", "patterns"),
    [
        (range(1), 1, ["000000"]),
        (range(58), 58, ["0000[0-5][0-9]"]),
        (range(98), 98, ["0000[0-9][0-9]"]),
        (range(42, 58), 58, ["00004[2-9]", "00005[0-7]"]),
        # As few as with all numbers to the next hundred, and no more of them than are needed.
        (range(42, 123), 123, ["00004[2-9]", "0000[5-9][0-9]", "0001[0-2][0-9]"]),
        (
            range(1234),
            5000,
            ["000[0-9][0-9][0-9]", "001[0-1][0-9][0-9]", "0012[0-2][0-9]", "00123[0-3]"],
        ),
        (range(999_999, 1_000_002), 1_000_005, ["999999", "100000[0-1]"]),
        (range(1_000_000), 1_000_001, ["[0-9][0-9][0-9][0-9][0-9][0-9]"]),
    ],
)
def test_some_of_them(shards: range, total: int, patterns: list[str]) -> None:
    assert number_globs(shards, total) == patterns


def test_a_million_shards_take_few_globs() -> None:
    assert max(len(number_globs(range(111_111, stop), 10**6)) for stop in (888_889, 999_998)) <= 11


def test_they_are_names_of_tars() -> None:
    names = ShardNames("0123456789ab")
    (pattern,) = tar_globs(names, range(3, 8), 9)
    assert fnmatch.filter(map(names.tar, range(9)), pattern) == [
        names.tar(at) for at in range(3, 8)
    ]
    assert not fnmatch.filter(map(names.parquet, range(9)), pattern)
