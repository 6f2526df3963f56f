"""Checks and measures encoding on this machine's GPU or CPU: the bare codec, our encoder, faults.

    python benchmarks/speed/gpu.py [--device auto|cpu|gpu] [--codec-only] [--small]
        [--photos DIR] [--json FILE] [--minutes 8] [--only STEP ...]

Needs nvImageCodec, Pillow, simplejpeg and NumPy, and of this repository `beam_export` and
`benchmarks` alone; Beam is not asked for. DALI is needed too, unless `--codec-only` is given: then
nvImageCodec alone decodes and encodes, as our encoder does where no pixel changes. CuPy and
torchvision, where they are, serve as controls. `gpu_folder.py` makes a folder with all of this for
a machine without a network.

What is asked first of a new device comes first: what the codec makes of cut files, whether its
bytes are the same twice, its speed alone by the number of engines, streams, memory that is kept and
the size of batches, then ours; faults come last. Each step is a process of its own: one that
crashes, hangs or spoils its context costs nothing but itself. FILE (`gpu.json`) is replaced after
each figure, so that it is whole whatever ends the run; what there was no time for is listed in it.
Returns 1 if a step has failed, bytes differ, or an image was lost.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from beam_export.images.dali.device import (
    HOW_TO_INSTALL,
    codec_is_installed,
    dali_is_installed,
    gpu_names,
)
from benchmarks.common import machine
from benchmarks.speed import gpu_bare, gpu_checks, gpu_rates
from benchmarks.speed.gpu_images import Setting

__all__ = ["STEPS", "Record", "Step", "main", "wrong"]

_MINUTES = 8.0
#: Seconds of the whole run that are left for writing the last figures.
_TO_END = 5.0
_PARENT_DEATH = 1  # PR_SET_PDEATHSIG of prctl(2)
_WHOLE = "whole"


class Step(NamedTuple):
    """A part of the run.

    Attributes:
        name: in the file, and for `--only`.
        seconds: that it may take of a run of eight minutes; more of a longer one.
        run: yields its figures, each with a name.
        needs: what it is left out without: `dali`, `gpu`, `photos`, or nothing.
    """

    name: str
    seconds: float
    run: Callable[[Setting], Iterator[tuple[str, Any]]]
    needs: str = ""


STEPS = (
    Step("device", 40, gpu_checks.device),
    Step("cut", 45, gpu_bare.cut),
    Step("repeatability", 50, gpu_bare.repeatability),
    Step("bare", 140, gpu_bare.rates),
    Step("ours", 90, gpu_rates.encoders),
    Step("processes", 60, gpu_rates.processes),
    Step("determinism", 60, gpu_checks.determinism),
    Step("photos", 40, gpu_checks.photos, "photos"),
    Step("arrays", 40, gpu_rates.on_device, "gpu"),
    Step("contract", 30, gpu_checks.contract, "dali"),
    Step("resizing", 90, gpu_rates.resizing, "dali"),
    Step("faults", 120, gpu_checks.faults),
    Step("alternately", 60, gpu_rates.alternately),
)


class Record:
    """The figures so far, in a file that is replaced as a whole after each.

    Args:
        path: of the file.
        facts: of the run.
    """

    def __init__(self, path: pathlib.Path, facts: Mapping[str, Any]) -> None:
        self.steps: dict[str, dict[str, Any]] = {}
        self.ended: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self._path, self._facts, self._began = path, dict(facts), time.monotonic()

    def add(self, step: str, name: str, value: Any) -> None:
        """Keeps a figure; one of the same name takes the place of the last."""
        self.steps.setdefault(step, {})[name] = value
        self.write()

    def content(self) -> dict[str, Any]:
        """Returns all that is known, with what follows from it."""
        return {
            **self._facts,
            "ratios": gpu_rates.ratios(self.steps),
            "wrong": wrong(self.steps, self.ended),
            "ended": self.ended,
            "left out": self.left_out,
            "steps": self.steps,
            "seconds": round(time.monotonic() - self._began, 1),
        }

    def write(self, **more: Any) -> None:
        """Replaces the file."""
        part = self._path.with_name(f"{self._path.name}.part")
        with part.open("w", encoding="utf-8") as file:
            json.dump({**self.content(), **more}, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._path)


def wrong(steps: Mapping[str, Mapping[str, Any]], ended: Mapping[str, str]) -> list[str]:
    """Returns what must not be: steps that failed, bytes that differ, images that are lost.

    >>> wrong({"determinism": {"in reverse": False}}, {"determinism": "whole", "bare": "signal 11"})
    ['bare: signal 11', 'determinism: not the same: in reverse']
    """
    found = [f"{step}: {how}" for step, how in ended.items() if how != _WHOLE]
    same = {"determinism": steps.get("determinism", {})}
    same |= {f"repeatability, {size}": row for size, row in steps.get("repeatability", {}).items()}
    for step, row in same.items():
        found += [f"{step}: not the same: {name}" for name, same in row.items() if same is False]
    found += [
        f"cut: encoded by ours, refused by Pillow: {name}"
        for name in steps.get("cut", {}).get("encoded by ours, refused by Pillow", ())
    ]
    counts = steps.get("faults", {}).get("so far", {})
    if counts.get("results") != counts.get("images"):
        found.append("faults: not as many results as images")
    if counts.get("only by Pillow"):
        found.append(f"faults: {counts['only by Pillow']} images that only Pillow encodes")
    photos = steps.get("photos", {})
    if photos.get("encoded") != photos.get("encoded by Pillow"):
        found.append("photos: not as many encoded as by Pillow")
    return found


# The run, which makes no call of the device.


class _Ended(BaseException):
    """The run was asked to end."""


def _end(number: int, _: Any) -> None:
    raise _Ended(signal.Signals(number).name)


def run(record: Record, steps: Sequence[Step], arguments: Sequence[str], seconds: float) -> None:
    """Runs the steps, one after the other, as long as there is time."""
    ends = time.monotonic() + seconds - _TO_END
    share = max(1.0, seconds / (_MINUTES * 60))
    for step in steps:
        left = ends - time.monotonic()
        if left < 1:
            record.left_out[step.name] = "there was no time left"
            continue
        print(f"== {step.name}", flush=True)
        record.ended[step.name] = "not yet"
        record.ended[step.name] = run_step(record, step, arguments, min(step.seconds * share, left))
        record.write()


def run_step(record: Record, step: Step, arguments: Sequence[str], seconds: float) -> str:
    """Runs a step in a process of its own, and returns how it has ended."""
    reading, writing = os.pipe()
    command = [sys.executable, __file__, *arguments, f"--step={step.name}", f"--report={writing}"]
    process = subprocess.Popen(command, pass_fds=[writing], start_new_session=True)
    os.close(writing)
    late = threading.Event()

    def stop() -> None:
        late.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(seconds, stop)
    timer.start()
    try:
        with open(reading, encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):  # else its writer was killed in the middle of it
                    record.add(step.name, *json.loads(line))
        code = process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            stop()
            process.wait()
    if late.is_set():
        return f"ended after {seconds:.0f} seconds"
    if code:
        failed = record.steps.get(step.name, {}).get("failed", "")
        return f"signal {-code}" if code < 0 else f"exit code {code}: {failed}"
    return _WHOLE


# A step.


def run_here(step: Step, setting: Setting, report: int) -> None:
    """Runs a step in this process, and reports its figures."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGKILL)
    with open(report, "w", encoding="utf-8", buffering=1) as pipe:

        def yielded(name: str, value: Any) -> None:
            pipe.write(json.dumps([name, value]) + "\n")
            print(f"{name}: {json.dumps(value)}", flush=True)

        try:
            for name, value in step.run(setting):
                yielded(name, value)
        except Exception as error:
            yielded("failed", f"{type(error).__name__}: {error}")
            raise


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto")
    parser.add_argument("--codec-only", action="store_true", help="without DALI")
    parser.add_argument("--small", action="store_true", help="half a minute or so, for a CPU")
    parser.add_argument("--photos", type=pathlib.Path, help="a folder of photographs")
    parser.add_argument("--json", type=pathlib.Path, default=pathlib.Path("gpu.json"))
    parser.add_argument("--minutes", type=float, default=_MINUTES, help="that all may take")
    parser.add_argument("--only", nargs="+", choices=[step.name for step in STEPS])
    parser.add_argument("--images", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--report", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not codec_is_installed():
        parser.error(f"nvImageCodec is not installed: {HOW_TO_INSTALL}")
    if not given.codec_only and not dali_is_installed():
        parser.error(f"DALI is not installed: {HOW_TO_INSTALL}, or give --codec-only")
    if given.step is not None:
        (step,) = (step for step in STEPS if step.name == given.step)
        run_here(step, _setting(given), given.report)
        return 0
    return _run_all(given)


def _setting(given: argparse.Namespace) -> Setting:
    device = given.device
    if device == "auto":
        device = "gpu" if gpu_names() else "cpu"
    return Setting(device, given.codec_only, given.small, given.images, given.photos)


def _run_all(given: argparse.Namespace) -> int:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end)
    asked = {name: getattr(given, name) for name in ("device", "codec_only", "small", "minutes")}
    record = Record(given.json, {"machine": machine(), "asked": asked})
    # Where there is no device, a step that needs one ends at once.
    missing = {"dali": given.codec_only, "gpu": given.device == "cpu", "photos": not given.photos}
    steps = [step for step in STEPS if not given.only or step.name in given.only]
    for step in steps:
        if missing.get(step.needs):
            record.left_out[step.name] = f"needs {step.needs}"
    steps = [step for step in steps if step.name not in record.left_out]
    with tempfile.TemporaryDirectory(prefix="beam_export-gpu-") as images:
        try:
            run(record, steps, [*sys.argv[1:], f"--images={images}"], given.minutes * 60)
        except _Ended as ended:
            record.write(cut=str(ended))
            print(f"ended by {ended} -> {given.json}")
            return 1
    record.write()
    content = record.content()
    print(json.dumps({name: content[name] for name in ("ratios", "wrong", "left out")}, indent=2))
    print(f"-> {given.json}")
    return 1 if content["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
