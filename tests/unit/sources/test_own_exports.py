"""Exports of ours are known by what their files say: renamed, or not finished."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.listings import chosen, counts, make, own_tar, parquet, read

from beam_export.sources.entries import local_entry
from beam_export.sources.input_format import choose
from beam_export.sources.siblings import group_listing

ONE, OTHER = "0123456789ab", "ba9876543210"


def shard(
    path: Path, content: bytes = b"tar", *, parquet_name: str = "", ours: bool = True
) -> None:
    """Writes a tar and the Parquet that describes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    facts = {"beam_export.version": "0.1.0", "beam_export.tar_bytes": str(len(content))}
    table = pa.table({"image_id": ["a"]}).replace_schema_metadata(facts if ours else {})
    pq.write_table(table, path.with_name(parquet_name or f"{path.stem}.parquet"))


@pytest.mark.parametrize(
    "names",
    [
        ["cats.tar"],
        ["out/train-000000.tar", "out/train-000001.tar"],
        ["out/x.tar", "out/y.tar", "out/z.tar"],
        [f"out/images-{ONE}-0.tar"],
        [f"images-{ONE.upper()}-000000.tar"],
        ["9.tar", "a/0.tar", "a/b/0.tar"],
    ],
)
def test_renamed_shards_are_passed_by_with_their_parquet_files(
    tmp_path: Path, names: list[str]
) -> None:
    make(tmp_path, "0.jpg", "z.png")
    for name in names:
        shard(tmp_path / name)
    found = chosen(tmp_path)
    assert read(found) == ["0.jpg", "z.png"]
    assert counts(found) == {"(an export)": len(names)}
    # Alone they are read.
    for name in ("0.jpg", "z.png"):
        (tmp_path / name).unlink()
    assert read(chosen(tmp_path)) == sorted(names)


def test_a_manifest_and_an_index_that_were_renamed_are_known_by_what_they_hold(
    tmp_path: Path,
) -> None:
    make(tmp_path, "0.jpg", "out/broken.json")
    held: dict[str, object] = {
        "mine-manifest.json": {"hash": ONE, "totals": {}, "software": {"beam_export": "0.1.0"}},
        "list.json": {"shardlist": [{"url": f"images-{ONE}-000000.tar"}]},
        "notes.json": {"hash": ONE, "totals": {}, "software": {"other": "1"}},
        "a-list.json": [1],
    }
    for name, content in held.items():
        (tmp_path / "out" / name).write_text(json.dumps(content))
    shard(tmp_path / "out/0.tar", ours=False)
    # In no export's directory nothing of it is looked into.
    assert counts(chosen(tmp_path)) == {".json": 5}
    shard(tmp_path / "out/0.tar")
    assert counts(chosen(tmp_path)) == {"(an export)": 3, ".json": 3}
    (tmp_path / "0.jpg").unlink()
    assert counts(chosen(tmp_path)) == {".json": 5}


@pytest.mark.parametrize("name", ["cats.tar", "out/train-000000.tar", f"images-{ONE}-000000.tar"])
def test_shards_of_another_tool_are_read(tmp_path: Path, name: str) -> None:
    make(tmp_path, "0.jpg")
    shard(tmp_path / name, ours=False)
    assert sorted(read(chosen(tmp_path))) == sorted(["0.jpg", name])


@pytest.mark.parametrize("tar", ["cats.tar", "shard-0.tar", "0.tar"])
@pytest.mark.parametrize("table", [f"images-{ONE}-000000.parquet", "cats-table.parquet"])
def test_a_tar_and_its_parquet_that_were_renamed_apart_belong_together_by_the_tars_size(
    tmp_path: Path, tar: str, table: str
) -> None:
    make(tmp_path, "0.jpg")
    shard(tmp_path / "out" / tar, b"12345", parquet_name=table)
    (tmp_path / "out/foreign.tar").write_bytes(b"123456")
    found = chosen(tmp_path)
    assert read(found) == ["0.jpg", "out/foreign.tar"]
    assert counts(found) == {"(an export)": 2}


