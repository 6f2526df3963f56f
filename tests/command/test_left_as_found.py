"""A command that is called from Python leaves the process of its caller as it was."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from support.exports import make_images
from support.process_state import process_state

from beam_export.cli.main import main


def seen(before: dict[str, Any]) -> dict[str, Any]:
    """Returns the state now, of the loggers that there were before."""
    now = process_state()
    return {**now, "levels": {name: now["levels"][name] for name in before["levels"]}}


@pytest.mark.slow
def test_an_export_its_failure_and_verify_leave_the_process_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BEAM_EXPORT_QUIET_WORKERS", raising=False)
    images = make_images(tmp_path / "in", 6)
    out = tmp_path / "out"
    # What the first import of a library sets stays: it is what any import of it would set.
    main(["export", f"--input={tmp_path}/none", f"--output_dir={tmp_path}/none_out"])
    before = process_state()
    export = ["export", f"--input={images}", f"--output_dir={out}", "--direct_num_workers=2"]
    assert main(export) == 0
    assert seen(before) == before
    assert main(["verify", str(out), "--decode"]) == 0
    assert seen(before) == before
    (images / "broken.jpg").write_bytes(b"no image")
    assert main([*export, "--clean"]) == 1
    assert seen(before) == before
    assert sys.stderr is not None
