from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.errors import InputError
from beam_export.planning.blocks import PackedRef, pack_ref, unpack_ref
from beam_export.planning.duplicates import Decisions
from beam_export.planning.join import (
    ELSEWHERE,
    EXAMPLES,
    JOINED,
    Tally,
    check_tally,
    columns_counted,
    join_bucket,
    of_table,
)
from beam_export.planning.join_keys import bucket_count, bucket_of, bucket_of_key, new_names
from beam_export.samples import WHOLE, Member, SampleRef
from beam_export.sources.tables.lookup import LookupRow


def sample(ident: str, suffix: str = ".jpg", **metadata: Any) -> PackedRef:
    place = Member("jpg", f"/data/{ident}{suffix}", WHOLE, 10)
    order = f"{ident}{suffix}".encode()
    return pack_ref(SampleRef(order, ident, place.uri, place, (), metadata, 10))


def row(key: str, **values: Any) -> LookupRow:
    return LookupRow(key, pickle.dumps(values), tuple(values))


def run(
    samples: Sequence[PackedRef],
    buckets: int,
    *,
    tables: Sequence[Sequence[LookupRow]] = (),
    renamed: Mapping[bytes, str] = {},
    **given: Sequence[LookupRow],
) -> tuple[dict[str, dict[str, Any]], Tally]:
    """Deals all into buckets and returns the metadata of what is kept, and the whole tally."""
    kept: dict[str, dict[str, Any]] = {}
    whole = Tally()
    names = new_names(Decisions(renamed=dict(renamed)))

    def here(one: LookupRow, bucket: int) -> bool:
        return bucket_of_key(one.key, buckets, names) == bucket

    for bucket in reversed(range(buckets)):
        refs, tally = join_bucket(
            [one for one in samples if bucket_of(one.id, buckets) == bucket],
            tables=[[one for one in rows if here(one, bucket)] for rows in tables],
            renamed=renamed,
            **{name: [one for one in rows if here(one, bucket)] for name, rows in given.items()},
        )
        kept.update((renamed.get(one.order, one.id), unpack_ref(one).metadata) for one in refs)
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
    files = {f"{ident}.jpg" for ident in ids}

    def found(among: Any, ident: str) -> list[str]:
        own = f"{ident}.jpg"
        if ident in among and not (own in among and ident in files):
            return [ident]
        return [key for key in (own, f"{ident}.JPEG") if key in among][:1]

    lists = {"ids": wanted, "exclude_ids": unwanted}
    given_rows = {
        name: [row(one) for one in ids_] for name, ids_ in lists.items() if ids_ is not None
    }
    kept, tally = run(
        [sample(ident) for ident in ids],
        buckets,
        tables=[[row(key, score=score) for key, score in table.items()]],
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
    kept, tally = run(samples, 7, tables=[rows])
    assert kept == {"cat": {"n": 2}, "cat.jpg": {"n": 1}, "dog": {"n": 3}, "cow": {}}
    assert tally.shown("samples_unmatched") == ["cow"]
    assert tally.shown("rows_unmatched") == ["cow.txt"]
    assert not tally["ambiguous"]


#: Images of one stem, with the names that `--duplicates=rename` gives them.
ONE_STEM = {
    "a.JPG": "a",
    "a.jpg": "a-1",
    "a.png": "a-2",
    "d/a.png": "d/a",
    "d/a.webp": "d/a-1",
    "a.jpg.png": "a.jpg",
}


@pytest.mark.parametrize("buckets", [1, 5])
@pytest.mark.parametrize(
    ("given_keys", "matched"),
    [
        (["a.png"], {"a-2": "a.png"}),
        (["a.JPG"], {"a": "a.JPG"}),
        (["a.PNG"], {"a-2": "a.PNG"}),
        (["a.png", "a.PNG"], {"a-2": "a.png"}),
        (["d/a.png"], {"d/a": "d/a.png"}),
        (["d/a.WebP", "d/a.png"], {"d/a-1": "d/a.WebP", "d/a": "d/a.png"}),
        (list(ONE_STEM), {new: name for name, new in ONE_STEM.items()}),
        (["a.jpg.png"], {"a.jpg": "a.jpg.png"}),
        (["a-2.png"], {"a-2": "a-2.png"}),
        # No file is called so: the stem is what is meant, and all images have it.
        (["d/a.gif"], {"d/a": "d/a.gif", "d/a-1": "d/a.gif"}),
        (["d/a.gif", "d/a.png"], {"d/a": "d/a.png", "d/a-1": "d/a.gif"}),
        (["d/a"], {"d/a": "d/a", "d/a-1": "d/a"}),
    ],
)
def test_of_images_of_one_stem_a_key_with_a_suffix_is_that_file_s_alone(
    buckets: int, given_keys: list[str], matched: dict[str, str]
) -> None:
    samples = {
        new: sample(name.rpartition(".")[0], "." + name.rpartition(".")[2])
        for name, new in ONE_STEM.items()
    }
    renamed = {
        one.order: new for new, one in samples.items() if new.rpartition("-")[2] in ("1", "2")
    }
    every = [*samples.values()]
    rows = [row(key, n=key) for key in given_keys]
    kept, tally = run(every, buckets, tables=[rows], renamed=renamed)
    assert {ident: found["n"] for ident, found in kept.items() if found} == matched
    assert tally["rows_unmatched"] == len(set(given_keys) - set(matched.values()))
    assert not tally["ambiguous"]
    assert run(every, buckets, ids=rows, renamed=renamed)[0].keys() == matched.keys()
    left = run(every, buckets, exclude_ids=rows, renamed=renamed)[0]
    assert left.keys() == samples.keys() - matched.keys()


def test_an_id_that_has_its_image_s_suffix_is_found_by_it_alone() -> None:
    # As a table with a column of ids has them.
    table = [sample("a.jpg", ""), sample("a.png", ""), sample("a", ".webp")]
    kept = run(table, 3, tables=[[row("a.jpg", n=1), row("a.png", n=2), row("a", n=3)]])[0]
    assert kept == {"a.jpg": {"n": 1}, "a.png": {"n": 2}, "a": {"n": 3}}
    assert run(table, 3, ids=[row("a.png")])[0].keys() == {"a.png"}


def test_joined_columns_keep_that_they_are_typed_and_change_the_digest() -> None:
    old = sample("a", own=1)
    ((new,), _) = join_bucket([old], tables=[[row("a", score=0.5)]])
    assert unpack_ref(new).metadata == {"own": 1, "score": 0.5}
    assert unpack_ref(new).typed == ("score",)
    ((other,), _) = join_bucket([old], tables=[[row("a", score=0.75)]])
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
        ([row("a.gif", n=1), row("a.png", n=2)], "that fits: 'a.gif' and 'a.png' for 'a'"),
        ([row("a", own=1)], "columns that the samples have already, 'own'"),
        ([row("z", n=1)], "matches no sample: it holds 'z', and the samples' ids are like 'a'"),
        ([], "matches no sample: it holds nothing at all"),
    ],
)
def test_what_is_wrong_with_a_table(rows: list[LookupRow], said: str) -> None:
    tally = join_bucket([sample("a", own=0)], tables=[rows])[1]
    with pytest.raises(InputError, match=r"--metadata=t\.csv") as caught:
        check_tally(tally, {"metadata": "t.csv"})
    assert said in caught.value.sentence


