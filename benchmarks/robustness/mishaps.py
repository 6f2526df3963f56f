"""The kinds of faults beside a kill at a random moment; `faults.py` runs them and counts."""

from __future__ import annotations

import dataclasses
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import apache_beam as beam
import pyarrow.parquet as pq
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

import beam_export
from beam_export.shards.lock import prepare_output
from benchmarks.robustness import inject
from benchmarks.robustness.fault_ground import PER_SHARD, Ground, Run

__all__ = ["KINDS", "Mishap", "run_kind"]

_KIB = 1 << 10


@dataclasses.dataclass
class Mishap:
    """What became of one run that something happened to.

    Attributes:
        kind: what happened.
        how: in what form.
        ended: exit codes of what it happened to.
        faults: whatever should not be, in words.
    """

    kind: str
    how: str
    ended: list[int] = dataclasses.field(default_factory=list)
    faults: list[str] = dataclasses.field(default_factory=list)


def run_kind(kind: str, ground: Ground, first: int, count: int, seed: int) -> list[Mishap]:
    """Has one kind happen `count` times, in the forms that begin with number `first`."""
    dice = random.Random(f"{kind} {seed}")
    found = []
    for number in range(first, first + count):
        out = ground.folder / f"{kind}-{number}"
        found.append(KINDS[kind](ground, out, number, dice))
        if not found[-1].faults:
            shutil.rmtree(out, ignore_errors=True)
    return found


def _one_sentence(run: Run, words: str) -> Iterator[str]:
    """Yields a fault if a run did not end with one sentence that holds some words."""
    lines = [line for line in run.said().splitlines() if line.startswith("beam-export: ")]
    if len(lines) != 1 or words not in lines[0] or "Traceback" in run.said():
        yield f"it said {run.said()!r}"


# No space left.


def no_space(ground: Ground, out: pathlib.Path, number: int, dice: random.Random) -> Mishap:
    """A small file system of its own, or a limit on a file's size where none can be mounted."""
    out.mkdir()
    share = dice.uniform(0.05, 0.9)
    if number % 2 == 0 and _mount(out, int(ground.size * share)):
        mishap = Mishap("no_space", "a small tmpfs")
        try:
            _run_full(ground, out, mishap, lambda: None)
            _mount(out, 1 << 30, remount=True)
            mishap.faults += ground.faults_of_resuming(out)
        finally:
            subprocess.run(["umount", str(out)], check=True)
        return mishap
    largest = max(path.stat().st_size for path in (ground.folder / "alone").glob("*.tar"))
    limit = int(largest * share)
    mishap = Mishap("no_space", "a limit on the size of files")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    _run_full(ground, out, mishap, limited)
    mishap.faults += ground.faults_of_resuming(out)
    return mishap


def _run_full(
    ground: Ground, out: pathlib.Path, mishap: Mishap, before: Callable[[], object]
) -> None:
    run = ground.start(out, before=before)
    mishap.ended.append(run.wait())
    if mishap.ended != [1]:
        mishap.faults.append(f"it ended with {mishap.ended}")
    mishap.faults += _one_sentence(run, "has no room left")
    mishap.faults += ground.faults_standing(out)
    if list(out.glob("_tmp*")):
        mishap.faults.append("temporary files are left, which fill what is full already")


def _mount(place: pathlib.Path, size: int, remount: bool = False) -> bool:
    """Mounts a tmpfs of some bytes, or makes it larger; tells whether that is allowed."""
    flags = ["-o", f"{'remount,' * remount}size={max(16, size // _KIB)}k"]
    done = subprocess.run(
        ["mount", "-t", "tmpfs", *flags, "none", str(place)], capture_output=True, check=False
    )
    return done.returncode == 0


# Reads that fail.


