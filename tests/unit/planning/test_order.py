from __future__ import annotations

import bisect
import collections
import hashlib
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_export.planning import order
from beam_export.planning.order import (
    KeySample,
    id_key,
    shuffle_key,
    source_key,
    splitters,
)

Pair = tuple[bytes, bytes]


keys = st.lists(st.binary(max_size=4), unique=True, min_size=1, max_size=60)


names = st.text(st.characters(exclude_categories=[]) | st.sampled_from("\0\1\2a"), max_size=5)


digested = st.lists(st.tuples(st.binary(max_size=3), st.binary(max_size=3)), max_size=60)


def merged(parts: list[list[Pair]]) -> KeySample:
    result = KeySample()
    for part in parts:
        sample = KeySample()
        for at in range(0, len(part), 3):
            sample.add(part[at : at + 3], len(part[at : at + 3]))
        result.merge(sample)
    return result


@given(digested, st.randoms(), st.integers(1, 10))
def test_a_sample_does_not_depend_on_who_met_whom(
    pairs: list[Pair], dice: random.Random, step: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "_SAMPLE_KEYS", 5)
        expected = sorted(key for _, key in sorted(pairs)[:5])
        for _ in range(3):
            dice.shuffle(pairs)
            sample = merged([pairs[at : at + step] for at in range(0, len(pairs), step)])
            assert len(sample.kept) <= 2 * 5 + 3
            assert sample.keys() == expected
            assert sample.count == len(pairs)


def test_merging_leaves_the_other_sample_alone() -> None:
    one, other = KeySample(), KeySample()
    one.add([(b"d", b"k")], 1)
    other.add([(b"e", b"l")], 1)
    one.merge(other)
    assert (other.count, other.kept) == (1, [(b"e", b"l")])
    assert (one.count, one.keys()) == (2, [b"k", b"l"])


@pytest.mark.parametrize(
    ("count", "buckets"), [(0, 1), (1, 1), (50_000, 1), (50_001, 2), (10**12, 4096)]
)
def test_number_of_buckets(count: int, buckets: int) -> None:
    assert KeySample(count=count).buckets() == buckets


@given(keys, st.integers(1, 80))
def test_splitters_are_keys_that_spread_the_sample(given_keys: list[bytes], buckets: int) -> None:
    ordered = sorted(given_keys)
    found = splitters(ordered, buckets)
    assert found == sorted(set(found))
    assert set(found) <= set(ordered)
    assert len(found) <= buckets - 1
    sizes = collections.Counter(bisect.bisect_right(found, key) for key in ordered)
    assert max(sizes.values()) <= -(-len(ordered) // buckets)


def test_splitters_of_nothing() -> None:
    assert splitters([], 5) == []


numbers = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))


@given(numbers, numbers)
def test_source_keys_sort_as_their_numbers(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert (source_key(*one) < source_key(*other)) == (one < other)
    assert len(source_key(*one)) == 12


@given(names, names, st.binary(max_size=4), st.binary(max_size=4))
@example("a", "a\0b", b"\xff", b"")
@example("a", "a\0", b"\1", b"")
@example("a\0", "a\1", b"", b"")
def test_ids_sort_as_their_bytes_whatever_follows_their_keys(
    one: str, other: str, behind: bytes, behind_other: bytes
) -> None:
    first, second = (name.encode("utf-8", "surrogatepass") for name in (one, other))
    if first != second:
        before = id_key(one) + behind < id_key(other) + behind_other
        assert before == (first < second)


@given(names, names)
def test_no_key_is_the_start_of_another(one: str, other: str) -> None:
    assert id_key(one).startswith(id_key(other)) == (one == other)


def test_a_shuffle_is_one_of_the_seed() -> None:
    idents = [str(number) for number in range(100)]
    orders = {
        tuple(sorted(idents, key=lambda ident, seed=seed: shuffle_key(seed, ident)))  # type: ignore[misc]
        for seed in (-1, 0, 1, 10)
    }
    assert len({*orders, tuple(idents)}) == 5
    assert {len(shuffle_key(0, ident)) for ident in idents} == {16}
    assert shuffle_key(1, "0:x") != shuffle_key(10, ":x")
    assert shuffle_key(0, "cats/1").hex() == hashlib.sha256(b"0:cats/1").hexdigest()[:32]
