"""Runs the same exports with two states of the code, and compares every file that they write.

    python benchmarks/robustness/same_bytes.py BEFORE [AFTER] [--data DIR] [--only CASE ...]

BEFORE and AFTER (default: HEAD) are commits. Both are checked out in temporary worktrees and run
with the Python that runs this script, so that libraries are the same. Each case is exported by the
command with one worker and with two; name and SHA-256 of every file but `run.json`, which holds the
facts of one run, and the exit codes are compared. Inputs are those of DIR (default:
`../shared/data` beside the repository), else made ones. It prints one table, then what differs, and
returns 1 if anything does or an export failed. Give it the commits before and after a refactoring.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import worktree

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_DATA = _ROOT.parent / "shared" / "data"
_WORKERS = (1, 2)
#: Images beyond this take long and show nothing that smaller ones do not.
_LARGEST = 1 << 20
_PHOTOS = 40


@dataclasses.dataclass
class Inputs:
    """Where the inputs of all cases lie; `tars` and `tables` are comma-separated patterns."""

    photos: str
    tars: str
    tables: str
    paths: str
    scores: str
    ids: str
    exports: str


_EXIT_CODE = "(exit code)"
#: What a run writes, name to SHA-256; its exit code likewise.
Written = dict[str, str]
#: Reads the command's arguments, a JSON list a line; runs each in a fork; prints its exit code.
_FORKS = """
import json, os, runpy, sys
import apache_beam.runners.portability.fn_api_runner, pyarrow.parquet
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.argv = ["beam_export", *json.loads(line)]
        runpy.run_module("beam_export", run_name="__main__", alter_sys=True)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def cases(given: Inputs) -> dict[str, list[str]]:
    """Returns the flags of each export, by the case's name."""
    photos = [f"--input={given.photos}", "--images_per_tar=9", "--duplicates=rename"]
    tars = [f"--input={given.tars}", "--images_per_tar=40"]
    join = [f"--metadata={given.scores}", "--metadata_key=name"]
    return {
        "folder": photos,
        "folder, shuffled": [*photos, "--order=shuffled", "--seed=3"],
        "folder, encoded": [*photos, "--encode=always", "--quality=80", "--subsampling=444"],
        "folder, as it came": [*photos, "--encode=never", "--member_names=sequential"],
        "folder, resized": [*photos, "--resize=200", "--resize_mode=center_crop"],
        "folder, cut by size": [*photos, "--max_tar_bytes=400000", "--order=shuffled"],
        "folder, filtered by pixels": [*photos, "--filter=width > height and size < 200000"],
        "folder, joined": [*photos, *join, "--filter=score >= 0.3"],
        "folder, ids": [*photos, f"--ids={given.ids}", "--probe=full"],
        "folder, ids left out": [*photos, *join, f"--exclude_ids={given.ids}", "--limit=50"],
        "tars": tars,
        "tars, shuffled": [*tars, "--order=shuffled", "--seed=1", "--encode=always"],
        "table of images": [f"--input={given.tables}", "--images_per_tar=25"],
        "table of paths": [
            f"--input={given.paths}",
            "--images_per_tar=9",
            "--caption_column=words",
        ],
        "exports": [f"--input={given.exports}", "--images_per_tar=30", "--duplicates=rename"],
    }


# Inputs.


def prepare(data: pathlib.Path, folder: pathlib.Path) -> Inputs:
    """Lays out the inputs below a new folder; those that `data` lacks are made."""
    photos = folder / "photos"
    found = _some_images(data / "photos") if data.is_dir() else []
    for path in found:
        copy = photos / path.relative_to(data / "photos")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    if not found:
        _make_images(photos)
    images = sorted(path for path in photos.rglob("*") if path.is_file())
    _write_sidecars(images)
    _write_tables(folder, photos, images)
    tars = sorted((data / "webdataset").glob("*.tar")) or [_make_tar(folder / "made.tar", images)]
    tables = sorted((data / "huggingface").glob("*.parquet")) or [folder / "images.parquet"]
    exports = sorted((data / "nemo-curator").glob("*e13cf8b9cb5b*.tar"))
    exports += sorted((data / "img2dataset" / "webdataset").glob("*.tar"))
    return Inputs(
        photos=str(photos),
        tars=",".join(map(str, tars)),
        tables=",".join(map(str, tables)),
        paths=str(folder / "paths.csv"),
        scores=str(folder / "scores.csv"),
        ids=str(folder / "ids.txt"),
        exports=",".join(map(str, exports or tars)),
    )


