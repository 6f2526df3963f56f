"""PNGs whose colours are not converted are counted, and the summary names them."""

from __future__ import annotations

import json
from pathlib import Path

from support.pictures import png
from support.runs import run_export

from beam_export.cli import display


def test_the_end_tells_of_them(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    rows = [bytes(range(48))] * 16
    (folder / "pq.png").write_bytes(png(8, 2, rows, 16, (b"cICP", bytes([9, 16, 0, 1]))))
    (folder / "plain.png").write_bytes(png(8, 2, rows, 16))
    run_export(folder, tmp_path / "out")
    (file,) = (tmp_path / "out").glob("*-manifest.json")
    manifest = json.loads(file.read_text())
    step = next(step for step in manifest["steps"] if step["step"] == "encode")
    assert step["other_colors"] == 1
    assert "1 PNG has colours that are not converted" in display.summary(manifest, "out", 1.0)
