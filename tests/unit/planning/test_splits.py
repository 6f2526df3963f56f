"""Splits of samples: which there are, which a sample is in, and the column that says so."""

from __future__ import annotations

import itertools
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.errors import InputError
from beam_export.metadata.features import features_of, with_features
from beam_export.metadata.split_rule import SplitRule, parse_split
from beam_export.planning import splits
from beam_export.planning.blocks import PackedRef, pack_ref
from beam_export.planning.splits import (
    SplitNames,
    Splits,
    check_split_column,
    names_of,
    parts_by_split,
    split_of,
    split_starts,
    with_split,
    with_split_column,
)
from beam_export.samples import WHOLE, Member, SampleRef

SUBSET = pa.schema([("subset", pa.string())])


def ref(ident: str, **metadata: Any) -> PackedRef:
    image = Member("jpg", f"/in/{ident}.jpg", WHOLE, 9)
    return pack_ref(SampleRef(b"order", ident, f"/in/{ident}.jpg", image, (), metadata, 9))


def found(rule: SplitRule, *parts: list[PackedRef], columns: pa.Schema = SUBSET) -> tuple[str, ...]:
    """Returns the names of the splits of samples that come in several parts."""
    merged = SplitNames()
    for part in parts:
        names = SplitNames()
        names.add(part, rule)
        merged.merge(names)
    return merged.finish(rule, columns).names


def test_values_of_a_column_are_splits_in_their_order() -> None:
    rule = parse_split("subset")
    parts = [[ref("1", subset="val"), ref("2", subset="train")], [ref("3", subset="Übung")]]
    for order in itertools.permutations(parts):
        assert found(rule, *order) == ("train", "val", "Übung")
    number = split_of(Splits(rule, ("train", "val", "Übung")).pack())
    assert [number(one) for part in parts for one in part] == [1, 0, 2]


def test_first_folders_are_splits() -> None:
    rule = parse_split("folder")
    refs = [ref("val/cat/1"), ref("train/cat/1"), ref("train/dog/2")]
    assert found(rule, refs) == ("train", "val")
    number = split_of(Splits(rule, ("train", "val")).pack())
    assert [number(one) for one in refs] == [1, 0, 0]


def test_fractions_go_by_the_id() -> None:
    rule = parse_split("a=0.5,b=0.5")
    number = split_of(Splits(rule, rule.names).pack())
    ids = [f"owl {at}" for at in range(50)]
    assert [number(ref(one, a=1)) for one in ids] == [rule.number_of(one) for one in ids]


def test_text_that_is_no_unicode_is_named_as_it_is_stored() -> None:
    rule = parse_split("subset")
    one = ref("1", subset="a\udc80")
    assert found(rule, [one]) == ("a\ufffd",)
    assert split_of(Splits(rule, ("a\ufffd",)).pack())(one) == 0
    rule = parse_split("folder")
    one = ref("caf\udce9/1")
    assert found(rule, [one]) == ("caf\ufffd",)
    assert split_of(Splits(rule, ("caf\ufffd",)).pack())(one) == 0


def test_a_column_that_is_renamed_goes_by_both_names() -> None:
    columns = pa.schema([("input_encoding", pa.string())])
    for name in ("encoding", "input_encoding"):
        rule = parse_split(name)
        assert found(rule, [ref("1", encoding="x")], columns=columns) == ("x",)
        assert split_of(Splits(rule, ("x",)).pack())(ref("1", encoding="x")) == 0


@pytest.mark.parametrize("value", [None, "", "  ", {}])
def test_a_sample_without_a_value_ends_the_run_and_is_named(value: Any) -> None:
    rule = parse_split("subset")
    parts = [[ref("9", subset=value), ref("1", subset="a")], [ref("4"), ref("5", subset=value)]]
    for order in itertools.permutations(parts):
        with pytest.raises(InputError, match=r"sample '4' \(/in/4\.jpg\) has no text in that"):
            found(rule, *order)


def test_a_sample_without_a_folder_ends_the_run_and_is_named() -> None:
    with pytest.raises(InputError, match=r"sample '3' \(/in/3\.jpg\) lies in no folder below"):
        found(parse_split("folder"), [ref("a/1"), ref("8"), ref("3")])


