from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest
from support.exports import left_over

from beam_export.errors import InputError
from beam_export.options import ExportOptions
from beam_export.shards import lock


def test_a_lock_that_was_removed_is_no_lock(tmp_path: Path) -> None:
    options = ExportOptions(output_dir=str(tmp_path))
    first = lock.prepare_output(options, bound=True)
    (tmp_path / "_tmp" / "lock").unlink()
    second = lock.prepare_output(options, bound=True)
    with (tmp_path / "_tmp" / "lock").open("rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock.release_output(first)
    lock.release_output(second)
    assert left_over(tmp_path) == []


def test_runs_of_other_machines_are_dead_when_they_are_old(tmp_path: Path) -> None:
    options = ExportOptions(output_dir=str(tmp_path))
    elsewhere = lock.prepare_output(options, bound=False)
    (marked,) = tmp_path.glob("_tmp/*/elsewhere")
    here = lock.prepare_output(options, bound=True)
    assert marked.exists()
    lock.release_output(here)
    for path in marked.parent.iterdir():
        os.utime(path, (1, time.time() - 8 * 24 * 3600))
    lock.release_output(lock.prepare_output(options, bound=True))
    assert left_over(tmp_path) == []
    lock.release_output(elsewhere)


def test_a_directory_that_another_process_has_locked_is_refused(tmp_path: Path) -> None:
    (tmp_path / "_tmp").mkdir()
    # A lock is of an open file: a second one of the same process stands for another process.
    with (tmp_path / "_tmp" / "lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="is being written to by another run"):
            lock.prepare_output(ExportOptions(output_dir=str(tmp_path)), bound=True)
    output = lock.prepare_output(ExportOptions(output_dir=str(tmp_path)), bound=True)
    lock.release_output(output)
