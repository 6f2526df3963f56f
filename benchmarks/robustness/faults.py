"""Kills exports at random moments, resumes them, and compares with an undisturbed one.

Every run is a process group of its own that is ended with SIGKILL, a random time after it began
to list, to plan or to write. The output is watched meanwhile (inotify): a file may take a final
name by a rename alone, and must have all bytes of the uninterrupted run's when it does. Then the
same command runs to its end: the export must be byte for byte the uninterrupted one, and no shard
that stood finished may be written again.

    python benchmarks/robustness/faults.py --runs 200
    python benchmarks/robustness/faults.py --runs 0 --each 12 --results mishaps

With `--each` the kinds of `mishaps.py` come after that: no space left, reads that fail, Ctrl-C,
two runs at once, zombies, workers that die at a given point of the writing.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from beam_export.cli import display
from beam_export.cli import main as cli
from benchmarks.common import save
from benchmarks.robustness.fault_ground import (
    PER_SHARD,
    Ground,
    Watch,
    hashes,
    make_images,
    quicken,
)
from benchmarks.robustness.mishaps import KINDS, Mishap, run_kind

__all__ = ["Faults", "Trial", "main"]

PHASES = ("listing", "planning", "writing")
_MOVED_TO = 0x80
_LONGEST = 120.0


@dataclasses.dataclass
class Trial:
    """What became of one killed and resumed run.

    Attributes:
        phase: what it was at when it was killed.
        workers: processes that wrote.
        kills: how often it was killed.
        finished: shards that stood finished at the last kill.
        renamed: files seen to take a final name.
        faults: whatever should not be, in words.
    """

    phase: str
    workers: int
    kills: int = 0
    finished: int = 0
    renamed: int = 0
    faults: list[str] = dataclasses.field(default_factory=list)


class Faults:
    """Images, the export that was left alone, and trials against it."""

    def __init__(self, folder: pathlib.Path, images: int, seed: int) -> None:
        self._folder, self._dice = folder, random.Random(seed)
        self._input = folder / "in"
        make_images(self._input, images)
        self._lasts = {1: self._measure(1), 2: self._measure(2)}
        self.wanted = hashes(folder / "alone-1")
        if self.wanted != hashes(folder / "alone-2"):
            raise RuntimeError("two runs that were left alone differ")

    def _measure(self, workers: int) -> dict[str, float]:
        """Returns how many seconds each phase of a run lasts that is left alone."""
        times: dict[str, float] = {}
        out = self._folder / f"alone-{workers}"
        status = self._run(out, workers, lambda phase: times.setdefault(phase, time.monotonic()))
        if status != 0:
            raise RuntimeError(f"a run that was left alone ended with {status}")
        times["end"] = time.monotonic()
        order = [*PHASES, "end"]
        return {one: times[order[order.index(one) + 1]] - times[one] for one in PHASES}

    def _run(
        self,
        out: pathlib.Path,
        workers: int,
        heard: Callable[[str], object],
        kill_at: tuple[str, float] | None = None,
        tick: Callable[[], None] = lambda: None,
    ) -> int:
        """Runs an export in a process group of its own; returns its exit status, -9 if killed."""
        ours, theirs = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(ours)
            _export(self._input, out, workers, theirs)
        os.close(theirs)
        began, moment = time.monotonic(), float("inf")
        with open(ours, "rb", buffering=0) as pipe:
            while True:
                tick()
                if select.select([pipe], [], [], 0.002)[0] and (told := pipe.read(1)):
                    phase = PHASES[int(told)]
                    heard(phase)
                    if kill_at is not None and phase == kill_at[0]:
                        moment = time.monotonic() + kill_at[1]
                if time.monotonic() > min(moment, began + _LONGEST):
                    os.killpg(process, signal.SIGKILL)
                    moment = float("inf")
                ended, status = os.waitpid(process, os.WNOHANG)
                if ended:
                    # Workers end with the run that started them.
                    return os.waitstatus_to_exitcode(status)

    def trial(self, number: int, phase: str) -> Trial:
        """Kills a run at a random moment of a phase, resumes it, and compares."""
        trial = Trial(phase, 2 if number % 10 == 0 else 1)
        out = self._folder / f"out-{number}"
        (out / "_meta").mkdir(parents=True)
        watch = Watch(out, out / "_meta")

        def look() -> None:
            for mask, path in watch.events():
                self._judge(trial, out, mask, path)

        for _ in range(2 if number % 5 == 0 else 1):
            delay = self._dice.uniform(0, self._lasts[trial.workers][phase])
            status = self._run(out, trial.workers, lambda _: None, (phase, delay), look)
            trial.kills += status == -signal.SIGKILL
        look()
        standing = self._standing(trial, out)
        trial.finished = len(standing) // 2
        if self._run(out, trial.workers, lambda _: None, None, look) != 0:
            trial.faults.append("the resumed run failed")
        look()
        watch.close()
        self._compare(trial, out, standing)
        if not trial.faults:
            shutil.rmtree(out)
        return trial

    def _judge(self, trial: Trial, out: pathlib.Path, mask: int, path: pathlib.Path) -> None:
        name = path.relative_to(out).as_posix()
        if not mask & _MOVED_TO:
            trial.faults.append(f"{name} was written under its final name")
            return
        trial.renamed += 1
        try:
            whole = self._is_whole(name, path.read_bytes())
        except FileNotFoundError:  # it has been replaced by its like since
            return
        if not whole:
            trial.faults.append(f"{name} took its name before it was whole")

    def _is_whole(self, name: str, content: bytes) -> bool:
        if name.endswith("-run.json"):
            return isinstance(json.loads(content), dict)
        return hashlib.sha256(content).hexdigest() == self.wanted.get(name)

    def _standing(self, trial: Trial, out: pathlib.Path) -> dict[str, tuple[int, int]]:
        """Returns the files of the shards that stand finished, and which files they are."""
        found = {}
        for path in sorted(out.glob("images-*")):
            if not self._is_whole(path.name, path.read_bytes()):
                trial.faults.append(f"{path.name} was not whole after the kill")
        for path in sorted(out.glob("images-*-??????.parquet")):
            tar = path.with_suffix(".tar")
            if not tar.exists():
                trial.faults.append(f"{path.name} stood without its tar")
                continue
            for one in (path, tar):
                found[one.name] = (one.stat().st_ino, one.stat().st_mtime_ns)
        return found

    def _compare(
        self, trial: Trial, out: pathlib.Path, standing: dict[str, tuple[int, int]]
    ) -> None:
        if hashes(out) != self.wanted:
            trial.faults.append("the resumed export differs from the uninterrupted one")
        for name, identity in standing.items():
            path = out / name
            if (path.stat().st_ino, path.stat().st_mtime_ns) != identity:
                trial.faults.append(f"{name} was written again")


def _export(source: pathlib.Path, out: pathlib.Path, workers: int, told: int) -> None:
    """Becomes a run of the command line that tells of its phases; never returns."""
    os.setsid()
    quicken()
    phases: set[int] = set()

    def tell(phase: int) -> None:
        if phase not in phases:
            phases.add(phase)
            os.write(told, b"%d" % phase)

    heard = display.Progress.receive

    def hear(shown: display.Progress, counts: collections.abc.Mapping[str, int]) -> None:
        # The counts of the listing come when a part of it is done.
        if "listed" in counts:
            tell(1)
        if "planned" in counts:
            tell(2)
        heard(shown, counts)

    display.Progress.receive = hear  # type: ignore[method-assign]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    tell(0)
    flags = [f"--images_per_tar={PER_SHARD}", f"--direct_num_workers={workers}"]
    places = ["--input", str(source), "--output_dir", str(out)]
    os._exit(cli.main(["export", *places, "--encode=always", *flags]))


def main() -> int:
    """Runs the trials and returns 1 if any had a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, help="that are killed at random")
    parser.add_argument("--each", type=int, default=0, help="of each of the other kinds")
    parser.add_argument("--first", type=int, default=0, help="number of the first of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS), help="the other kinds that are run")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", default="faults", help="name of the file in results/")
    parser.add_argument("--json", type=pathlib.Path, help="write to that file, not to results/")
    asked = parser.parse_args()
    # Loaded once here and not once a run: each is a fork, and so begins with its own work.
    import beam_export.cli.export  # noqa: F401

    began = time.monotonic()
    facts: dict[str, object] = {"images": asked.images}
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        trials = _kill(asked, pathlib.Path(folder), facts) if asked.runs else []
        mishaps = _others(asked, pathlib.Path(folder)) if asked.each else []
    if mishaps:
        facts["kinds"] = _counts(mishaps)
    facts["faults"] = [dataclasses.asdict(one) for one in [*trials, *mishaps] if one.faults]
    facts["seconds"] = round(time.monotonic() - began)
    if asked.json:
        asked.json.write_text(json.dumps(facts, indent=2))
    else:
        command = f"python benchmarks/robustness/faults.py {' '.join(sys.argv[1:])}"
        save(asked.results, {"command": command, **facts})
    return int(bool(facts["faults"]))


