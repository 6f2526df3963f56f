"""The same work as people write it with other tools; runs with the Python that has them.

    python benchmarks/speed/peers.py TOOL SOURCE OUT [--processes N]
    python benchmarks/speed/peers.py installed

`make peers` makes such a Python, `.venvs/peers`. Each tool takes the JPEGs below SOURCE; files that
it writes are as durable as the tool itself makes them, which is not at all. `installed` prints the
version of each tool that is there as JSON.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
import multiprocessing
import os
import pathlib
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

_PER_SHARD = 1000
_SIDE = 512


class _Job(NamedTuple):
    """A part of the work: shards as their numbers and files."""

    source: str
    out: str
    shards: list[tuple[int, list[str]]]


def find_files(source: str) -> list[str]:
    """Returns the JPEGs below a folder, sorted."""
    return [str(path) for path in sorted(pathlib.Path(source).rglob("*.jpg"))]


def shared_out(source: str, out: str, processes: int) -> list[_Job]:
    """Returns the shards of each process: of 1000 files, or fewer so that each has some."""
    files = find_files(source)
    size = max(1, min(_PER_SHARD, -(-len(files) // processes)))
    shards = [(at // size, files[at : at + size]) for at in range(0, len(files), size)]
    return [_Job(source, out, shards[part::processes]) for part in range(processes)]


def in_processes(work: Callable[[_Job], None], jobs: Sequence[_Job]) -> None:
    """Does each job in a process of its own, the only one in this one."""
    if len(jobs) == 1:
        work(jobs[0])
        return
    with multiprocessing.get_context("fork").Pool(len(jobs)) as pool:
        pool.map(work, jobs, chunksize=1)
        pool.close()
        pool.join()


def webdataset(job: _Job) -> None:
    """Writes tars with webdataset's `ShardWriter`; values are passed on as they are."""
    import webdataset as wds

    pattern = f"{job.out}/{job.shards[0][0]:06d}-%06d.tar"
    with wds.ShardWriter(pattern, maxcount=_PER_SHARD, encoder=False, verbose=0) as sink:
        for _, files in job.shards:
            for path in files:
                key = os.path.relpath(path, job.source).removesuffix(".jpg")
                with open(path, "rb") as file:
                    sink.write({"__key__": key, "jpg": file.read()})


def curator(job: _Job) -> None:
    """Decodes and writes with NeMo Curator's `ImageWriterStage`, whose actors get whole batches."""
    # Only its reader, which is not used, asks torch whether there is a GPU.
    torch: Any = types.ModuleType("torch")
    torch.cuda = types.SimpleNamespace(is_available=lambda: False)
    sys.modules.setdefault("torch", torch)
    import numpy as np
    from loguru import logger
    from nemo_curator.stages.image.io.image_writer import ImageWriterStage
    from nemo_curator.tasks.image import ImageBatch, ImageObject
    from PIL import Image

    logger.remove()
    stage = ImageWriterStage(output_dir=job.out, images_per_tar=_PER_SHARD, remove_image_data=True)
    for number, files in job.shards:
        images = []
        for path in files:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            name = pathlib.Path(path).stem
            one = ImageObject(image_path=path, image_id=name, image_data=pixels, metadata={})
            images.append(one)
        batch = ImageBatch(dataset_name="peer", data=images)
        batch._set_task_id("0", number)
        stage.process(batch)


def img2dataset(job: _Job) -> None:
    """Resizes to a longest side of 512 with img2dataset's `Resizer` (OpenCV); writes nothing."""
    import io

    # Its log of runs, which is not used, asks for it at once.
    sys.modules.setdefault("wandb", types.ModuleType("wandb"))
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    from img2dataset.resizer import Resizer

    resizer = Resizer(
        image_size=_SIDE,
        resize_mode="keep_ratio_largest",
        resize_only_if_bigger=True,
        encode_quality=92,
    )
    for _, files in job.shards:
        for path in files:
            data = pathlib.Path(path).read_bytes()
            *_, error = resizer(io.BytesIO(data))
            if error:
                raise RuntimeError(f"{path}: {error}")


def huggingface(job: _Job) -> None:
    """Writes Parquet with the images within, as `datasets` pushes image datasets."""
    import datasets
    from datasets.table import embed_table_storage

    datasets.disable_progress_bars()
    features = datasets.Features({"image": datasets.Image()})
    for number, files in job.shards:
        part = datasets.Dataset.from_dict({"image": files}, features=features)
        part = part.with_format("arrow").map(
            embed_table_storage, batched=True, batch_size=100, keep_in_memory=True
        )
        part.to_parquet(f"{job.out}/{number:06d}.parquet")


def ray(job: _Job) -> None:
    """Writes tars with Ray Data's `write_webdataset`, one task per core at a time."""
    os.environ["RAY_DEDUP_LOGS"] = "0"
    import logging

    import ray

    ray.init(num_cpus=os.cpu_count(), include_dashboard=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    files = [path for _, shard in job.shards for path in shard]

    def sample(row: dict[str, Any]) -> dict[str, Any]:
        key = os.path.relpath(row["path"], job.source).removesuffix(".jpg")
        return {"__key__": key, "jpg": row["bytes"]}

    blocks = max(1, len(files) // _PER_SHARD)
    read = ray.data.read_binary_files(files, include_paths=True, override_num_blocks=blocks)
    read.map(sample).write_webdataset(job.out, encoder=None)
    ray.shutdown()


#: Each tool: what does a part of the work, and what must be installed for it.
_TOOLS: dict[str, tuple[Callable[[_Job], None], tuple[str, ...]]] = {
    "webdataset": (webdataset, ("webdataset",)),
    "curator": (curator, ("nemo-curator", "loguru", "numpy", "pillow")),
    "img2dataset": (
        img2dataset,
        ("img2dataset", "albumentations", "fire", "opencv-python-headless"),
    ),
    "huggingface": (huggingface, ("datasets",)),
    "ray": (ray, ("ray",)),
}


def installed() -> dict[str, str | None]:
    """Returns the version of each tool, None for one that is not there whole."""
    found: dict[str, str | None] = {}
    for tool, (_, packages) in _TOOLS.items():
        try:
            versions = [importlib.metadata.version(package) for package in packages]
            found[tool] = versions[0]
        except importlib.metadata.PackageNotFoundError:
            found[tool] = None
    return found


def _if_any(work: Callable[[_Job], None], job: _Job) -> None:
    if job.shards:
        work(job)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tool", choices=["installed", *_TOOLS])
    parser.add_argument("source", nargs="?")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    if given.tool == "installed":
        print(json.dumps(installed()))
        return
    work = functools.partial(_if_any, _TOOLS[given.tool][0])
    in_processes(work, shared_out(given.source, given.out, given.processes))


if __name__ == "__main__":
    main()
