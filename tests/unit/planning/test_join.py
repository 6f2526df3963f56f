from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.errors import InputError
from beam_export.planning.blocks import PackedRef, pack_ref, unpack_ref
from beam_export.planning.join import (
    EXAMPLES,
    Tally,
    bucket_count,
    bucket_of,
    check_tally,
    join_bucket,
)
from beam_export.samples import WHOLE, Member, SampleRef
from beam_export.sources.tables.lookup import Row


def sample(ident: str, **metadata: Any) -> PackedRef:
    place = Member("jpg", f"/data/{ident}.jpg", WHOLE, 10)
    return pack_ref(SampleRef(ident.encode(), ident, place.uri, place, (), metadata, 10))


def row(key: str, **values: Any) -> Row:
    return Row(key, pickle.dumps(values), tuple(values))


def run(
    samples: Sequence[PackedRef], buckets: int, **given: Sequence[Row]
) -> tuple[dict[str, dict[str, Any]], Tally]:
    """Deals all into buckets and returns the metadata of what is kept, and the whole tally."""
    kept: dict[str, dict[str, Any]] = {}
    whole = Tally()
    for bucket in reversed(range(buckets)):
        refs, tally = join_bucket(
            [one for one in samples if bucket_of(one.id, buckets) == bucket],
            **{
                name: [one for one in rows if bucket_of(one.key, buckets) == bucket]
                for name, rows in given.items()
            },
        )
        kept.update((one.id, unpack_ref(one).metadata) for one in refs)
        whole.merge(tally)
    return kept, whole


names = st.text("ab.", min_size=1, max_size=3)
keys = st.builds(str.__add__, names, st.sampled_from(["", ".jpg", ".JPEG", ".txt"]))


@given(
    ids=st.sets(keys),
    table=st.dictionaries(keys, st.integers()),
    wanted=st.none() | st.sets(keys),
    unwanted=st.none() | st.sets(keys),
    buckets=st.integers(1, 5),
)
def test_join_agrees_with_a_dict(
    ids: set[str],
    table: dict[str, int],
    wanted: set[str] | None,
    unwanted: set[str] | None,
    buckets: int,
) -> None:
    def found(among: Any, ident: str) -> list[str]:
        return (
            [ident]
            if ident in among
            else [key for key in among if key in (f"{ident}.jpg", f"{ident}.JPEG")]
        )

    lists = {"ids": wanted, "exclude_ids": unwanted}
    given_rows = {
        name: [row(one) for one in ids_] for name, ids_ in lists.items() if ids_ is not None
    }
    kept, tally = run(
        [sample(ident) for ident in ids],
        buckets,
        rows=[row(key, score=score) for key, score in table.items()],
        **given_rows,
    )
    left = {
        ident
        for ident in ids
        if (wanted is None or found(wanted, ident))
        and not (unwanted is not None and found(unwanted, ident))
    }
    assert kept.keys() == left
    for ident in left:
        matches = found(table, ident)
        assert kept[ident].get("score") in ([table[key] for key in matches] or [None])
    used = {key for ident in ids for key in found(table, ident)}
    assert tally["rows_unmatched"] == len(table.keys() - used)
    assert tally.shown("rows_unmatched") == sorted(table.keys() - used)[:EXAMPLES]
    assert tally["samples_matched"] == sum(bool(found(table, ident)) for ident in left)
    assert tally["samples_unmatched"] == len(left) - tally["samples_matched"]
    assert tally.dropped == len(ids) - len(left)


def test_the_id_itself_comes_before_its_suffix() -> None:
    rows = [row("cat.jpg", n=1), row("cat", n=2), row("dog.PNG", n=3), row("cow.txt", n=4)]
    samples = [sample(ident) for ident in ("cat", "cat.jpg", "dog", "cow")]
    kept, tally = run(samples, 7, rows=rows)
    assert kept == {"cat": {"n": 2}, "cat.jpg": {"n": 1}, "dog": {"n": 3}, "cow": {}}
    assert tally.shown("samples_unmatched") == ["cow"]
    assert tally.shown("rows_unmatched") == ["cow.txt"]
    assert not tally["ambiguous"]


def test_joined_columns_keep_that_they_are_typed_and_change_the_digest() -> None:
    old = sample("a", own=1)
    ((new,), _) = join_bucket([old], rows=[row("a", score=0.5)])
    assert unpack_ref(new).metadata == {"own": 1, "score": 0.5}
    assert unpack_ref(new).typed == ("score",)
    ((other,), _) = join_bucket([old], rows=[row("a", score=0.75)])
    assert len({old.digest, new.digest, other.digest}) == 3
    assert new.order == old.order


@given(st.permutations(range(6)))
def test_tally_is_the_same_in_any_order(order: list[int]) -> None:
    whole = Tally()
    for number in order:
        part = Tally()
        part.add("seen", number)
        part.note("lost", [f"{number}-{n}" for n in range(number)])
        whole.merge(part)
    assert whole["seen"] == whole["lost"] == 15
    assert whole.shown("lost") == sorted(f"{n}-{m}" for n in range(6) for m in range(n))[:EXAMPLES]


def test_buckets_are_small_however_many_rows_there_are() -> None:
    assert bucket_count([]) == bucket_count([0, 3]) == 1
    assert bucket_count([10_000, 25_001]) == 3


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row("a", n=1), row("a", n=2)], "more than one row for 'a': keep one row for each id"),
        ([row("a.jpg", n=1), row("a.png", n=2)], "that fits: 'a.jpg' and 'a.png' for 'a'"),
        ([row("a", own=1)], "columns that the samples have already, 'own'"),
        ([row("z", n=1)], "matches no sample: it holds 'z', and the samples' ids are like 'a'"),
        ([], "matches no sample: it holds nothing at all"),
    ],
)
def test_what_is_wrong_with_a_table(rows: list[Row], said: str) -> None:
    tally = join_bucket([sample("a", own=0)], rows=rows)[1]
    with pytest.raises(InputError, match=r"--metadata=t\.csv") as caught:
        check_tally(tally, {"metadata": "t.csv"})
    assert said in caught.value.sentence


@pytest.mark.parametrize("name", ["ids", "exclude_ids"])
def test_list_that_names_no_sample_is_refused(name: str) -> None:
    _, tally = run([sample("a"), sample("b")], 3, **{name: [row("z"), row("z"), row("y")]})
    assert (tally[name], tally.shown(f"{name}_unmatched")) == (2, ["y", "z"])
    with pytest.raises(InputError, match=f"--{name}=ids.txt matches no sample: it holds 'y', 'z'"):
        check_tally(tally, {name: "ids.txt"})


def test_what_is_in_order_passes() -> None:
    tally = run([sample("a"), sample("b")], 2, rows=[row("a")], ids=[row("a"), row("q")])[1]
    assert check_tally(tally, {"metadata": "t.csv", "ids": "i.txt"}) is tally
