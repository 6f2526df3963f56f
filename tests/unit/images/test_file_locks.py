from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from beam_export.images.file_locks import lock_file


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "slot").touch()
    return str(tmp_path / "slot")


def test_one_holder_at_a_time(path: str) -> None:
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        assert lock_file(path, first)
        assert not lock_file(path, second)
        first.close()
        assert lock_file(path, second)


def test_a_holder_is_waited_for(path: str) -> None:
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        assert lock_file(path, first)
        threading.Timer(0.05, first.close).start()
        assert lock_file(path, second, wait=True)


def test_a_process_that_is_gone_holds_nothing(path: str) -> None:
    code = (
        "import contextlib, os\n"
        "from beam_export.images.file_locks import lock_file\n"
        f"assert lock_file({path!r}, contextlib.ExitStack())\n"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with contextlib.ExitStack() as held:
        assert lock_file(path, held)


def test_a_file_that_is_gone_is_an_error(path: str) -> None:
    with contextlib.ExitStack() as held, pytest.raises(FileNotFoundError):
        lock_file(path + "-gone", held)
