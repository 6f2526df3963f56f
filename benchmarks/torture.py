"""Exports odd and broken files, and accounts for each of them.

    python benchmarks/torture.py [--photos DIR] [--sdist pillow==12.3.0] [--count 500] [--save]

What must hold: the run ends well; no image takes over ten seconds; all processes together stay
under 2 GiB; every file is in a shard, in the failures, or counted as skipped, and in one of them
only; and what Pillow reads whole, within the limits, is exported. A source package is fetched with
pip for the test images in it; nothing of it is kept or run.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import io
import json
import multiprocessing
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
from common import PeakMemory, save
from PIL import Image
from torture_files import CANARY, make_files, unpack_images

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "AVIF")
_SUFFIXES = {"jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "tif", "tiff"}
_IMAGES = _SUFFIXES | {"bmp", "dib", "avif"}
#: A sidecar that cannot be a column; pixels without a white; a limit.
_MEANT = (".json", "its pixels are floats", "the JPEG has more than 256 scans")
_MOST_PIXELS = 250_000_000
_MOST_SECONDS = 10.0
_MOST_MEMORY = 2 << 30
_SECONDS_FOR_ALL = 1800


def fetch_sdist(requirement: str, folder: pathlib.Path) -> pathlib.Path:
    """Returns the source package that pip has downloaded; it is kept there for the next run."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
    if not (found := sorted(folder.glob("*.tar.gz"))):
        subprocess.run([*command, f"--dest={folder}", requirement], check=True)
        found = sorted(folder.glob("*.tar.gz"))
    return found[0]


def export(files: pathlib.Path, out: pathlib.Path) -> dict[str, Any]:
    """Runs the command; returns its exit code, its time and the peak memory of its processes."""
    command = [sys.executable, "-m", "beam_export", "export", f"--input={files}"]
    command += [f"--output_dir={out}", "--images_per_tar=100", "--order=shuffled", "--seed=1"]
    command += ["--duplicates=rename", "--max_failed_fraction=1", "--encode=always"]
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=files, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with PeakMemory(process.pid) as memory:
        said = process.communicate(timeout=_SECONDS_FOR_ALL)[0]
    if process.returncode:
        print(said.decode(errors="replace"))
    seconds = round(time.monotonic() - began, 1)
    return {"exit": process.returncode, "seconds": seconds, "peak_mib": memory.peak >> 20}


def outcomes(out: pathlib.Path) -> dict[str, list[str]]:
    """Returns what became of each path: `exported`, or the failure's reason."""
    found: dict[str, list[str]] = collections.defaultdict(list)
    shards = [str(path) for path in sorted(out.glob("images-*.parquet"))]
    for path in ds.dataset(shards).to_table(columns=["original_path"])["original_path"].to_pylist():
        found[path].append("exported")
    for table in out.glob("_meta/*-failures.parquet"):
        for row in pq.read_table(table).to_pylist():
            found[row["original_path"]].append(f"{row['stage']}: {row['error']}: {row['message']}")
    return found


