from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_export.errors import InputError
from beam_export.naming import ShardNames
from beam_export.shards.indexes.counts import NSHARDS, SIZES, nshards_txt, sizes_json
from beam_export.shards.indexes.energon import FOLDER, SPLIT, split_yaml, tar_index
from beam_export.shards.leftovers import (
    find_card,
    refuse_existing,
    remove_or_refuse,
    stale_header,
)
from beam_export.shards.manifest import seal
from beam_export.shards.output import Output

OLD, NEW = ShardNames("0123456789ab"), ShardNames("ba9876543210")


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Output]:
    """An output with an export of two files, known by its manifest."""
    (tmp_path / OLD.manifest).write_bytes(
        seal({"format": 1, "hash": OLD.hash, "totals": {"shards": 1}})
    )
    (tmp_path / OLD.tar(0)).write_bytes(b"a tar")
    output = Output(str(tmp_path), "0123456789abcdef" * 2)
    output.prepare()
    yield output
    output.sweep()


def names(output: Output) -> list[str]:
    return [name for name in output.files() if not name.startswith("_tmp")]


def test_an_export_in_the_output_is_refused_without_resume(output: Output) -> None:
    with pytest.raises(InputError, match=r"holds 2 files .* of an earlier run"):
        refuse_existing(output)


def test_another_export_is_refused_or_removed(output: Output) -> None:
    with pytest.raises(InputError, match=r"holds 2 files .* of another dataset .*--clean"):
        remove_or_refuse(output, NEW.hash, 1, clean=False)
    assert len(names(output)) == 2
    remove_or_refuse(output, NEW.hash, 1, clean=True)
    assert names(output) == []


def test_files_of_the_export_itself_stay_for_the_run_to_resume(output: Output) -> None:
    remove_or_refuse(output, OLD.hash, 1, clean=False)
    assert len(names(output)) == 2


@pytest.mark.parametrize("clean", [False, True])
def test_a_file_of_others_in_the_way_is_refused(output: Output, clean: bool) -> None:
    Path(output.path(NEW.tar(0))).write_bytes(b"not ours")
    with pytest.raises(InputError, match="a file that is not this tool's, or is damaged"):
        remove_or_refuse(output, NEW.hash, 1, clean=clean)
    assert len(names(output)) == 3


@pytest.mark.parametrize(
    ("readme", "named"),
    [
        ("---\nconfigs:\n- images-ba9876543210-*.tar\n---\nmine", "ba9876543210"),
        ("\ufeff--- \r\na: images-ba9876543210-*.tar\r\n---\r\n", "ba9876543210"),
        ("---\na: images-0123456789ab-*.tar\nb: images-ba9876543210-0.tar\n---\n", "ba9876543210"),
        ("---\na: images-0123456789ab-*.tar\n---\nMade of images-ba9876543210-*.tar", ""),
        ("---\nimages-ba9876543210-*.tar", ""),
        ("Made of\n---\nimages-ba9876543210-*.tar\n---\n", ""),
        ("", ""),
    ],
)
def test_a_readme_is_stale_by_its_header_alone(readme: str, named: str) -> None:
    said = stale_header(readme.encode(), "0123456789ab")
    assert (f"another export ({named}), which" in said) == bool(said) == bool(named)


def test_a_readme_of_others_is_kept(output: Output) -> None:
    assert find_card(output) == ""
    Path(output.path("README.md")).write_bytes(b"mine")
    assert find_card(output) == "kept"
    remove_or_refuse(output, NEW.hash, 1, clean=True)
    assert names(output) == ["README.md"]


def test_somebodys_own_index_of_another_export_is_in_nobodys_way(output: Output) -> None:
    mine = Path(output.path(OLD.dali_index(0)))
    mine.write_bytes(b"v1.1 1\njpg 512 9\n")
    remove_or_refuse(output, NEW.hash, 1, clean=True, indexes=("dali",))
    assert names(output) == [OLD.dali_index(0)]


def test_a_file_of_others_under_the_name_of_an_index_is_refused_where_it_is_written(
    output: Output,
) -> None:
    Path(output.path(OLD.dali_index(0))).write_bytes(b"my own notes")
    remove_or_refuse(output, OLD.hash, 1, clean=False, indexes=("energon", "wids"))
    with pytest.raises(InputError, match=r"000000.idx, where this export is to be written"):
        remove_or_refuse(output, OLD.hash, 1, clean=False, indexes=("dali",))


def test_indexes_of_an_export_that_is_removed_go_with_it(output: Output) -> None:
    content = split_yaml({}, [OLD.tar(0)])
    listed = [{"name": SPLIT, "sha256": hashlib.sha256(content).hexdigest()}]
    manifest = {"format": 1, "hash": OLD.hash, "totals": {"shards": 1}, "indexes": listed}
    Path(output.path(OLD.manifest)).write_bytes(seal(manifest))
    Path(output.path(FOLDER)).mkdir()
    Path(output.path(SPLIT)).write_bytes(content)
    for name, data in ((SIZES, sizes_json({OLD.tar(0): 5})), (NSHARDS, nshards_txt(1))):
        Path(output.path(name)).write_bytes(data)
    Path(output.path(OLD.energon_index(0))).write_bytes(tar_index([0], 1024))
    output.since = float("inf")  # all of it is older than the run
    remove_or_refuse(output, NEW.hash, 1, clean=True)
    assert names(output) == []
    assert not Path(output.path(FOLDER)).exists()
