"""Kills exports at random moments, resumes them, and compares with one that was left alone.

Every run is a process group of its own that is ended with SIGKILL, a random time after it began
to list, to plan or to write. The output is watched meanwhile (inotify): a file may take a final
name by a rename alone, and must have all bytes of the uninterrupted run's when it does. Then the
same command runs to its end: the export must be byte for byte the uninterrupted one, and no shard
that stood finished may be written again.

    python benchmarks/faults.py --runs 200
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import dataclasses
import gc
import hashlib
import json
import os
import pathlib
import random
import select
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from apache_beam.transforms import userstate
from common import save
from PIL import Image

from beam_export import cli, display

__all__ = ["Faults", "Trial", "main"]

PHASES = ("listing", "planning", "writing")
PER_SHARD = 20
_EVENT = struct.Struct("iIII")
_MODIFY, _MOVED_TO, _CREATE, _IS_DIR = 0x2, 0x80, 0x100, 0x40000000
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


class Watch:
    """Sees how files get their names in directories: by a rename, or while they are written."""

    def __init__(self, *folders: pathlib.Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._folders = {}
        for folder in folders:
            mask = _MODIFY | _MOVED_TO | _CREATE
            number = self._libc.inotify_add_watch(self._fd, os.fsencode(folder), mask)
            if number < 0:
                raise OSError(ctypes.get_errno(), f"{folder} cannot be watched")
            self._folders[number] = folder

    def events(self) -> Iterator[tuple[int, pathlib.Path]]:
        """Yields what has happened since the last call."""
        while select.select([self._fd], [], [], 0)[0]:
            data = os.read(self._fd, 65_536)
            while data:
                number, mask, _, length = _EVENT.unpack_from(data)
                name = data[_EVENT.size : _EVENT.size + length].rstrip(b"\0")
                data = data[_EVENT.size + length :]
                if not mask & _IS_DIR:
                    yield mask, self._folders[number] / os.fsdecode(name)

    def close(self) -> None:
        """Ends the watch."""
        os.close(self._fd)


class Faults:
    """Images, the export that was left alone, and trials against it."""

    def __init__(self, folder: pathlib.Path, images: int, seed: int) -> None:
        self._folder, self._dice = folder, random.Random(seed)
        self._input = folder / "in"
        _make_images(self._input, images)
        self._lasts = {1: self._measure(1), 2: self._measure(2)}
        self.wanted = _hashes(folder / "alone-1")
        if self.wanted != _hashes(folder / "alone-2"):
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
        if _hashes(out) != self.wanted:
            trial.faults.append("the resumed export differs from the uninterrupted one")
        for name, identity in standing.items():
            path = out / name
            if (path.stat().st_ino, path.stat().st_mtime_ns) != identity:
                trial.faults.append(f"{name} was written again")


def _export(source: pathlib.Path, out: pathlib.Path, workers: int, told: int) -> None:
    """Becomes a run of the command line that tells of its phases; never returns."""
    os.setsid()
    # A short run is mostly Beam's looking at its steps.
    gc.disable()
    specs: dict[type, object] = {}
    find = userstate.get_dofn_specs

    def find_once(dofn: object) -> object:
        if type(dofn) not in specs:
            specs[type(dofn)] = find(dofn)
        return specs[type(dofn)]

    userstate.get_dofn_specs = find_once
    phases: set[int] = set()

    def tell(phase: int) -> None:
        if phase not in phases:
            phases.add(phase)
            os.write(told, b"%d" % phase)

    heard = display.Progress.heard

    def hear(shown: display.Progress, counts: collections.abc.Mapping[str, int]) -> None:
        # The counts of the listing come when a part of it is done.
        if "listed" in counts:
            tell(1)
        if "planned" in counts:
            tell(2)
        heard(shown, counts)

    display.Progress.heard = hear  # type: ignore[method-assign]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    tell(0)
    flags = [f"--images_per_tar={PER_SHARD}", f"--direct_num_workers={workers}"]
    places = ["--input", str(source), "--output_dir", str(out)]
    os._exit(cli.main(["export", *places, "--encode=always", *flags]))


def _make_images(folder: pathlib.Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        dice = random.Random(number)
        noise = Image.frombytes("RGB", (8, 8), dice.randbytes(192))
        size = (dice.randint(64, 160), dice.randint(64, 160))
        kind = "png" if number % 4 == 3 else "jpg"
        noise.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number:05d}.{kind}")


def _hashes(out: pathlib.Path) -> dict[str, str]:
    """Returns the SHA-256 of every file but run.json, those that should not be there too."""
    files = [path for path in out.rglob("*") if path.is_file()]
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if not path.name.endswith("-run.json")
    }


def main() -> int:
    """Runs the trials and returns 1 if any had a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", default="faults", help="name of the file in results/")
    asked = parser.parse_args()
    # Loaded once here and not once a run: each is a fork, and so begins with its own work.
    import beam_export.running  # noqa: F401

    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        faults = Faults(pathlib.Path(folder), asked.images, asked.seed)
        trials = []
        for number in range(asked.runs):
            trials.append(faults.trial(number, PHASES[number % len(PHASES)]))
            if trials[-1].faults:
                print(f"run {number}: {trials[-1]}", file=sys.stderr, flush=True)
            if number % 20 == 19:
                print(f"{number + 1} runs, {time.monotonic() - began:.0f} s", flush=True)
    _report(asked, faults, trials, time.monotonic() - began)
    return int(any(trial.faults for trial in trials))


def _report(asked: argparse.Namespace, faults: Faults, trials: list[Trial], seconds: float) -> None:
    killed = [trial for trial in trials if trial.kills]
    finished = [trial.finished for trial in trials]
    save(
        asked.results,
        {
            "command": f"python benchmarks/faults.py --runs {asked.runs} --seed {asked.seed}",
            "images": asked.images,
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
            "faults": [dataclasses.asdict(trial) for trial in trials if trial.faults],
            "seconds": round(seconds),
        },
    )


if __name__ == "__main__":
    sys.exit(main())
