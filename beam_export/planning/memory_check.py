"""Checks that a run of the command on this machine has the memory for its number of samples.

The number is known once everything is listed, before anything is planned or written.
"""

from __future__ import annotations

import os
import shutil

from beam_export.errors import InputError
from beam_export.images.memory_budget import allowed_bytes
from beam_export.planning.spill_files import FOLDER

__all__ = ["check_memory"]

#: Bytes of memory that all processes together take per sample, at most: where packed values go by
#: files (no growth was seen from 10^5 to 10^6 samples), and where the disk has no room for those.
_BY_FILES, _IN_MEMORY = 150, 700
#: Samples whose values make no message of 2 GiB, where protobuf ends, if they travel in memory.
_MOST_IN_MEMORY = 20_000_000
#: Bytes of files per sample, at most.
_ON_DISK = 600


def check_memory(samples: int) -> None:
    """Checks that so many samples fit into this machine's memory, in a local run of the command.

    Raises:
        InputError: if they do not.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    free, room = allowed_bytes(), shutil.disk_usage(folder).free
    fits_on_disk = samples * _ON_DISK <= room
    per_sample = _BY_FILES if fits_on_disk else _IN_MEMORY
    most = free // per_sample if fits_on_disk else min(free // per_sample, _MOST_IN_MEMORY)
    if samples <= most:
        return
    more_room = (
        ""
        if fits_on_disk
        else f"set TMPDIR to a folder on a disk with {_gigabytes(samples * _ON_DISK)} free, "
    )
    raise InputError(
        f"{samples} samples take about {_gigabytes(samples * per_sample)} of memory on this "
        f"machine, where {_gigabytes(free)} are free, enough for {most}: "
        f"{more_room}export them in parts, by several --input, or run on Flink or Dataflow "
        "(--runner)."
    )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
