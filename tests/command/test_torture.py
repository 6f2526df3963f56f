"""Hundreds of odd and broken files through the command: `torture.py` of benchmarks, in short."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.exports import ROOT, SHARED

PHOTOS = SHARED / "data" / "photos"


def torture(*flags: str | Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "robustness" / "torture.py"),
        *map(str, flags),
    ]
    path = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **path}, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_hostile_archives_are_accounted_for() -> None:
    done = torture("--archives", "--small")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_broken_files_are_accounted_for() -> None:
    done = torture("--count=500", "--seed=7")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_damaged_photographs_and_the_images_of_pillows_own_tests() -> None:
    if not PHOTOS.is_dir():
        pytest.skip(f"no {PHOTOS}: the photographs are not part of the repository")
    if os.environ.get("BEAM_EXPORT_CI") != "1":
        pytest.skip("fetches 47 MB: set BEAM_EXPORT_CI=1")
    done = torture(f"--photos={PHOTOS}", "--sdist=pillow==12.3.0", "--count=500")
    assert done.returncode == 0, done.stdout + done.stderr
