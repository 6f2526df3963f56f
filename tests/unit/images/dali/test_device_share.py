"""`beam_export.images.dali.device_share`: how many processes a GPU has, and which GPU a process."""

from __future__ import annotations

import collections
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.images.dali import device_share
from beam_export.images.dali.device_share import (
    BYTES_PER_PIXEL,
    CONTEXT,
    LARGEST,
    SHARED,
    Share,
    most_processes,
    own_share,
    pixels_for,
    processes_for,
    shared_gpus,
)

GIB = 1 << 30


@pytest.mark.parametrize(
    ("memory", "cores", "processes"),
    [
        ([24 * GIB], 16, 4),
        ([16 * GIB], 16, 3),
        ([8 * GIB], 16, 1),
        ([2 * GIB], 16, 1),
        ([139 * GIB], 2, 2),
        ([24 * GIB] * 2, 16, 8),
        ([24 * GIB] * 8, 4, 8),
    ],
)
def test_processes_go_by_memory(memory: list[int], cores: int, processes: int) -> None:
    assert processes_for(memory, cores) == processes


@given(st.integers(1, 200), st.integers(1, 12))
def test_pixels_of_all_processes_fit_into_the_device(gib: int, processes: int) -> None:
    memory = gib * GIB
    if processes <= most_processes([memory]) and memory >= CONTEXT + LARGEST * BYTES_PER_PIXEL:
        taken = processes * (pixels_for(memory, processes) * BYTES_PER_PIXEL + CONTEXT)
        assert taken <= memory
    assert pixels_for(memory, processes) >= LARGEST


_ASK = (
    "import sys; from beam_export.images.dali.device_share import own_share as own; "
    "assert own(1) == own(1); print(*own(1), flush=True); sys.stdin.read()"
)


def _started() -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", _ASK], stdin=pipe, stdout=pipe, text=True)


def _share_of(process: subprocess.Popen[str]) -> Share:
    assert process.stdout is not None
    device, processes = map(int, process.stdout.readline().split())
    return Share(device, processes)


def test_processes_share_gpus_evenly_and_a_new_one_takes_the_place_of_one_that_ended() -> None:
    with shared_gpus([0, 2], 3):
        workers = [_started() for _ in range(3)]
        shares = collections.Counter(map(_share_of, workers))
        assert shares == {Share(0, 2): 2, Share(2, 1): 1}
        for worker in workers:
            worker.communicate()
        again = _started()
        assert _share_of(again) == Share(0, 2)
        again.communicate()
    assert SHARED not in os.environ


def test_elsewhere_the_runner_shows_each_process_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SHARED, raising=False)
    monkeypatch.setattr(device_share.os, "cpu_count", lambda: 12)
    assert own_share(1) == Share(0, 1)
    assert own_share(0) == Share(0, 12)
    with shared_gpus([], 7):
        assert SHARED not in os.environ
