"""Injects faults into a run: ends or stops it at a point, or spoils its reads.

Nothing of it is in the package: it replaces functions of the process that it is installed in. A
fault is text, `die:tar-published:2` say, so that it can be handed to worker processes in the
environment (`worker_environment`).
"""

from __future__ import annotations

import errno
import io
import os
import pathlib
import random
import re
import signal
import time
from collections.abc import Callable
from typing import Any

__all__ = ["POINTS", "install", "worker_environment"]

#: Where a run can be ended or stopped, in the order in which a shard comes by.
POINTS = (
    "tar-member",
    "tar-closed",
    "parquet-closed",
    "before-tar",
    "tar-published",
    "parquet-published",
    "shards-published",
    "before-manifest",
    "manifest-published",
)
_NAMES = {
    "tar": re.compile(r"-\d{6}\.tar$"),
    "parquet": re.compile(r"-\d{6}\.parquet$"),
    "shards": re.compile(r"-shards\.parquet$"),
    "manifest": re.compile(r"-manifest\.json$"),
}
_FAULT = "BEAM_EXPORT_INJECTED_FAULT"
_SITE = """
import os
from benchmarks.robustness import inject
inject.install(os.environ[inject._FAULT])
"""


def install(fault: str) -> None:
    """Puts a fault into this process.

    Args:
        fault: `die:POINT:N[:FILE]` or `stop:POINT:N` ends or stops this process when it comes to a
            point for the Nth time, with FILE only if that could be made (once for all processes);
            `reads:KIND:SEED:DIRECTORY` has reads below a directory go wrong.
    """
    what, *rest = fault.split(":", 3)
    if what == "reads":
        _spoil_reads(rest[0], int(rest[1]), rest[2])
        return
    marker = rest[2] if len(rest) > 2 else ""
    number = signal.SIGKILL if what == "die" else signal.SIGSTOP
    _hook(rest[0], int(rest[1]), lambda: _end(number, marker))


def worker_environment(fault: str, folder: pathlib.Path) -> dict[str, str]:
    """Returns environment variables that install a fault in every Python that is started."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SITE)
    paths = [str(folder), str(pathlib.Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {_FAULT: fault, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _end(number: int, marker: str) -> None:
    if marker:
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
    os.kill(os.getpid(), number)


def _hook(point: str, count: int, act: Callable[[], None]) -> None:
    """Has `act` called when this process comes to a point for the `count`th time."""
    left = count

    def passed() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            act()

    if point in ("tar-member", "tar-closed", "parquet-closed"):
        _hook_writers(point, passed)
        return
    before = point.startswith("before-")
    wanted = _NAMES[point.removeprefix("before-").removesuffix("-published")]
    replace = os.replace

    def replaced(source: Any, target: Any, **more: Any) -> None:
        hit = wanted.search(os.fsdecode(target)) is not None
        if hit and before:
            passed()
        replace(source, target, **more)
        if hit and not before:
            passed()

    os.replace = replaced


def _hook_writers(point: str, passed: Callable[[], None]) -> None:
    # Not before it is needed: a worker that is just starting has imported nothing yet.
    from beam_export.shards.parquet import ShardTable
    from beam_export.shards.tar import TarWriter

    kind, name = {
        "tar-member": (TarWriter, "add"),
        "tar-closed": (TarWriter, "close"),
        "parquet-closed": (ShardTable, "close"),
    }[point]
    plain = getattr(kind, name)

    def hooked(self: Any, *arguments: Any, **more: Any) -> Any:
        if name == "add":
            passed()
        result = plain(self, *arguments, **more)
        if name == "close":
            passed()
        return result

    setattr(kind, name, hooked)


# Reads that go wrong.


def _spoil_reads(kind: str, seed: int, folder: str) -> None:
    """Replaces what opens and reads the files below a directory.

    `moments`: reads fail now and then, are slow, and give less than was asked for; `disk`: one
    file cannot be read for good; `refused`: some files may not be read.
    """
    dice = random.Random(seed)
    paths = sorted(str(path) for path in pathlib.Path(folder).rglob("*") if path.is_file())
    bad = set(dice.sample(paths, 1 if kind == "disk" else max(1, len(paths) // 10)))
    refused = {path: dice.choice([errno.EACCES, errno.ENOENT]) for path in sorted(bad)}
    failed: dict[str, int] = {}

    def moody(path: str) -> None:
        """Raises now and then, and at most twice in a file's life."""
        time.sleep(dice.choice([0, 0, 0.001, 0.01]))
        if kind == "moments" and failed.get(path, 0) < 2 and dice.random() < 0.1:
            failed[path] = failed.get(path, 0) + 1
            number = dice.choice([errno.EIO, errno.ETIMEDOUT, errno.ESTALE])
            raise OSError(number, os.strerror(number), path)
        if kind == "disk" and path in bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    def short(size: int) -> int:
        return min(size, dice.randint(1, 2000)) if kind == "moments" else size

    names: dict[int, str] = {}
    plain_open, plain_pread = os.open, os.pread

    def opened(path: Any, flags: int, *more: Any, **named: Any) -> int:
        name = os.fsdecode(path)
        if name.startswith(folder + "/"):
            if kind == "refused" and name in refused:
                raise OSError(refused[name], os.strerror(refused[name]), name)
            moody(name)
        handle = plain_open(path, flags, *more, **named)
        names[handle] = name if name.startswith(folder + "/") else ""
        return handle

    def pread(handle: int, size: int, offset: int) -> bytes:
        if names.get(handle):
            moody(names[handle])
            size = short(size)
        return plain_pread(handle, size, offset)

    os.open, os.pread = opened, pread
    _spoil_files(names, moody, short)


def _spoil_files(
    names: dict[int, str], moody: Callable[[str], None], short: Callable[[int], int]
) -> None:
    """Has open files of the package read badly, those whose descriptors have names."""
    from beam_export.storage.local_file import LocalFile

    def readinto(self: LocalFile, buffer: Any) -> int | None:
        room = memoryview(buffer)
        if names.get(self.fileno()):
            moody(names[self.fileno()])
            room = room[: short(len(room))]
        return io.FileIO.readinto(self, room)

    def read(self: LocalFile, size: int | None = -1) -> bytes | None:
        if names.get(self.fileno()):
            moody(names[self.fileno()])
            size = short(size) if size is not None and size >= 0 else size
        return io.FileIO.read(self, size)

    LocalFile.readinto, LocalFile.read = readinto, read
