"""The part of the dataset card that says how loaders read the export: lines that run as they are.

They run in the directory of the export; with splits they read the first one. Each stands by itself,
in a block that imports what it needs. What is laid into them are names that this tool makes.
"""

from __future__ import annotations

from beam_export.naming import ShardNames
from beam_export.shards.hub_features import HubMembers
from beam_export.shards.manifest import Manifest

__all__ = ["recipes", "tar_range"]

#: By what it is for: a sentence, and lines of Python.
_RECIPES = (
    (
        "",
        """import webdataset
dataset = webdataset.WebDataset("{tar_range}", shardshuffle=False).decode("pil")""",
    ),
    (
        "",
        """import datasets, os
dataset = datasets.load_dataset(os.getcwd(), split="{split}")""",
    ),
    (
        "",
        """from nvidia.dali import fn, pipeline_def

@pipeline_def(batch_size=8, num_threads=2, device_id=None)
def images():
    tars = [f"images-{hash}-{{number:06d}}.tar" for number in {numbers}]
    return fn.readers.webdataset(paths=tars, ext=["{image_exts}"])  # fn.decoders.image decodes""",
    ),
    (
        "",
        """import ray
tars = [f"images-{hash}-{{number:06d}}.tar" for number in {numbers}]
dataset = ray.data.read_webdataset(tars, decoder=None)""",
    ),
    (
        "The tables, in several ways:",
        """import glob, pyarrow.dataset
table = pyarrow.dataset.dataset(sorted(glob.glob("{tables}"))).to_table()""",
    ),
    (
        "",
        """import duckdb
table = duckdb.sql("SELECT * FROM read_parquet('{tables}')")""",
    ),
    (
        "",
        """import polars
table = polars.read_parquet("{tables}")""",
    ),
    (
        "",
        """import daft, glob
table = daft.read_parquet(sorted(glob.glob("{tables}")))""",
    ),
    (
        "One image by its place, on any storage:",
        """import fsspec, pyarrow.parquet
row = pyarrow.parquet.read_table("images-{hash}-000000.parquet").slice(0, 1).to_pylist()[0]
with fsspec.open(row["tar_file"]) as tar:
    tar.seek(row["offset"])
    image = tar.read(row["size"])""",
    ),
    (
        "",
        """import beam_export
dataset = beam_export.open_export(".")
sample = dataset[0]""",
    ),
    (
        "With indexes, which `beam-export index .` writes where there are none:",
        """import wids
dataset = wids.ShardListDataset("{wids_index}")""",
    ),
    (
        "",
        """from megatron import energon
workers = energon.WorkerConfig.default_worker_config()
dataset = energon.get_val_dataset(".", split_part="{split}", batch_size=8, worker_config=workers)
loader = energon.get_loader(dataset)""",
    ),
)


def recipes(manifest: Manifest, members: HubMembers | None) -> str:
    """Returns the Markdown of all lines.

    Args:
        manifest: of the export.
        members: of all samples; None if they are not known.
    """
    first = next((split for split in manifest.splits if split.shards), None)
    numbers = first.numbers if first else range(manifest.totals.shards)
    split = first.key if first else "train"
    values = {
        "hash": manifest.hash,
        "tar_range": tar_range(manifest.hash, numbers),
        "numbers": f"range({numbers.start}, {numbers.stop})",
        "tables": f"images-{manifest.hash}-*.parquet",
        "image_exts": ";".join(members.images) if members else "jpg",
        "split": split,
        "wids_index": ShardNames(manifest.hash).wids_index(first.key if first else ""),
    }
    return "\n\n".join(
        "\n\n".join([*([said] if said else []), f"```python\n{lines.format(**values)}\n```"])
        for said, lines in _RECIPES
    )


def tar_range(hash_: str, shards: range) -> str:
    """Returns tars as a range in braces, for readers that know those."""
    return f"images-{hash_}-{{{shards.start:06d}..{shards.stop - 1:06d}}}.tar"