def _kill(asked: argparse.Namespace, folder: pathlib.Path, facts: dict[str, object]) -> list[Trial]:
    faults = Faults(folder / "killed", asked.images, asked.seed)
    began = time.monotonic()
    trials: list[Trial] = []
    for number in range(asked.runs):
        trials.append(faults.trial(number, PHASES[number % len(PHASES)]))
        if trials[-1].faults:
            print(f"run {number}: {trials[-1]}", file=sys.stderr, flush=True)
        if number % 20 == 19:
            print(f"{number + 1} runs, {time.monotonic() - began:.0f} s", flush=True)
    facts |= _summary(faults, trials)
    return trials


def _others(asked: argparse.Namespace, folder: pathlib.Path) -> list[Mishap]:
    ground = Ground(folder / "others", asked.images)
    found: list[Mishap] = []
    for kind in asked.kinds.split(","):
        began = time.monotonic()
        new = run_kind(kind, ground, asked.first, asked.each, asked.seed)
        for one in new:
            if one.faults:
                print(one, file=sys.stderr, flush=True)
        bad = sum(bool(one.faults) for one in new)
        print(f"{kind}: {len(new)}, faults {bad}, {time.monotonic() - began:.0f} s", flush=True)
        found += new
    return found


def _counts(mishaps: Sequence[Mishap]) -> dict[str, dict[str, object]]:
    """Returns for each kind how many there were, in which forms, and how they ended."""
    counts: dict[str, dict[str, object]] = {}
    for kind in dict.fromkeys(one.kind for one in mishaps):
        of_kind = [one for one in mishaps if one.kind == kind]
        ended = collections.Counter(", ".join(map(str, one.ended)) for one in of_kind)
        counts[kind] = {
            "times": len(of_kind),
            "without_fault": sum(not one.faults for one in of_kind),
            "how": collections.Counter(one.how for one in of_kind),
            "exit_codes": ended,
        }
    return counts


def _summary(faults: Faults, trials: list[Trial]) -> dict[str, object]:
    killed = [trial for trial in trials if trial.kills]
    finished = [trial.finished for trial in trials]
    return {
        "shards": len([name for name in faults.wanted if name.endswith(".tar")]),
        "runs": len(trials),
        "killed": len(killed),
        "kills": sum(trial.kills for trial in trials),
        "killed_in": collections.Counter(trial.phase for trial in killed),
        "with_two_workers": sum(trial.workers == 2 for trial in trials),
        "shards_finished_at_the_kill": {
            "none": sum(count == 0 for count in finished),
            "some": sum(count > 0 for count in finished),
            "most": max(finished),
            "kept_in_all": sum(finished),
        },
        "final_names_taken": sum(trial.renamed for trial in trials),
        "byte_identical": sum(not trial.faults for trial in trials),
    }


if __name__ == "__main__":
    sys.exit(main())
