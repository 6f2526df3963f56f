"""`beam_export.planning.members`: which members samples get, decided over all of them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from beam_export.errors import InputError
from beam_export.metadata.split_rule import parse_split
from beam_export.options import ExportOptions
from beam_export.planning.blocks import pack_ref, unpack_ref
from beam_export.planning.members import (
    MemberRules,
    check_json_columns,
    counted,
    decide_members,
    decides,
    members_steps,
    prepared,
    prepares,
    with_members,
)
from beam_export.planning.splits import Splits, split_of
from beam_export.samples import WHOLE, Earlier, Member, SampleRef
from beam_export.shards.member_sets import MemberSets
from beam_export.shards.tar import padded

COLUMNS = pa.schema([("input_width", pa.int64()), ("score", pa.float64()), ("text", pa.string())])
TYPES = {field.name: field.type for field in COLUMNS}


def options(**given: Any) -> ExportOptions:
    return ExportOptions(output_dir="/out", **given)


def ref(ident: str, *exts: str, **change: Any) -> SampleRef:
    made = SampleRef(
        order=ident.encode(),
        id=ident,
        path=f"/in/{ident}.jpg",
        image=Member("jpg", f"/in/{ident}.jpg", WHOLE, 9),
        fields=tuple(Member(ext, f"/in/{ident}.{ext}", WHOLE, 5) for ext in exts),
        metadata={"score": 1, "width": 2},
        size=9,
    )
    return made._replace(**change)


def sets_of(*refs: SampleRef) -> MemberSets:
    sets = MemberSets()
    for one in refs:
        sets.add_sample(one)
    return sets


RAGGED = [ref("a", "json", "txt"), ref("b", "txt"), ref("c", "json", "txt", "xml")]


def after(refs: list[SampleRef], rules: MemberRules) -> list[dict[str, bytes | None]]:
    """Returns members and their made content, by sample."""
    keyed = [(one, one.id) for one in refs]
    made = list(with_members(keyed, MemberRules.unpack(rules.pack()), COLUMNS))
    assert [key for _, key in made] == [one.id for one in refs]
    for one, _ in made:
        exts = [field.ext for field in one.fields]
        assert exts == sorted(exts)
        assert all(field.data is None or field.size == len(field.data) for field in one.fields)
    return [{field.ext: field.data for field in one.fields} for one, _ in made]


def test_keep_leaves_all_as_it_is() -> None:
    rules = decide_members(sets_of(*RAGGED), options(), COLUMNS)
    assert rules == MemberRules()
    assert rules.content() == b""
    assert [list(one) for one in after(RAGGED, rules)] == [
        ["json", "txt"],
        ["txt"],
        ["json", "txt", "xml"],
    ]


def test_drop_leaves_what_all_samples_have() -> None:
    rules = decide_members(sets_of(*RAGGED), options(ragged_fields="drop"), COLUMNS)
    assert rules == MemberRules(keep=("txt",), dropped=(("json", 2), ("xml", 1)))
    assert after(RAGGED, rules) == [{"txt": None}] * 3
    nothing = decide_members(
        sets_of(ref("a", "txt"), ref("b")), options(ragged_fields="drop"), COLUMNS
    )
    assert nothing.keep == ()
    assert after([ref("a", "txt"), ref("b")], nothing) == [{}, {}]


def test_fill_adds_empty_text_and_json() -> None:
    refs = [ref("a", "json"), ref("b", "txt"), ref("c")]
    rules = decide_members(sets_of(*refs), options(ragged_fields="fill"), COLUMNS)
    assert rules == MemberRules(fill=(("json", 2), ("txt", 2)))
    assert after(refs, rules) == [
        {"json": None, "txt": b""},
        {"json": b"{}", "txt": None},
        {"json": b"{}", "txt": b""},
    ]


def test_fill_refuses_what_it_cannot_make() -> None:
    # Named alone: .json lacks in one too, and would be made.
    with pytest.raises(InputError, match=r"members lack too \(\.xml in 1 of 3\): give --ragged"):
        decide_members(sets_of(*RAGGED), options(ragged_fields="fill"), COLUMNS)


def test_error_names_two_samples() -> None:
    with pytest.raises(InputError) as caught:
        decide_members(sets_of(*RAGGED), options(ragged_fields="error"), COLUMNS)
    assert caught.value.sentence == (
        "--ragged_fields=error, and samples 'a' (.json, .txt) and 'b' (.txt) have unequal members: "
        "give them the same, or give keep, drop or fill."
    )


@pytest.mark.parametrize("word", ["drop", "fill", "error"])
def test_equal_members_are_left_as_they_are(word: str) -> None:
    refs = [ref("a", "xml"), ref("b", "xml")]
    assert decide_members(sets_of(*refs), options(ragged_fields=word), COLUMNS) == MemberRules()


def test_columns_become_json_of_fixed_keys() -> None:
    refs = [ref("a", "txt"), ref("b", "txt", metadata={"text": "x"})]
    rules = decide_members(sets_of(*refs), options(json_columns="all"), COLUMNS)
    assert (rules.json, rules.columns) == ("json", ("input_width", "score", "text"))
    assert after(refs, rules) == [
        {"json": b'{"input_width":2,"score":1.0,"text":null}', "txt": None},
        {"json": b'{"input_width":null,"score":null,"text":"x"}', "txt": None},
    ]


def test_a_json_of_their_own_makes_ours_another_for_all() -> None:
    rules = decide_members(sets_of(*RAGGED), options(json_columns="score"), COLUMNS)
    assert rules.json == "meta.json"
    made = b'{"score":1.0}'
    assert [one["meta.json"] for one in after(RAGGED, rules)] == [made] * 3
    assert [list(one) for one in after(RAGGED, rules)][1] == ["meta.json", "txt"]
    # Even where it is dropped: the name must not depend on another flag.
    dropped = decide_members(
        sets_of(*RAGGED), options(json_columns="score", ragged_fields="drop"), COLUMNS
    )
    assert after(RAGGED, dropped) == [{"meta.json": made, "txt": None}] * 3


def test_both_names_taken_is_an_error() -> None:
    taken = sets_of(ref("a", "json"), ref("b", "meta.json"))
    with pytest.raises(InputError, match="has no name for its member"):
        decide_members(taken, options(json_columns="all"), COLUMNS)
    one = decide_members(sets_of(ref("b", "meta.json")), options(json_columns="all"), COLUMNS)
    assert one.json == "json"


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("all", ("input_width", "score", "text")),
        ("text, score", ("score", "text")),
        ("input_width", ("input_width",)),
        ("*t*", ("input_width", "text")),
        (None, ()),
    ],
)
def test_columns_are_named_as_in_the_parquet(given: str | None, names: tuple) -> None:
    assert check_json_columns(given, TYPES) == names


def test_columns_that_are_not_there_are_refused() -> None:
    with pytest.raises(InputError, match=r"'label' that is not there: the metadata columns are in"):
        check_json_columns("score,label", TYPES)
    with pytest.raises(InputError, match=r"'all' .*; give some of those, or all alone for each\.$"):
        check_json_columns("all,score", TYPES)
    with pytest.raises(InputError, match="the samples have none: leave it out"):
        check_json_columns("all", {})


def test_what_an_earlier_export_has_made_is_made_anew() -> None:
    ours = ref("a", "json", "txt", earlier=Earlier("ab", "json"))
    theirs = ref("b", "json", "txt", earlier=Earlier("ab"))
    given = [pack_ref(ours), pack_ref(theirs)]
    found = list(prepared(given, options(json_columns="all"), COLUMNS))
    assert [[f.ext for f in unpack_ref(one).fields] for one in found] == [["txt"], ["json", "txt"]]
    # As if it had never been there.
    assert found[0] == pack_ref(unpack_ref(found[0]))
    assert found[1] == given[1]
    # Without the flag a member is a member.
    assert not prepares(options())
    left = sets_of(unpack_ref(found[0]))
    assert decide_members(left, options(json_columns="all"), COLUMNS).json == "json"


def test_what_is_made_counts_where_sizes_matter() -> None:
    given = [pack_ref(ref("a", "txt"))]
    sized = options(json_columns="all", max_tar_bytes=10**6)
    (found,) = prepared(given, sized, COLUMNS)
    made = after([unpack_ref(given[0])], MemberRules("json", ("input_width", "score", "text")))
    assert found.weight == given[0].weight + padded(len(made[0]["json"] or b""))
    assert found._replace(weight=0) == given[0]._replace(weight=0)
    assert list(prepared(given, options(json_columns="all"), COLUMNS)) == given
    # All that may be filled in, so that no shard is larger than it is planned.
    filled = options(ragged_fields="fill", max_tar_bytes=10**6)
    assert prepares(filled)
    assert not prepares(options(ragged_fields="fill"))
    (found,) = prepared(given, filled, COLUMNS)
    assert found.weight == given[0].weight + padded(2)


def test_members_are_decided_on_only_where_that_can_change_them() -> None:
    assert not decides(options())
    assert decides(options(json_columns="all"))
    assert all(decides(options(ragged_fields=word)) for word in ("drop", "fill", "error"))
    assert MemberRules.unpack(None) == MemberRules()


def test_what_shapes_a_shard_is_in_its_digest() -> None:
    rules = [
        MemberRules(),
        MemberRules("json", ("a",)),
        MemberRules("meta.json", ("a",)),
        MemberRules("json", ("a", "b")),
        MemberRules(keep=()),
        MemberRules(keep=("txt",)),
        MemberRules(fill=(("txt", 3),)),
    ]
    assert len({one.content() for one in rules}) == len(rules)
    # How many there are of it does not.
    assert MemberRules(fill=(("txt", 4),)).content() == rules[-1].content()


def test_members_are_counted_as_they_came() -> None:
    sets = MemberSets()
    keyed = [(one, one.id) for one in RAGGED]
    assert list(counted(keyed, sets)) == keyed
    assert sets.pack() == sets_of(*RAGGED).pack()


def test_the_step_says_what_was_done() -> None:
    sets = sets_of(*RAGGED)
    equal = sets_of(ref("a", "txt"))
    assert members_steps(equal, MemberRules(), "keep") == []
    kept = {"step": "members", "ragged_fields": "keep", "samples": 3, "unequal": True}
    assert members_steps(sets, MemberRules(), "keep") == [
        {**kept, "members": {"json": 2, "txt": 3, "xml": 1}}
    ]
    drop = decide_members(sets, options(ragged_fields="drop"), COLUMNS)
    assert members_steps(sets, drop, "drop") == [
        {
            **kept,
            "ragged_fields": "drop",
            "unequal": False,
            "members": {"txt": 3},
            "dropped": {"json": 2, "xml": 1},
        }
    ]
    fill = MemberRules(fill=(("txt", 2),), json="json", columns=("score",))
    assert members_steps(sets_of(ref("a", "txt"), ref("b"), ref("c")), fill, "fill") == [
        {
            **kept,
            "ragged_fields": "fill",
            "unequal": False,
            "members": {"txt": 3, "json": 3},
            "json": "json",
            "json_columns": ["score"],
            "filled": {"txt": 2},
        }
    ]


def test_the_step_counts_samples_that_were_written() -> None:
    written = sets_of(ref("a", "txt"), ref("b"))
    planned = MemberRules(keep=("txt",), dropped=(("json", 2), ("xml", 1)))
    (step,) = members_steps(sets_of(ref("a", "json", "txt")), planned, "drop")
    assert step["dropped"] == {"json": 1}
    (step,) = members_steps(written, MemberRules(fill=(("json", 1), ("txt", 3))), "fill")
    assert step["filled"] == {"json": 2, "txt": 1}
    many = sets_of(*[ref(str(number), f"x{number:04d}") for number in range(1_005)])
    assert many.crowded
    (step,) = members_steps(many, planned, "drop")
    assert step["dropped"] == {"json": 2, "xml": 1}


def test_the_split_counts_as_it_will_be_written() -> None:
    columns = pa.schema([("score", pa.float64()), ("split", pa.string())])
    splits = Splits(parse_split("train=0.5,a-name-of-some-length=0.5"), ("train", "x" * 600))
    sized = options(json_columns="all", max_tar_bytes=10**6)
    given = [pack_ref(ref(str(number))) for number in range(20)]
    found = list(prepared(given, sized, columns, splits.pack()))
    added = [one.weight - before.weight for one, before in zip(found, given, strict=True)]
    names = [splits.names[split_of(splits.pack())(one)] for one in given]
    assert set(names) == set(splits.names)
    assert added == [padded(len(f'{{"score":1.0,"split":"{name}"}}')) for name in names]
