"""An export on GPUs that are made up: which processes use them, and what a lost one costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from support.exports import ROOT, directory_hashes
from support.fake_gpu.machine import numbered
from support.pictures import save

COUNT = 160


@pytest.fixture(name="export")
def _export(tmp_path: Path) -> Callable[..., tuple[str, dict[str, str], list[int]]]:
    """Exports on a machine with some GPUs; returns what it printed, its files, and their GPUs."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(COUNT):
        image = numbered(number)
        data = image if isinstance(image, bytes) else save(Image.fromarray(image), "PNG")
        (folder / f"{number:04}.{'png' if data[1:4] == b'PNG' else 'jpg'}").write_bytes(data)

    def run(
        name: str, *flags: str, gpus: int = 1, poison: int = 0
    ) -> tuple[str, dict[str, str], list[int]]:
        site, out = tmp_path / f"site-{name}", tmp_path / name
        site.mkdir()
        (site / "sitecustomize.py").write_text(
            "import pathlib\nfrom support.fake_gpu.site import install\n"
            f"install(pathlib.Path({str(site)!r}), {gpus})\n"
        )
        for number in range(poison):
            (site / f"poison-{number}").touch()
        paths = [str(site), str(ROOT / "tests"), str(ROOT), os.environ.get("PYTHONPATH", "")]
        command = [
            *(sys.executable, "-m", "beam_export", "export", f"--input={folder}"),
            *(f"--output_dir={out}", "--encode=always", "--images_per_tar=40", *flags),
        ]
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        devices = [int(path.name.rpartition("-")[2]) for path in site.glob("process-*")]
        return done.stdout + done.stderr, directory_hashes(out), sorted(devices)

    return run


@pytest.mark.slow
def test_processes_share_the_gpus_and_a_lost_one_costs_no_image(
    export: Callable[..., tuple[str, dict[str, str], list[int]]], tmp_path: Path
) -> None:
    said, wanted, devices = export("one", "--direct_num_workers=1")
    assert f"{COUNT} images in 4 shards" in said
    assert devices == [0]
    manifest = next((tmp_path / "one").glob("*-manifest.json")).read_text()
    software = json.loads(manifest)["software"]
    assert (software["encoder"], software["device"]) == ("dali", "NVIDIA Fake 9")
    # Two GPUs have two processes at least, whatever the cores.
    said, files, devices = export("two", gpus=2)
    assert set(devices) == {0, 1}
    assert files == wanted
    said, files, devices = export("lost", "--direct_num_workers=2", poison=1)
    assert "a worker was lost, or its GPU: going on with a new one" in said
    assert len(devices) > 2
    assert files == wanted


@pytest.mark.slow
def test_a_gpu_that_is_lost_again_and_again_ends_the_run_with_a_sentence(
    export: Callable[..., tuple[str, dict[str, str], list[int]]],
) -> None:
    with pytest.raises(AssertionError, match="a worker or its GPU was lost 4 times: see"):
        export("lost", "--direct_num_workers=2", poison=50)


def test_more_processes_than_a_gpu_has_room_for_are_refused(
    export: Callable[..., tuple[str, dict[str, str], list[int]]],
) -> None:
    with pytest.raises(AssertionError, match="--direct_num_workers=13 is more than share 1 GPU"):
        export("many", "--direct_num_workers=13")
