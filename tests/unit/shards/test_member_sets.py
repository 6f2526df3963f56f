"""`beam_export.shards.member_sets`: the members of all samples, added up in any order."""

from __future__ import annotations

import collections
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.samples import WHOLE, Member, SampleRef
from beam_export.shards import member_sets
from beam_export.shards.member_sets import MemberSets, SetExample, describe_members

EXTS = ["cls", "json", "txt", "seg.png"]
samples = st.lists(st.sets(st.sampled_from(EXTS)).map(lambda one: tuple(sorted(one))), max_size=30)


def sets_of(exts: list[tuple[str, ...]], start: int = 0) -> MemberSets:
    made = MemberSets()
    for number, one in enumerate(exts, start):
        made.add(one, b"%05d" % number, f"s{number}")
    return made


@given(samples, st.data())
def test_parts_come_to_the_whole_in_any_order(
    exts: list[tuple[str, ...]], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(exts)))
    parts = [sets_of(exts[:place]), sets_of(exts[place:], place)]
    merged = MemberSets()
    for part in data.draw(st.permutations(parts)):
        merged.merge(MemberSets.unpack(pickle.loads(pickle.dumps(part)).pack()))
    assert merged.pack() == sets_of(exts).pack()
    assert merged.samples == len(exts)
    counts = collections.Counter(ext for one in exts for ext in one)
    assert merged.counts == dict(sorted(counts.items()))
    assert merged.common == frozenset.intersection(*map(frozenset, exts or [()]))
    assert merged.are_unequal is (len(set(exts)) > 1)
    firsts = [SetExample(b"%05d" % at, f"s{at}", one) for at, one in enumerate(exts)]
    other = [one for one in firsts if one.exts != exts[0]]
    assert merged.firsts == firsts[:1] + other[:1]


def test_it_stays_small_whatever_samples_bring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member_sets, "_MOST", 20)
    monkeypatch.setattr(member_sets, "_HELD", 4)
    few = [("json", "txt", f"x{number}") for number in range(10)]
    many = [("json", "txt", f"y{number}") for number in range(15)]
    for parts in ([few, many], [many, few], [few + many]):
        sets = MemberSets()
        for part in parts:
            sets.merge(sets_of(part))
        assert sets.crowded
        # What the member of columns is called depends on these, and what is dropped on those.
        assert sets.counts == {"json": 25}
        assert sets.common == {"json", "txt"}
    assert not sets_of(few).crowded


def test_that_there_are_too_many_is_known_whatever_was_asked_before() -> None:
    sets = MemberSets()
    sets.add(tuple(f"x{number:04d}" for number in range(1_010)), b"a", "a")
    assert sets.crowded
    assert sets.counts == {}


def test_samples_are_added_by_their_order_key() -> None:
    def ref(order: bytes, *exts: str) -> SampleRef:
        fields = tuple(Member(ext, "", WHOLE, 0, b"") for ext in exts)
        image = Member("jpg", "/a.jpg", WHOLE, 1)
        return SampleRef(order, order.decode(), "", image, fields, {}, 1)

    sets = MemberSets()
    for one in (ref(b"b", "txt"), ref(b"c"), ref(b"a")):
        sets.add_sample(one)
    assert sets.firsts == [SetExample(b"a", "a", ()), SetExample(b"b", "b", ("txt",))]


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"txt": 2, "json": 5}, ".txt in 2 of 5"),
        ({f"x{n}": 1 for n in range(9)}, ".x0 in 1, .x1 in 1, .x2 in 1, .x3 in 1, .x4 in 1, "),
    ],
)
def test_words(counts: dict[str, Any], words: str) -> None:
    assert describe_members(counts, 5).startswith(words)
    assert describe_members({f"x{n}": 1 for n in range(9)}, 5).endswith(" and 3 more of 5")
