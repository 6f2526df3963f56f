"""What a first quarter of an hour with a GPU rests on: `benchmarks/speed/gpu.py`, and its folder.

The GPU is made up: it shows that each figure is made, that nothing forbidden is done to the device,
and that what was measured is kept, whatever ends a run.
"""

from __future__ import annotations

import contextlib
import doctest
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.exports import ROOT
from support.fake_gpu.device import FakeDevice
from support.fake_gpu.machine import libraries

from benchmarks.speed import gpu, gpu_bare, gpu_folder, gpu_images, gpu_rates
from benchmarks.speed.gpu_bare import Layout
from benchmarks.speed.gpu_images import Setting

SCRIPT = ROOT / "benchmarks" / "speed" / "gpu.py"
SMALL = ["--device=gpu", "--codec-only", "--small"]


@pytest.fixture(name="machine")
def _machine(tmp_path: Path) -> dict[str, str]:
    """Environment in which every process finds a GPU; steps that `mishaps` names meet one."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        f"""
import os, pathlib, signal, sys, time
from beam_export.images.dali import libraries
from support.fake_gpu.site import install

site = pathlib.Path({str(site)!r})
install(site, 1)
load = libraries.load_libraries

def load_or_fail(device_id):
    for mishap in site.glob("mishap-*"):
        _, step, what = mishap.name.split("-")
        if f"--step={{step}}" in sys.argv:
            (site / f"met-{{os.getpid()}}").touch()
            os.kill(os.getpid(), signal.SIGSEGV) if what == "crash" else time.sleep(600)
    return load(device_id)

