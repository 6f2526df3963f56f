"""Runs that are asked to end, at any time: nothing is left of them but what is finished."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from beam_export.cli.processes import processes_below

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

TWO = "--direct_num_workers=2"
COMMAND = [sys.executable, "-m", "beam_export"]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    Image.effect_noise((2000, 2000), 90).convert("RGB").save(folder / "000.jpg")
    for number in range(1, 120):
        os.link(folder / "000.jpg", folder / f"{number:03d}.jpg")
    return folder


@pytest.fixture(scope="module")
def export(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "out"
    flags = [f"--input={images}", f"--output_dir={out}", "--images_per_tar=10"]
    subprocess.run([*COMMAND, *flags], check=True, capture_output=True)
    return out


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files; the address of a socket in it is not too long for one."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def interrupted(
    number: int, when: Callable[[int], bool], temporary: Path, *arguments: object
) -> str:
    """Returns what a command says that gets a signal; it leaves no temporary file."""
    # Whoever runs the tests may ignore SIGHUP, as nohup does, and then a run rightly does too.
    with subprocess.Popen(
        ["env", "--default-signal", *COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    ) as process:
        try:
            until = time.monotonic() + 120
            while not when(process.pid):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.01)
            # Ctrl-C is for all of the terminal's processes.
            (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
            _, said = process.communicate(timeout=40)
        finally:
            process.kill()
    assert process.returncode == CODES[number]
    assert list(temporary.iterdir()) == []
    return said


def are_at_work(process: int) -> bool:
    """Returns whether the workers of a command have come up, and have begun to work."""
    fields = []
    for below in processes_below(process):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state = Path(f"/proc/{below}/stat").read_text()
            fields.append(state.rpartition(")")[2].split())
    # Their imports take some two seconds of a processor each.
    return sum(int(one[11]) for one in fields) > 5 * os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
@pytest.mark.parametrize("number", CODES)
def test_verify_ends_and_so_do_its_workers(number: int, export: Path, temporary: Path) -> None:
    verify = ["verify", export, "--decode", TWO]
    assert interrupted(number, are_at_work, temporary, *verify).endswith("interrupted\n")


@pytest.mark.parametrize("number", CODES)
def test_a_run_that_has_hardly_begun(
    number: int, images: Path, temporary: Path, tmp_path: Path
) -> None:
    # The server that forks workers is the first thing that it starts.
    begun = ["--input", images, "--output_dir", tmp_path / "out", TWO]
    said = interrupted(number, lambda one: processes_below(one) != [], temporary, *begun)
    assert said == "beam-export: interrupted\n"
    assert not (tmp_path / "out").exists()


def test_who_ignores_how_processes_end_loses_no_image(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    # Of many that are copied, one is not, and goes to a process of its own.
    for number, mode in enumerate(["RGB"] * 19 + ["CMYK"]):
        Image.new(mode, (40, 30)).save(tmp_path / "in" / f"{number:02d}.jpg")
    flags = [f"--input={tmp_path}/in", f"--output_dir={tmp_path}/out"]
    ignoring = ["env", "--ignore-signal=CHLD", *COMMAND]
    done = subprocess.run([*ignoring, *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "failed 0" in done.stdout