def bad_reads(ground: Ground, out: pathlib.Path, number: int, dice: random.Random) -> Mishap:
    """Reads that are slow, short and fail for a while, or for good."""
    kind = ("moments", "disk", "refused")[number % 3]
    fault = f"reads:{kind}:{dice.randrange(1 << 30)}:{ground.input}"
    mishap = Mishap("bad_reads", kind)
    run = ground.start(out, "--max_failed_fraction=1", before=lambda: inject.install(fault))
    mishap.ended.append(run.wait())
    if mishap.ended != [int(kind == "disk")]:
        mishap.faults.append(f"it ended with {mishap.ended}: {run.said()}")
    if kind == "moments":
        mishap.faults += ground.faults_at_the_end(out)
    elif kind == "disk":
        mishap.faults += [*_one_sentence(run, "Input/output error"), *ground.faults_standing(out)]
        mishap.faults += ground.faults_of_resuming(out)
    else:
        mishap.faults += _faults_of_counting(ground, out)
    return mishap


def _faults_of_counting(ground: Ground, out: pathlib.Path) -> Iterator[str]:
    """Yields a fault unless each image is in a shard or in the failures, and those are some."""
    images = sorted(path.stem for path in ground.input.iterdir())
    tables = [pq.read_table(path) for path in out.glob("images-*.parquet")]
    written = [one for table in tables for one in table["image_id"].to_pylist()]
    failed = [
        one
        for path in out.glob("_meta/*-failures.parquet")
        for one in pq.read_table(path)["image_id"].to_pylist()
    ]
    if sorted(written + failed) != images or len(failed) != max(1, len(images) // 10):
        yield f"{len(written)} written and {len(failed)} failed are not {len(images)}"


# Ctrl-C.


def interrupts(ground: Ground, out: pathlib.Path, number: int, dice: random.Random) -> Mishap:
    """Ctrl-C twice, at random moments."""
    workers = 1 + number % 2
    mishap = Mishap("interrupts", f"{workers} workers")
    run = ground.start(out, workers=workers)
    # Before that the process is not yet one that runs an export.
    _until(lambda: out.exists() or run.ended())
    time.sleep(dice.uniform(0, ground.seconds))
    run.kill(signal.SIGINT)
    time.sleep(dice.uniform(0, 0.5))
    run.kill(signal.SIGINT)
    mishap.ended.append(run.wait())
    if mishap.ended == [130]:
        mishap.faults += _one_sentence(run, "interrupted")
    elif mishap.ended != [0] or "Traceback" in run.said():
        mishap.faults.append(f"it ended with {mishap.ended}: {run.said()}")
    if not run.alone():
        mishap.faults.append("processes are left")
    if list(out.glob("_tmp*")):
        mishap.faults.append("temporary files are left")
    mishap.faults += ground.faults_standing(out)
    mishap.faults += ground.faults_of_resuming(out)
    return mishap


def _until(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not what():
        if time.monotonic() > until:
            raise TimeoutError("it did not happen")
        time.sleep(0.005)


# Two runs into one directory.


def rivals(ground: Ground, out: pathlib.Path, number: int, dice: random.Random) -> Mishap:
    """Two runs into one directory: the second refuses, or finds all done."""
    mishap = Mishap("rivals", f"{1 + number % 2} workers")
    runs = [ground.start(out, workers=1 + number % 2)]
    time.sleep(dice.uniform(0, ground.seconds / 2))
    runs.append(ground.start(out, workers=1 + number % 2))
    mishap.ended += [run.wait() for run in runs]
    if sorted(mishap.ended) not in ([0, 0], [0, 2]):
        mishap.faults.append(f"they ended with {mishap.ended}: {[run.said() for run in runs]}")
    for run, status in zip(runs, mishap.ended, strict=True):
        if status == 2:
            mishap.faults += _one_sentence(run, "is being written to by another run")
    mishap.faults += ground.faults_at_the_end(out)
    return mishap


# Zombies and retries.


def zombies(ground: Ground, out: pathlib.Path, number: int, dice: random.Random) -> Mishap:
    """Two processes that do the work of one job, each believing that it is the only one."""
    together = number % 3 == 0
    options = beam_export.ExportOptions(
        output_dir=str(out), images_per_tar=PER_SHARD, encode="always"
    )
    output = prepare_output(options, bound=False)

    def work(fault: str | None) -> int:
        if fault is not None:
            inject.install(fault)
        pipeline = beam.Pipeline(runner=FnApiRunner())
        pipeline | beam_export.ExportImages(str(ground.input), options, output=output)
        pipeline.run().wait_until_finish()
        return 0

    point = inject.POINTS[number % len(inject.POINTS)]
    fault = None if together else f"stop:{point}:{_passing(ground, point, dice)}"
    mishap = Mishap("zombies", "at the same time" if together else f"stood still at {point}")
    first = ground.call(lambda: work(fault))
    if not together and not first.stopped():
        mishap.faults.append(f"it did not come to {point}: {first.said()}")
    second = ground.call(lambda: work(None))
    mishap.ended.append(second.wait())
    if not together:
        if mishap.ended != [0]:
            mishap.faults.append(f"the other ended with {mishap.ended}: {second.said()}")
        mishap.faults += ground.faults_at_the_end(out, temporary=True)
        first.kill(signal.SIGCONT)
    # The one that comes late may find its temporary files swept, and fail: nobody waits for it.
    mishap.ended.append(first.wait())
    if 0 not in mishap.ended:
        mishap.faults.append(f"both failed: {first.said()} {second.said()}")
    mishap.faults += ground.faults_at_the_end(out, temporary=True)
    return mishap


def _passing(ground: Ground, point: str, dice: random.Random) -> int:
    """Returns a random one of the times that a run passes a point."""
    if point == "tar-member":
        return dice.randint(1, len(list(ground.input.iterdir())))
    if "manifest" in point or "shards" in point:
        return 1
    return dice.randint(1, sum(name.endswith(".tar") for name in ground.wanted))


def dying(ground: Ground, out: pathlib.Path, number: int, dice: random.Random) -> Mishap:
    """A run that ends itself with SIGKILL at a point of the writing, and is resumed."""
    point = inject.POINTS[number % len(inject.POINTS)]
    fault = f"die:{point}:{_passing(ground, point, dice)}"
    mishap = Mishap("dying", point)
    run = ground.start(out, before=lambda: inject.install(fault))
    mishap.ended.append(run.wait())
    if mishap.ended != [-signal.SIGKILL]:
        mishap.faults.append(f"it ended with {mishap.ended}: {run.said()}")
    mishap.faults += ground.faults_standing(out)
    mishap.faults += ground.faults_of_resuming(out)
    return mishap


def lost_workers(ground: Ground, out: pathlib.Path, number: int, dice: random.Random) -> Mishap:
    """One of two workers dies at a point of the writing: the run goes on by itself.

    After `parquet-published` its bundle is tried again though the shard was a success.
    """
    points = ("tar-published", "parquet-published", "tar-member", "parquet-closed", "before-tar")
    point = points[number % len(points)]
    marker = ground.folder / f"died-{number}"
    fault = f"die:{point}:1:{marker}"
    mishap = Mishap("lost_workers", point)
    environment = inject.worker_environment(fault, ground.folder / "site")
    run = ground.start(out, workers=2, environment=environment)
    mishap.ended.append(run.wait())
    if mishap.ended != [0] or "Traceback" in run.said():
        mishap.faults.append(f"it ended with {mishap.ended}: {run.said()}")
    if not marker.exists() or "a worker was lost" not in run.said():
        mishap.faults.append("no worker died")
    mishap.faults += ground.faults_at_the_end(out)
    return mishap


KINDS: dict[str, Callable[[Ground, pathlib.Path, int, random.Random], Mishap]] = {
    "no_space": no_space,
    "bad_reads": bad_reads,
    "interrupts": interrupts,
    "rivals": rivals,
    "zombies": zombies,
    "dying": dying,
    "lost_workers": lost_workers,
}
