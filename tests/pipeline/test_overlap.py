"""Input and output that lie in each other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.exports import directory_hashes, make_images_behind_a_link
from support.runs import run_export

from beam_export.cli import main as cli


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_images_behind_a_link(tmp_path)


@pytest.mark.parametrize("flags", [[], ["--clean"], ["--dry_run"]])
def test_the_command_refuses_and_touches_nothing(
    folder: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run_export(folder / "part0", folder.parent / "out", images_per_tar=2)
    out, before = str(folder.parent / "out"), directory_hashes(folder.parent / "out")
    places = ["--input", out, "--output_dir", out]
    assert cli.main([*places, "--direct_num_workers=1", *flags]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"--input={out}" in said
    assert directory_hashes(folder.parent / "out") == before
    assert not os.path.exists(os.path.join(out, "_tmp"))