@pytest.mark.parametrize("images", ["0.jpg", "x.tar"])
def test_a_parquet_that_an_export_has_left_is_counted_as_an_exports(
    tmp_path: Path, images: str
) -> None:
    make(tmp_path, images)
    for name in ("a.parquet", "d/b-1.parquet", "d/b-2.parquet"):
        parquet(tmp_path / name)
    parquet(tmp_path / "c.parquet", ours=False)
    found = chosen(tmp_path)
    assert read(found) == [images]
    assert counts(found) == {"(an export)": 3, ".parquet": 1}


TOKEN = 32 * "5"
WORK = {
    "_tmp/beam_export": b"made by beam_export for temporary files\n",
    f"_tmp/{TOKEN}/run": b"beam_export: temporary files of the run\n",
    f"_tmp/{TOKEN}/claim-{64 * 'a'}": f"images-{ONE}-000000.tar".encode(),
}


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("proof", [*WORK, "all"])
@pytest.mark.parametrize("place", ["out", "a/b", "."])
def test_tars_of_a_run_that_has_not_come_to_a_parquet_are_passed_by(
    tmp_path: Path, proof: str, place: str
) -> None:
    work = WORK if proof == "all" else {proof: WORK[proof]}
    make(tmp_path, "0.jpg", "z.jpg")
    tars = [f"images-{ONE}-{number:06d}.tar" for number in range(2)]
    make(tmp_path / place, *tars, f"_tmp/{TOKEN}/{32 * '1'}", f"_tmp/{TOKEN}/spill-{32 * '2'}")
    write(tmp_path / place, work)
    found = chosen(tmp_path)
    assert read(found) == ["0.jpg", "z.jpg"]
    assert counts(found) == {"(an export)": 4 + len(work)}


@pytest.mark.parametrize("proof", ["shards", "manifest"])
def test_tars_whose_parquet_files_are_gone_are_known_by_what_lies_beside(
    tmp_path: Path, proof: str
) -> None:
    make(tmp_path, "0.jpg", f"out/images-{ONE}-000000.tar")
    if proof == "manifest":
        write(tmp_path, {f"out/images-{ONE}-manifest.json": f'{{"hash": "{ONE}"}}'.encode()})
    else:
        (tmp_path / "out/_meta").mkdir()
        table = pa.table({name: ["x"] for name in ("tar_sha256", "parquet_sha256", "plan")})
        pq.write_table(table, tmp_path / f"out/_meta/images-{ONE}-shards.parquet")
    found = chosen(tmp_path)
    assert read(found) == ["0.jpg"]
    assert counts(found) == {"(an export)": 2}
    # By a pattern of tars as well, which does not list what shows it.
    make(tmp_path, "x.tar")
    assert read(chosen(f"{tmp_path}/**/*.tar")) == ["x.tar"]


@pytest.mark.parametrize(
    "name", ["_tmp/beam_export", f"_tmp/{TOKEN}/run", f"images-{ONE}-manifest.json"]
)
def test_files_named_so_that_say_nothing_show_nothing(tmp_path: Path, name: str) -> None:
    make(tmp_path, "0.jpg", "out/images-other.tar", f"out/{name}")
    found = chosen(tmp_path)
    assert read(found) == ["0.jpg", "out/images-other.tar"]
    assert "(an export)" not in counts(found)


def test_an_unfinished_export_alone_is_read_as_far_as_it_is_there(tmp_path: Path) -> None:
    make(tmp_path, f"images-{ONE}-000000.tar", f"images-{ONE}-000001.tar")
    write(tmp_path, WORK)
    assert len(read(chosen(tmp_path))) == 2


def test_a_tar_of_another_tool_named_alike_keeps_its_place_among_others(tmp_path: Path) -> None:
    make(tmp_path, "a.tar", f"images-{ONE}-000000.tar", "z.tar")
    assert read(chosen(tmp_path)) == ["a.tar", f"images-{ONE}-000000.tar", "z.tar"]


RUN = json.dumps(
    dict.fromkeys(("host", "images_per_second", "machine", "python", "seconds", "started"))
).encode()
LEFT = {
    **WORK,
    f"_meta/images-{ONE}-run.json": RUN,
    "_meta/report.html": b"<!doctype html>\n<!-- made by beam-export report; sha256 -->\n",
    f"_meta/images-{ONE}-failures.parquet": ("image_id", "original_path", "stage", "error"),
    f"_meta/images-{ONE}-indexes.parquet": ("tar_sha256", "tar_md5", "dali_file", "energon_file"),
    "README.md": b"---\nlicense: mit\n---\n<!-- made by beam_export -->\n",
    "sizes.json": f'{{"images-{ONE}-000000.tar": 3}}'.encode(),
    f"images-{ONE}-wids.json": f'{{"shardlist": [{{"url": "images-{ONE}-000000.tar"}}]}}'.encode(),
    f"images-{ONE}-manifest.json": f'{{"hash": "{ONE}"}}'.encode(),
}


