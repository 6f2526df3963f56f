"""Exports images of many megapixels in every mode, and watches what its processes hold.

    python benchmarks/robustness/torture_large.py [--megapixels 100 250] [--work DIR] [--save]

What must hold: every image is exported, none is `Crashed`; at 100 megapixels no process ever holds
2 GiB and all together less than 3. At 250 too, but for images whose decoders alone hold more (WebP,
progressive JPEG, AVIF, a TIFF of one strip): those hold at most 1.2 times what was estimated, and
never two at once, so that all together stay below the largest estimate and what else is there.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import pyarrow.dataset as ds
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from beam_export.images import header
from beam_export.images.encoder import EncodeSpec
from beam_export.images.memory_need import need_of
from benchmarks.common import PeakMemory, process_tree, save, watched_export
from benchmarks.robustness.large_files import CASES, make_case

_MOST, _MOST_TOGETHER, _ESTIMATED = 2048, 3072, 1.2
#: Images of more pixels take an encoder of AV1 longer than all the others.
_MOST_AVIF = 100
#: Those that take the longest.
_SLOW = ("rgba-icc.png", "progressive-cmyk.jpg")
_SECONDS = 3000


class Held(PeakMemory):
    """Watches the memory of a process and of all below it: what each has, its part of what is
    shared (`Pss`), in MiB, sampled. `peak` is of one, `together` of all at the same time.
    """

    def __init__(self, process: int, every: float = 0.1) -> None:
        super().__init__(process, every)
        self.together = 0

    def _watch(self) -> None:
        while not self._done.wait(self._every):
            sizes = [_proportional(process) for process in process_tree(self._process)]
            self.peak = max(self.peak, *sizes)
            self.together = max(self.together, sum(sizes))


def _proportional(process: int) -> int:
    try:
        text = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:  # it has ended since
        return 0
    return int(text.partition("\nPss:")[2].split()[0]) // 1024


ALONE = """
import json, pathlib, sys, time
from beam_export.images import memory_budget
from beam_export.images.encoder import EncodeSpec
from beam_export.images.pillow_encoder import PillowEncoder
memory_budget.unbounded()
def resident(what):
    text = pathlib.Path("/proc/self/status").read_text()
    return int(text.partition(f"{what}:")[2].split()[0]) >> 10
encoder = PillowEncoder(EncodeSpec(mode="always"))
encoder.open()
data = pathlib.Path(sys.argv[1]).read_bytes()
before, began = resident("VmRSS"), time.monotonic()
(result,) = encoder.encode_batch([data])
seconds = round(time.monotonic() - began, 1)
held = resident("VmHWM") - before
print(json.dumps({"held_mib": held, "seconds": seconds, "became": type(result).__name__}))
"""


def alone(path: pathlib.Path) -> dict[str, Any]:
    """Returns what one image takes in a process of its own."""
    command = [sys.executable, "-c", ALONE, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def estimate(path: pathlib.Path) -> int:
    """Returns what an image is thought to take, in MiB."""
    data, spec = path.read_bytes(), EncodeSpec(mode="always")
    with header.open_image(data, spec) as im:
        return need_of(im, data, spec) >> 20


def make(folder: pathlib.Path, megapixels: int) -> list[str]:
    """Makes the images that are not there yet; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.MAX_IMAGE_PIXELS = None
    names = [name for name in CASES if megapixels <= _MOST_AVIF or not name.endswith(".avif")]
    for name in names:
        if not (folder / name).exists():
            (folder / name).write_bytes(make_case(name, megapixels))
    return names


def export(source: pathlib.Path, out: pathlib.Path) -> dict[str, Any]:
    """Exports with two workers; returns the exit code, seconds, and peaks in MiB."""
    flags = [f"--input={source}", f"--output_dir={out}", "--encode=always"]
    flags += ["--direct_num_workers=2", "--images_per_tar=4", "--order=shuffled"]
    flags += ["--max_failed_fraction=1", "--duplicates=rename"]
    facts, held = watched_export(flags, Held, timeout=_SECONDS)
    return {**facts, "peak_mib": held.peak, "together_mib": held.together}


