"""Made-up photographs, facts of the machine, memory of processes: for several benchmarks."""

from __future__ import annotations

import ctypes
import io
import json
import mmap
import multiprocessing
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import numpy as np
from PIL import Image

__all__ = [
    "PeakMemory",
    "in_fresh_process",
    "keep_in_memory",
    "machine",
    "make_photos",
    "median",
    "process_tree",
    "save",
    "watched_export",
]

_Watch = TypeVar("_Watch")

_SIZE = (640, 480)
_TARGET = 50_000


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


def _texture(seed: int, size: int = 2048) -> np.ndarray:
    """Returns pixels with detail at every scale, as photographs have: shape (size, size, 3)."""
    random = np.random.default_rng(seed)
    total = np.zeros((size, size, 3))
    cells = 4
    while cells <= size:
        noise = random.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        layer = Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)
        total += (np.asarray(layer) - 127.5) / cells**0.75
        cells *= 2
    total -= total.min()
    return (total * (255 / total.max())).astype(np.uint8)


def _quality(textures: Sequence[Image.Image]) -> int:
    """Returns the quality at which a crop has about 50 KB."""
    crop = textures[0].crop((0, 0, *_SIZE))
    for quality in range(60, 97):
        buffer = io.BytesIO()
        crop.save(buffer, "JPEG", quality=quality)
        if buffer.tell() >= _TARGET:
            return quality
    return 96


def _make_range(task: tuple[str, int, int]) -> None:
    folder, start, stop = task
    textures = [Image.fromarray(_texture(seed)) for seed in range(4)]
    quality = _quality(textures)
    for number in range(start, stop):
        random = np.random.default_rng(1_000_000 + number)
        left, top = (int(x) for x in random.integers(0, 2048 - max(_SIZE), 2))
        crop = textures[number % 4].crop((left, top, left + _SIZE[0], top + _SIZE[1]))
        path = pathlib.Path(folder, f"{number // 1000:04d}", f"photo_{number:08d}.jpg")
        path.parent.mkdir(exist_ok=True)
        crop.save(path, "JPEG", quality=quality)


def make_photos(folder: pathlib.Path, count: int) -> None:
    """Makes `count` distinct JPEGs of 640x480 and about 50 KB, 1000 a directory."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [(str(folder), start, min(start + 500, count)) for start in range(0, count, 500)]
    with multiprocessing.Pool() as pool:
        pool.map(_make_range, tasks, chunksize=1)


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
    """Watches the resident memory of a process and of all below it; bytes, sampled.

    `peak` is of all together: pages that processes share are counted in each, so the true figure
    is never higher. `peak_below` is the most of any one process below the first.
    """

    def __init__(self, process: int, every: float = 0.05) -> None:
        self._process, self._every = process, every
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
            sizes = [_resident(process) for process in process_tree(self._process)]
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
