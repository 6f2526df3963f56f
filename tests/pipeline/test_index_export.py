"""Indexes for loaders: in the same pass as the export, afterwards, and after what went wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
from support.exports import directory_hashes, make_images, read_export
from support.indexes import members_of, read_dali, read_energon
from support.runs import run_export, run_pipeline

import beam_export
from beam_export.cli.main import main
from beam_export.errors import RunError
from beam_export.shards import publish

IN_MEMORY = "--direct_running_mode=in_memory"
#: Of an export without indexes.
PLAIN = (".tar", ".parquet", "README.md")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_images(tmp_path_factory.mktemp("in"), 10)
    for number, path in enumerate(sorted(folder.rglob("*.*"))):
        path.with_suffix(".txt").write_text(f"picture {number}")
    return folder


@pytest.fixture(scope="module")
def plain(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_export(images, tmp_path_factory.mktemp("plain") / "out", images_per_tar=4).out


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export with all indexes."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return run_export(images, out, images_per_tar=4, index="all").out


def export(images: Path, out: Path, *flags: str) -> int:
    given = ["--input", str(images), "--output_dir", str(out), "--images_per_tar=4", IN_MEMORY]
    return main([*given, *flags])


def copied(out: Path, tmp_path: Path) -> Path:
    return shutil.copytree(out, tmp_path / "out")


def index(out: Path, *flags: str) -> int:
    return main(["index", str(out), IN_MEMORY, *flags])


def verify(out: Path) -> int:
    return main(["verify", str(out), IN_MEMORY])


def test_all_that_loaders_read_is_there_and_right(whole: Path) -> None:
    made = read_export(whole)
    hash_ = made.hash
    for shard in made.shards:
        tar = shard.tar.read_bytes()
        found = members_of(tar)
        assert read_dali(shard.tar.with_suffix(".idx").read_bytes()) == found
        starts = [members[0][1] - 512 for members in found.values()]
        energon = shard.tar.with_name(shard.tar.name + ".idx").read_bytes()
        assert read_energon(energon) == [*starts, len(tar) - 1024]
    samples = {shard.tar.name: len(shard.rows) for shard in made.shards}
    assert list(samples.values()) == [4, 4, 2]
    assert json.loads((whole / "sizes.json").read_text()) == samples
    assert (whole / "nshards.txt").read_text() == "3\n"
    wids = json.loads((whole / f"images-{hash_}-wids.json").read_text())
    listed = {one["url"]: one["nsamples"] for one in wids["shardlist"]}
    assert listed == samples
    energon_info = json.loads((whole / ".nv-meta/.info.json").read_text())
    assert energon_info["shard_counts"] == samples
    assert "caption: txt" in (whole / ".nv-meta/dataset.yaml").read_text()
    assert f"images-{hash_}-{{000000..000002}}.tar" in (whole / ".nv-meta/split.yaml").read_text()
    names = {one["name"] for one in made.manifest["indexes"]}
    assert names == {
        *("sizes.json", "nshards.txt", f"images-{hash_}-wids.json"),
        *(f".nv-meta/{name}" for name in (".info.json", "split.yaml", "dataset.yaml")),
    }
    table = pq.read_table(whole / f"_meta/images-{hash_}-indexes.parquet")
    assert table.num_rows == 3
    assert verify(whole) == 0


def test_they_change_no_shard_and_no_name(whole: Path, plain: Path) -> None:
    with_, without = directory_hashes(whole), directory_hashes(plain)
    same = {name for name in without if name.endswith(PLAIN)}
    assert {name: with_[name] for name in same} == {name: without[name] for name in same}
    assert set(with_) >= set(without)


def test_two_workers_write_the_same(images: Path, whole: Path, tmp_path: Path) -> None:
    run_export(images, tmp_path / "out", images_per_tar=4, index="all", workers=2)
    assert directory_hashes(tmp_path / "out") == directory_hashes(whole)


def test_they_are_made_afterwards_with_the_same_bytes(
    images: Path, whole: Path, plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copied(plain, tmp_path)
    assert index(out, "--index=wids") == 0
    assert "indexed 3 shards for wids" in capsys.readouterr().out
    assert verify(out) == 0
    assert not list(out.glob("*.idx"))
    # Those that are there are kept up.
    assert index(out, "--index", "dali") == 0
    assert len(list(out.glob("*.idx"))) == 3
    assert len(list(out.glob("*-wids.json"))) == 1
    assert export(images, out, "--index=all") == 0
    assert directory_hashes(out) == directory_hashes(whole)
    capsys.readouterr()
    assert index(out) == 0
    assert "there already: nothing was written" in capsys.readouterr().out
    assert export(images, out) == 0
    assert "complete already" in capsys.readouterr().out
    assert directory_hashes(out) == directory_hashes(whole)


def test_a_killed_run_goes_on_with_its_indexes(images: Path, whole: Path, tmp_path: Path) -> None:
    out = copied(whole, tmp_path)
    hash_ = read_export(whole).hash
    # Nothing but a shard stands, and the indexes of another.
    for path in [*out.glob("*000002*"), *out.glob("*000001.parquet"), *out.glob("*000001.tar")]:
        path.unlink()
    shutil.rmtree(out / ".nv-meta")
    shutil.rmtree(out / "_meta")
    for name in (f"images-{hash_}-manifest.json", "sizes.json", "nshards.txt"):
        (out / name).unlink()
    # Even without the flag, what is there is completed.
    (out / f"images-{hash_}-wids.json").unlink()
    assert export(images, out) == 0
    assert len(list(out.glob("*.idx"))) == 6
    assert verify(out) == 0
    assert export(images, out, "--index=all") == 0
    assert directory_hashes(out) == directory_hashes(whole)


def test_a_run_that_dies_before_the_parquet_leaves_an_unfinished_shard(
    images: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise RunError("it died.")

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(publish.ShardIndexer, "files", die)
        assert export(images, out, "--index=all") == 1
    assert not list(out.glob("*.parquet"))
    assert export(images, out, "--index=all") == 0
    assert directory_hashes(out) == directory_hashes(whole)


def test_a_shard_that_is_written_anew_has_new_indexes(images: Path, tmp_path: Path) -> None:
    source, out = shutil.copytree(images, tmp_path / "in"), tmp_path / "out"
    assert export(source, out, "--index=all") == 0
    (wids,) = out.glob("*-wids.json")
    before = json.loads(wids.read_text())["shardlist"]
    # Of the same size, so that the plan is the same.
    sorted(source.rglob("*.txt"))[0].write_text("PICTURE 0")
    assert export(source, out) == 0
    after = json.loads(wids.read_text())["shardlist"]
    assert [one["md5sum"] != old["md5sum"] for one, old in zip(after, before, strict=True)] == [
        *(True, False, False)
    ]
    assert verify(out) == 0


@pytest.mark.parametrize(
    "name", ["dali", "energon", "sizes.json", ".nv-meta/.info.json", "table", "nshards.txt"]
)
def test_a_damaged_index_is_a_fault_and_is_mended(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = copied(whole, tmp_path)
    hash_ = read_export(whole).hash
    names = {
        "dali": f"images-{hash_}-000001.idx",
        "energon": f"images-{hash_}-000001.tar.idx",
        "table": f"_meta/images-{hash_}-indexes.parquet",
    }
    path = out / names.get(name, name)
    path.write_bytes(path.read_bytes()[:-1])
    assert verify(out) == 1
    assert f"{path.relative_to(out)}: " in capsys.readouterr().out
    path.unlink()
    assert verify(out) == 1
    assert index(out) == 0
    assert directory_hashes(out) == directory_hashes(whole)


def test_settings_that_somebody_has_edited_are_kept_and_that_is_said(
    images: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copied(whole, tmp_path)
    mine = out / ".nv-meta/dataset.yaml"
    mine.write_text("__module__: megatron.energon\n__class__: CrudeWebdataset\n")
    for run in (lambda: export(images, out), lambda: index(out)):
        assert run() == 0
        said = capsys.readouterr().out
        assert ".nv-meta/dataset.yaml is not this tool's, or was edited since: it was kept" in said
    assert "CrudeWebdataset" in mine.read_text()
    assert verify(out) == 0
    assert "dataset.yaml: not what the export wrote there" in capsys.readouterr().out


def test_an_edited_list_of_splits_of_an_export_that_is_gone_is_told_of(
    images: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Energon looks for its tars; removed, as both advise, it gives way to one that fits."""
    out = copied(whole, tmp_path)
    mine = out / ".nv-meta/split.yaml"
    mine.write_text(mine.read_text().replace("val:", "test:"))
    told = f"it names tars of another export ({read_export(whole).hash}), which loaders look for"
    assert export(images, out, "--limit=3", "--clean", "--index=energon") == 0
    kept = ".nv-meta/split.yaml is not this tool's, or was edited since: it was kept as it is"
    assert f"{kept}\n  {told}" in capsys.readouterr().out
    assert verify(out) == 0
    assert f"split.yaml: not what the export wrote there, and read by loaders as it is: {told}" in (
        capsys.readouterr().out
    )
    assert index(out) == 0
    assert f"{kept}\n  {told}" in capsys.readouterr().out
    mine.unlink()
    assert index(out) == 0
    assert told not in capsys.readouterr().out
    assert f"images-{read_export(out).hash}-000000.tar" in mine.read_text()


