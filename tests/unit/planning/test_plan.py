from __future__ import annotations

import bisect
import collections
import hashlib
import random

from hypothesis import example, given
from hypothesis import strategies as st

from beam_export.planning.order import (
    KeySample,
    bucket_offsets,
    shuffle_key,
    splitters,
)
from beam_export.planning.plan import Plan, Segment, digest_sum, make_plan, segments
from beam_export.planning.splits import parts_by_split, split_starts

Pair = tuple[bytes, bytes]

keys = st.lists(st.binary(max_size=4), unique=True, min_size=1, max_size=60)
cuts = st.lists(st.binary(max_size=3), unique=True, max_size=8).map(sorted)


def pairs_of(given_keys: list[bytes]) -> list[Pair]:
    """Returns (order key, digest) of each."""
    return [(key, hashlib.sha256(key).digest()) for key in given_keys]


def plan_of(
    pairs: list[Pair],
    per_shard: int,
    limit: int | None = None,
    splits: list[bytes] | None = None,
    seed: int = 0,
) -> Plan:
    """Plans as the pipeline does: bucket, count, cut, join, with everything in any order."""
    dice = random.Random(seed)
    buckets: dict[int, list[Pair]] = collections.defaultdict(list)
    for pair in dice.sample(pairs, len(pairs)):
        buckets[bisect.bisect_right(splits or [], pair[0])].append(pair)
    offsets = bucket_offsets({bucket: len(found) for bucket, found in buckets.items()})
    parts = [
        part
        for bucket, found in buckets.items()
        for part in segments(found, offsets[bucket], per_shard, limit)
    ]
    dice.shuffle(parts)
    return make_plan(parts, b"options", None)


@given(keys, cuts, st.integers(1, 12), st.none() | st.integers(1, 70), st.integers(0, 9))
@example([b"a", b"b", b"c"], [b"b"], 2, None, 0)
def test_every_rank_is_in_one_shard_of_exact_size(
    given_keys: list[bytes], splits: list[bytes], per_shard: int, limit: int | None, seed: int
) -> None:
    pairs = pairs_of(given_keys)
    plan = plan_of(pairs, per_shard, limit, splits, seed)
    ordered = sorted(pairs)
    planned = ordered[:limit]
    assert plan.total == len(planned)
    assert plan.last == planned[-1][0]
    assert plan.starts == list(range(0, len(planned), per_shard))
    assert plan.firsts == [pair[0] for pair in planned[::per_shard]]
    for rank, (key, _) in enumerate(ordered):
        assert plan.shard_of(key) == (rank // per_shard if rank < plan.total else None)
    for shard, start in enumerate(plan.starts):
        part = planned[start : start + per_shard]
        total = digest_sum(digest for _, digest in part)
        assert plan.count(shard) == len(part)
        assert plan.agrees(shard, len(part), total)
        assert not plan.agrees(shard, len(part) + 1, total)
        assert not plan.agrees(shard, len(part), total + 1)


@given(keys, cuts, cuts, st.integers(1, 12), st.integers(0, 9))
def test_plan_does_not_depend_on_buckets_nor_on_arrival(
    given_keys: list[bytes], one: list[bytes], other: list[bytes], per_shard: int, seed: int
) -> None:
    pairs = pairs_of(given_keys)
    assert plan_of(pairs, per_shard, None, one, 0) == plan_of(pairs, per_shard, None, other, seed)


def test_a_plan_of_many_keys() -> None:
    pairs = pairs_of([shuffle_key(0, str(number)) for number in range(5000)])
    sample = KeySample()
    sample.add(((digest, key) for key, digest in pairs), len(pairs))
    plan = plan_of(pairs, 7, None, splitters(sample.keys(), 50))
    assert plan == plan_of(pairs, 7)
    assert [plan.count(shard) for shard in range(715)] == [7] * 714 + [2]


def test_a_key_before_the_first_belongs_to_the_first_shard() -> None:
    # It was not there when the plan was made; the shard's sum tells.
    assert plan_of(pairs_of([b"b", b"c"]), 1).shard_of(b"a") == 0


def test_plan_of_nothing() -> None:
    plan = make_plan([], b"options", None)
    assert (plan.total, plan.firsts, plan.starts, plan.checks) == (0, [], [], [])
    assert plan.shard_of(b"a") is None
    assert segments([], 0, 5, None) == []
    assert bucket_offsets({}) == {}


@given(keys, st.integers(1, 12))
def test_plan_comes_back_from_bytes(given_keys: list[bytes], per_shard: int) -> None:
    plan = plan_of(pairs_of(given_keys), per_shard)
    assert Plan.unpack(plan.pack()) == plan


def test_hash_is_of_options_number_and_content() -> None:
    pairs = pairs_of([b"a", b"b", b"c"])
    part = segments(pairs, 0, 5, None)
    first = make_plan(part, b"options", None).hash
    assert len(first) == 12
    assert int(first, 16) >= 0
    others = [
        make_plan(part, b"other options", None).hash,
        make_plan(segments(pairs[:2], 0, 5, None), b"options", None).hash,
        make_plan(segments([*pairs[:2], (b"c", b"x" * 32)], 0, 5, None), b"options", None).hash,
        make_plan([part[0]._replace(samples=4)], b"options", None).hash,
    ]
    assert len({first, *others}) == 5
    assert make_plan(part, b"options", "0123456789ab").hash == "0123456789ab"


def test_hash_is_pinned() -> None:
    # It is in all names of a dataset: a change here gives each dataset another one.
    assert make_plan([Segment(0, b"a", b"b", 2, 12345)], b"options", None).hash == "333155ce6e91"


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=20), st.randoms(), st.integers(0, 20))
def test_digest_sum_does_not_depend_on_order_nor_on_parts(
    digests: list[bytes], dice: random.Random, cut: int
) -> None:
    total = digest_sum(digests)
    assert 0 <= total < 1 << 256
    assert digest_sum(digests[cut:], digest_sum(digests[:cut])) == total
    dice.shuffle(digests)
    assert digest_sum(digests) == total