libraries.load_libraries = load_or_fail
"""
    )
    paths = [str(site), str(ROOT / "tests"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "SITE": str(site)}


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


@pytest.fixture(name="start")
def _start(machine: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts runs, of which none is left behind, nor what one of their steps may leave."""
    runs: list[subprocess.Popen[str]] = []

    def start(path: Path, *flags: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(SCRIPT), *SMALL, f"--json={path}", *flags]
        runs.append(
            subprocess.Popen(
                command, env=machine, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
        return runs[-1]

    yield start
    for run in runs:
        run.kill()
        run.communicate()
    for met in Path(machine["SITE"]).glob("met-*"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(met.name[4:]), signal.SIGKILL)


def is_alive(process: int) -> bool:
    """Returns whether a process runs; one that has ended may not have been waited for."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until(seen: Any, seconds: float = 120) -> None:
    ends = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < ends, "it never comes"
        time.sleep(0.05)


# What is measured.


def test_layouts_are_all_of_engines_streams_memory_and_batches() -> None:
    setting = Setting("gpu", codec_only=True, small=False, images=Path())
    made = gpu_bare.layouts(setting, cores=16)
    assert {(one.engines, one.own_streams, one.kept >> 30, one.batch) for one in made} == {
        (engines, own, kept, batch)
        for engines in (1, 2, 4)
        for own in (False, True)
        for kept in (0, 4)
        for batch in (32, 128)
    }
    assert len(made) == len({str(one) for one in made}) == 24


@pytest.mark.parametrize("own_streams", [False, True])
@pytest.mark.parametrize("what", ["transcode", "decode", "encode"])
def test_bare_engines_do_nothing_that_is_forbidden(own_streams: bool, what: str) -> None:
    device = FakeDevice(4 << 30)
    layout = Layout(engines=3, own_streams=own_streams, kept=1 << 30, batch=4, threads=2)
    files = [gpu_images.stored(im) for im in gpu_images.photographs((64, 48), 3)]
    row = gpu_bare.measured(libraries(device), layout, files, 0.05, what=what)
    assert row["images/s"] > 0
    assert row["what"] == what
    assert "failed" not in row
    assert device.violations == []
    assert device.threshold == 1 << 30
    assert device.streams_used == ({*device.streams} if own_streams else {0})
    assert len(device.streams) == (3 if own_streams else 0)


def test_a_layout_that_does_not_fit_is_a_row_with_its_reason() -> None:
    device = FakeDevice(1 << 16)
    layout = Layout(engines=1, own_streams=True, kept=0, batch=32, threads=1)
    files = [gpu_images.stored(im) for im in gpu_images.photographs((64, 48), 1)]
    row = gpu_bare.measured(libraries(device), layout, files, 0.05)
    assert row["failed"] == "CUDA Runtime failure: '#2'"
    assert "images/s" not in row


def test_a_codec_that_fills_what_is_cut_is_seen() -> None:
    device = FakeDevice(4 << 30)
    _, whole, cuts = next(gpu_images.cut_files())
    assert all(len(data) < len(whole) + 2 for data in cuts.values())
    engine = gpu_bare.BareEngine(libraries(device))
    (image,) = engine.decode([cuts["50 % left"]])
    (shown,) = engine.decode([whole])
    near = gpu_images.decibels(engine.on_host(image), engine.on_host(shown))
    assert 0 < near < 30
    assert device.violations == []


def test_examples_give_what_they_say() -> None:
    for module in (gpu, gpu_rates):
        failed, tried = doctest.testmod(module)
        assert (failed, tried > 0) == (0, True)


def test_bytes_that_differ_and_images_that_are_lost_are_wrong() -> None:
    steps = {
        "repeatability": {"8x8": {"in reverse": False, "bytes to Pillow's": 1.0}},
        "determinism": {"16 threads": True},
        "cut": {"gray": {}, "encoded by ours, refused by Pillow": ["gray: 5 % left"]},
        "faults": {"so far": {"images": 3, "results": 2, "only by Pillow": 1}},
        "photos": {"encoded": 1, "encoded by Pillow": 2},
    }
    assert gpu.wrong(steps, {"cut": "whole", "bare": "signal 11"}) == [
        "bare: signal 11",
        "repeatability, 8x8: not the same: in reverse",
        "cut: encoded by ours, refused by Pillow: gray: 5 % left",
        "faults: not as many results as images",
        "faults: 1 images that only Pillow encodes",
        "photos: not as many encoded as by Pillow",
    ]
    assert gpu.wrong({}, {}) == []


# What is kept.


@pytest.mark.slow
def test_all_steps_run_on_a_gpu_that_is_made_up(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, im in enumerate(gpu_images.photographs((80, 60), 5)):
        (photos / f"{number}.jpg").write_bytes(gpu_images.stored(im))
    path = tmp_path / "gpu.json"
    run = start(path, f"--photos={photos}", "--minutes=40")
    said = run.communicate(timeout=1200)[0]
    content = read(path)
    assert (run.returncode, content["wrong"]) == (0, []), said
    codec_only = [step.name for step in gpu.STEPS if step.needs != "dali"]
    assert content["ended"] == dict.fromkeys(codec_only, "whole")
    assert set(content["left out"]) == {step.name for step in gpu.STEPS} - {*codec_only}
    steps = content["steps"]
    # The stand-in fills what is cut, as nvJPEG may; our encoder never does.
    assert any("codec: decoded" in judged for judged in steps["cut"]["640x480"].values())
    assert steps["faults"]["so far"]["results"] == 512
    assert steps["photos"]["encoded"] == 5
    assert content["ratios"]["640x480: ours to the best bare engines"] > 0
    assert content["ratios"]["640x480: ours in several processes to Pillow on one core"] > 0


def test_a_step_that_crashes_or_hangs_costs_itself_alone(
    machine: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in machine.items():
        monkeypatch.setenv(name, value)
    for mishap in ("mishap-cut-crash", "mishap-bare-hang"):
        Path(machine["SITE"], mishap).touch()
    path = tmp_path / "gpu.json"
    record = gpu.Record(path, {})
    steps = {step.name: step for step in gpu.STEPS}
    arguments = [*SMALL, f"--images={tmp_path}"]
    chosen = [steps["cut"], steps["bare"]._replace(seconds=8), steps["device"]]
    gpu.run(record, chosen, arguments, seconds=480)
    assert read(path)["ended"] == {
        "cut": "signal 11",
        "bare": "ended after 8 seconds",
        "device": "whole",
    }
    assert read(path)["steps"]["device"]["GPUs, bytes of memory"] == [["NVIDIA Fake 9", 24 << 30]]
    assert not any(is_alive(int(met.name[4:])) for met in Path(machine["SITE"]).glob("met-*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_measured_is_kept_when_the_run_is_ended(
    machine: dict[str, str],
    start: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    site = Path(machine["SITE"])
    (site / "mishap-cut-hang").touch()
    path = tmp_path / "gpu.json"
    run = start(path, "--only", "device", "cut")
    wait_until(lambda: read(path).get("ended", {}).get("device") == "whole")
    wait_until(lambda: list(site.glob("met-*")))
    run.send_signal(number)
    said = run.communicate(timeout=60)[0]
    content = read(path)
    assert content["steps"]["device"]["identity"]["device"] == "NVIDIA Fake 9", said
    assert run.returncode == (1 if number == signal.SIGTERM else -signal.SIGKILL)
    assert content.get("cut") == ("SIGTERM" if number == signal.SIGTERM else None)
    # A step that went on would keep the device from the next run.
    (met,) = site.glob("met-*")
    wait_until(lambda: not is_alive(int(met.name[4:])))


def test_a_run_ends_in_its_time_and_lists_what_it_left_out(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    path = tmp_path / "gpu.json"
    began = time.monotonic()
    run = start(path, "--minutes=0.001", "--only", "device", "bare")
    run.communicate(timeout=60)
    assert time.monotonic() - began < 60
    assert read(path)["left out"] == dict.fromkeys(["device", "bare"], "there was no time left")
    assert read(path)["steps"] == {}


# The folder.


def test_photographs_are_spread_over_sizes_and_within_their_bytes(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02}.jpg").write_bytes(bytes(100 * (number + 1)))
    chosen = gpu_folder.chosen_photos(tmp_path, 10, 15_000)
    sizes = [path.stat().st_size for path in chosen]
    assert len({*chosen}) == 10
    assert 13_000 < sum(sizes) <= 15_000
    assert sizes == sorted(sizes)
    assert sizes[0] == 100
    assert len(gpu_folder.chosen_photos(tmp_path, 40, 1 << 20)) == 40
    with pytest.raises(ValueError, match="has 40 files, of which no 10 have 1000 bytes together"):
        gpu_folder.chosen_photos(tmp_path, 10, 1000)


@pytest.fixture(name="python")
def _python() -> tuple[str, str]:
    """Version and path of a Python: 3.12, which such machines have, else the one of this test."""
    script = [str(ROOT / ".ci" / "pythons")]
    lines = subprocess.run(script, capture_output=True, text=True, check=False).stdout.splitlines()
    for line in lines:
        version, _, path = line.partition(" ")
        if version == "3.12":
            return version, path
    return f"{sys.version_info.major}.{sys.version_info.minor}", sys.executable


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, python: tuple[str, str]) -> Iterator[Path]:
    folder = tmp_path / "folder"
    command = [sys.executable, str(ROOT / "benchmarks" / "speed" / "gpu_folder.py"), str(folder)]
    subprocess.run([*command, f"--python={python[0]}"], check=True, timeout=900)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("BEAM_EXPORT_CI") != "1", reason="fetches 52 MB: set BEAM_EXPORT_CI=1"
)
def test_the_folder_is_all_that_a_bare_machine_needs(
    folder: Path, python: tuple[str, str], tmp_path: Path
) -> None:
    assert gpu_folder.bytes_below(folder) <= gpu_folder.MOST_MIB << 20
    assert len(list((folder / "photos").iterdir())) == gpu_folder.PHOTOS
    path = tmp_path / "gpu.json"
    # Neither a package nor the network of this machine, where it can be cut off.
    alone = ["unshare", "--net", "--map-root-user"]
    cut_off = subprocess.run([*alone, "true"], capture_output=True, check=False).returncode == 0
    done = subprocess.run(
        [*(alone if cut_off else ()), "sh", "run.sh", "--small", f"--json={path}", "--minutes=40"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHON": python[1]},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    content = read(path)
    assert (done.returncode, content.get("wrong")) == (0, []), done.stdout + done.stderr
    assert content["machine"]["python"].startswith(python[0])
    assert content["steps"]["photos"]["encoded"] == gpu_folder.PHOTOS
    assert content["steps"]["repeatability"]["640x480"]["bytes to Pillow's"] == 1.0
