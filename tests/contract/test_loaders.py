"""The photographs of `../shared`, exported and read back by the loaders that people use."""

from __future__ import annotations

import gc
import glob
import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from support.exports import SHARED, Export, check_export, make_images, read_export
from support.runs import run_export

from beam_export.cli import main as cli

pytestmark = pytest.mark.slow

PHOTOS = SHARED / "data" / "photos"
PER_TAR = 100


@pytest.fixture(scope="module")
def photos() -> Path:
    if not PHOTOS.is_dir():
        pytest.skip("needs ../shared/data/photos, which is not part of the repository")
    return PHOTOS


@pytest.fixture(scope="module")
def export(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    out = tmp_path_factory.mktemp("photos") / "out"
    flags = ["--duplicates=rename", f"--images_per_tar={PER_TAR}"]
    assert cli.main(["export", f"--input={photos}", f"--output_dir={out}", *flags]) == 0
    return read_export(out)


def images_of(export: Export) -> dict[str, str]:
    """Returns the SHA-256 of every image by its key."""
    return {row["member_name"].rpartition(".")[0]: row["sha256"] for row in export.rows}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_every_image_is_in_a_shard_or_a_failure(export: Export, photos: Path) -> None:
    check_export(export.out, PER_TAR, "--source", str(photos), "--allow-short")
    totals = export.manifest["totals"]
    assert totals["read"] == 586
    assert totals["written"] + totals["failed"] == 586
    assert len(export.rows) == totals["written"]
    assert len(export.failures) == totals["failed"]
    paths = [one["original_path"] for one in (*export.rows, *export.failures)]
    assert len(set(paths)) == 586
    assert all(Path(path).is_file() for path in paths)
    assert all(one["message"] and one["stage"] for one in export.failures)


def test_without_rename_the_pairs_are_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli.main(["--input", str(photos), "--output_dir", str(out)]) == 2
    said = capsys.readouterr().err
    assert "come more than once" in said
    assert "--duplicates=rename" in said
    assert said.count(str(photos)) >= 2
    assert not list(out.glob("images-*"))


def test_tarfile(export: Export) -> None:
    found = {}
    for shard in export.shards:
        with tarfile.open(shard.tar, "r:") as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                found[member.name] = digest(file.read())
    for row in export.rows:
        assert found[row["member_name"]] == row["sha256"]


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs the tar command")
def test_gnu_tar(export: Export, tmp_path: Path) -> None:
    for shard in export.shards:
        done = subprocess.run(
            ["tar", "-xf", shard.tar, "-C", tmp_path], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
    for row in export.rows:
        assert digest((tmp_path / row["member_name"]).read_bytes()) == row["sha256"]


# It leaves the tars open for the collector to close, which warns of that.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset(export: Export) -> None:
    webdataset = pytest.importorskip("webdataset")
    last = len(export.shards) - 1
    urls = f"{export.out}/images-{export.hash}-{{000000..{last:06d}}}.tar"
    found = {}
    for sample in webdataset.WebDataset(urls, shardshuffle=False):
        found[sample["__key__"]] = digest(sample["jpg"])
    del sample
    gc.collect()
    assert found == images_of(export)


@pytest.mark.filterwarnings("ignore")
def test_hugging_face_datasets(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    dataset = datasets.load_dataset(
        "webdataset",
        data_files=sorted(glob.glob(f"{export.out}/images-*.tar")),
        split="train",
        cache_dir=str(tmp_path),
    ).cast_column("jpg", datasets.Image(decode=False))
    found = {row["__key__"]: digest(row["jpg"]["bytes"]) for row in dataset}
    assert found == images_of(export)
    decoded = dataset.cast_column("jpg", datasets.Image())
    row = export.rows[0]
    assert decoded[0]["jpg"].size == (row["width"], row["height"])


def test_pyarrow_dataset(export: Export) -> None:
    files = sorted(glob.glob(f"{export.out}/images-*.parquet"))
    table = pyarrow.dataset.dataset(files).to_table()
    assert table.to_pylist() == export.rows
    # The directory as a whole too: what is under _meta is passed by.
    whole = pyarrow.dataset.dataset(
        export.out, format="parquet", exclude_invalid_files=True, ignore_prefixes=["_", "."]
    )
    assert whole.count_rows() == len(export.rows)
    for row in export.rows[::50]:
        assert digest(export.image(row)) == row["sha256"]


def test_tables_are_there(export: Export) -> None:
    for table in export.manifest["tables"]:
        content = (export.out / table["name"]).read_bytes()
        assert digest(content) == table["sha256"]
        assert pq.read_table(export.out / table["name"]).num_rows > 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("streaming", [False, True])
def test_hugging_face_datasets_have_the_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    source = make_images(tmp_path / "in", 60)
    rule = "train=0.8,v-1=0.15,none=0,all=0.05"
    export = run_export(source, tmp_path / "out", split=rule, images_per_tar=4)
    # The directory alone: the card has the rest.
    found = datasets.load_dataset(
        str(export.out), cache_dir=str(tmp_path / "cache"), streaming=streaming
    )
    assert list(found) == ["train", "v_1", "all_5ef5ef03"]
    for name, key in zip(["train", "v-1", "all"], found, strict=True):
        ids = [row["member_name"].partition(".")[0] for row in export.rows if row["split"] == name]
        # In their order, and each once.
        assert [row["__key__"] for row in found[key]] == ids
        assert len(ids) > 0
