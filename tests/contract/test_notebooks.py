"""The notebooks in examples/ run, cell by cell, as they stand."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.exports import ROOT, make_images
from support.runs import run_export

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Runs a cell, and returns the value of its last line, as a notebook shows it."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_has_no_output_and_names_no_path_of_a_machine(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    assert all(not cell.get("outputs") for cell in cells)
    assert not re.search(r"/(?:home|work|Users|root)/", path.read_text())


def test_an_export_is_opened_in_ten_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first notebook shows is what is in the export that `make demo` makes."""
    made = run_export(make_images(tmp_path / "in", 24), tmp_path / "demo" / "out", images_per_tar=9)
    (tmp_path / "examples").mkdir()
    monkeypatch.chdir(tmp_path / "examples")
    cells = json.loads((ROOT / "examples" / "open_export.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    opened, first, picture, same, largest, last = (run_cell(source, names) for source in sources)
    lines = [line for line in "\n".join(sources).splitlines() if line]
    assert len(lines) <= 13, "three of them are imports"
    row = made.rows[0]
    assert (len(opened[0]), opened[1]) == (24, made.shards[0].table.column_names)
    assert first[0] == row["image_id"]
    assert picture.size == (row["width"], row["height"])
    assert same is True
    sizes = sorted((one["size"] for one in made.rows), reverse=True)
    assert [one["size"] for one in largest] == sizes[:3]
    assert last == sum(one["size"] for one in made.rows[-10:])