@pytest.mark.parametrize("name", ["sizes.json", ".nv-meta/.info.json"])
def test_files_of_others_are_refused_and_stay(
    images: Path,
    plain: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    out = copied(plain, tmp_path)
    mine = out / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text('{"shard_counts": {"mine.tar": 5}}')
    before = directory_hashes(out)
    for run in (
        lambda: index(out),
        lambda: export(images, out, "--index=all"),
        lambda: export(images, out, "--index=all", "--clean"),
    ):
        assert run() == 2
        assert f"holds {name}, where --index is to write" in capsys.readouterr().err
        assert directory_hashes(out) == before
    assert export(images, out, "--index=dali") == 0
    assert mine.read_text() == '{"shard_counts": {"mine.tar": 5}}'


def test_clean_removes_them_and_what_others_have_put_there_stays(
    images: Path, whole: Path, tmp_path: Path
) -> None:
    out = copied(whole, tmp_path)
    (out / ".nv-meta/sample_loader.py").write_text("mine")
    (out / "index.sqlite").write_text("mine")
    assert export(images, out, "--limit=3", "--clean") == 0
    left = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    hash_ = read_export(out).hash
    assert {name for name in left if hash_ not in name} == {
        *("README.md", ".nv-meta/sample_loader.py", "index.sqlite")
    }
    assert verify(out) == 0


def test_write_shards_makes_them_too(images: Path, tmp_path: Path) -> None:
    samples = [
        beam_export.Sample(id=path.stem, image=path.read_bytes())
        for path in sorted(images.rglob("*.jpg"))
    ]
    out = tmp_path / "out"
    shards = beam_export.WriteShards(str(out), images_per_tar=4, index="dali,energon")
    run_pipeline(lambda p: p | beam.Create(samples) | shards)
    assert len(list(out.glob("*.tar.idx"))) == len(list(out.glob("*.tar")))
    assert "image: jpg\n" in (out / ".nv-meta/dataset.yaml").read_text()
    assert not (out / "sizes.json").exists()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["index"], "the following arguments are required: OUT"),
        (["index", "{out}", "--index=dail"], "names 'dail', for which there is no index"),
        (["index", "{out}"], "holds no export of this tool: give the directory"),
        (["index", "-o", "{out}"], "give the directory alone, beam-export index OUT"),
        (["export", "-i", "{out}", "-o", "{out}/x", "--index=yes"], "names 'yes', for which"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    assert main([one.format(out=tmp_path) for one in argv]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
