"""Compares the DALI encoder of two commits on the CPU: images a CPU second, by turns.

    python benchmarks/speed/dali_before.py BEFORE [AFTER] [--rounds 15] [--only TASK ...]
        [--result NAME]

BEFORE and AFTER (default: HEAD) are commits, checked out in temporary worktrees and run with the
Python that runs this script, which has DALI. Each has a process that lives to the end; the two take
turns, in changing order, and encode the same photographs for the same time, so that both have the
machine's noise. The share is the median over the rounds, each round's AFTER to its BEFORE.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import machine, median, save
from benchmarks.speed.gpu_images import Setting, photograph_files

__all__ = ["main"]

ROOT = pathlib.Path(__file__).resolve().parents[2]
_SIZES = ("640x480", "1920x1080")
_TASKS: dict[str, dict[str, int]] = {"recode": {}, "resize": {"resize": 512}}
_BATCH = 8
#: Reads a task a line: a folder of images, options of the spec, CPU seconds; prints images and CPU
#: seconds. It calls nothing that either commit lacks.
_WORKER = """
import json, pathlib, sys, time
from beam_export.images.dali.encoder import DaliEncoder
from beam_export.images.encoder import EncodeSpec
from beam_export.samples import EncodedImage
encoders, files = {}, {}
for line in sys.stdin:
    folder, options, batch, seconds = json.loads(line)
    key = json.dumps([folder, options])
    if key not in encoders:
        encoders[key] = DaliEncoder(EncodeSpec(mode="always", **options), "cpu", 1)
        encoders[key].open()
        held = [path.read_bytes() for path in sorted(pathlib.Path(folder).iterdir())]
        files[key] = [held[number % len(held)] for number in range(batch)]
        encoders[key].encode_batch(files[key])
    done, began = 0, time.process_time()
    while time.process_time() - began < seconds:
        results = encoders[key].encode_batch(files[key])
        assert all(isinstance(one, EncodedImage) for one in results)
        done += len(results)
    print(json.dumps([done, time.process_time() - began]), flush=True)
"""


@contextlib.contextmanager
def _worker(commit: str, folder: pathlib.Path) -> Iterator[subprocess.Popen[str]]:
    """Checks a commit out, and starts its process."""
    add = ["git", "worktree", "add", "--quiet", "--detach", str(folder), commit]
    subprocess.run(add, cwd=ROOT, check=True)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _WORKER],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            yield process
    finally:
        remove = ["git", "worktree", "remove", "--force", str(folder)]
        subprocess.run(remove, cwd=ROOT, check=True)


def _rate(worker: subprocess.Popen[str], *task: Any) -> float:
    """Returns images a CPU second of one turn.

    Raises:
        RuntimeError: if the process has ended.
    """
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps(task) + "\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError("the process of one of the commits has ended")
    images, seconds = json.loads(line)
    return float(images / seconds)


def _commit(name: str) -> str:
    command = ["git", "rev-parse", "--short=12", name]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout[:-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("before")
    parser.add_argument("after", nargs="?", default="HEAD")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU seconds of a turn")
    parser.add_argument("--only", nargs="+", help='such as "640x480, recode"')
    parser.add_argument("--result", metavar="NAME", help="write benchmarks/results/NAME.json")
    given = parser.parse_args()
    content: dict[str, Any] = {"before": _commit(given.before), "after": _commit(given.after)}
    with contextlib.ExitStack() as stack:
        place = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers = [
            stack.enter_context(_worker(commit, place / name))
            for name, commit in (("before", given.before), ("after", given.after))
        ]
        setting = Setting("cpu", True, False, place / "images")
        for size in _SIZES:
            photograph_files(setting, size)
            for task, options in _TASKS.items():
                if given.only and f"{size}, {task}" not in given.only:
                    continue
                turn = (str(place / "images" / size), options, _BATCH, given.seconds)
                content[f"{size}, {task}"] = _by_turns(workers, turn, given.rounds)
    if given.result:
        save(given.result, content)
    else:
        print(json.dumps({"machine": machine(), **content}, indent=2))
    return 0


def _by_turns(
    workers: list[subprocess.Popen[str]], turn: tuple[Any, ...], rounds: int
) -> dict[str, Any]:
    """Returns the rates of both, round by round."""
    for worker in workers:
        _rate(worker, *turn)  # memory and caches are warm then
    figures: list[list[float]] = []
    for number in range(rounds):
        pair = list(enumerate(workers))
        made = {at: _rate(worker, *turn) for at, worker in (pair, pair[::-1])[number % 2]}
        figures.append([made[0], made[1]])
    return {
        "images a CPU second before": median([before for before, _ in figures]),
        "images a CPU second after": median([after for _, after in figures]),
        "share": median([after / before for before, after in figures]),
        "shares": sorted(round(after / before, 3) for before, after in figures),
    }


if __name__ == "__main__":
    sys.exit(main())
