"""Tars and earlier exports through real pipelines, compared with what other readers find."""

from __future__ import annotations

import ast
import gc
import io
import json
import tarfile
import warnings
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import webdataset
import zstandard
from support.exports import SHARED, Export, check_export, picture
from support.runs import run_export

from beam_export.errors import InputError, RunError

DATA = SHARED / "data"
ODD = DATA / "webdataset" / "odd"


@pytest.fixture(scope="module")
def data() -> Path:
    if not DATA.is_dir():
        pytest.skip("needs ../shared/data, which is not part of the repository")
    return DATA


def write_tar(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def numbered(count: int, first: int = 0) -> list[tuple[str, bytes]]:
    """Returns members of samples: an image, a json and a txt."""
    members = []
    for number in range(first, first + count):
        facts = json.dumps({"score": number / 8, "tags": ["a"]}).encode()
        members += [
            (f"part/{number:04d}.jpg", picture(number)),
            (f"part/{number:04d}.json", facts),
            (f"part/{number:04d}.txt", b"picture %d" % number),
        ]
    return members


def fields_of(export: Export) -> dict[str, dict[str, bytes]]:
    """Returns the members of every sample by id, by extension."""
    ids = {row["member_name"].partition(".")[0]: row["image_id"] for row in export.rows}
    found: dict[str, dict[str, bytes]] = {}
    for shard in export.shards:
        for name, content in shard.members.items():
            key, _, ext = name.partition(".")
            found.setdefault(ids[key], {})[ext] = content
    return found


def test_samples_of_tars_keep_members_columns_and_order(tmp_path: Path) -> None:
    for number in range(3):
        write_tar(tmp_path / f"in-{number:03d}.tar", numbered(5, number * 5))
    export = run_export(tmp_path / "in-{000..002}.tar", tmp_path / "out", images_per_tar=4)
    check_export(export.out, 4)
    assert export.sizes == [4, 4, 4, 3]
    assert export.ids == [f"part/{number:04d}" for number in range(15)]
    found = fields_of(export)
    for number, row in enumerate(export.rows):
        assert row["score"] == number / 8
        assert row["tags"] == ["a"]
        assert row["encoding"] == "copied"
        source = tmp_path / f"in-{number // 5:03d}.tar"
        assert row["original_path"] == f"{source}#part/{number:04d}.jpg"
        assert found[row["image_id"]] == {
            ext: dict(numbered(1, number))[f"part/{number:04d}.{ext}"]
            for ext in ("jpg", "json", "txt")
        }


@pytest.mark.parametrize(
    "end", ["gz", *(pytest.param(end, marks=pytest.mark.slow) for end in ("bz2", "xz", "zst"))]
)
def test_compressed_tars_give_the_same_dataset(tmp_path: Path, end: str) -> None:
    plain = write_tar(tmp_path / "plain.tar", numbered(7))
    packed = tmp_path / f"packed.tar.{end}"
    if end == "zst":
        packed.write_bytes(zstandard.compress(plain.read_bytes()))
    else:
        write_tar(packed, numbered(7), f"w:{end}")
    one = run_export(plain, tmp_path / "one", images_per_tar=3, order="shuffled", seed=5)
    other = run_export(packed, tmp_path / "other", images_per_tar=3, order="shuffled", seed=5)
    assert one.hash == other.hash
    assert [s.tar.read_bytes() for s in one.shards] == [s.tar.read_bytes() for s in other.shards]
    assert not list((tmp_path / "other").glob("_tmp*"))


def test_an_export_of_an_export_is_the_same_dataset(tmp_path: Path) -> None:
    write_tar(tmp_path / "in.tar", numbered(9))
    first = run_export(tmp_path / "in.tar", tmp_path / "first", images_per_tar=4, encode="always")
    again = run_export(tmp_path / "first", tmp_path / "again", images_per_tar=4)
    check_export(again.out, 4)
    assert again.ids == first.ids
    assert fields_of(again) == fields_of(first)
    keys = ("score", "tags", "original_path", "source_sha256", "sha256", "member_name")
    assert [{k: r[k] for k in keys} for r in again.rows] == [
        {k: r[k] for k in keys} for r in first.rows
    ]
    assert again.shards[0].table.schema.equals(first.shards[0].table.schema)
    third = run_export(tmp_path / "again", tmp_path / "third", images_per_tar=4)
    assert third.hash == again.hash


def test_a_shard_that_is_missing_is_never_silent(tmp_path: Path) -> None:
    write_tar(tmp_path / "in.tar", numbered(6))
    first = run_export(tmp_path / "in.tar", tmp_path / "first", images_per_tar=3)
    first.shards[1].tar.unlink()
    first.shards[1].tar.with_suffix(".parquet").unlink()
    with pytest.raises(RunError, match="allow_broken_sources"):
        run_export(tmp_path / "first", tmp_path / "again", images_per_tar=3)
    rest = run_export(
        tmp_path / "first", tmp_path / "rest", allow_broken_sources=True, max_failed_fraction=1.0
    )
    assert len(rest.rows) == 3
    assert [one["error"] for one in rest.failures] == ["BrokenSource"]


def test_equal_keys_of_two_tars(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", numbered(2))
    write_tar(tmp_path / "b.tar", numbered(2))
    both = f"{tmp_path / 'a.tar'},{tmp_path / 'b.tar'}"
    with pytest.raises(InputError, match="duplicates=rename"):
        run_export(both, tmp_path / "out")
    renamed = run_export(both, tmp_path / "out", duplicates="rename")
    assert renamed.ids == ["part/0000", "part/0001", "part/0000-1", "part/0001-1"]


def test_tars_tables_and_files_in_one_shuffle(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", numbered(4))
    (tmp_path / "files").mkdir()
    for number in range(4):
        (tmp_path / "files" / f"f{number}.jpg").write_bytes(picture(50 + number))
    table = tmp_path / "t.csv"
    lines = [f"files/f{number}.jpg,row{number},{number}" for number in range(4)]
    table.write_text("\n".join(["path,id,rank", *lines]) + "\n")
    inputs = ",".join(str(tmp_path / name) for name in ("a.tar", "files", "t.csv"))
    export = run_export(inputs, tmp_path / "out", order="shuffled", seed=3, images_per_tar=5)
    check_export(export.out, 5)
    assert sorted(export.ids) == sorted(
        [f"part/{n:04d}" for n in range(4)]
        + [f"f{n}" for n in range(4)]
        + [f"row{n}" for n in range(4)]
    )
    assert {row["image_id"]: row["rank"] for row in export.rows if row["rank"] is not None} == {
        f"row{n}": n for n in range(4)
    }


#: The columns that every export has (format.md, part 4.2).
STRUCTURAL = (
    *("image_id", "tar_file", "member_name", "original_path", "offset", "size", "width", "height"),
    *("sha256", "source_sha256", "encoding"),
)
#: Of each odd tar: how many samples come out, and which failures (id, error).
EXPECTED: dict[str, tuple[int, list[tuple[str, str]]]] = {
    "dup-keys.tar": (1, [("a", "DuplicateMember")]),
    "gnutar.tar.gz": (5, []),
    "interleaved-keys.tar": (2, []),
    "links.tar": (1, [("b", "NotAFile"), ("c", "NotAFile"), ("f", "NotAFile"), ("g", "NotAFile")]),
    "missing-parts.tar": (2, [("b", "NoImage"), ("d", "ValueError")]),
    "names-gnu.tar": (16, []),
    "names-pax.tar": (16, []),
    "truncated-in-file.tar": (
        10,
        [("train/IMG_2407", "Truncated"), ("truncated-in-file.tar", "BrokenSource")],
    ),
}
#: Those of which nothing can be exported, and what is said of the input then: exit 2.
NOTHING = {
    "empty.tar": "give a directory",
    "meta-keys.tar": r"1 failed .*, 1 with DuplicateMember \(.*#a.JPG: its .jpg comes twice",
    "sparse-64MiB-gnu.tar": r"1 failed .*, 1 with SparseFile \(.*#sparse.bin: its .bin is a sparse",
}


def test_every_odd_tar_is_spoken_of(data: Path) -> None:
    assert sorted([*EXPECTED, *NOTHING]) == sorted(path.name for path in ODD.iterdir())


def test_odd_tars(data: Path, tmp_path: Path) -> None:
    """All in one run, where equal ids of two tars are told apart by what is appended."""
    source = ",".join(str(ODD / name) for name in sorted(EXPECTED))
    options: dict[str, Any] = {"max_failed_fraction": 1.0, "images_per_tar": 7}
    options["duplicates"] = "rename"
    with pytest.raises(RunError, match=r"truncated-in-file\.tar.*allow_broken_sources"):
        run_export(source, tmp_path / "broken", **options)
    export = run_export(source, tmp_path / "out", allow_broken_sources=True, **options)
    check_export(export.out, 7, "--allow-short")
    found: dict[str, tuple[int, list[tuple[str, str]]]] = {}
    for name in EXPECTED:
        place = str(ODD / name)
        rows = [row for row in export.rows if row["original_path"].partition("#")[0] == place]
        lost = [one for one in export.failures if one["original_path"].partition("#")[0] == place]
        found[name] = len(rows), [(one["image_id"], one["error"]) for one in lost]
    assert found == EXPECTED
    assert all(one["message"] for one in export.failures)


@pytest.mark.parametrize(
    "name",
    ["empty.tar", "meta-keys.tar", pytest.param("sparse-64MiB-gnu.tar", marks=pytest.mark.slow)],
)
def test_tars_without_a_sample(data: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=NOTHING[name]):
        run_export(ODD / name, tmp_path / "out")


def read_with_webdataset(paths: list[Path]) -> dict[str, dict[str, bytes]]:
    """Returns what webdataset finds in tars: members by extension, by key."""
    found = {}
    with warnings.catch_warnings():
        # It leaves its files to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        for path in paths:
            for sample in webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False):
                exts = [ext for ext in sample if not ext.startswith("__")]
                found[sample["__key__"]] = {ext: sample[ext] for ext in exts}
        gc.collect()
    return found


def test_webdataset_tars_hold_what_webdataset_reads(data: Path, tmp_path: Path) -> None:
    paths = sorted((data / "webdataset").glob("*.tar"))
    wanted = read_with_webdataset(paths)
    export = run_export(data / "webdataset" / "*.tar", tmp_path / "out", images_per_tar=70)
    check_export(export.out, 70)
    assert export.sizes == [70, 70, 70, 70, 20]
    assert fields_of(export) == wanted
    for row in export.rows:
        for name, value in json.loads(wanted[row["image_id"]]["json"]).items():
            assert row[name] == value


def test_indexes_spare_the_walk_and_change_nothing(data: Path, tmp_path: Path) -> None:
    tar = data / "webdataset" / "clothing-000000.tar"
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / tar.name).symlink_to(tar)
    one = run_export(tar, tmp_path / "one")
    other = run_export(tmp_path / "alone", tmp_path / "other")
    assert one.hash == other.hash
    assert [s.tar.read_bytes() for s in one.shards] == [s.tar.read_bytes() for s in other.shards]


def named_as_stored(row: dict[str, Any]) -> dict[str, Any]:
    """Returns a row of an input under the names that an export has for its columns."""
    return {f"input_{name}" if name in STRUCTURAL else name: row[name] for name in row}


def metadata_of(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in row if name not in STRUCTURAL}


def test_an_img2dataset_export(data: Path, tmp_path: Path) -> None:
    folder = data / "img2dataset" / "webdataset"
    export = run_export(folder, tmp_path / "out", images_per_tar=33, max_failed_fraction=0.02)
    check_export(export.out, 33)
    wanted = read_with_webdataset(sorted(folder.glob("*.tar")))
    assert fields_of(export) == wanted
    rows: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.parquet")):
        rows |= {row["key"]: row for row in pq.read_table(path).to_pylist()}
    failed = [row for row in rows.values() if row["status"] != "success"]
    assert len(export.failures) == len(failed) > 0
    for row in export.rows:
        assert metadata_of(row) == named_as_stored(rows[row["image_id"]])


def test_a_nemo_curator_export(data: Path, tmp_path: Path) -> None:
    folder = data / "nemo-curator"
    export = run_export(folder, tmp_path / "out", images_per_tar=9)
    check_export(export.out, 9)
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    wanted = {row["image_id"]: row for table in tables for row in table.to_pylist()}
    assert sorted(export.ids) == sorted(wanted)
    images: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                images[f"{path.name}/{member.name}"] = tar.extractfile(member).read()  # type: ignore[union-attr]
    for row in export.rows:
        source = wanted[row["image_id"]]
        assert (
            export.image(row) == images[f"{Path(source['tar_file']).name}/{source['member_name']}"]
        )
        assert row["original_path"] == source["original_path"]
        own = ast.literal_eval(source["metadata"])
        found = metadata_of(row)
        assert {name: found[name] for name in own} == own
        assert all(found[name] is None for name in found.keys() - own.keys())
