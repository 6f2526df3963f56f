"""Indexes, held to what the loaders' own tools make, and read by the loaders themselves.

DALI is what `make dali` installs. wids and Megatron Energon bring PyTorch (docs/loaders.md).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.devices import need_dali
from support.exports import Export, make_images
from support.runs import run_export

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_images(tmp_path_factory.mktemp("in"), 60)
    for number, path in enumerate(sorted(folder.rglob("*.*"))):
        path.with_suffix(".txt").write_text(f"picture {number}")
    return folder


@pytest.fixture(scope="module", params=["whole", "labels", "splits"])
def export(
    request: pytest.FixtureRequest, images: Path, tmp_path_factory: pytest.TempPathFactory
) -> Export:
    """An export with captions; with classes, and captions of some; with splits."""
    options: dict[str, Any] = {}
    if request.param == "labels":
        images = shutil.copytree(images, tmp_path_factory.mktemp("labels") / "in")
        (images / "part1/img00001.txt").unlink()
        options = {"labels": "folder", "filter": "label is not null"}
    elif request.param == "splits":
        options = {"split": "train=0.7,val-1=0.3"}
    out = tmp_path_factory.mktemp(request.param) / "out"
    return run_export(images, out, images_per_tar=8, index="all", **options)


def splits(export: Export) -> dict[str, list[str]]:
    """Returns the names of the tars by split; "" for all where there are none."""
    tars = [shard.tar.name for shard in export.shards]
    listed = {
        one["key"]: tars[one["first_shard"] : one["first_shard"] + one["shards"]]
        for one in export.manifest.get("splits", ())
    }
    return listed or {"": tars}


# NVIDIA DALI.


def test_dalis_own_tool_makes_the_same(export: Export, tmp_path: Path) -> None:
    need_dali()
    import wds2idx

    for shard in export.shards:
        made = tmp_path / "made.idx"
        with wds2idx.IndexCreator(str(shard.tar), str(made), verbose=False) as creator:
            creator.create_index()
        assert made.read_bytes() == shard.tar.with_suffix(".idx").read_bytes()


def test_dali_reads_every_sample_by_the_index(export: Export) -> None:
    need_dali()
    from nvidia import dali

    wanted = list(export.samples.values())
    exts = sorted({ext for one in wanted for ext in one})

    @dali.pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def pipeline() -> Any:
        paths = [str(shard.tar) for shard in export.shards]
        return tuple(
            dali.fn.readers.webdataset(
                paths=paths,
                index_paths=[path.removesuffix(".tar") + ".idx" for path in paths],
                ext=exts,
                missing_component_behavior="empty",
            )
        )

    built = pipeline()
    built.build()
    for sample in wanted:
        outputs = built.run()
        found = {ext: bytes(out.at(0)) for ext, out in zip(exts, outputs, strict=True)}
        assert found == {ext: sample.get(ext, b"") for ext in exts}


# wids.


def test_widsindex_makes_the_same_and_wids_reads_it(export: Export, tmp_path: Path) -> None:
    wids = pytest.importorskip("wids", reason="pip install 'webdataset<1' torch")
    for split, tars in splits(export).items():
        (index,) = export.out.glob(f"images-{export.hash}-{split}{'-' * bool(split)}wids.json")
        names = [] if not split else ["--name", f"images-{export.hash}-{split}"]
        line = [sys.executable, "-m", "wids.wids_index", "create", *tars, *names]
        made = tmp_path / f"{split}.json"
        subprocess.run([*line, "--output", made], cwd=export.out, check=True, capture_output=True)
        assert made.read_bytes() == index.read_bytes()
        wanted = {
            key: {f".{ext}": data for ext, data in sample.items()}
            for key, sample in export.samples.items()
        }
        found = {}
        cache = str(tmp_path / f"cache{split}")
        os.mkdir(cache)
        dataset = wids.ShardListDataset(str(index), cache_dir=cache, transformations=[])
        for number in range(len(dataset)):
            sample = dataset[number]
            found[sample["__key__"]] = {
                ext: stream.read() for ext, stream in sample.items() if ext.startswith(".")
            }
        assert found == {key: wanted[key] for key in found}
        samples = [len(shard.rows) for shard in export.shards if shard.tar.name in tars]
        assert len(found) == sum(samples)


# Megatron Energon.


def test_prepare_makes_the_same(export: Export, tmp_path: Path) -> None:
    pytest.importorskip("megatron.energon", reason="pip install megatron-energon")
    mine = tmp_path / "mine"
    mine.mkdir()
    for shard in export.shards:
        shutil.copy(shard.tar, mine)
    text = (export.out / ".nv-meta/dataset.yaml").read_text()
    (kind,) = re.findall("__class__: (.*)", text)
    fields = dict(re.findall(r"^  (image|caption|label): (.*)$", text, re.MULTILINE))
    parts = [
        f"--split-parts={split}:" + f"({'|'.join(tars)})" for split, tars in splits(export).items()
    ]
    given = parts if len(parts) > 1 else ["--split-ratio=1,0,0"]
    flags = [f"--sample-type={kind}", f"--field-map={json.dumps(fields)}", "--num-workers=2"]
    line = [Path(sys.executable).parent / "energon", "prepare", mine, "--non-interactive"]
    subprocess.run([*line, *given, *flags], check=True, capture_output=True)
    names = [shard.tar.name + ".idx" for shard in export.shards]
    for name in [*names, *(f".nv-meta/{one}" for one in (".info.json", "split.yaml"))]:
        assert (mine / name).read_bytes() == (export.out / name).read_bytes()
    assert (mine / ".nv-meta/dataset.yaml").read_text() == text


@pytest.mark.filterwarnings("ignore")
def test_energon_reads_every_sample_without_its_prepare(export: Export) -> None:
    energon = pytest.importorskip("megatron.energon", reason="pip install megatron-energon")
    wanted, found = export.samples, {}
    for split in splits(export):
        dataset = energon.get_val_dataset(
            str(export.out),
            split_part=split or "train",
            batch_size=1,
            worker_config=energon.WorkerConfig(rank=0, world_size=1, num_workers=0),
        )
        for batch in energon.get_loader(dataset):
            found[batch.__key__[0]] = batch
    rows = {row["member_name"].partition(".")[0]: row for row in export.rows}
    assert set(found) == set(rows)
    for key, batch in found.items():
        assert tuple(batch.image.shape[-2:]) == (rows[key]["height"], rows[key]["width"])
        if export.manifest["options"].get("labels") == "folder":
            assert int(batch.label[0]) == int(wanted[key]["cls"])
        else:
            assert batch.caption[0] == wanted[key]["txt"].decode()
