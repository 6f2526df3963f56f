"""Measures exports of 10^4 to 10^7 samples: seconds, CPU seconds, and memory of all processes.

    python benchmarks/speed/scale.py [--sizes 10000 100000 1000000] [--runs 3] [--folder DIR]
    python benchmarks/speed/scale.py --sizes 10000000 --runs 1    adds to what was measured before

Each run is the command itself: it lists a tree of small JPEGs, shuffles, and copies them into
shards. The files are names of a few files (hard links), so that ten million take no more of the
disk than their names; the shards of 10^7 take 10 GB. Memory is the sum of the proportional set
sizes of all processes, so that a page that several share is counted once. What is per sample is
marginal: what a size takes more than the next smaller one, so that start-up does not matter.
"""

from __future__ import annotations

import argparse
import functools
import io
import itertools
import json
import os
import pathlib
import shutil
import sys
import tempfile
from typing import Any

from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import PeakMemory, median, save, use

_ROOT = pathlib.Path(__file__).parents[2]
_RESULT = _ROOT / "benchmarks" / "results" / "scale.json"
_PER_FOLDER = 1000
#: Names of one file; ext4 takes 65,000.
_LINKS = 60_000
#: Bytes that a sample takes in a shard: a header and a block of content.
_IN_TAR = 1024


def make_tree(folder: pathlib.Path, count: int) -> None:
    """Makes `count` small JPEGs, 1000 a directory, as hard links to as few files as possible."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (120, 40, 200)).save(buffer, "JPEG", quality=40, optimize=True)
    content = folder.with_suffix(".content")
    content.mkdir(parents=True)
    for start in range(0, count, _PER_FOLDER):
        source = content / f"{start // _LINKS}.jpg"
        if not source.exists():
            source.write_bytes(buffer.getvalue())
        inner = folder / f"{start // _PER_FOLDER:05d}"
        inner.mkdir(parents=True)
        for number in range(start, min(start + _PER_FOLDER, count)):
            os.link(source, inner / f"photo_{number:08d}.jpg")


def measure(
    tree: pathlib.Path, output: pathlib.Path, flags: list[str], every: float
) -> dict[str, float]:
    """Returns what one export has used; its output is removed.

    Args:
        tree: what is exported.
        output: where to.
        flags: further ones.
        every: seconds between two looks at the memory, each of which takes some of the machine.
    """
    command = [sys.executable, "-m", "beam_export", "export", f"--input={tree}"]
    used = use(
        [*command, f"--output_dir={output}", "--order=shuffled", *flags],
        env={"PYTHONPATH": str(_ROOT)},
        cwd=_ROOT,
        memory=functools.partial(PeakMemory, every=every, proportional=True),
    )
    shutil.rmtree(output)
    return {"seconds": used.wall, "cpu_seconds": used.cpu, "peak_bytes": used.peak}


def per_sample(
    used: dict[str, Any], smaller: dict[str, Any], more_samples: int
) -> dict[str, float]:
    """Returns what a sample more takes, between two sizes."""
    names = ("seconds", "cpu_seconds", "peak_bytes")
    each = {name: (used[name] - smaller[name]) / more_samples for name in names}
    return {
        "us_per_sample": round(each["seconds"] * 1e6, 2),
        "cpu_us_per_sample": round(each["cpu_seconds"] * 1e6, 2),
        "bytes_per_sample": round(each["peak_bytes"], 1),
    }


def measure_size(
    count: int, folder: pathlib.Path, given: argparse.Namespace, flags: list[str]
) -> dict[str, Any]:
    """Returns the medians of some exports of so many samples."""
    tree, output = folder / str(count), folder / "output"
    room = shutil.disk_usage(folder).free
    if count * _IN_TAR * 1.5 > room:
        sys.exit(f"{count} samples need {count * _IN_TAR * 1.5 / 1e9:.0f} GB in {folder}")
    make_tree(tree, count)
    runs = []
    for _ in range(given.runs):
        runs.append(measure(tree, output, flags, every=0.2 if count <= 100_000 else 2.0))
        print(count, runs[-1], file=sys.stderr)
    shutil.rmtree(tree)
    shutil.rmtree(tree.with_suffix(".content"))
    medians = {name: median([run[name] for run in runs]) for name in runs[0]}
    return {"runs": given.runs, **medians, "all": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--images_per_tar", type=int, default=10_000)
    parser.add_argument("--folder", help="where to work; a temporary directory by default")
    given = parser.parse_args()
    flags = [f"--images_per_tar={given.images_per_tar}"]
    kept = json.loads(_RESULT.read_text()) if _RESULT.exists() else {"sizes": {}}
    sizes = {int(count): used for count, used in kept["sizes"].items()}
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        for count in given.sizes:
            sizes[count] = measure_size(count, pathlib.Path(name), given, flags)
    for low, high in itertools.pairwise(sorted(sizes)):
        sizes[high].update(per_sample(sizes[high], sizes[low], high - low))
    save("scale", {"flags": flags, "sizes": {str(count): sizes[count] for count in sorted(sizes)}})


if __name__ == "__main__":
    main()
