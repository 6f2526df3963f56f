"""Images, an undisturbed export of them, and runs in processes of their own, for tests of faults.

A run is a fork, so that what it imports was imported before, and a process group of its own, as on
a terminal; what it says is kept. The output is watched through inotify: a file may take a final
name by a rename alone, and must have all bytes of the uninterrupted run's when it does.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import json
import os
import pathlib
import random
import select
import signal
import struct
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence

from apache_beam.transforms import userstate
from PIL import Image

from beam_export.cli import main as cli

__all__ = ["PER_SHARD", "Ground", "Run", "Watch", "hashes", "make_images", "quicken"]

PER_SHARD = 20
_EVENT = struct.Struct("iIII")
_MODIFY, _MOVED_TO, _CREATE, _IS_DIR = 0x2, 0x80, 0x100, 0x40000000
_LONGEST = 300.0


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


class Run:
    """A process group that runs something in a fork of this process."""

    def __init__(self, work: Callable[[], int], told: pathlib.Path) -> None:
        """Starts `work`, whose result is the exit code; what it says goes to the file `told`."""
        self._told = told
        self.status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _become(work, told)

    def wait(self, seconds: float = _LONGEST) -> int:
        """Returns the exit code when it has ended, negative for a signal.

        Raises:
            TimeoutError: if it does not end; it is killed.
        """
        until = time.monotonic() + seconds
        while not self.ended():
            if time.monotonic() > until:
                self.kill(signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"a run has not ended: {self.said()}")
            time.sleep(0.005)
        assert self.status is not None
        return self.status

    def ended(self) -> bool:
        """Returns whether it has ended."""
        if self.status is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if ended else None
        return self.status is not None

    def stopped(self, seconds: float = _LONGEST) -> bool:
        """Waits until it stands still (True) or has ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            ended, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
            if ended and os.WIFSTOPPED(status):
                return True
            if ended:
                self.status = os.waitstatus_to_exitcode(status)
                return False
            time.sleep(0.005)
        raise TimeoutError(f"a run neither stops nor ends: {self.said()}")

    def kill(self, number: int) -> None:
        """Sends a signal to all its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def alone(self, seconds: float = 10) -> bool:
        """Returns whether no process of an ended run is left, or will be soon."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return True
            time.sleep(0.02)
        return False

    def said(self) -> str:
        """Returns what it has said."""
        return self._told.read_text(errors="replace")


def _become(work: Callable[[], int], told: pathlib.Path) -> None:
    code = 70
    try:
        os.setsid()
        target = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(target, number)
        quicken()
        code = work()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def quicken() -> None:
    """Makes short runs shorter, which are mostly Beam's looking at its steps."""
    gc.disable()
    specs: dict[type, object] = {}
    find = userstate.get_dofn_specs

    def find_once(dofn: object) -> object:
        if type(dofn) not in specs:
            specs[type(dofn)] = find(dofn)
        return specs[type(dofn)]

    userstate.get_dofn_specs = find_once


