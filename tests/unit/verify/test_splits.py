"""Splits on disk: rows by the rule, and the manifest by its shards."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from beam_export.metadata.split_rule import parse_split
from beam_export.shards.parquet import ShardRow
from beam_export.verify.splits import SplitCheck, check_of, check_sums, first_shards

RULE = "train=0.9,val=0.1"
SPLITS = [
    {"name": "train", "key": "train", "first_shard": 0, "shards": 2, "samples": 7, "bytes": 70},
    {"name": "none", "key": "none", "first_shard": 2, "shards": 0, "samples": 0, "bytes": 0},
    {"name": "val", "key": "val", "first_shard": 2, "shards": 1, "samples": 1, "bytes": 10},
]
ROWS: dict[int, dict[str, Any]] = {
    0: {"samples": 4, "failed": 0, "bytes": 40},
    1: {"samples": 3, "failed": 1, "bytes": 30},
    2: {"samples": 1, "failed": 0, "bytes": 10},
}


def manifest(split: str | None = "train=0.8,none=0.1,val=0.1", **change: Any) -> dict[str, Any]:
    samples = {"train": 8, "none": 0, "val": 1}
    content: dict[str, Any] = {
        "options": {} if split is None else {"split": split},
        "steps": [{"step": "split", "split": split, "samples": samples}],
        "splits": copy.deepcopy(SPLITS),
    }
    return {**content, **change}


def row(ident: str, **metadata: Any) -> ShardRow:
    return ShardRow(ident, "", "", "", 0, 0, 1, 1, "", "", "copied", metadata)


def problems(check: SplitCheck | None, one: ShardRow, shard: int = 0) -> list[str]:
    assert check is not None
    return list(check.problems(one, shard))


def test_a_row_is_where_its_id_has_it() -> None:
    check = SplitCheck(parse_split(RULE), {0: "train", 1: "val"})
    assert problems(check, row("owl 3", split="train")) == []
    assert problems(check, row("owl 4", split="val"), 1) == []
    (moved,) = problems(check, row("owl 3", split="val"), 1)
    assert moved == "its split is 'val', and --split=train=0.9,val=0.1 makes it 'train'"
    (misplaced,) = problems(check, row("owl 4", split="val"), 0)
    assert misplaced == "its split is 'val', and the manifest has its shard in 'train'"
    assert len(problems(check, row("owl 3"))) == 2


def test_a_renamed_id_may_be_where_it_was_before() -> None:
    # `owl 4` is in val, `owl 4-1` by itself in train.
    one = row("owl 4-1", split="val")
    assert problems(SplitCheck(parse_split(RULE), {0: "val"}, renamed=True), one) == []
    assert len(problems(SplitCheck(parse_split(RULE), {0: "val"}), one)) == 1
    # What was escaped was hashed as it was before.
    assert problems(SplitCheck(parse_split(RULE), {0: "val"}), row(r"caf\xe9", split="val")) == []


@pytest.mark.parametrize(
    ("rule", "metadata", "sound"),
    [
        ("subset", {"subset": "a", "split": "a"}, True),
        ("subset", {"subset": "b", "split": "a"}, False),
        ("subset", {"split": "a"}, False),
        ("split", {"input_split": "a", "split": "a"}, True),
        ("split", {"input_split": "b", "split": "a"}, False),
        ("encoding", {"input_encoding": "a", "split": "a"}, True),
        ("input_encoding", {"input_encoding": "b", "split": "a"}, False),
    ],
)
def test_a_row_is_where_its_column_has_it(rule: str, metadata: dict[str, Any], sound: bool) -> None:
    found = problems(SplitCheck(parse_split(rule), {0: "a"}), row("1", **metadata))
    assert (found == []) is sound


def test_a_row_is_where_its_folder_has_it() -> None:
    check = SplitCheck(parse_split("folder"), {0: "a"})
    assert problems(check, row("a/b/1", split="a")) == []
    assert len(problems(check, row("b/a/1", split="a"))) == 1
    assert len(problems(check, row("1", split="a"))) == 1


def test_what_rows_are_held_against_is_the_manifests() -> None:
    check = check_of(manifest(RULE))
    assert check is not None
    assert check.names == {0: "train", 1: "train", 2: "val"}
    assert check_of(manifest(None)) is None
    assert check_of(None) is None
    # A damaged option or count is for others to say, and takes no memory.
    assert check_of(manifest("a=1,b=1")) is None
    huge = [{**SPLITS[0], "first_shard": 10**9, "shards": 10**12}]
    assert check_of(manifest(RULE, splits=huge)) == SplitCheck(parse_split(RULE), {})


def test_splits_begin_where_their_shards_do() -> None:
    assert first_shards(manifest(), range(3)) == {0, 2}
    assert first_shards({"options": {}}, range(3)) == {0}
    assert first_shards(None, range(3)) == {0}
    # Which they are, a damaged manifest does not say.
    assert first_shards(manifest(splits=[{}]), range(3)) == {0, 1, 2}


def test_a_sound_manifest_has_no_problem() -> None:
    assert list(check_sums(manifest(), ROWS)) == []
    assert list(check_sums({"options": {}, "steps": []}, ROWS)) == []


def changed(number: int, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["splits"][number].update(values)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed(0, samples=8), "samples of its split 'train' is 8, and its shards have 7"),
        (changed(2, bytes=11), "bytes of its split 'val' is 11, and its shards have 10"),
        (changed(0, key="Train"), "the key of its split 'train' is not the one"),
        (changed(0, name="trian", key="trian"), "its splits are not those of --split="),
        (changed(1, first_shard=3), "its split 'none' does not begin where the one before ends"),
        (changed(2, shards=2), "its splits have 4 shards, and there are 3"),
        (changed(0, shards="2"), "of another form"),
        (changed(0, shards=True), "of another form"),
        (changed(0, shards=-1), "of another form"),
        (changed(0, more=1), "of another form"),
        (lambda content: content.update(splits={}), "of another form"),
        (lambda content: content.update(splits=[1]), "of another form"),
        (lambda content: content.pop("splits"), "missing, not asked for"),
        (lambda content: content["options"].pop("split"), "missing, not asked for"),
        (lambda content: content["splits"].reverse(), "its splits are not those of --split="),
        (lambda content: content["options"].update(split="a=2"), "option split is no rule"),
        (
            lambda content: content["steps"][0]["samples"].update(train=7),
            "its step 'split' has 7 samples of 'train', and its shards hold or list 8",
        ),
        (lambda content: content["steps"].clear(), "its step 'split' has None samples"),
    ],
)
def test_what_is_wrong_with_a_manifest(change: Callable[[dict[str, Any]], Any], said: str) -> None:
    content = manifest()
    change(content)
    found = list(check_sums(content, ROWS))
    assert any(said in one for one in found), found


def test_splits_of_a_column_are_sorted() -> None:
    content = manifest("subset", splits=[SPLITS[0], {**SPLITS[2], "first_shard": 2}])
    assert list(check_sums(content, ROWS)) == []
    # Each by itself would do: the order is that of the names.
    other = [{**SPLITS[2], "first_shard": 0}, {**SPLITS[0], "first_shard": 1}]
    rows = {0: ROWS[2], 1: ROWS[0], 2: ROWS[1]}
    found = list(check_sums(manifest("subset", splits=other), rows))
    assert found == ["its splits are not those of --split=subset, in their order"]