@pytest.mark.parametrize("name", ["ids", "exclude_ids"])
def test_list_that_names_no_sample_is_refused(name: str) -> None:
    _, tally = run([sample("a"), sample("b")], 3, **{name: [row("z"), row("z"), row("y")]})
    assert (tally[name], tally.shown(f"{name}_unmatched")) == (2, ["y", "z"])
    with pytest.raises(InputError, match=f"--{name}=ids.txt matches no sample: it holds 'y', 'z'"):
        check_tally(tally, {name: "ids.txt"})


@pytest.mark.parametrize("name", ["ids", "exclude_ids"])
def test_each_of_several_forms_of_an_id_in_a_list_is_of_that_sample(name: str) -> None:
    samples = [sample("a"), sample("b"), sample("b", ".png")]
    forms = ["a", "a.jpg", "a.png", "b", "b.png", "c", "c.jpg"]
    tally = run(samples, 3, **{name: [row(form) for form in forms]})[1]
    assert tally.shown(f"{name}_unmatched") == ["a.png", "c", "c.jpg"]


def test_what_is_in_order_passes() -> None:
    tally = run([sample("a"), sample("b")], 2, tables=[[row("a")]], ids=[row("a"), row("q")])[1]
    assert check_tally(tally, {"metadata": "t.csv", "ids": "i.txt"}) is tally