def leave(folder: Path, name: str) -> None:
    """Writes what is left of an export beside its tars."""
    content = LEFT[name]
    if isinstance(content, bytes):
        write(folder, {name: content})
    else:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({one: ["x"] for one in (*content, "message")}), folder / name)


def plain_tar(path: Path) -> None:
    """Writes a tar as a few lines of Python do: its headers have no user and no time either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as target:
        member = tarfile.TarInfo("a.jpg")
        member.size = 1
        target.addfile(member, io.BytesIO(b"1"))


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("place", ["out", "."])
def test_tars_that_were_renamed_are_known_by_what_is_left_and_how_they_are_written(
    tmp_path: Path, left: str, place: str
) -> None:
    names = ["0.tar", "Cats.tar", "cats.tar", "zz-000001.tar"]
    for name in names:
        own_tar(tmp_path / place / name)
    assert read(chosen(tmp_path)) == sorted(str(Path(place, one)) for one in names)
    leave(tmp_path / place, left)
    # Alone it is read.
    assert len(read(chosen(tmp_path))) == len(names)
    make(tmp_path, "00.jpg", "z.jpg")
    plain_tar(tmp_path / place / "foreign.tar")
    found = chosen(tmp_path)
    assert sorted(read(found)) == sorted(["00.jpg", "z.jpg", str(Path(place, "foreign.tar"))])
    assert counts(found) == {"(an export)": len(names) + 1}
    # By a pattern as well, which does not list what shows it.
    assert read(chosen(f"{tmp_path / place}/*.tar")) == ["foreign.tar"]


@pytest.mark.parametrize("left", [one for one in LEFT if one.startswith("_meta")])
def test_one_file_of_meta_shows_whose_tars_of_our_names_are(tmp_path: Path, left: str) -> None:
    make(tmp_path, "0.jpg", f"out/images-{ONE}-000000.tar")
    leave(tmp_path / "out", left)
    found = chosen(tmp_path)
    assert read(found) == ["0.jpg"]
    assert counts(found) == {"(an export)": 2}


@pytest.mark.parametrize("left", ["README.md", "sizes.json", f"images-{ONE}-wids.json"])
def test_tars_of_our_names_are_known_by_a_card_or_a_list_of_them(tmp_path: Path, left: str) -> None:
    make(tmp_path, "0.jpg")
    own_tar(tmp_path / f"out/images-{ONE}-000000.tar")
    plain_tar(tmp_path / f"out/images-{OTHER}-000000.tar")
    leave(tmp_path / "out", left)
    found = chosen(tmp_path)
    assert read(found) == ["0.jpg", f"out/images-{OTHER}-000000.tar"]
    assert counts(found) == {"(an export)": 2}


@pytest.mark.parametrize("name", LEFT)
def test_files_of_these_names_that_are_not_ours_show_nothing(tmp_path: Path, name: str) -> None:
    own_tar(tmp_path / "out/0.tar")
    make(tmp_path, "0.jpg", f"out/images-{OTHER}-000000.tar", f"out/{name}")
    found = chosen(tmp_path)
    assert len(read(found)) == 3
    assert "(an export)" not in counts(found)


def test_a_listing_of_objects_knows_renamed_tars_too(tmp_path: Path) -> None:
    names = ["out/0.tar", f"out/_meta/images-{ONE}-run.json", "out/cats.tar", "x.jpg"]
    for name in names[::2]:
        own_tar(tmp_path / name)
    write(tmp_path, {names[1]: RUN, names[3]: b"x"})
    listing = []
    for path in (tmp_path / name for name in names):
        folder = str(path.parent.relative_to(tmp_path)).removeprefix(".")
        listing.append((folder, local_entry(path.name, str(path), path.stat())))
    found = list(choose((item for _, item in group_listing(listing)), "auto"))
    assert read(found) == ["x.jpg"]
    assert counts(found) == {"(an export)": 3}
