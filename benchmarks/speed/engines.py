"""Measures the same export on each engine: seconds for the same images, runs taking turns.

    python benchmarks/speed/engines.py [--images 1000] [--runs 3] [--folder DIR]

`make engines` makes the engines; one that was not made is listed as such. Each job server runs from
the first run to the last: its start is not counted. Counted is the command, from its start to its
end, and the CPU seconds of command, workers and job server, which other work on the machine changes
less. The first turn finds each job server cold. All have two worker processes if they can. The
exports of all engines must have the same bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.metadata
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from support.engines import ENGINES, is_made, jars_of, serving
from support.exports import ROOT, directory_hashes

from benchmarks.common import SUBREAPER, process_tree, save
from benchmarks.photos import make_photos
from benchmarks.speed.paired import spread

LOCAL = "local"
#: For engines whose workers are as many as the flag says; the others choose by themselves.
_TWO = {"flink": ["--sdk_worker_parallelism=2"], "spark": ["--sdk_worker_parallelism=2"]}
#: What names an engine among its jars, and Beam's part of it.
_JARS = {
    "flink": (r"flink-runtime-([\d.]+)\.jar", r"beam-runners-flink-[\d.]+-([\d.]+)\.jar"),
    "spark": (r"spark-core_[\d.]+-([\d.]+)\.jar", r"beam-runners-spark-3-([\d.]+)\.jar"),
}


class Engine(NamedTuple):
    """Flags that send an export to an engine, and the process of its job server, if it has one."""

    flags: Sequence[str]
    server: int | None = None


class Used(NamedTuple):
    """Seconds from a command's start to its end, and CPU seconds, those of the job server too."""

    wall: float
    cpu: float


#: Ids of the job servers, which go on.
_servers: set[int] = set()

Runs = dict[str, list[Used]]


def export(source: pathlib.Path, out: pathlib.Path, engine: Engine) -> Used:
    """Runs an export that encodes every image; returns what it used.

    Raises:
        RuntimeError: if it fails.
    """
    places = [f"--input={source}", f"--output_dir={out}", "--images_per_tar=100"]
    flags = ["--encode=always", *engine.flags]
    command = [sys.executable, "-m", "beam_export", "export", *places, *flags]
    began, before = time.perf_counter(), cpu_of(engine.server)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    wall = time.perf_counter() - began
    wait_for_workers()
    used = Used(wall, cpu_of(engine.server) - before)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
    return used


def wait_for_workers() -> None:
    """Waits for workers that a command has left behind, so that what they used is counted."""
    own = os.getpid()
    while True:
        orphans = [pid for pid in process_tree(own)[1:] if pid not in _servers]
        if not orphans:
            return
        for orphan in orphans:
            # Those below another orphan become this one's, or are that one's to wait for.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(orphan, os.WNOHANG)
        time.sleep(0.01)


def cpu_of(server: int | None) -> float:
    """Returns the CPU seconds of all commands that have ended, and of a server so far."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    if server is not None:
        # proc(5): fields 14 and 15 are utime and stime; the second one stands in brackets.
        fields = pathlib.Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def take_turn(folder: pathlib.Path, engines: Mapping[str, Engine], found: Runs) -> None:
    """Runs each engine once, and adds what it used.

    Args:
        folder: with the images in `photos`.
        engines: by their names.
        found: what each engine used in the turns before.

    Raises:
        RuntimeError: if an engine's export has other bytes than the first one's.
    """
    first: dict[str, str] = {}
    for name, engine in engines.items():
        used = export(folder / "photos", folder / "out", engine)
        hashes = directory_hashes(folder / "out")
        shutil.rmtree(folder / "out")
        first = first or hashes
        if hashes != first:
            raise RuntimeError(f"{name} gave other bytes than {next(iter(engines))}")
        found.setdefault(name, []).append(used)
        print(f"{name}: {used.wall:.1f} s, {used.cpu:.1f} s of CPU", file=sys.stderr, flush=True)


def versions_of(engine: str) -> dict[str, str]:
    """Returns the versions of an engine, and of the Beam that its job server is of."""
    beam = importlib.metadata.version("apache-beam")
    if engine not in _JARS:
        return {"beam": beam}
    names = " ".join(sorted(path.name for path in jars_of(engine)))
    own, of_beam = (re.search(pattern, names) for pattern in _JARS[engine])
    # The whole job server is one jar, of the Beam of the workers.
    return {engine: own[1] if own else "", "beam": of_beam[1] if of_beam else beam}


def figures(found: Runs) -> dict[str, Any]:
    """Returns versions and seconds of each engine."""
    return {
        name: {
            **versions_of(name),
            "wall_s": spread([used.wall for used in runs], 1),
            "cpu_s": spread([used.cpu for used in runs], 1),
        }
        for name, runs in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", help="where to work; a temporary directory by default")
    arguments = parser.parse_args()
    # Who is left behind becomes this process's.
    ctypes.CDLL(None).prctl(SUBREAPER, 1)
    not_made = [name for name in ENGINES if not is_made(name)]
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.folder))
        folder = pathlib.Path(name)
        make_photos(folder / "photos", arguments.images)
        engines = {LOCAL: Engine(["--direct_num_workers=2"])}
        for engine in [name for name in ENGINES if name not in not_made]:
            server = stack.enter_context(serving(engine, folder / f"{engine}.log"))
            flags = [*server.flags, *_TWO.get(engine, ())]
            engines[engine] = Engine(flags, server.process)
            _servers.update(process_tree(server.process))
        found: Runs = {}
        for turn in range(arguments.runs):
            take_turn(folder, engines, found)
            # After each turn, so that there is something where the last ones are cut.
            result = {"images": arguments.images, "runs": turn + 1, "engines": figures(found)}
            save("engines", {**result, "same_bytes": True, "not_made": not_made})


if __name__ == "__main__":
    main()