def images_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields what is named like an image; links to directories are not followed."""
    for path in sorted(folder.rglob("*")):
        if path.suffix[1:].lower() in _IMAGES and (path.is_symlink() or not path.is_dir()):
            yield path


def reads_whole(path: str) -> bool:
    """Tells if Pillow, with its own guards lifted as the tool lifts them, decodes all of a file."""
    Image.MAX_IMAGE_PIXELS = _MOST_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(pathlib.Path(path).read_bytes()), formats=_FORMATS) as im:
                if im.width * im.height > _MOST_PIXELS:
                    return False
                im.load()
                im.convert("RGB")
    except MemoryError:
        raise
    except Exception:  # whatever a decoder raises for a bad file: this is the question
        return False
    return True


def seconds_for(path: str) -> float:
    """Returns how long the encoder takes for one image, whatever becomes of it."""
    from beam_export.encoders import EncodeSpec
    from beam_export.encoders.pillow import PillowEncoder
    from beam_export.encoders.policy import process_batch

    encoder = PillowEncoder(EncodeSpec(mode="always"))
    encoder.open()
    data = pathlib.Path(path).read_bytes()
    began = time.monotonic()
    process_batch([data], [""], encoder)
    return time.monotonic() - began


def account(files: pathlib.Path, out: pathlib.Path) -> dict[str, Any]:
    """Compares what lies in a directory with what was exported of it."""
    found = outcomes(out)
    images = [str(path) for path in images_below(files)]
    plain = [path for path in images if pathlib.Path(path).is_file()]
    # A crash of Pillow's or a hang would be seen here; it is the same code that the tool runs.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        readable = dict(zip(plain, pool.map(reads_whole, plain), strict=True))
        seconds = dict(zip(plain, pool.map(seconds_for, plain), strict=True))
    slowest = max(seconds, key=lambda path: seconds[path])
    reasons = collections.Counter(
        ": ".join(what.split(": ")[:2]) for whats in found.values() for what in whats
    )
    return {
        "images": len(images),
        "exported": sum(whats == ["exported"] for whats in found.values()),
        "reasons": dict(sorted(reasons.items())),
        "pillow reads whole": sum(readable.values()),
        "unaccounted": [path for path in images if not found.get(path)],
        "twice": [path for path, whats in found.items() if len(whats) != 1],
        "readable, not exported": {
            path: found.get(path)
            for path in plain
            if readable[path] and "exported" not in found.get(path, ())
        },
        "slowest": [pathlib.Path(slowest).name, round(seconds[slowest], 2)],
    }


def judge(facts: dict[str, Any], files: pathlib.Path) -> list[str]:
    """Returns what does not hold, a line each."""
    wrong = [f"{key}: {facts[key]}" for key in ("unaccounted", "twice") if facts[key]]
    unexpected = {p: w for p, w in facts["readable, not exported"].items() if not is_meant(w)}
    if unexpected:
        wrong.append(f"readable, not exported: {json.dumps(unexpected, indent=1)}")
    if facts["exit"]:
        wrong.append(f"the export ended with {facts['exit']}")
    if facts["slowest"][1] > _MOST_SECONDS:
        wrong.append(f"slowest: {facts['slowest']}")
    if facts["peak_mib"] << 20 > _MOST_MEMORY:
        wrong.append(f"memory: {facts['peak_mib']} MiB")
    if (files / CANARY).exists() or pathlib.Path(CANARY).exists():
        wrong.append("a pickle was loaded")
    return wrong


def is_meant(whats: list[str] | None) -> bool:
    """Tells if an image that Pillow reads is a failure for a reason that the tool stands by."""
    return bool(whats) and all(any(why in what for why in _MEANT) for what in whats or ())


@contextlib.contextmanager
def workspace(given: str | None) -> Iterator[pathlib.Path]:
    if given:
        yield pathlib.Path(given).resolve()
        return
    with tempfile.TemporaryDirectory() as folder:
        yield pathlib.Path(folder).resolve()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=pathlib.Path, help="images to damage; else made ones")
    parser.add_argument("--sdist", help="source package of an image library, with its test images")
    parser.add_argument("--count", type=int, default=500, help="damaged images")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", help="new directory to keep; a temporary one otherwise")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/torture.json")
    given = parser.parse_args()
    with workspace(given.work) as work:
        files, out = work / "files", work / "out"
        make_files(files, given.photos, given.count, given.seed)
        if given.sdist:
            unpack_images(fetch_sdist(given.sdist, work / "sdist"), files / "sdist")
        facts = {"seed": given.seed, "sdist": given.sdist, **export(files, out)}
        facts |= account(files, out)
        wrong = judge(facts, files)
        for key in ("unaccounted", "twice", "readable, not exported"):
            facts[key] = len(facts[key])
    facts["wrong"] = len(wrong)
    if given.save:
        save("torture", facts)
    else:
        print(json.dumps(facts, indent=2))
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
