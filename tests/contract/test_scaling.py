"""The simulation of planning that docs/scaling.md rests on, in short."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from support.exports import ROOT


def test_simulated_planning_is_exact_and_gives_every_constant() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "speed" / "scaling.py"), "--keys=20500"]
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=path, capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)
    assert measured["exact"]
    assert measured["shards"] == 21
    kept = json.loads((ROOT / "benchmarks" / "results" / "scaling.json").read_text())
    assert set(kept) - {"machine"} == set(measured)
    assert set(kept["cpu_us_a_key"]) == set(measured["cpu_us_a_key"])
