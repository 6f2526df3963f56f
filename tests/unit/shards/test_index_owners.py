from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from beam_export.errors import RunError
from beam_export.naming import ShardNames
from beam_export.shards.index_owners import (
    IndexOwners,
    find_kept,
    keeps,
    listed_indexes,
    stale_index,
)
from beam_export.shards.indexes.counts import NSHARDS, SIZES, nshards_txt, sizes_json
from beam_export.shards.indexes.energon import DATASET, INFO, SPLIT, info_json, split_yaml
from beam_export.shards.indexes.wids import WidsShard, wids_index
from beam_export.shards.manifest import seal
from beam_export.shards.output import Output

NAMES = ShardNames("0123456789ab")
SAMPLES = {NAMES.tar(0): 5, NAMES.tar(1): 3}


@pytest.fixture
def output(tmp_path: Path) -> Output:
    made = Output(str(tmp_path / "out"), "0123456789abcdef" * 2)
    made.prepare()
    return made


def put(output: Output, name: str, content: bytes) -> None:
    path = Path(output.path(name))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def owns(output: Output, name: str) -> bool:
    return IndexOwners(output).owns(name)


def test_files_that_list_our_tars_are_ours(output: Output) -> None:
    put(output, SIZES, sizes_json(SAMPLES))
    put(output, INFO, info_json(SAMPLES))
    put(output, NAMES.wids_index(), wids_index(NAMES.wids_index(), [WidsShard(*_shard())]))
    assert all(owns(output, name) for name in (SIZES, INFO, NAMES.wids_index()))


def _shard() -> tuple[str, str, int, int]:
    return NAMES.tar(0), "ab", 5, 10_240


@pytest.mark.parametrize("name", [SIZES, INFO, SPLIT, DATASET, NSHARDS, NAMES.wids_index()])
def test_other_content_is_somebody_elses(output: Output, name: str) -> None:
    assert owns(output, name)  # nothing is there
    put(output, name, b'{"00000.tar": 5}')
    assert not owns(output, name)


def test_a_number_of_shards_is_ours_beside_our_sizes(output: Output) -> None:
    put(output, NSHARDS, nshards_txt(2))
    assert not owns(output, NSHARDS)
    put(output, SIZES, sizes_json(SAMPLES))
    assert owns(output, NSHARDS)
    put(output, NSHARDS, b"4\n")
    assert not owns(output, NSHARDS)


def test_what_a_manifest_lists_is_ours_until_it_is_edited(output: Output) -> None:
    content = split_yaml({}, list(SAMPLES))
    put(output, SPLIT, content)
    assert not owns(output, SPLIT)
    listed = [{"name": SPLIT, "sha256": hashlib.sha256(content).hexdigest()}]
    put(output, NAMES.manifest, seal({"format": 1, "hash": NAMES.hash, "indexes": listed}))
    assert owns(output, SPLIT)
    assert find_kept(output, {"indexes": listed}) == []
    put(output, SPLIT, content.replace(b"train", b"fit"))
    assert not owns(output, SPLIT)
    assert find_kept(output, {"indexes": listed}) == [SPLIT]


def test_a_directory_or_a_link_is_never_ours(output: Output, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(sizes_json(SAMPLES))
    Path(output.path(SIZES)).symlink_to(tmp_path / "mine")
    Path(output.path(NSHARDS)).mkdir()
    assert not owns(output, SIZES)
    assert not owns(output, NSHARDS)


def test_settings_of_somebody_else_are_kept_and_all_else_is_refused(output: Output) -> None:
    put(output, DATASET, b"mine: true\n")
    put(output, SIZES, b'{"mine.tar": 1}')
    owners = IndexOwners(output)
    assert keeps(DATASET, b"ours", output, owners=owners)
    assert not keeps(DATASET, b"mine: true\n", output, owners=owners)
    with pytest.raises(RunError, match=r"sizes.json is a file that is not this tool's"):
        keeps(SIZES, b"ours", output, owners=owners)


@pytest.mark.parametrize(
    "data",
    [b"{}", seal({"indexes": [{"name": "a"}]}), seal({"indexes": 5}), seal({"indexes": ["a"]})],
)
def test_a_damaged_manifest_lists_none(data: bytes) -> None:
    assert listed_indexes(data) == {}


def test_an_index_is_stale_by_the_tars_that_it_names_outside_of_comments() -> None:
    ours, gone = (ShardNames(one).tar(0) for one in ("0123456789ab", "ba9876543210"))
    for text in (f"train:\n- {ours}\n", f"# was {gone}\ntrain:\n- {ours} # {gone}", "", "mine"):
        assert stale_index(text.encode(), "0123456789ab") == ""
    said = stale_index(f"train:\n- {ours}\n- {gone}\n".encode(), "0123456789ab")
    assert said.startswith("it names tars of another export (ba9876543210), which")