def test_values_that_loaders_could_not_tell_apart_end_the_run() -> None:
    with pytest.raises(InputError, match="makes 'a b' and 'a-b', and both become 'a_b'"):
        found(parse_split("subset"), [ref("1", subset="a b"), ref("2", subset="a-b")])


def test_values_without_end_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "_MOST", 3)
    rows = [[ref(str(at), subset=f"x{at}")] for at in range(4)]
    with pytest.raises(InputError, match="more than 3 splits, 'x0' say"):
        found(parse_split("subset"), *rows)
    assert len(found(parse_split("subset"), *rows[:3])) == 3


def test_of_no_samples_nothing_is_said_of_columns() -> None:
    # What is wrong then is that there are none.
    assert SplitNames().finish(parse_split("subset"), pa.schema([])).names == ()


@pytest.mark.parametrize(
    ("column", "types", "said"),
    [
        ("subset", {"score": pa.float64()}, "no such column, the metadata columns are score"),
        ("subset", {}, "no metadata columns are there"),
        ("fold", {"fold": pa.int64()}, "is of type int64: give a column of text"),
        ("fold", {"fold": pa.int64()}, "--text_columns=fold"),
        ("tags", {"tags": pa.list_(pa.string())}, "is of type list"),
    ],
)
def test_a_column_that_cannot_be_split_by_is_a_sentence(
    column: str, types: dict[str, pa.DataType | None], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        check_split_column(column, types)


def test_numbers_of_classes_are_refused_with_what_names_them() -> None:
    types = {"cls": pa.int64(), "label": pa.string()}
    with pytest.raises(InputError, match=r"of type int64: give --split=label, the names of the"):
        check_split_column("cls", types)
    with pytest.raises(InputError, match=r"of type int64: .*--text_columns=cls\."):
        check_split_column("cls", {"cls": pa.int64()})


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string()), pa.null(), None],
)
def test_text_of_any_kind_can_be_split_by(kind: pa.DataType | None) -> None:
    check_split_column("subset", {"subset": kind})


def test_names_come_back_from_bytes() -> None:
    rule = parse_split("b=0.5,a=0.5")
    assert names_of(Splits(rule, rule.names).pack()) == ("b", "a")
    assert names_of(None) == ()


@given(st.lists(st.lists(st.integers(0, 3), max_size=6), max_size=5), st.randoms())
def test_starts_are_ranks_within_splits(buckets: list[list[int]], dice: Any) -> None:
    held = []
    for number, samples in enumerate(buckets):
        parts = parts_by_split([(b"%d" % at, split) for at, split in enumerate(samples)])
        held.append((number, {split: len(part) for split, part in parts}))
    dice.shuffle(held)
    starts = split_starts(held)
    for number, samples in enumerate(buckets):
        before = [split for one in buckets[:number] for split in one]
        assert starts[number] == {split: before.count(split) for split in samples}


def test_a_sample_says_its_split_and_keeps_what_it_said() -> None:
    assert with_split({"n": 1}, "val") == {"n": 1, "split": "val"}
    assert with_split({"split": "x"}, "val") == {"input_split": "x", "split": "val"}


def test_the_column_stands_in_order_or_behind_what_is_declared() -> None:
    kind = {"_type": "ClassLabel", "names": ["x", "y"]}
    given_columns = with_features(
        pa.schema([("n", pa.int8()), ("split", pa.int64()), ("z", pa.string())]), {"split": kind}
    )
    sorted_columns = with_split_column(given_columns, declared=False)
    assert sorted_columns.names == ["input_split", "n", "split", "z"]
    assert sorted_columns.field("split").type == pa.string()
    assert features_of(sorted_columns) == {"input_split": kind}
    declared = with_split_column(given_columns, declared=True)
    assert declared.names == ["n", "input_split", "z", "split"]
    assert declared.field("input_split").type == pa.int64()


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="leave one out by --drop_columns=input_split"):
        with_split_column(pa.schema([("split", pa.int8()), ("input_split", pa.int8())]), False)
