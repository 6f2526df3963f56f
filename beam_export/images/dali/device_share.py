"""Says which GPU a process uses, and how much of its memory, so that processes share GPUs evenly.

Each process has a CUDA context, engines and threads of its own, so that there are few processes per
GPU, by its memory. On this machine, a run makes a place for each in a folder: a file that the
process locks for as long as it lives. Elsewhere the runner starts the processes and shows each the
GPU that it is to use.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from beam_export.images.file_locks import lock_file

__all__ = [
    "BYTES_PER_PIXEL",
    "CONTEXT",
    "LARGEST",
    "SHARED",
    "Share",
    "most_processes",
    "own_share",
    "pixels_for",
    "processes_for",
    "shared_gpus",
]

#: Environment variable of workers: the folder of the files.
SHARED = "BEAM_EXPORT_GPUS"
#: Bytes of the device that a process takes before its first image: context, kernels, decoders.
CONTEXT = 512 << 20
#: Bytes of the device that a pixel takes at most: decoded, as coefficients, in and after a
#: pipeline, and as the encoder's planes.
BYTES_PER_PIXEL = 24
#: Pixels above which an image is left to Pillow, on every GPU alike: two of them, decoded side by
#: side, would fill the share of a process on a small one.
LARGEST = 1 << 26
#: Bytes of the device for each process, and most processes per device: more gained nothing (NVIDIA
#: gives no figures; the interpreter's lock is what several are for).
_BYTES_PER_PROCESS = 5 << 30
_MOST_PROCESSES = 4


class Share(NamedTuple):
    """What a process has of the GPUs.

    Attributes:
        device: number of the GPU, of those that the process can see.
        processes: how many share it.
    """

    device: int = 0
    processes: int = 1


def processes_for(memory: Sequence[int], cores: int) -> int:
    """Returns how many processes use some GPUs together, by default.

    >>> processes_for([24 << 30], cores=16), processes_for([16 << 30], cores=16)
    (4, 3)
    >>> processes_for([139 << 30] * 8, cores=16)  # one per core, and at least one per GPU
    16

    Args:
        memory: bytes of each GPU.
        cores: of this machine.
    """
    by_memory = sum(min(_MOST_PROCESSES, max(1, one // _BYTES_PER_PROCESS)) for one in memory)
    return max(min(by_memory, cores), len(memory))


def most_processes(memory: Sequence[int]) -> int:
    """Returns how many processes can share some GPUs at all, each with room for any image."""
    return sum(max(1, one // (CONTEXT + LARGEST * BYTES_PER_PIXEL)) for one in memory)


def pixels_for(memory: int, processes: int) -> int:
    """Returns the pixels that one of the processes of a GPU may have in work at a time.

    >>> pixels_for(24 << 30, processes=4) // 1_000_000
    246
    """
    return max((memory // processes - CONTEXT) // BYTES_PER_PIXEL, LARGEST)


@contextlib.contextmanager
def shared_gpus(devices: Sequence[int], processes: int) -> Iterator[None]:
    """Has the processes that are started in the block share GPUs of this machine evenly.

    Args:
        devices: numbers of the GPUs; without any, nothing is shared.
        processes: of all of them together.
    """
    if not devices:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="beam_export-gpus-") as folder:
        for number in range(processes):
            # The first one of each GPU comes first.
            name = f"{number // len(devices):04}-{devices[number % len(devices)]}-"
            os.close(tempfile.mkstemp(prefix=name, dir=folder)[0])
        before = os.environ.get(SHARED)
        os.environ[SHARED] = folder
        try:
            yield
        finally:
            del os.environ[SHARED]
            if before is not None:
                os.environ[SHARED] = before


def own_share(processes: int) -> Share:
    """Returns the share of this process, the same again as long as it lives.

    Args:
        processes: that share a GPU where no run on this machine says so; 0 for one per core.
    """
    folder = os.environ.get(SHARED)
    if folder is None:
        return Share(0, processes or os.cpu_count() or 1)
    return _taken(folder, os.getpid())


# The process is part of the key, since a forked one has no place of its own yet.
@functools.lru_cache(maxsize=1)
def _taken(folder: str, process: int) -> Share:
    places = sorted(pathlib.Path(folder).iterdir())
    devices = [int(place.name.split("-")[1]) for place in places]
    held = contextlib.ExitStack()
    for place, device in zip(places, devices, strict=True):
        if lock_file(str(place), held):
            _held.append(held)
            return Share(device, devices.count(device))
    # One that has ended may hold its lock a moment longer.
    device = devices[process % len(devices)]
    return Share(device, devices.count(device))


#: Locks of this process, until it ends.
_held: list[contextlib.ExitStack] = []
