"""What developers and forges run: one script, the same Pythons everywhere, targets in the help."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.exports import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


def text(*parts: str) -> str:
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


def versions(source: str) -> list[str]:
    """Returns the versions of Python that setup.py's classifiers name."""
    return re.findall(r"Programming Language :: Python :: (3\.\d+)", source)


def test_the_workflow_is_sound_and_runs_the_script_that_everybody_can_run() -> None:
    assert re.findall(r"^ +- run: (.*)$", WORKFLOW.read_text(), re.MULTILINE) == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    actionlint = shutil.which("actionlint", path=places)
    if actionlint is None:
        assert os.environ.get("BEAM_EXPORT_CI") != "1", "actionlint is not there: make actionlint"
        pytest.skip("actionlint is not there: `make actionlint` builds it")
    done = subprocess.run([actionlint, WORKFLOW], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_agree_on_pythons_versions() -> None:
    setup, project = text("setup.py"), tomllib.loads(text("pyproject.toml"))
    supported = versions(setup)
    lowest, highest = supported[0], supported[-1]
    above = f"3.{int(highest.removeprefix('3.')) + 1}"
    assert f'python_requires=">={lowest},<{above}"' in setup
    assert project["tool"]["ruff"]["target-version"] == f"py{lowest.replace('.', '')}"
    assert project["tool"]["mypy"]["python_version"] == lowest
    assert re.findall(r"^ {12}(3\.\d+)$", WORKFLOW.read_text(), re.MULTILINE) == supported[::-1]


def test_help_names_every_target() -> None:
    makefile = text("Makefile")
    (names,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    named = re.findall(r'^\t@echo "make (\S+)', makefile, re.MULTILINE)
    assert sorted([*named, "help"]) == sorted(names.split())


@pytest.mark.parametrize("script", ["run", "package", "pythons"])
def test_scripts_name_no_single_test(script: str) -> None:
    """Folders and marks say what a test is: a test that moves is run where it should be."""
    assert not re.search(r"tests/\S*\.py", text(".ci", script))
