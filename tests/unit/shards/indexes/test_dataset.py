from __future__ import annotations

import json

import pytest
from support.indexes import MEMBERS, indexed

from beam_export.index_kinds import KINDS
from beam_export.naming import ShardNames
from beam_export.shards.indexes.dataset import dataset_files, fixed_names, is_setting
from beam_export.shards.indexes.table import IndexedShard

NAMES = ShardNames("0123456789ab")


def shards(*kinds: str) -> list[IndexedShard]:
    """Returns two shards, of which the second alone has a caption in all its samples."""
    found = []
    for number, members in enumerate([MEMBERS, MEMBERS[:3]]):
        _, indexer = indexed(*members, kinds=kinds)
        known = indexer.known(NAMES, number)
        found.append(
            IndexedShard(
                number=number,
                samples=2 - number,
                bytes=9,
                tar_sha256=f"a{number}",
                indexes=known,
            )
        )
    return found


def test_all_kinds_have_their_files() -> None:
    files = dataset_files(NAMES, shards(*KINDS))
    assert sorted(files) == [
        *(".nv-meta/.info.json", ".nv-meta/dataset.yaml", ".nv-meta/split.yaml"),
        *("images-0123456789ab-wids.json", "nshards.txt", "sizes.json"),
    ]
    assert json.loads(files["sizes.json"]) == {NAMES.tar(0): 2, NAMES.tar(1): 1}
    assert files["nshards.txt"] == b"2\n"
    # One sample has no .txt: captions would fail.
    assert b"ImageSample" in files[".nv-meta/dataset.yaml"]
    assert b"CaptioningSample" in dataset_files(NAMES, shards(*KINDS)[1:])[".nv-meta/dataset.yaml"]


def test_each_split_has_an_index_of_its_own() -> None:
    files = dataset_files(NAMES, shards(*KINDS), {"train": range(1), "val": range(1, 2)})
    (val,) = json.loads(files[NAMES.wids_index("val")])["shardlist"]
    assert (val["url"], val["nsamples"]) == (NAMES.tar(1), 1)
    assert NAMES.wids_index() not in files
    split = files[".nv-meta/split.yaml"].decode()
    assert split.splitlines()[1:5] == [
        *("  train:", f"  - {NAMES.tar(0)}", "  val:", f"  - {NAMES.tar(1)}")
    ]


@pytest.mark.parametrize("kinds", [(), ("dali",)])
def test_where_no_kind_needs_one_there_is_none(kinds: tuple[str, ...]) -> None:
    assert dataset_files(NAMES, shards(*kinds)) == {}
    assert dataset_files(NAMES, []) == {}
    assert fixed_names(kinds) == []


def test_what_people_set_by_hand_may_be_edited() -> None:
    names = dataset_files(NAMES, shards(*KINDS))
    assert {name for name in names if is_setting(name)} == {
        *(".nv-meta/split.yaml", ".nv-meta/dataset.yaml", NAMES.wids_index())
    }