def exported(out: pathlib.Path) -> set[str]:
    """Returns the names of the files that have become images of shards."""
    shards = [str(path) for path in sorted(out.glob("images-*.parquet"))]
    table = ds.dataset(shards).to_table(columns=["original_path"])
    return {pathlib.Path(path).name for path in table["original_path"].to_pylist()}


def torture(work: pathlib.Path, megapixels: int) -> tuple[dict[str, Any], list[str]]:
    """Exports all images of a size; returns what was found, and what does not hold, a line each."""
    folder, out = work / str(megapixels), work / f"out-{megapixels}"
    names = make(folder, megapixels)
    facts: dict[str, Any] = {"images": len(names), **export(folder, out)}
    facts["lost"] = sorted(set(names) - exported(out))
    estimates = {name: estimate(folder / name) for name in names}
    large = [name for name in names if estimates[name] > _MOST]
    facts["estimated_mib"] = estimates
    slow = [name for name in names if name in _SLOW and name not in large]
    facts["alone"] = singly = {name: alone(folder / name) for name in [*large, *slow]}
    slowest = max(singly, key=lambda name: singly[name]["seconds"])
    facts["slowest"] = {slowest: singly[slowest]["seconds"]}
    if large:
        facts["without the largest"] = without(work, megapixels, set(names) - set(large))
    return facts, [f"{megapixels} megapixels: {one}" for one in judge(facts)]


def without(work: pathlib.Path, megapixels: int, names: set[str]) -> dict[str, Any]:
    """Exports some of the images, in a directory of their own."""
    folder, out = work / f"{megapixels}-rest", work / f"out-{megapixels}-rest"
    folder.mkdir()
    for name in names:
        os.link(work / str(megapixels) / name, folder / name)
    facts: dict[str, Any] = {"images": len(names), **export(folder, out)}
    return facts | {"lost": sorted(names - exported(out))}


def judge(facts: dict[str, Any]) -> list[str]:
    """Returns what does not hold, a line each."""
    wrong = []
    for name, one in facts["alone"].items():
        if one["held_mib"] > _ESTIMATED * facts["estimated_mib"][name]:
            wrong.append(f"{name}: {one}")
    # An image that takes more than there is for all is worked on alone.
    largest = max(facts["estimated_mib"].values())
    wrong += judge_run(facts, max(0, int(largest * _ESTIMATED) - _MOST))
    rest = facts.get("without the largest")
    return wrong + (judge_run(rest, 0) if rest else [])


def judge_run(facts: dict[str, Any], above: int) -> list[str]:
    """Returns what does not hold of one export, which may hold so many MiB more than others."""
    wrong = [f"lost: {facts['lost']}"] if facts["lost"] else []
    if facts["exit"]:
        wrong.append(f"the export ended with {facts['exit']}")
    if facts["peak_mib"] > _MOST + above:
        wrong.append(f"a process held {facts['peak_mib']} MiB")
    if facts["together_mib"] > _MOST_TOGETHER + above:
        wrong.append(f"all together held {facts['together_mib']} MiB")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megapixels", type=int, nargs="+", default=[100, 250])
    parser.add_argument("--work", type=pathlib.Path, help="directory to keep; else a temporary one")
    parser.add_argument("--save", action="store_true", help="write to benchmarks/results/")
    given = parser.parse_args()
    facts: dict[str, Any] = {}
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        work = (given.work or pathlib.Path(temporary)).resolve()
        for megapixels in given.megapixels:
            facts[f"{megapixels} megapixels"], more = torture(work, megapixels)
            wrong += more
    facts["wrong"] = wrong
    if given.save:
        save("torture_large", facts)
    else:
        print(json.dumps(facts, indent=2))
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
