from __future__ import annotations

from typing import Any

from beam_export.packing import pack, unpack
from beam_export.verify.against_input import PlacedKey, Rules, SampleDigests, members_of
from beam_export.verify.findings import Fault
from beam_export.verify.unique_names import (
    NameUse,
    Unmatched,
    UnmatchedCounts,
    check_bucket,
    count_unmatched,
    pack_uses,
)

RULES = Rules(columns=("tag",))


def test_equal_ids_and_keys_are_found_wherever_they_stand() -> None:
    uses = [
        NameUse("id", "a", "1.parquet"),
        NameUse("key", "a", "1.tar"),
        NameUse("id", "a", "2.parquet"),
        NameUse("failed", "b", "1.parquet"),
        NameUse("id", "b", "3.parquet"),
    ]
    faults, unmatched, _ = check_bucket(uses, None)
    assert [(fault.file, fault.member) for fault in faults] == [
        ("2.parquet", "a"),
        ("3.parquet", "b"),
    ]
    assert unmatched == []


def check_both(*uses: NameUse) -> tuple[list[Fault], list[Unmatched]]:
    return check_bucket(uses, RULES)[:2]


def counted(unmatched: list[Unmatched], renamed: bool) -> UnmatchedCounts:
    return count_unmatched(unmatched, renamed, RULES)[0]


def test_each_sample_of_the_input_has_a_counterpart() -> None:
    faults, unmatched = check_both(
        NameUse("input", "a", "", "1"),
        NameUse("id", "a", "p", "1"),
        NameUse("input", "b", ""),
        NameUse("listed", "b", "f"),
        NameUse("input", "gone", "", "2"),
        NameUse("id", "new", "p", "3"),
    )
    assert faults == []
    assert sorted(unmatched) == [
        Unmatched("extra", "new", "3", "p"),
        Unmatched("missing", "gone", "2"),
    ]
    assert counted(unmatched, renamed=False) == UnmatchedCounts(1, 1, ("gone",), ("new",))


def test_an_image_with_other_bytes_is_found() -> None:
    faults, unmatched = check_both(NameUse("input", "a", "", "1"), NameUse("id", "a", "p", "2"))
    assert [(one.file, one.member) for one in faults] == [("p", "a")]
    assert unmatched == []


def test_renamed_samples_are_found_by_their_bytes() -> None:
    faults, unmatched = [], []
    for group in (
        [
            NameUse("input", "a", "", "1"),
            NameUse("input", "a", "", "2"),
            NameUse("input", "a", ""),
            NameUse("id", "a", "p", "2"),
        ],
        [NameUse("id", "a-1", "p", "1")],
        [NameUse("listed", "a-2", "f")],
    ):
        wrong, rest = check_both(*group)
        faults += wrong
        unmatched += rest
    assert faults == []
    assert counted(unmatched, renamed=True) == UnmatchedCounts()
    assert counted(unmatched, renamed=False).missing == 2


def test_failures_leave_the_choice_to_those_that_have_bytes() -> None:
    """Of three with one id the first has failed; it kept the id, and the others were renamed."""
    inputs = [NameUse("input", "a", "", sha256) for sha256 in "123"]
    _, unmatched = check_both(*inputs, NameUse("listed", "a", "f"))
    unmatched += (
        check_both(NameUse("id", "a-1", "p", "1"))[1]
        + check_both(NameUse("id", "a-2", "p", "3"))[1]
    )
    assert counted(unmatched, renamed=True) == UnmatchedCounts()


def digests(txt: str = "a", **given: Any) -> SampleDigests:
    return SampleDigests(members=members_of([("txt", txt * 64)]), columns="0" * 12, **given)


def test_of_samples_with_one_id_and_the_same_bytes_the_better_fits() -> None:
    first = NameUse("input", "a", "", "1", digests(order="01", txt="c"))
    second = NameUse("input", "a", "", "1", digests(order="02"))
    row = NameUse("id", "a", "x.parquet", "1", digests(shard=0, row=4))
    found = check_bucket([first, second, row], RULES)
    assert found.faults == []
    # Which of the two it was nobody can tell for sure: its place proves nothing.
    assert found.keys == []
    (fault,) = check_bucket([first, row], RULES).faults
    assert (fault.file, fault.member) == ("x.tar", "a")
    assert check_bucket([second, row], RULES).keys == [PlacedKey(0, 4, "02", "a")]


def test_uses_are_packed() -> None:
    uses = [
        NameUse("id", "\ud800é", "f"),
        NameUse("key", "", "g", "1", SampleDigests("ab", 1, 2, "c")),
    ]
    assert unpack(pack(uses)) == uses
    ((bucket, packed),) = pack_uses(uses, 10)
    assert (bucket, unpack(packed)) == (0, uses)