class Ground:
    """Images, and the export of them that was left alone.

    Attributes:
        folder: for whatever is made.
        input: directory of the images.
        wanted: hashes of the uninterrupted export, by name.
        seconds: that it took.
        size: its bytes.
    """

    def __init__(self, folder: pathlib.Path, images: int) -> None:
        self.folder, self.input = folder, folder / "in"
        make_images(self.input, images)
        began = time.monotonic()
        alone = folder / "alone"
        run = self.start(alone)
        if run.wait() != 0:
            raise RuntimeError(f"a run that was left alone failed: {run.said()}")
        self.seconds = time.monotonic() - began
        self.wanted = hashes(alone)
        self.size = sum(path.stat().st_size for path in alone.rglob("*") if path.is_file())

    def start(
        self,
        out: pathlib.Path,
        *flags: str,
        before: Callable[[], object] = lambda: None,
        workers: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> Run:
        """Starts an export.

        Args:
            out: where to.
            flags: beside the usual ones.
            before: called first, in the process of the run.
            workers: processes that write.
            environment: set for it and for its workers.
        """
        places = ["--input", str(self.input), "--output_dir", str(out), "--encode=always"]
        given = [*places, f"--images_per_tar={PER_SHARD}", f"--direct_num_workers={workers}"]

        def work() -> int:
            os.environ.update(environment or {})
            before()
            return cli.main(["export", *given, *flags])

        return Run(work, self._said())

    def call(self, work: Callable[[], int]) -> Run:
        """Starts anything in a run of its own."""
        return Run(work, self._said())

    def _said(self) -> pathlib.Path:
        place = self.folder / "said"
        place.mkdir(exist_ok=True)
        return place / f"{len(list(place.iterdir())):06d}"

    def is_whole(self, name: str, content: bytes) -> bool:
        """Returns whether a file of that name is as the uninterrupted run has it."""
        if name.endswith("-run.json"):
            return isinstance(json.loads(content), dict)
        return hashlib.sha256(content).hexdigest() == self.wanted.get(name)

    def faults_standing(self, out: pathlib.Path) -> Iterator[str]:
        """Yields what is wrong with what stands under final names, whatever has happened."""
        for path in sorted([*out.glob("images-*"), *out.glob("_meta/*")]):
            name = path.relative_to(out).as_posix()
            if not self.is_whole(name, path.read_bytes()):
                yield f"{name} is not whole"
        for path in sorted(out.glob("images-*-??????.parquet")):
            if not path.with_suffix(".tar").exists():
                yield f"{path.name} stands without its tar"

    def finished(self, out: pathlib.Path) -> dict[str, tuple[int, int]]:
        """Returns the files of the shards that stand finished, and which files they are."""
        found = {}
        for path in sorted(out.glob("images-*-??????.parquet")):
            for one in (path, path.with_suffix(".tar")):
                found[one.name] = (one.stat().st_ino, one.stat().st_mtime_ns)
        return found

    def faults_of_resuming(
        self, out: pathlib.Path, *flags: str, kept: Sequence[str] | None = None
    ) -> Iterator[str]:
        """Runs the export again, to its end, and yields what is wrong then.

        Args:
            out: where it stands.
            flags: beside the usual ones.
            kept: files that may not be written again; None for all shards that are finished.
        """
        before = self.finished(out)
        run = self.start(out, *flags)
        if run.wait() != 0:
            yield f"the resumed run failed: {run.said()}"
        yield from self.faults_at_the_end(out)
        after = self.finished(out)
        for name in before if kept is None else kept:
            if after.get(name) != before[name]:
                yield f"{name} was written again"

    def faults_at_the_end(self, out: pathlib.Path, temporary: bool = False) -> Iterator[str]:
        """Yields how an export differs from the uninterrupted one.

        Args:
            out: where it stands.
            temporary: whether temporary files may be left.
        """
        found = {
            name: one
            for name, one in hashes(out).items()
            if not (temporary and name.startswith("_tmp/"))
        }
        for name in sorted(found.keys() | self.wanted.keys()):
            if found.get(name) != self.wanted.get(name):
                yield f"{name} differs from the uninterrupted run's"


def make_images(folder: pathlib.Path, count: int) -> None:
    """Writes small images, JPEG and PNG, the same on every run."""
    folder.mkdir(parents=True)
    for number in range(count):
        dice = random.Random(number)
        noise = Image.frombytes("RGB", (8, 8), dice.randbytes(192))
        size = (dice.randint(64, 160), dice.randint(64, 160))
        kind = "png" if number % 4 == 3 else "jpg"
        noise.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number:05d}.{kind}")


def hashes(out: pathlib.Path) -> dict[str, str]:
    """Returns the SHA-256 of every file but run.json, those that should not be there too."""
    files = [path for path in out.rglob("*") if path.is_file()]
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if not path.name.endswith("-run.json")
    }
