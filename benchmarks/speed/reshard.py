"""Measures the CPU time of resharding against webdataset's reader and `ShardWriter`.

    python benchmarks/speed/reshard.py [--samples 100000] [--runs 3] [--only rates|subset]
        [--folder DIR] [--peers PYTHON] [--without_sha]

The images differ as those of the web do. 100,000 samples take some 30 minutes on 2 cores, 20,000
with `--only rates` 3. Counted is the CPU time (user and system) of all processes of a run, its
start-up subtracted: the same command on a tar of one sample. The two take turns. Beside that: the
most memory that a worker process takes, for all samples and for a tenth of them, and how much is
read for one sample in a hundred, chosen by --ids and by --filter.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import os
import pathlib
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import PeakMemory, Usage, save, use
from benchmarks.photos import make_web_photos
from benchmarks.speed.contestants import WITHOUT_SHA, find_peers
from benchmarks.speed.paired import spread

_PER_SOURCE = 1000
_PER_SHARD = 1500
_DISTINCT = 2000
_TARGET = 44_000

#: What webdataset's users write to reshard; values are passed on as they are.
_PEER = """
import sys
import webdataset
source, target, count = sys.argv[1:]
options = {"maxcount": int(count), "encoder": False, "verbose": 0}
with webdataset.ShardWriter(target + "/%06d.tar", **options) as sink:
    for sample in webdataset.WebDataset(source, shardshuffle=False):
        sink.write(sample)
"""


def export(source: pathlib.Path, target: pathlib.Path, *flags: str) -> list[str]:
    """Returns the command line of an export with one worker a core."""
    places = [f"--input={source}", f"--output_dir={target}", f"--images_per_tar={_PER_SHARD}"]
    return [sys.executable, "-m", "beam_export", "export", *places, *flags]


def peer(python: str, source: pathlib.Path, target: pathlib.Path) -> list[str]:
    """Returns the command line of the same with webdataset."""
    tars = sorted(source.glob("*.tar"))
    urls = str(tars[0])
    if len(tars) > 1:
        urls = str(source / f"{{{tars[0].stem}..{tars[-1].stem}}}.tar")
    return [python, "-c", _PEER, urls, str(target), str(_PER_SHARD)]


def run(command: list[str], target: pathlib.Path) -> Usage:
    """Runs a command that writes to `target`, and removes what it wrote."""
    target.mkdir()
    os.sync()
    try:
        return use(command, memory=PeakMemory)
    finally:
        shutil.rmtree(target)


def _photos(folder: pathlib.Path, count: int) -> list[bytes]:
    make_web_photos(folder, count)
    return [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))]


def _samples(photos: Sequence[bytes], start: int, stop: int) -> Iterator[tuple[str, bytes]]:
    """Yields members; each JPEG is another by a comment of its own (ITU-T T.81, B.2.4.5)."""
    for number in range(start, stop):
        photo = photos[number % len(photos)]
        note = f"number {number:012d}".encode()
        comment = b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note
        score = number * 7919 % 10_000 / 10_000
        caption = f"a photograph, number {number}, of what there is to see"
        facts = {"caption": caption, "score": score, "number": number, "tags": ["a", "b"]}
        yield f"{number:09d}.jpg", photo[:2] + comment + photo[2:]
        yield f"{number:09d}.json", json.dumps(facts).encode()
        yield f"{number:09d}.txt", caption.encode()


def make_tars(folder: pathlib.Path, photos: Sequence[bytes], count: int) -> int:
    """Writes tars of 1000 samples; returns the bytes of all images."""
    folder.mkdir()
    total = 0
    for number, start in enumerate(range(0, count, _PER_SOURCE)):
        with tarfile.open(folder / f"{number:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, data in _samples(photos, start, min(start + _PER_SOURCE, count)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
                total += len(data) * name.endswith(".jpg")
    return total


class Rates:
    """Samples per CPU second of each run, and start-ups in CPU seconds, by who made them."""

    def __init__(self) -> None:
        self.rates: dict[str, list[float]] = {"webdataset": [], "beam_export": []}
        self.starts: dict[str, list[float]] = {"webdataset": [], "beam_export": []}

    def figures(self) -> dict[str, Any]:
        """Returns medians and spread, and how much faster ours is in each run."""
        pairs = zip(self.rates["beam_export"], self.rates["webdataset"], strict=True)
        return {
            "ratio": spread([ours / theirs for ours, theirs in pairs]),
            "samples_per_cpu_second": {who: spread(all_, 0) for who, all_ in self.rates.items()},
            "start_cpu_s": {who: spread(all_) for who, all_ in self.starts.items()},
        }


def compare(folder: pathlib.Path, samples: int, runs: int, python: str) -> Rates:
    """Returns the rates of both; `python` is one that has webdataset."""
    target = folder / "out"
    found = Rates()
    who = (("webdataset", functools.partial(peer, python)), ("beam_export", export))
    for turn in range(runs):
        for name, command in who:
            start = run(command(folder / "one", target), target).cpu
            whole = run(command(folder / "all", target), target).cpu
            found.starts[name].append(start)
            found.rates[name].append(samples / (whole - start))
            rate = found.rates[name][-1]
            print(f"run {turn + 1}: {name}: {rate:.0f} samples/CPU s", file=sys.stderr)
    return found


def subset(folder: pathlib.Path, samples: int, payload: int) -> dict[str, float]:
    """Returns the share of the images' bytes that is read for one sample in a hundred.

    What is read before planning (headers, JSON) is measured by a dry run and subtracted, and so is
    what any run reads of programs and libraries: that of the same commands on a tar of one sample.
    """
    ids = folder / "ids.txt"
    ids.write_text("".join(f"{number:09d}\n" for number in range(0, samples, 100)))

    def read(size: str, *flags: str) -> int:
        return run(export(folder / size, folder / "out", *flags), folder / "out").bytes_read

    shares = {}
    for name, flag in (("ids", f"--ids={ids}"), ("filter", "--filter=number % 100 = 0")):
        planned = read("all", flag, "--dry_run") - read("one", flag, "--dry_run")
        whole = read("all", flag) - read("one", flag)
        shares[name] = round((whole - planned) / payload, 4)
        shares[f"{name}, before planning"] = round(planned / payload, 4)
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=["rates", "subset"], help="measure no more than that")
    parser.add_argument("--peers", default="", help="a Python that has webdataset")
    parser.add_argument("--without_sha", action="store_true", help="without SHA instructions")
    parser.add_argument("--folder", help="where to work; a temporary directory by default")
    arguments = parser.parse_args()
    samples = arguments.samples
    if arguments.without_sha:
        os.environ.update(WITHOUT_SHA)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = pathlib.Path(name)
        photos = _photos(folder / "photos", min(samples, _DISTINCT))
        payload = make_tars(folder / "all", photos, samples)
        make_tars(folder / "one", photos, 1)
        make_tars(folder / "tenth", photos, samples // 10)
        result: dict[str, object] = {
            "samples": samples,
            "mean_kb": round(payload / samples / 1000, 1),
        }
        if arguments.only != "subset":
            python = find_peers(arguments.peers).python
            rates = compare(folder, samples, arguments.runs, python)
            result |= rates.figures()
        if arguments.only is None:
            for size in ("tenth", "all"):
                used = run(export(folder / size, folder / "out"), folder / "out")
                result[f"peak_worker_mb, {size}"] = round(used.peak_below / 1e6)
        if arguments.only != "rates":
            result["subset_of_payload_read"] = subset(folder, samples, payload)
    save("reshard" + "_without_sha" * arguments.without_sha, result)


if __name__ == "__main__":
    main()