def _some_images(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns some images of every kind, those that stand evenly apart in sorted order."""
    suffixes = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".tif", ".tiff", ".bmp", ".avif"}
    images = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in suffixes and path.stat().st_size <= _LARGEST
    ]
    return images[:: max(1, len(images) // _PHOTOS)]


def _make_images(folder: pathlib.Path) -> None:
    dice = random.Random(0)
    for number in range(_PHOTOS):
        path = folder / f"{number % 5}" / f"{number:03d}.{'png' if number % 4 == 3 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = dice.randint(40, 400), dice.randint(40, 400)
        Image.frombytes("RGB", (4, 4), dice.randbytes(48)).resize(size).save(path)


def _write_sidecars(images: list[pathlib.Path]) -> None:
    """Gives some images a caption, some a `.json` whose keys become columns of mixed types."""
    for number, path in enumerate(images):
        if number % 3 == 0:
            path.with_suffix(".txt").write_text(f"picture {number}")
        if number % 2 == 0:
            facts = {"place": number, "tags": ["a"] * (number % 4), "rate": number / 7}
            path.with_suffix(".json").write_text(json.dumps(facts))


def _write_tables(folder: pathlib.Path, photos: pathlib.Path, images: list[pathlib.Path]) -> None:
    """Writes scores and ids to join the folder with, and the images as tables of both kinds."""
    names = (path.relative_to(photos).with_suffix("").as_posix() for path in images)
    ids = list(dict.fromkeys(names))  # photographs of one stem have one id
    scores = [[one, str(place % 10 / 10), f"words {place}"] for place, one in enumerate(ids)]
    _write_csv(folder / "scores.csv", [["name", "score", "words"], *reversed(scores)])
    (folder / "ids.txt").write_text("\n".join(ids[::2]) + "\n")
    jpegs = [path for path in images if path.suffix == ".jpg"]
    rows = [[str(path), str(n / 3), f"jpeg {n}"] for n, path in enumerate(jpegs)]
    _write_csv(folder / "paths.csv", [["path", "weight", "words"], *rows])
    content = {"id": [path.name for path in jpegs], "image": [path.read_bytes() for path in jpegs]}
    pq.write_table(pa.table(content), folder / "images.parquet", row_group_size=17)


def _write_csv(path: pathlib.Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def _make_tar(path: pathlib.Path, images: list[pathlib.Path]) -> pathlib.Path:
    with tarfile.open(path, "w") as tar:
        for number, image in enumerate(images):
            caption = f"caption {number}".encode()
            for suffix, data in ((image.suffix, image.read_bytes()), (".txt", caption)):
                member = tarfile.TarInfo(f"sample{number:04d}{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


# Runs.


class Exporter:
    """Exports with the code of a checkout, each time in a fork of one process.

    Importing Beam takes longer than most of the exports.
    """

    def __init__(self, code: pathlib.Path, out: pathlib.Path) -> None:
        self._out, self._log = out, out.with_suffix(".log")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _FORKS, str(self._log)],
            cwd=out.parent,
            env={**os.environ, "PYTHONPATH": str(code)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Exporter:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def __call__(self, workers: int, flags: list[str]) -> Written:
        """Exports; returns what lies in the output directory then, and empties it."""
        flags = ["export", f"--output_dir={self._out}", "--max_failed_fraction=1", *flags]
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([*flags, f"--direct_num_workers={workers}"]) + "\n")
        self._process.stdin.flush()
        code = self._process.stdout.readline().strip()
        if code != "0":
            print(self._log.read_text()[-2000:])
        found = {
            path.relative_to(self._out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self._out.rglob("*"))
            if path.is_file() and not path.name.endswith("-run.json")
        }
        shutil.rmtree(self._out, ignore_errors=True)
        return {**found, _EXIT_CODE: code}


def where_it_differs(before: Written, after: Written) -> list[str]:
    """Returns the files that are not the same in both, and how.

    >>> where_it_differs({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"})
    ['b: another content', 'c: only after']
    """
    found = []
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            found.append(f"{name}: only before")
        elif name not in before:
            found.append(f"{name}: only after")
        elif before[name] != after[name]:
            found.append(f"{name}: another content")
    return found


def compare(before: Exporter, after: Exporter, wanted: dict[str, list[str]]) -> list[str]:
    """Exports each case with both checkouts; prints a row each, returns what differs."""
    print("| case | files | 1 worker | 2 workers | 1 and 2 workers |")
    print("|---|---|---|---|---|", flush=True)
    differences = []
    for case, flags in wanted.items():
        old = {workers: before(workers, flags) for workers in _WORKERS}
        new = {workers: after(workers, flags) for workers in _WORKERS}
        pairs = {f"{workers} workers": (old[workers], new[workers]) for workers in _WORKERS}
        pairs["1 and 2 workers"] = (new[1], new[2])
        row = [case, str(len(new[1]) - 1)]
        for name, (one, other) in pairs.items():
            found = where_it_differs(one, other)
            row.append("differs" if found else "the same")
            differences += [f"{case}, {name}: {what}" for what in found]
        if new[1][_EXIT_CODE] != "0":
            differences.append(f"{case}: it ended with {new[1][_EXIT_CODE]}")
        print(f"| {' | '.join(row)} |", flush=True)
    return differences


def main() -> int:
    """Compares two commits; returns 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("before", help="commit")
    parser.add_argument("after", nargs="?", default="HEAD", help="commit")
    parser.add_argument("--data", type=pathlib.Path, default=_DATA, help="images and datasets")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="these cases alone")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        scratch = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())).resolve()
        before = stack.enter_context(worktree(given.before, scratch / "before"))
        after = stack.enter_context(worktree(given.after, scratch / "after"))
        wanted = cases(prepare(given.data, scratch / "inputs"))
        if given.only:
            wanted = {case: wanted[case] for case in given.only}
        old = stack.enter_context(Exporter(before, scratch / "out"))
        new = stack.enter_context(Exporter(after, scratch / "out"))
        differences = compare(old, new, wanted)
    print(*differences, f"{len(differences)} differences", sep="\n")
    return int(bool(differences))


if __name__ == "__main__":
    sys.exit(main())