def test_equal_digests_do_not_cancel() -> None:
    assert digest_sum([b"\1" * 32] * 2) != digest_sum([])
    assert digest_sum([b"\xff" * 32] * 2) < 1 << 256


def split_plan_of(
    pairs: list[Pair],
    split: dict[bytes, int],
    names: list[str],
    *,
    per_shard: int,
    limit: int | None = None,
    cuts: list[bytes] | None = None,
) -> Plan:
    """Plans as the pipeline does where there are splits."""
    buckets: dict[int, list[Pair]] = collections.defaultdict(list)
    for pair in sorted(pairs)[:limit]:
        buckets[bisect.bisect_right(cuts or [], pair[0])].append(pair)
    parts = {
        bucket: list(parts_by_split([(*pair, split[pair[0]]) for pair in found]))
        for bucket, found in buckets.items()
    }
    starts = split_starts(
        (bucket, {number: len(part) for number, part in found}) for bucket, found in parts.items()
    )
    cut = [
        one._replace(split=number)
        for bucket, found in parts.items()
        for number, part in found
        for one in segments(part, starts[bucket][number], per_shard, None)
    ]
    random.Random(0).shuffle(cut)
    return make_plan(cut, b"options", None, names)


@given(
    st.dictionaries(st.binary(max_size=4), st.integers(0, 3), min_size=1, max_size=60),
    cuts,
    st.integers(1, 12),
    st.none() | st.integers(1, 70),
)
def test_each_split_has_exact_shards_of_its_own(
    split: dict[bytes, int], cuts: list[bytes], per_shard: int, limit: int | None
) -> None:
    pairs, names = pairs_of(list(split)), ["w", "x", "y", "z"]
    plan = split_plan_of(pairs, split, names, per_shard=per_shard, limit=limit, cuts=cuts)
    planned = sorted(pairs)[:limit]
    expected = []
    for number, name in enumerate(names):
        held = [pair for pair in planned if split[pair[0]] == number]
        shards = [held[at : at + per_shard] for at in range(0, len(held), per_shard)]
        assert plan.shards_of(number) == range(len(expected), len(expected) + len(shards))
        assert plan.split_sizes()[number] == (name, len(held), len(shards))
        expected += shards
        for shard in plan.shards_of(number):
            assert plan.split_of(shard) == name
    assert [plan.count(shard) for shard in range(len(expected))] == list(map(len, expected))
    assert plan.total == len(planned)
    for number, shard in enumerate(expected):
        assert plan.agrees(number, len(shard), digest_sum(digest for _, digest in shard))
    place = {pair: number for number, shard in enumerate(expected) for pair in shard}
    for pair in pairs:
        assert plan.shard_of(pair[0], split[pair[0]]) == place.get(pair)
    assert Plan.unpack(plan.pack()) == plan
    one_bucket = split_plan_of(pairs, split, names, per_shard=per_shard, limit=limit)
    assert one_bucket == plan


def test_another_split_of_a_sample_is_another_hash() -> None:
    pairs = pairs_of([b"a", b"b", b"c", b"d"])
    split = {b"a": 0, b"b": 1, b"c": 0, b"d": 1}
    swapped = {**split, b"a": 1, b"b": 0}
    made = [
        split_plan_of(pairs, split, ["x", "y"], per_shard=2),
        split_plan_of(pairs, swapped, ["x", "y"], per_shard=2),
        split_plan_of(pairs, split, ["x", "z"], per_shard=2),
        split_plan_of(pairs, split, ["x", "y", "z"], per_shard=2),
        plan_of(pairs, 2),
    ]
    assert len({plan.hash for plan in made}) == 5


def test_a_key_that_was_not_planned_makes_a_shard_disagree() -> None:
    plan = split_plan_of(pairs_of([b"b", b"c"]), {b"b": 0, b"c": 0}, ["x", "y"], per_shard=2)
    # It was not there when the plan was made, and its split was empty.
    assert plan.shards_of(1) == range(1, 1)
    assert plan.shard_of(b"a", 1) == 0
    assert plan.shard_of(b"d", 1) is None
    assert plan.split_of(0) == "x"
    assert plan_of(pairs_of([b"b"]), 1).split_of(0) is None


def test_empty_splits_before_and_between_name_no_shard() -> None:
    names = ["a", "b", "c", "d"]
    plan = split_plan_of(pairs_of([b"x", b"y"]), {b"x": 1, b"y": 3}, names, per_shard=2)
    assert [plan.split_of(shard) for shard in range(2)] == ["b", "d"]
    assert [len(plan.shards_of(number)) for number in range(4)] == [0, 1, 0, 1]
