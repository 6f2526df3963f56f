"""How a worker process and the command line come to their ends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from beam_export.cli.worker import QUIET

#: Stands for Beam, which takes seconds to import.
_WORKER = """
import atexit, gc, sys, types
for name in ("apache_beam", "apache_beam.runners", "apache_beam.runners.worker"):
    sys.modules[name] = types.ModuleType(name)
harness = types.ModuleType("sdk_worker_main")
harness.main = lambda arguments: {body}
sys.modules["apache_beam.runners.worker"].sdk_worker_main = harness
frozen = gc.get_freeze_count()  # 3.12 starts with some
atexit.register(lambda: print(gc.get_freeze_count() > frozen))
from beam_export.cli.worker import main
main()
"""


def _run(script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script]
    # What an export in this very process has set would silence it.
    environment = {name: value for name, value in os.environ.items() if name != QUIET}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_a_worker_that_is_done_searches_for_no_cycles_and_loses_nothing_that_it_said():
    ended = _run(_WORKER.format(body='print("worked", end=" ")'))
    assert (ended.returncode, ended.stdout) == (0, "worked True\n"), ended.stderr


@pytest.mark.parametrize(("body", "code"), [("1 / 0", 1), ("sys.exit(3)", 3)])
def test_a_worker_that_fails_says_so(body: str, code: int):
    ended = _run(_WORKER.format(body=body))
    assert ended.returncode == code
    assert ("ZeroDivisionError" in ended.stderr) == (code == 1)


def test_nothing_is_searched_for_cycles_as_a_process_ends():
    ended = _run(
        "import atexit, gc\n"
        "frozen = gc.get_freeze_count()\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > frozen))\n"
        "from beam_export.cli.worker import collect_less\n"
        "collect_less()\n"
        "print(gc.get_freeze_count() > frozen)\n"
    )
    assert ended.stdout.split() == ["False", "True"], ended.stderr
