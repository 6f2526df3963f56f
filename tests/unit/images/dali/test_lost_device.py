"""`beam_export.images.dali.lost_device`: workers end, and other processes raise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from beam_export.errors import RunError
from beam_export.images.dali.lost_device import EXIT_CODE, WORKER, end_process, is_worker

_END = "from beam_export.images.dali.lost_device import end_process; end_process('It is lost.')"


def test_a_process_that_is_no_worker_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    # A child of a worker has the worker's environment.
    monkeypatch.setenv(WORKER, str(os.getppid()))
    assert not is_worker()
    with pytest.raises(RunError) as caught:
        end_process("It is lost.")
    assert caught.value.sentence == "It is lost."


@pytest.mark.parametrize(
    "begin",
    [
        f"import os; os.environ['{WORKER}'] = str(os.getpid()); ",
        "import __main__, types; "
        "__main__.__spec__ = types.SimpleNamespace("
        "name='apache_beam.runners.worker.sdk_worker_main'); ",
    ],
    ids=["ours", "Beam's"],
)
def test_a_worker_ends_at_once_and_says_why(begin: str) -> None:
    # A thread that would never end does not hold it.
    code = (
        f"import threading; {begin}threading.Thread(target=threading.Event().wait).start(); {_END}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == EXIT_CODE
    assert "It is lost." in done.stderr