#: One name in the four forms that files and tables have it in.
COMPOSED, DECOMPOSED = "b\xe4r", "ba\u0308r"


@pytest.mark.parametrize(
    ("ident", "key"),
    [
        (DECOMPOSED, COMPOSED),
        (COMPOSED, DECOMPOSED),
        (DECOMPOSED, f"{COMPOSED}.jpg"),
        (COMPOSED, f"{DECOMPOSED}.JPG"),
        (f"d/{DECOMPOSED}", f"d/{COMPOSED}"),
        ("K", "\u212a"),
        ("\u212a", "K"),
        ("\u212a", "K.png"),
        ("\u1112\u1161\u11ab", "\ud55c"),
    ],
)
@pytest.mark.parametrize("buckets", [1, 7])
def test_names_match_in_normal_form_where_they_do_not_as_written(
    ident: str, key: str, buckets: int
) -> None:
    samples = [sample(ident), sample("other")]
    kept, tally = run(samples, buckets, tables=[[row(key, n=1)]], ids=[row(key)])
    assert kept == {ident: {"n": 1}}
    assert tally["rows_unmatched"] == tally["ids_unmatched"] == 0
    exact = [row(key, n=1), row(ident, n=2)]
    assert run(samples, buckets, tables=[exact])[0][ident] == {"n": 2}


def test_two_keys_of_one_normal_form_are_more_than_one_row_that_fits() -> None:
    rows = [row("\u212b", n=1), row("A\u030a", n=2)]
    tally = run([sample("\xc5")], 3, tables=[rows])[1]
    with pytest.raises(InputError, match="more than one row that fits"):
        check_tally(tally, {"metadata": "t.csv"})


def test_ids_before_and_after_renaming_match() -> None:
    samples = [sample("a"), sample("b"), sample("c")]
    # As if `a` had come three times.
    twins = [sample("a")._replace(order=order) for order in (b"x", b"y")]
    renamed = {b"x": "a-1", b"y": "a-3"}
    everything = [*samples, *twins]
    for buckets in (1, 2, 9):
        rows = [row("a", n=0), row("a-1", n=1), row("a-2", n=2), row("b", n=3)]
        kept, tally = run(everything, buckets, tables=[rows], renamed=renamed)
        assert kept == {
            "a": {"n": 0},
            "a-1": {"n": 1},
            "a-3": {"n": 0},
            "b": {"n": 3},
            "c": {},
        }
        assert tally.shown("rows_unmatched") == ["a-2"]
        assert tally.shown("samples_unmatched") == ["c"]
        assert run(everything, buckets, ids=[row("a-1")], renamed=renamed)[0].keys() == {"a-1"}
        assert run(everything, buckets, ids=[row("a.jpg")], renamed=renamed)[0].keys() == {
            *("a", "a-1", "a-3"),
        }
        left = run(everything, buckets, exclude_ids=[row("a-3.png")], renamed=renamed)[0]
        assert left.keys() == {"a", "a-1", "b", "c"}


