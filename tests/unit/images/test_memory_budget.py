"""`beam_export.images.memory_budget`: large images share a budget, and wait for it."""

from __future__ import annotations

import os
import pathlib
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from support.exports import ROOT

from beam_export.images import memory_budget

MIB = 1 << 20
#: Seconds after which something waits for ever.
LONG = 60


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that lets one worker have eight slots of 16 MiB, and counts everything."""
    monkeypatch.setattr(memory_budget, "SMALL", 1)
    monkeypatch.setattr(memory_budget, "BYTES_PER_WORKER", 128 * MIB)


def own(slots: int = 8) -> memory_budget.Budget:
    return memory_budget.Budget(memory_budget.OwnSlots(slots), 16 * MIB)


def most_at_once(budget: memory_budget.Budget, sizes: list[int]) -> int:
    """Takes sizes in threads that begin together; returns the most bytes that were held at once."""
    guard, held, most = threading.Lock(), 0, 0

    def work(size: int) -> None:
        nonlocal held, most
        with budget.taken(size):
            with guard:
                held += size
                most = max(most, held)
            time.sleep(0.01)
            with guard:
                held -= size

    threads = [threading.Thread(target=work, args=[size], daemon=True) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    return most


SIZES = [48 * MIB, 16 * MIB, 128 * MIB, 64 * MIB, 500 * MIB, 32 * MIB] * 4


def test_threads_never_hold_more_than_there_is(eight: None) -> None:
    assert most_at_once(own(), SIZES) in (128 * MIB, 500 * MIB)
    with memory_budget.shared_budget(1):
        assert most_at_once(memory_budget.budget(), SIZES) in (128 * MIB, 500 * MIB)
    assert 32 * MIB < most_at_once(own(), [16 * MIB] * 8) <= 128 * MIB


def test_what_is_more_than_there_is_runs_alone(eight: None) -> None:
    with memory_budget.shared_budget(1):
        for budget in (own(), memory_budget.budget()):
            assert most_at_once(budget, [500 * MIB] * 3 + [MIB] * 3) == 500 * MIB


def test_small_ones_wait_for_nobody() -> None:
    budget = own()
    with budget.taken(1 << 40), budget.taken(memory_budget.SMALL - 1):
        pass


def test_a_failure_gives_back_what_it_held(eight: None) -> None:
    with memory_budget.shared_budget(1):
        for budget in (own(), memory_budget.budget()):
            for _ in range(3):
                with pytest.raises(KeyError), budget.taken(1 << 40):
                    raise KeyError
            with budget.taken(1 << 40):
                pass


HOLD = """
import sys, time
from beam_export.images import memory_budget
memory_budget.SMALL = 1
with memory_budget.budget().taken(int(sys.argv[1])):
    print("held", flush=True)
    time.sleep(1000)
"""


def holder(size: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def takes(size: int) -> threading.Thread:
    def work() -> None:
        with memory_budget.budget().taken(size):
            pass

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_processes_share_and_the_dead_hold_nothing(eight: None) -> None:
    with memory_budget.shared_budget(1):
        first = holder(80 * MIB)
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == "held\n"
            small = takes(48 * MIB)
            small.join(LONG)
            assert not small.is_alive()
            large = takes(64 * MIB)
            large.join(0.3)
            assert large.is_alive()
            first.send_signal(signal.SIGKILL)
            large.join(LONG)
            assert not large.is_alive()
        finally:
            first.kill()
            first.communicate()


def test_one_who_dies_while_it_waits_is_waited_for_by_nobody(eight: None) -> None:
    with memory_budget.shared_budget(1):
        with memory_budget.budget().taken(128 * MIB):
            waiting = holder(128 * MIB)
            time.sleep(1.5)
            waiting.kill()
            assert waiting.communicate()[0] == ""
        after = takes(128 * MIB)
        after.join(LONG)
        assert not after.is_alive()


def test_files_that_have_gone_are_not_waited_for(eight: None) -> None:
    with memory_budget.shared_budget(1):
        budget = memory_budget.budget()
    with budget.taken(1 << 40), budget.taken(1 << 40):
        pass
    assert memory_budget.SHARED not in os.environ


def test_whose_process_holds_for_it_takes_nothing(
    eight: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        memory_budget.shared_budget(1),
        memory_budget.budget().taken(1 << 40),
        monkeypatch.context() as patch,
    ):
        patch.setenv(memory_budget.SHARED, "")
        memory_budget.unbounded()
        with memory_budget.budget().taken(1 << 40):
            pass


def test_budget_follows_workers_and_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def size(workers: int, allowed: int) -> int:
        monkeypatch.setattr(memory_budget, "allowed_bytes", lambda: allowed)
        with memory_budget.shared_budget(workers):
            slot, _, folder = os.environ[memory_budget.SHARED].partition(":")
            return int(slot) * len(list(pathlib.Path(folder).glob("slot-*")))

    assert size(2, 24 << 30) == 2 << 30
    assert size(8, 8 << 30) == 4 << 30
    assert size(64, 1 << 40) == 64 << 30
    assert size(2, 1) == 16 * MIB


def fake_files(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    def read_text(path: pathlib.Path) -> str:
        if str(path) not in files:
            raise FileNotFoundError
        return files[str(path)]

    monkeypatch.setattr(pathlib.Path, "read_text", read_text)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:  2048 kB\n"}, 2 * MIB),
        (
            {
                "/proc/meminfo": "MemAvailable: 9999999 kB\n",
                "/proc/self/cgroup": "0::/a/b\n",
                "/sys/fs/cgroup/a/memory.max": f"{5 * MIB}\n",
                "/sys/fs/cgroup/a/b/memory.max": "max\n",
            },
            5 * MIB,
        ),
        (
            {
                "/proc/self/cgroup": "3:cpu:/x\n4:memory,hugetlb:/docker/1\n",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes": f"{7 * MIB}\n",
            },
            7 * MIB,
        ),
    ],
)
def test_limits_of_groups_count(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    fake_files(monkeypatch, files)
    assert memory_budget.allowed_bytes() == expected


def test_a_limit_of_the_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_budget.allowed_bytes() > 64 * MIB
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64 * MIB, 64 * MIB))
    assert memory_budget.allowed_bytes() == 64 * MIB
    fake_files(monkeypatch, {})
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    physical: Callable[[], int] = memory_budget._physical
    assert memory_budget.allowed_bytes() == physical() > 64 * MIB
