"""Three exports, read by the loaders that people use: every sample and field, against the input.

What a loader cannot do is held to here too, since README.md says it. The packages are those
of `make loaders`; what brings PyTorch is installed by `make loaders-all`.
"""

from __future__ import annotations

import gc
import glob
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.dataset
import pytest
from support.devices import need_dali, need_loader
from support.loader_exports import KINDS, Loaded, export_for_loaders

pytestmark = [
    pytest.mark.slow,
    # What loaders warn of is theirs: files that they leave open, what their next version renames.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module", params=KINDS)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return export_for_loaders(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Keeps loaders from asking the network for anything, and their caches where they go away."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "1")
    # It would take the cluster of Ray, where there is one.
    monkeypatch.setenv("DAFT_RUNNER", "native")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    yield
    gc.collect()


def wanted(loaded: Loaded, split: str) -> dict[str, dict[str, bytes]]:
    """Returns the members of a split's samples, in order."""
    return {key: loaded.members[key] for key in loaded.splits[split]}


def decoded(loaded: Loaded, key: str) -> dict[str, Any]:
    """Returns a sample's members as Hugging Face's builder decodes them; None where it has none."""
    decode = {
        "cls": int,
        "json": json.loads,
        "txt": bytes.decode,
        "clip.npy": lambda data: np.load(io.BytesIO(data)).tolist(),
    }
    sample = loaded.members[key]
    found = {ext: decode.get(ext, bytes)(data) for ext, data in sample.items()}
    return {**dict.fromkeys(loaded.exts), **found}


# Tars.


def test_webdataset(loaded: Loaded) -> None:
    import webdataset

    for split in loaded.splits:
        found = {}
        for sample in webdataset.WebDataset(loaded.tars(split), shardshuffle=False):
            found[sample.pop("__key__")] = {
                ext: data for ext, data in sample.items() if not ext.startswith("__")
            }
        assert list(found.items()) == list(wanted(loaded, split).items())


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_by_the_card(loaded: Loaded, tmp_path: Path, streaming: bool) -> None:
    import datasets

    out = str(loaded.export.out)
    found = datasets.load_dataset(out, streaming=streaming, cache_dir=str(tmp_path))
    assert list(found) == list(loaded.splits)
    for split, keys in loaded.splits.items():
        features = found[split].features
        assert sorted(features) == sorted([*loaded.exts, "__key__", "__url__"])
        if loaded.classes:
            assert features["cls"].names == loaded.classes
        pixels = next(iter(found[split]))["jpg"]
        rows = list(found[split].cast_column("jpg", datasets.Image(decode=False)))
        assert [row["__key__"] for row in rows] == keys
        assert pixels.size == datasets.Image().decode_example(rows[0]["jpg"]).size
        for row in rows:
            row["jpg"] = row["jpg"]["bytes"]
            assert {ext: row[ext] for ext in loaded.exts} == decoded(loaded, row["__key__"])


def test_without_the_card_the_builder_drops_or_refuses(loaded: Loaded, tmp_path: Path) -> None:
    """That is what the card's features are for; once it does not, they can go."""
    import datasets

    def load() -> Any:
        tars = loaded.tars("train")
        options = {"split": "train", "cache_dir": str(tmp_path)}
        return datasets.load_dataset("webdataset", data_files=tars, **options)

    if loaded.classes:
        with pytest.raises(ValueError, match="don't share the same prefix or the same types"):
            load()
    elif loaded.are_equal:
        # Lists and times that the JSON of the first samples lacks.
        with pytest.raises(datasets.exceptions.DatasetGenerationError):
            load()
    else:
        assert "xml" not in load().features


@pytest.mark.parametrize("indexed", [False, True])
def test_dali(loaded: Loaded, indexed: bool) -> None:
    need_dali()
    from nvidia import dali

    if indexed and "indexes" not in loaded.export.manifest:
        pytest.skip("this export has no indexes")

    @dali.pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def pipeline(tars: list[str]) -> Any:
        indexes = {"index_paths": [tar.removesuffix(".tar") + ".idx" for tar in tars]}
        return tuple(
            dali.fn.readers.webdataset(
                paths=tars,
                ext=loaded.exts,
                missing_component_behavior="empty",
                **(indexes if indexed else {}),
            )
        )

    for split in loaded.splits:
        built = pipeline(loaded.tars(split))
        built.build()
        for sample in wanted(loaded, split).values():
            outputs = zip(loaded.exts, built.run(), strict=True)
            assert {ext: bytes(out.at(0)) for ext, out in outputs} == {
                ext: sample.get(ext, b"") for ext in loaded.exts
            }


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    need_loader("ray")
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield ray
    ray.shutdown()


def test_ray_data(loaded: Loaded, ray: Any) -> None:
    for split in loaded.splits:
        dataset = ray.data.read_webdataset(loaded.tars(split), decoder=None)
        found = {}
        for row in dataset.take_all():
            # What a sample lacks, and others of its shard have, is NaN.
            sample = {ext: data for ext, data in row.items() if isinstance(data, (bytes, str))}
            found[sample.pop("__key__")] = {
                ext: data for ext, data in sample.items() if not ext.startswith("__")
            }
        assert found == wanted(loaded, split)


# Tables.


def rows_of(loaded: Loaded) -> list[dict[str, Any]]:
    """Returns what tables have to hold, by the input, of the columns that the input decides."""
    keys = [key for split in loaded.splits.values() for key in split]
    return [
        {"image_id": key, "size": len(loaded.members[key]["jpg"]), **loaded.columns[key]}
        for key in keys
    ]


def held(loaded: Loaded, rows: list[dict[str, Any]]) -> None:
    """Holds rows, as a loader has read them, to the input."""
    expected = rows_of(loaded)
    assert [{name: row[name] for name in expected[0]} for row in rows] == expected


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns rows of a loader that reads files side by side, in the order of the export."""
    return sorted(rows, key=lambda row: (row["tar_file"], row["offset"]))


def test_pyarrow(loaded: Loaded) -> None:
    held(loaded, pyarrow.dataset.dataset(sorted(glob.glob(loaded.tables))).to_table().to_pylist())


def test_duckdb(loaded: Loaded) -> None:
    import duckdb

    with duckdb.connect() as connection:
        found = connection.sql(f"SELECT * FROM read_parquet('{loaded.tables}')")
        held(loaded, in_order(found.to_arrow_table().to_pylist()))


def test_polars(loaded: Loaded) -> None:
    need_loader("polars")
    import polars

    held(loaded, polars.read_parquet(loaded.tables).to_dicts())
    held(loaded, polars.scan_parquet(loaded.tables).collect().to_dicts())


def test_pandas(loaded: Loaded) -> None:
    import pandas

    # Its own types have no null among whole numbers.
    files = sorted(glob.glob(loaded.tables))
    frame = pandas.concat([pandas.read_parquet(path, dtype_backend="pyarrow") for path in files])
    held(loaded, pyarrow.Table.from_pandas(frame, preserve_index=False).to_pylist())


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_of_the_tables(loaded: Loaded, tmp_path: Path, streaming: bool) -> None:
    import datasets

    options = {"split": "train", "streaming": streaming, "cache_dir": str(tmp_path)}
    found = datasets.load_dataset("parquet", data_files=loaded.tables, **options)
    if loaded.classes:
        assert found.features["cls"].names == loaded.classes
    held(loaded, list(found))


def test_ray_data_of_the_tables(loaded: Loaded, ray: Any) -> None:
    files = sorted(glob.glob(loaded.tables))
    held(loaded, in_order(ray.data.read_parquet(files).take_all()))


def test_daft_of_the_tables(loaded: Loaded) -> None:
    need_loader("daft")
    import daft

    files = sorted(glob.glob(loaded.tables))
    held(loaded, in_order(daft.read_parquet(files).to_pylist()))


def test_ranges_by_fsspec(loaded: Loaded) -> None:
    rows = pyarrow.dataset.dataset(sorted(glob.glob(loaded.tables))).to_table().to_pylist()
    files = fsspec.filesystem("file")
    ranges = [
        (f"{loaded.export.out}/{row['tar_file']}", row["offset"], row["offset"] + row["size"])
        for row in rows
    ]
    found = files.cat_ranges(*map(list, zip(*ranges, strict=True)))
    assert found == [loaded.members[row["image_id"]]["jpg"] for row in rows]


# The lines of the card, each as it stands there.


#: By the package: what counts the samples that its lines have read.
_COUNTS = {
    "webdataset": "sum(1 for _ in dataset)",
    "datasets": "dataset.num_rows",
    "nvidia": "(pipe := images(), pipe.build(), sum(pipe.epoch_size().values()))[-1]",
    "ray": "dataset.count()",
    "glob": "table.num_rows",
    "duckdb": "len(table.fetchall())",
    "polars": "table.height",
    "daft": "table.count_rows()",
    "fsspec": "image[:2] == b'\\xff\\xd8' and len(image) == row['size']",
    "beam_export": "sample.image == dataset[0].image and len(dataset)",
    "wids": "sum(1 for number in range(len(dataset)) if dataset[number])",
    "megatron": "sum(len(batch.__key__) for batch in loader)",
}
#: Those whose lines read a split; the others read all there is.
_OF_A_SPLIT = {"webdataset", "datasets", "nvidia", "ray", "wids", "megatron"}
#: Whose package is another than what is imported.
_NEEDED = {"glob": "pyarrow"}
#: Ends Python at once. Packages with threads of their own crash now and then while it shuts down,
#: after all was read and printed (Daft was seen to, by a signal), which says nothing of the lines.
_END = "import os, sys\nsys.stdout.flush()\nos._exit(0)"


def card_lines(loaded: Loaded) -> dict[str, str]:
    """Returns the blocks of Python of the card, by the package that they are about."""
    card = (loaded.export.out / "README.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)
    return {re.split(r"[ .,]", block.split("\n")[0].split(" ", 1)[1])[0]: block for block in blocks}


def test_the_card_has_lines_for_each_loader(loaded: Loaded) -> None:
    assert list(card_lines(loaded)) == list(_COUNTS)


@pytest.mark.parametrize("package", _COUNTS)
def test_lines_of_the_card_run(loaded: Loaded, package: str) -> None:
    if package == "nvidia":
        need_dali()
    else:
        need_loader(_NEEDED.get(package, package))
    if package in ("wids", "megatron") and "indexes" not in loaded.export.manifest:
        pytest.skip("this export has no indexes")
    if package == "ray" and not loaded.classes:
        pytest.skip("it starts a cluster, for half a minute: once is enough")
    lines = [card_lines(loaded)[package], f"print('count', int({_COUNTS[package]}))"]
    if package != "beam_export":  # which must shut down well
        lines.append(_END)
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=loaded.export.out,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    first = len(next(iter(loaded.splits.values())))
    count = first if package in _OF_A_SPLIT else len(loaded.members)
    (found,) = re.findall(r"^count (\d+)$", done.stdout, re.MULTILINE)
    assert int(found) == (1 if package == "fsspec" else count)


def test_a_hub_reads_the_card(loaded: Loaded) -> None:
    import datasets
    from huggingface_hub import DatasetCard

    card = DatasetCard.load(loaded.export.out / "README.md")
    assert card.data.size_categories == ["n<1K"]
    info = datasets.DatasetInfo._from_yaml_dict(card.data.to_dict()["dataset_info"])
    assert sorted(info.features) == sorted([*loaded.exts, "__key__", "__url__"])
    assert {name: split.num_examples for name, split in info.splits.items()} == {
        name: len(keys) for name, keys in loaded.splits.items()
    }
    sizes = {
        name: sum(Path(tar).stat().st_size for tar in loaded.tars(name)) for name in loaded.splits
    }
    assert {name: split.num_bytes for name, split in info.splits.items()} == sizes


# With PyTorch.


@pytest.mark.parametrize("workers", [0, 2])
def test_pytorchs_dataloader(loaded: Loaded, workers: int) -> None:
    torch = pytest.importorskip("torch", reason="make loaders-all")
    import webdataset

    for split in loaded.splits:
        dataset = webdataset.WebDataset(loaded.tars(split), shardshuffle=False)
        loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=workers)
        found = {}
        for sample in loader:
            found[sample.pop("__key__")] = {
                ext: data for ext, data in sample.items() if not ext.startswith("__")
            }
        assert found == wanted(loaded, split)


@pytest.mark.parametrize("workers", [0, 2])
def test_pytorchs_dataloader_of_an_open_export(loaded: Loaded, workers: int) -> None:
    torch = pytest.importorskip("torch", reason="make loaders-all")
    import beam_export

    exported = beam_export.open_export(loaded.export.out)
    loader = torch.utils.data.DataLoader(exported, batch_size=None, num_workers=workers)
    found = {sample.id: sample.image for sample in loader}
    assert found == {key: sample["jpg"] for key, sample in loaded.members.items()}
