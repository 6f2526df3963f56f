"""Faults of every kind, in short: `benchmarks/robustness/faults.py` does them by the hundred.

Exports run in processes of their own; they are killed, stopped, starved of space, interrupted, or
given a rival, and the same command then ends as if nothing had been.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.exports import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals, inotify and /proc")

KINDS = ("no_space", "bad_reads", "interrupts", "rivals", "zombies", "dying", "lost_workers")


def run_faults(out: Path, *flags: str) -> dict[str, Any]:
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "robustness" / "faults.py"),
        f"--json={out}",
        *flags,
    ]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, check=False, timeout=1200
    )
    assert out.exists(), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    assert done.returncode == 0, found["faults"]
    return found


@pytest.mark.slow
def test_a_worker_that_dies_between_tar_and_parquet_and_a_zombie(tmp_path: Path) -> None:
    """At the one point between them; what is numbered 4 is of that point."""
    flags = ["--runs=0", "--images=24", "--each=1", "--first=4", "--kinds=dying,zombies"]
    found = run_faults(tmp_path / "found.json", *flags)
    assert found["kinds"]["dying"]["how"] == {"tar-published": 1}
    assert found["kinds"]["zombies"]["how"] == {"stood still at tar-published": 1}


@pytest.mark.slow
def test_runs_that_are_killed_at_random_moments(tmp_path: Path) -> None:
    found = run_faults(tmp_path / "found.json", "--runs=6", "--images=100", "--seed=3")
    assert found["runs"] == found["byte_identical"] == 6
    assert found["killed"] >= 4
    assert len(found["killed_in"]) == 3
    assert found["final_names_taken"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_else_may_happen(tmp_path: Path, kind: str) -> None:
    """Each point of the writing once, each way of reading badly, each number of workers."""
    each = {"dying": 9, "zombies": 9, "lost_workers": 3, "bad_reads": 3}.get(kind, 2)
    flags = ["--runs=0", "--images=45", f"--each={each}", f"--kinds={kind}", "--seed=2"]
    found = run_faults(tmp_path / "found.json", *flags)["kinds"][kind]
    assert found["times"] == found["without_fault"] == each
    if kind in ("no_space", "dying", "lost_workers"):
        # It did happen: none of them may have ended as if nothing had been.
        wanted = {"no_space": "1", "dying": "-9", "lost_workers": "0"}[kind]
        assert found["exit_codes"] == {wanted: each}
