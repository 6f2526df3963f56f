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
