from __future__ import annotations

import itertools
import pickle
import random
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_export.errors import InputError
from beam_export.planning import duplicates
from beam_export.planning.duplicates import (
    Decisions,
    DuplicateId,
    decide,
    find_clashes,
    is_concerned,
    name_row,
    open_decisions,
    pack_kept,
)

POLICIES = ("first", "rename")

# Ids that like to meet: equal ones, and ones that renaming could give.
ids = st.lists(
    st.builds(
        "".join,
        st.tuples(
            st.sampled_from(["x", "y", "a/b", "é ü", "", "-1", "x\ny"]),
            st.sampled_from(["", "", "", "-1", "-2", "-1-1", "-01", "-0", "-10", "-1\n"]),
        ),
    ),
    max_size=12,
)


def samples(names: list[str], seed: int = 0) -> list[DuplicateId]:
    """Returns samples of those ids, whose order is that of the list, in any order."""
    made = [
        DuplicateId(at.to_bytes(4, "big"), name, f"/in/{at}.jpg") for at, name in enumerate(names)
    ]
    return random.Random(seed).sample(made, len(made))


def outcome(everyone: list[DuplicateId], decisions: Decisions) -> list[str]:
    """Returns the ids that are left, in order."""
    return [
        decisions.renamed.get(one.order, one.id)
        for one in sorted(everyone)
        if one.order not in decisions.dropped
    ]


def concerned(everyone: list[DuplicateId], policy: str) -> list[DuplicateId]:
    clashes = set(find_clashes(name_row(one.id) for one in everyone))
    return [one for one in everyone if is_concerned(one.id, clashes, policy == "rename")]


@given(ids, st.integers(0, 99))
@example(["x", "x", "x-1"], 0)
@example(["x-1", "x", "x", "x-1", "x-2", "x-1-1"], 0)
def test_rename_gives_each_sample_an_id_of_its_own(names: list[str], seed: int) -> None:
    everyone = samples(names, seed)
    decisions = decide(everyone, "rename")
    after = outcome(everyone, decisions)
    assert len(set(after)) == len(after) == len(names)
    assert not decisions.dropped
    for at, (before, now) in enumerate(zip(names, after, strict=True)):
        if before not in names[:at]:
            assert now == before
        else:
            assert re.fullmatch(re.escape(before) + "-[1-9][0-9]*", now)
            # It skips what is taken, and nothing else.
            number = int(now.rpartition("-")[2])
            taken = {*names, *after[:at]}
            assert all(f"{before}-{smaller}" in taken for smaller in range(1, number))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["x", "x", "x"], ["x", "x-1", "x-2"]),
        (["x", "x-1", "x"], ["x", "x-1", "x-2"]),
        (
            ["x", "x", "x-1", "x-2", "x-4", "x", "x"],
            ["x", "x-3", "x-1", "x-2", "x-4", "x-5", "x-6"],
        ),
        (["x", "x", "x-1", "x-1"], ["x", "x-2", "x-1", "x-1-1"]),
        (["x", "y", "z"], ["x", "y", "z"]),
    ],
)
def test_rename(before: list[str], after: list[str]) -> None:
    everyone = samples(before)
    assert outcome(everyone, decide(everyone, "rename")) == after


@given(ids, st.integers(0, 99))
def test_first_keeps_the_lowest_order_of_each_id(names: list[str], seed: int) -> None:
    everyone = samples(names, seed)
    decisions = decide(everyone, "first")
    assert decisions.renamed == {}
    assert outcome(everyone, decisions) == list(dict.fromkeys(names))
    kept = [one for one in sorted(everyone) if one.order not in decisions.dropped]
    assert [one.order for one in kept] == [
        names.index(name).to_bytes(4, "big") for name in dict.fromkeys(names)
    ]


@pytest.mark.parametrize("policy", POLICIES)
@given(ids, st.integers(0, 99))
@example(["x", "x", "x-1"], 0)
@example(["é ü", "é ü", "é ü-1"], 0)
@example(["", "", "-1"], 0)
def test_who_is_concerned_is_all_that_has_to_be_known(
    policy: str, names: list[str], seed: int
) -> None:
    everyone = samples(names, seed)
    assert decide(concerned(everyone, policy), policy) == decide(everyone, policy)


@given(ids)
def test_nobody_is_concerned_where_all_ids_differ(names: list[str]) -> None:
    for policy in POLICIES:
        assert concerned(samples(sorted(set(names))), policy) == []


def test_only_renaming_minds_names_that_it_could_give() -> None:
    everyone = samples(["x", "x", "x-1", "x-01", "x-", "x-1-2", "y-1"])
    assert {one.id for one in concerned(everyone, "first")} == {"x"}
    assert {one.id for one in concerned(everyone, "rename")} == {"x", "x-1"}


