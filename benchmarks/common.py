"""Facts of the machine, what processes use of it, and checkouts of commits, for benchmarks."""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeVar

__all__ = [
    "SUBREAPER",
    "PeakMemory",
    "Usage",
    "in_fresh_process",
    "keep_in_memory",
    "machine",
    "median",
    "process_tree",
    "save",
    "use",
    "watched_export",
    "worktree",
]

_Watch = TypeVar("_Watch")
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


@contextlib.contextmanager
def worktree(commit: str, folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a checkout of a commit, which is removed afterwards."""
    repository = pathlib.Path(__file__).resolve().parents[1]
    git = ["git", "-C", str(repository), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def machine() -> dict[str, Any]:
    """Returns what figures depend on."""
    facts = _processor()
    flags = (facts.get("flags") or facts.get("Features", "")).split()  # of x86; of ARM
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": facts.get("model name", platform.processor()),
        # Every byte of an export goes through SHA-256 twice, which takes far longer without these.
        "sha_instructions": not {"sha_ni", "sha2"}.isdisjoint(flags),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _processor() -> dict[str, str]:
    """Returns what the system says of its first core."""
    first = pathlib.Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def median(values: Sequence[float]) -> float:
    """Returns the median, rounded for reading."""
    return round(statistics.median(values), 4)


def save(name: str, content: dict[str, Any]) -> None:
    """Writes a benchmark's result beside those of other benchmarks, and prints it."""
    text = json.dumps({"machine": machine(), **content}, indent=2)
    path = pathlib.Path(__file__).parent / "results" / f"{name}.json"
    path.write_text(text + "\n")
    print(text)
    print(f"-> {path}")


def keep_in_memory(folder: pathlib.Path) -> bool:
    """Locks the content of all files below a folder into memory until this process ends.

    Some machines take files out of memory that nobody has read for some seconds; then whoever
    comes later in a benchmark waits for the disk. Returns whether it could be done.
    """
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    libc.mmap.argtypes = [pointer, size, number, number, number, ctypes.c_long]
    libc.mlock.argtypes = [pointer, size]
    for path in folder.rglob("*"):
        if path.is_file() and (length := path.stat().st_size):
            with path.open("rb") as file:
                flags = (mmap.PROT_READ, mmap.MAP_SHARED)
                start = libc.mmap(None, length, *flags, file.fileno(), 0)
            if libc.mlock(start, length):
                return False
    return True


class PeakMemory:
    """Watches the memory of a process and of all below it; bytes, sampled.

    `peak` is of all together, `peak_below` the most of any one process below the first.
    """

    def __init__(self, process: int, every: float = 0.05, proportional: bool = False) -> None:
        """Makes a watch that looks `every` so many seconds.

        Args:
            process: its id.
            every: seconds between two looks.
            proportional: count a page that n processes share as 1/n in each, so that `peak` is
                the memory in use; else it counts in full in each, which is faster to find out.
        """
        self._process, self._every = process, every
        self._size = _proportional if proportional else _resident
        self.peak = 0
        self.peak_below = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self._every):
            sizes = [self._size(process) for process in process_tree(self._process)]
            self.peak = max(self.peak, sum(sizes))
            self.peak_below = max(self.peak_below, *sizes[1:], 0)


def process_tree(process: int) -> list[int]:
    """Returns the ids of a process and of all below it."""
    found = [process]
    for task in pathlib.Path(f"/proc/{process}/task").glob("*/children"):
        try:
            below = task.read_text().split()
        except OSError:  # it has ended since
            continue
        for child in below:
            found.extend(process_tree(int(child)))
    return found


def _resident(process: int) -> int:
    try:
        fields = pathlib.Path(f"/proc/{process}/statm").read_text().split()
    except OSError:  # it has ended since
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def _proportional(process: int) -> int:
    """Returns the proportional set size of a process (proc(5), smaps_rollup)."""
    try:
        lines = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended since
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


class Usage(NamedTuple):
    """What a command and all processes below it have used.

    Attributes:
        wall: seconds until the command ended.
        cpu: seconds of all processes, in user code and in the kernel.
        bytes_read: from files and pipes.
        peak: bytes of memory, of all processes together; 0 if it was not watched.
        peak_below: of the largest process below the first.
    """

    wall: float
    cpu: float
    bytes_read: int
    peak: int
    peak_below: int


def use(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: pathlib.Path | None = None,
    memory: Callable[[int], PeakMemory] | None = None,
) -> Usage:
    """Runs a command to its end and returns what it has used.

    Processes that it leaves behind become this one's and are waited for, so that none is missed;
    so the caller has no other processes below it.

    Args:
        command: its arguments.
        env: added to the environment.
        cwd: its working directory.
        memory: makes what watches the memory of a process. Watching takes time itself.

    Raises:
        RuntimeError: if the command fails.
    """
    ctypes.CDLL(None).prctl(SUBREAPER, 1)
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    pipe = process.stderr
    heard: list[bytes] = []
    listener = threading.Thread(target=lambda: heard.append(pipe.read()), daemon=True)
    listener.start()
    with contextlib.ExitStack() as stack:
        watch = stack.enter_context(memory(process.pid)) if memory else None
        cpu, read, ended = _wait_for_all(process)
    listener.join()
    if process.returncode:
        end = f"{' '.join(command)} ended with {process.returncode}"
        raise RuntimeError(f"{end}: {b''.join(heard)[-2000:].decode(errors='replace')}")
    peaks = (watch.peak, watch.peak_below) if watch else (0, 0)
    return Usage(ended - began, cpu, read, *peaks)


def _wait_for_all(process: subprocess.Popen[bytes]) -> tuple[float, int, float]:
    """Returns CPU seconds and bytes read of a process and all below it, and when it ended."""
    cpu, read, moment = 0.0, 0, 0.0
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            return cpu, read, moment
        assert ended is not None
        read += _bytes_read(ended.si_pid)
        pid, status, used = os.wait4(ended.si_pid, 0)
        cpu += used.ru_utime + used.ru_stime
        if pid == process.pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            moment = time.perf_counter()


def _bytes_read(process: int) -> int:
    """Returns the bytes that an ended process and those it has waited for have read."""
    for line in pathlib.Path(f"/proc/{process}/io").read_text().splitlines():
        if line.startswith("rchar:"):
            return int(line.split()[1])
    return 0


def watched_export(
    flags: Sequence[str],
    watch: Callable[[int], AbstractContextManager[_Watch]],
    *,
    timeout: float,
    cwd: pathlib.Path | None = None,
) -> tuple[dict[str, Any], _Watch]:
    """Runs `export` of this repository; returns exit code and seconds, and what watched it.

    Args:
        flags: of the command.
        watch: called with the process's id; entered while the command runs.
        timeout: seconds.
        cwd: its working directory.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "beam_export", "export", *flags],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with watch(process.pid) as watched:
        said = process.communicate(timeout=timeout)[0]
    if process.returncode:
        print(said.decode(errors="replace"))
    seconds = round(time.monotonic() - began, 1)
    return {"exit": process.returncode, "seconds": seconds}, watched


def in_fresh_process(script: str, arguments: Sequence[str], watch: Callable[[int], Any]) -> str:
    """Runs `script` with Python, `watch` called with its process id; returns what it printed."""
    command = [sys.executable, script, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with watch(process.pid):
        output = process.communicate()[0]
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return output
