"""`beam_export.planning.memory_check`: too many samples are refused before they are planned."""

from __future__ import annotations

import shutil
from typing import NamedTuple

import pytest

from beam_export.errors import InputError
from beam_export.planning import memory_check
from beam_export.planning.memory_check import check_memory
from beam_export.planning.spill_files import spilling


class _Usage(NamedTuple):
    free: int


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The bytes of memory and of disk that are free; a test may change them."""
    free = {"memory": 2 * 10**9, "disk": 10**12}
    monkeypatch.setattr(memory_check, "allowed_bytes", lambda: free["memory"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(free["disk"]))
    return free


def test_as_many_samples_as_fit_pass_and_more_are_refused_with_what_to_do(
    machine: dict[str, int],
) -> None:
    with spilling():
        fitting = machine["memory"] // memory_check._BY_FILES
        check_memory(fitting)
        with pytest.raises(InputError, match=rf"2\.0 GB are free, enough for {fitting}: export"):
            check_memory(fitting + 1)


def test_a_disk_without_room_is_named_since_values_stay_in_memory_then(
    machine: dict[str, int],
) -> None:
    machine["disk"] = 10**9
    with spilling():
        check_memory(1_000_000)
        with pytest.raises(InputError, match=r"7\.0 GB of memory.*TMPDIR to a .*disk with 6\.0 GB"):
            check_memory(10_000_000)


def test_values_in_memory_make_no_message_too_long_for_protobuf(machine: dict[str, int]) -> None:
    machine["memory"], machine["disk"] = 10**12, 10**9
    with spilling():
        check_memory(20_000_000)
        with pytest.raises(InputError, match=r"enough for 20000000: set TMPDIR"):
            check_memory(20_000_001)


def test_other_runs_are_not_judged_by_this_machine(machine: dict[str, int]) -> None:
    machine["memory"] = 1
    check_memory(10**9)