@given(ids)
def test_error_is_raised_exactly_where_an_id_comes_twice(names: list[str]) -> None:
    everyone = samples(names)
    if len(set(names)) == len(names):
        assert decide(everyone, "error") == Decisions()
    else:
        with pytest.raises(InputError, match="more than once"):
            decide(everyone, "error")


def test_error_names_pairs_and_ways_out() -> None:
    with pytest.raises(InputError) as caught:
        decide(samples(["a", "b", "a", "a", "c"]), "error")
    assert caught.value.sentence == (
        "1 id comes more than once, 'a' (/in/0.jpg and /in/2.jpg): give --duplicates=rename to "
        "keep all, --duplicates=first to keep the first of each, or rename the images."
    )


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (("", ""), "1 id comes more than once, 'a': give"),
        (("x.jpg", ""), "'a' (x.jpg and a sample without a path): give"),
        (("", "x.jpg"), "'a' (a sample without a path and x.jpg): give"),
    ],
)
def test_samples_without_a_path_are_named_by_their_id(paths: tuple[str, str], said: str) -> None:
    found = [DuplicateId(bytes([at]), "a", path) for at, path in enumerate(paths)]
    with pytest.raises(InputError) as caught:
        decide(found, "error")
    assert said in caught.value.sentence


def test_error_names_five_pairs_of_many_the_same_each_time() -> None:
    names = [str(number) for number in range(9)] * 2
    sentences = set()
    for seed in range(5):
        with pytest.raises(InputError) as caught:
            decide(samples(names, seed), "error")
        sentences.add(caught.value.sentence)
    (sentence,) = sentences
    assert sentence.startswith("9 ids come more than once, '0' (/in/0.jpg and /in/9.jpg), '1' (")
    assert "'4' (/in/4.jpg and /in/13.jpg) and 4 more: give" in sentence


def test_error_can_be_printed_whatever_the_paths() -> None:
    pair = [DuplicateId(b"1", "x", "/in/\udcff.jpg"), DuplicateId(b"2", "x", "/in/y.jpg")]
    with pytest.raises(InputError) as caught:
        decide(pair, "error")
    assert "(/in/\\xff.jpg and /in/y.jpg)" in caught.value.sentence


@pytest.mark.parametrize("policy", ["error", *POLICIES])
def test_two_ids_of_one_key_are_refused(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "key_of", lambda ident: ident[:1])
    everyone = samples(["apple", "berry", "avocado"])
    assert {one.id for one in concerned(everyone, policy)} == {"apple", "avocado"}
    with pytest.raises(InputError, match="'apple' and 'avocado' make the same tar key 'a'"):
        decide(concerned(everyone, policy), policy)


def test_more_than_can_be_resolved_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_MOST", 3)
    assert decide(samples(["x"] * 3), "rename").renamed
    with pytest.raises(InputError, match=r"4 samples share their id .* more than the 3"):
        decide(samples(["x"] * 4), "rename")


@given(st.lists(st.text(max_size=3), max_size=8))
def test_clashes_are_the_keys_that_come_more_than_once(names: list[str]) -> None:
    rows = [name_row(name) for name in names]
    assert all(len(row) == 24 for row in rows)
    clashes = find_clashes(rows)
    assert clashes == sorted({row[:16] for row in rows if names.count(_of(row, names)) > 1})


def _of(row: bytes, names: list[str]) -> str:
    return next(name for name in names if name_row(name) == row)


def test_rows_tell_ids_apart() -> None:
    names = ["x", "X", "x/y", "x y", "x_y", "é", "\udcff", "", "x" * 300]
    for one, other in itertools.combinations(map(name_row, names), 2):
        assert one[:16] != other[:16]


@pytest.mark.parametrize(
    ("names", "left", "after", "kept"),
    [
        # What is left, by its place; the names of all; those that would be others.
        (["x", "x"], [1], ["x-1"], ["x-1"]),
        (["x", "x"], [0], ["x"], []),
        (["x", "x"], [0, 1], ["x", "x-1"], []),
        (["x", "x", "x"], [0, 2], ["x", "x-2"], ["x-2"]),
        (["x", "x", "x"], [1, 2], ["x-1", "x-2"], ["x-1", "x-2"]),
        (["x", "x-1", "x"], [0, 2], ["x", "x-2"], ["x-2"]),
        (["x", "y"], [1], ["y"], []),
    ],
)
def test_names_stay_where_samples_are_left_out(
    names: list[str], left: list[int], after: list[str], kept: list[str]
) -> None:
    everyone = sorted(samples(names))
    packed = pickle.dumps(decide(everyone, "rename"))
    some = [everyone[at] for at in left]
    given = open_decisions(packed).renamed
    orders = [one.order for one in some if one.order in given]
    found = open_decisions(pack_kept(some, orders, names=packed, policy="rename"))
    assert outcome(some, found) == after
    assert found.kept_names() == kept