def test_tables_join_in_turn_each_with_counts_of_its_own() -> None:
    samples = [sample(name) for name in ("a", "b", "c")]
    tables = [
        [row("a", n=1), row("b", n=2)],
        [row("b.jpg", m=3), row("c", m=4), row("z", m=5)],
        [row("c", n=9)],
    ]
    kept, tally = run(samples, 2, tables=tables)
    assert kept == {"a": {"n": 1}, "b": {"n": 2, "m": 3}, "c": {"m": 4, "n": 9}}
    counts = [tally[of_table("samples_matched", number)] for number in range(3)]
    assert counts == [2, 2, 1]
    assert tally.shown(of_table("rows_unmatched", 1)) == ["z"]
    given_ = {"metadata": "s.csv,t.parquet,u.jsonl"}
    assert check_tally(tally, given_) is tally
    shared = run(samples, 2, tables=[tables[0], [row("b", n=7)]])[1]
    with pytest.raises(InputError, match=r"--metadata=t\.parquet has columns .* 'n'"):
        check_tally(shared, given_)
    alone = run(samples, 2, tables=[tables[0], [row("y", m=7)], tables[2]])[1]
    with pytest.raises(InputError, match=r"--metadata=t\.parquet matches no sample: it holds 'y'"):
        check_tally(alone, given_)


C, D = "caf\xe9", "cafe\u0301"


@pytest.mark.parametrize("buckets", [1, 3, 9])
@pytest.mark.parametrize(
    ("ids", "keys", "matched"),
    [
        # A key that is one of them as it is written is not that of the other.
        ([C, D], [C], {C: C}),
        ([C, D], [D], {D: D}),
        ([C, D], [C, D], {C: C, D: D}),
        ([C, D], [f"{C}.jpg"], {C: f"{C}.jpg"}),
        ([C, D], [f"{D}.png"], {D: f"{D}.png"}),
        (["K", "\u212a"], ["K"], {"K": "K"}),
        (["K", "\u212a"], ["K.png"], {"K": "K.png"}),
        (["K", "\u212a"], ["\u212a"], {"\u212a": "\u212a"}),
        ([C], [D], {C: D}),
        ([D], [C], {D: C}),
        ([D], [f"{C}.jpg"], {D: f"{C}.jpg"}),
    ],
)
def test_of_two_ids_that_differ_in_their_form_each_has_the_rows_that_are_written_so(
    buckets: int, ids: list[str], keys: list[str], matched: dict[str, str]
) -> None:
    samples = [sample(ident) for ident in ids]
    kept, tally = run(samples, buckets, tables=[[row(key, n=key) for key in keys]])
    assert {ident: found["n"] for ident, found in kept.items() if found} == matched
    assert tally["rows_unmatched"] == 0
    assert run(samples, buckets, ids=[row(key) for key in keys])[0].keys() == matched.keys()
    left = run(samples, buckets, exclude_ids=[row(key) for key in keys])[0]
    assert left.keys() == set(ids) - matched.keys()


@pytest.mark.parametrize("buckets", [1, 4])
@pytest.mark.parametrize(
    ("own", "tables", "shared"),
    [
        # Of one sample each, or of one table or sample alone: nothing is shared.
        ({}, [[row("a", n=1, m=2)], [row("b", k=3)]], [[], []]),
        ({}, [[row("a", n=1), row("b", n=2)]], [[]]),
        ({}, [[row("a", n=1)], [row("b", n=2)]], [[], ["n"]]),
        (
            {},
            [[row("a", n=1, m=5)], [row("b", n=2, m=6)], [row("c", m=7)]],
            [[], ["m", "n"], ["m"]],
        ),
        ({"c": {"n": 9}}, [[row("a", n=1)]], [["n"]]),
        ({"c": {"n": 9}}, [[row("c", m=1)], [row("a", n=1)]], [[], ["n"]]),
    ],
)
def test_a_column_of_a_table_that_samples_without_a_row_have_too_is_known(
    buckets: int,
    own: dict[str, dict[str, int]],
    tables: list[list[LookupRow]],
    shared: list[list[str]],
) -> None:
    samples = [sample(ident, **own.get(ident, {})) for ident in ("a", "b", "c", "d")]
    tally = run(samples, buckets, tables=tables)[1]
    for number, names in enumerate(shared):
        joined, others = (columns_counted(tally, kind, number) for kind in (JOINED, ELSEWHERE))
        assert sorted(joined & others) == names
