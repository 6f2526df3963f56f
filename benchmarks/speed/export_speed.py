"""Measures the speed of an export against `tar cf` and a bare Pillow loop on the same files.

    python benchmarks/speed/export_speed.py [--images 20000] [--encode_images N] [--runs 5]
        [--folder DIR] [--result export_speed]

All that is compared runs alternately, so that a noisy moment of the machine hits everything, and
finds its files in memory. The start-up, the same command on one image, is measured in each run;
medians are subtracted. An export ends when its shards are on the disk, `tar cf` when they are in
memory, so it is measured both ways.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import keep_in_memory, make_photos, median, save


def export(source: str, target: pathlib.Path, workers: int, encode: str) -> None:
    """Runs the command line; removes what it wrote."""
    command = [sys.executable, "-m", "beam_export", "export"]
    flags = [f"--input={source}", f"--output_dir={target}", f"--encode={encode}"]
    subprocess.run(
        [*command, *flags, f"--direct_num_workers={workers}"], check=True, capture_output=True
    )


def tar(source: pathlib.Path, target: pathlib.Path) -> None:
    """Packs the same files with the system's tar."""
    target.mkdir()
    subprocess.run(["tar", "cf", str(target / "all.tar"), "-C", str(source), "."], check=True)


def tar_and_sync(source: pathlib.Path, target: pathlib.Path) -> None:
    """Packs them and has them on the disk at the end, as an export has."""
    tar(source, target)
    with open(target / "all.tar", "rb") as whole:
        os.fsync(whole.fileno())


def _recode(path: str) -> int:
    with Image.open(path) as image:
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=92, subsampling="4:2:0")
    return buffer.tell()


def bare_loop(folders: str, pool: multiprocessing.pool.Pool) -> None:
    """Decodes and encodes every file with Pillow on all cores, and writes nothing."""
    found = [sorted(pathlib.Path(folder).rglob("*.jpg")) for folder in folders.split(",")]
    paths = [str(path) for paths in found for path in paths]
    for _ in pool.imap_unordered(_recode, paths, chunksize=64):
        pass


def timed(work: Callable[[], None], target: pathlib.Path) -> float:
    """Returns how many seconds `work` takes; what it wrote to `target` is removed."""
    os.sync()
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    shutil.rmtree(target, ignore_errors=True)
    return seconds


def measure(
    many: pathlib.Path, encoded: str, one: pathlib.Path, target: pathlib.Path, runs: int
) -> dict[str, list[float]]:
    """Returns seconds by what was run, a list of one a run each.

    Args:
        many: what is copied.
        encoded: the directories that are encoded, with commas between them.
        one: a directory of one image.
        target: where to write.
        runs: how often.
    """
    seconds: dict[str, list[float]] = {}
    # Without kept blocks the loop takes twice as long on some machines, in page faults: what it is
    # to stand for is the codec.
    with multiprocessing.Pool(initializer=Image.core.set_blocks_max, initargs=(8,)) as pool:
        work: dict[str, Callable[[], None]] = {
            "tar": lambda: tar(many, target),
            "tar and sync": lambda: tar_and_sync(many, target),
        }
        for workers in (2, 1):
            work[f"auto {workers}"] = lambda w=workers: export(str(many), target, w, "auto")
            work[f"start {workers}"] = lambda w=workers: export(str(one), target, w, "auto")
            if workers == 2:  # What is compared with it comes next.
                work["bare loop"] = lambda: bare_loop(encoded, pool)
            work[f"always {workers}"] = lambda w=workers: export(encoded, target, w, "always")
        for run in range(runs):
            for name, task in work.items():
                seconds.setdefault(name, []).append(timed(task, target))
                print(f"run {run + 1}: {name}: {seconds[name][-1]:.2f} s", file=sys.stderr)
    return seconds


def ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Returns what is promised, of the medians over the runs, start-up subtracted."""
    middle = {name: statistics.median(values) for name, values in seconds.items()}

    def net(name: str) -> float:
        return middle[name] - middle[f"start {name[-1]}"]

    return {
        name: round(ratio, 4)
        for name, ratio in (
            ("copying, of tar cf", middle["tar"] / net("auto 2")),
            ("copying, of tar cf and sync", middle["tar and sync"] / net("auto 2")),
            ("encoding, of a bare Pillow loop on all cores", middle["bare loop"] / net("always 2")),
            ("copying, 2 workers against 1", net("auto 1") / net("auto 2")),
            ("encoding, 2 workers against 1", net("always 1") / net("always 2")),
        )
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument(
        "--encode_images",
        type=int,
        help="encode only so many, in thousands; all by default",
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", help="where to work; a temporary directory by default")
    parser.add_argument("--result", default="export_speed", help="name of the result's file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        many, one = pathlib.Path(folder, "many"), pathlib.Path(folder, "one")
        make_photos(many, arguments.images)
        make_photos(one, 1)
        encode_images = arguments.encode_images or arguments.images
        folders = sorted(many.iterdir())[: -(-encode_images // 1000)]
        encoded = ",".join(map(str, folders))
        if not keep_in_memory(many):
            print("the files may leave memory: this user may not lock so much", file=sys.stderr)
        seconds = measure(many, encoded, one, pathlib.Path(folder, "out"), arguments.runs)
        size = sum(path.stat().st_size for path in many.rglob("*.jpg"))
    result = {
        "images": arguments.images,
        "encode_images": encode_images,
        "mean_kb": round(size / arguments.images / 1000, 1),
        "ratios": ratios(seconds),
        "median_seconds": {name: median(values) for name, values in seconds.items()},
        "images_per_second": {
            name: round(count / (median(seconds[name]) - median(seconds[f"start {name[-1]}"])))
            for name, count in (
                ("auto 2", arguments.images),
                ("auto 1", arguments.images),
                ("always 2", encode_images),
                ("always 1", encode_images),
            )
        },
        "seconds": {name: [round(x, 3) for x in values] for name, values in seconds.items()},
    }
    save(arguments.result, result)


if __name__ == "__main__":
    main()
