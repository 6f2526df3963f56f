"""The command, where the encoder that is asked for is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.exports import ROOT

from beam_export.images.dali import device


def test_command_line_names_the_extra(tmp_path: Path) -> None:
    if device.dali_is_installed():
        pytest.skip("NVIDIA DALI is installed")
    places = [f"--input={ROOT / 'examples'}", f"--output_dir={tmp_path}"]
    command = [sys.executable, "-m", "beam_export", "export", *places, "--encoder=dali"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 2
    (line,) = ran.stderr.strip().splitlines()
    assert "--encoder=dali was given, but NVIDIA DALI is not installed: pip install" in line
    assert "[gpu]" in line
