"""An export that is ready for training, killed at several moments, ends with the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from support.exports import directory_hashes, left_over

COUNT, PER_TAR = 60, 7
READY = ("--index=all", "--json_columns=all", "--split=train=0.9,val=0.1", "--labels=folder")
#: By moment: the file at whose appearance the run is killed. Shards are published tar first, then
#: their indexes, then the Parquet.
MOMENTS = {
    "the first tar": "images-*.tar",
    "an index": "images-*.idx",
    "several shards": "images-*-000004.parquet",
    "what comes last": "_meta/images-*-indexes.parquet",
}


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two classes that take a while to encode, with scores."""
    folder = tmp_path_factory.mktemp("classes")
    rows = ["file_name,score"]
    for number in range(COUNT):
        name = f"{('cat', 'dog')[number % 2]}/{number:03d}.png"
        (folder / name).parent.mkdir(exist_ok=True)
        noise = Image.effect_noise((900, 700), 20 + number)
        Image.merge("RGB", [noise] * 3).save(folder / name, compress_level=1)
        rows.append(f"{name},{number / 7}")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return folder


def start(source: Path, out: Path, *flags: str) -> subprocess.Popen[str]:
    places = [f"--input={source}", f"--output_dir={out}", f"--images_per_tar={PER_TAR}"]
    return subprocess.Popen(
        [sys.executable, "-m", "beam_export", "export", *places, *READY, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finished(source: Path, out: Path, *flags: str) -> str:
    """Runs an export to its end, and returns what it said."""
    run = start(source, out, *flags)
    said, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors
    return said


def kill_at(pattern: str, source: Path, out: Path, workers: int) -> bool:
    """Starts an export and kills all of it as a new file appears; False if it ended before."""
    before = set(out.glob(pattern))
    run = start(source, out, f"--direct_num_workers={workers}")
    end = time.monotonic() + 240
    while run.poll() is None and set(out.glob(pattern)) <= before:
        assert time.monotonic() < end
        time.sleep(0.002)
    if run.poll() is None:
        os.killpg(run.pid, signal.SIGKILL)
    run.communicate(timeout=60)
    return run.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def wanted(classes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of an export that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    said = finished(classes, out, "--direct_num_workers=1")
    assert "splits: train" in said
    names = {path.name for path in out.iterdir()}
    assert {"sizes.json", "nshards.txt", ".nv-meta"} <= names
    return directory_hashes(out)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_ready_for_training_is_resumed_to_the_same_bytes(
    classes: Path, wanted: dict[str, str], tmp_path: Path, workers: int
) -> None:
    out = tmp_path / "out"
    killed = [kill_at(pattern, classes, out, workers) for pattern in MOMENTS.values()]
    # At the last moment little is left to do, and the run may be done before it is killed.
    assert killed[:3] == [True, True, True]
    if not killed[3]:
        next(out.glob("*-manifest.json")).unlink()
    said = finished(classes, out, f"--direct_num_workers={workers}")
    assert "stood finished before" in said or "complete already" in said
    assert directory_hashes(out) == wanted
    assert left_over(out) == []
