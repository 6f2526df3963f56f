"""`images.memory_need`: what a large image takes stays below its estimate, and is had alone."""

from __future__ import annotations

import io
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.exports import ROOT

from beam_export.images import header, memory_budget
from beam_export.images.encoder import EncodeSpec
from beam_export.images.memory_need import need_of

ALWAYS = EncodeSpec(mode="always")
MIB = 1 << 20


def estimate(data: bytes, **options: Any) -> int:
    spec = EncodeSpec(mode="always", **options)
    with header.open_image(data, spec) as im:
        return need_of(im, data, spec)


def flat(side: int, mode: str, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (side, side)).save(buffer, kind, **options)
    return buffer.getvalue()


def test_small_images_take_nothing() -> None:
    for mode, kind in (("RGB", "JPEG"), ("RGBA", "PNG"), ("RGBA", "WEBP")):
        assert estimate(flat(2_000, mode, kind)) == 0


def test_estimates_follow_what_decoders_hold() -> None:
    pixels = 3_000 * 3_000
    plain = estimate(flat(3_000, "RGB", "JPEG"))
    assert 4 * pixels <= plain < 8 * pixels + 64 * MIB
    progressive = estimate(flat(3_000, "RGB", "JPEG", progressive=True))
    assert progressive - plain >= 2 * pixels
    more = estimate(flat(3_000, "RGB", "JPEG", progressive=True, subsampling="4:4:4"))
    assert more - progressive == 3 * pixels
    assert estimate(flat(3_000, "RGB", "WEBP", lossless=True)) > 16 * pixels
    assert estimate(flat(3_000, "L", "PNG"), resize=10_000) > 4 * 10_000 * 10_000
    gray = estimate(flat(3_000, "L", "PNG"))
    assert estimate(flat(3_000, "L", "PNG"), ensure=("rgb",)) - gray == 3 * pixels


PEAK = """
import json, sys
from benchmarks.robustness.large_files import make_case
from beam_export.images import memory_budget
from beam_export.images.encoder import EncodeSpec
from beam_export.images import header
from beam_export.images.memory_need import need_of
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.samples import EncodedImage
name, path = sys.argv[1:]
data = open(path, "rb").read()
memory_budget.unbounded()
spec = EncodeSpec(mode="always")
encoder = PillowEncoder(spec)
encoder.open()
with header.open_image(data, spec) as im:
    need = need_of(im, data, spec)
def peak():
    # Of this program alone: `ru_maxrss` begins at what the process that started it held.
    with open("/proc/self/status") as file:
        return int(file.read().partition("VmHWM:")[2].split()[0])
before = peak()
(result,) = encoder.encode_batch([data])
assert isinstance(result, EncodedImage), result
print(json.dumps([need, (peak() - before) << 10]))
"""
NAMES = "import json; from benchmarks.robustness.large_files import CASES; " + (
    "print(json.dumps([*CASES]))"
)
MAKE = "import sys; from benchmarks.robustness.large_files import make_case; " + (
    "open(sys.argv[2], 'wb').write(make_case(sys.argv[1], 25))"
)


def python(script: str, *arguments: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", script, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def names() -> list[str]:
    return json.loads(python(NAMES))


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_what_an_image_holds_stays_below_its_estimate(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    python(MAKE, name, str(path))
    need, held = json.loads(python(PEAK, name, str(path)))
    assert held <= need


ALONE = """
import sys, time
from beam_export.images.encoder import EncodeSpec
from beam_export.images import pillow_encoder, tiles
spans, load, written = [], tiles.decode_on_canvas, pillow_encoder.PillowEncoder._written
def loading(im):
    spans.append(time.monotonic())
    return load(im)
def writing(self):
    data = written(self)
    spans.append(time.monotonic())
    return data
tiles.decode_on_canvas, pillow_encoder.PillowEncoder._written = loading, writing
encoder = pillow_encoder.PillowEncoder(EncodeSpec(mode="always"))
encoder.open()
data = open(sys.argv[1], "rb").read()
print("ready", flush=True)
sys.stdin.readline()
for _ in range(4):
    encoder.encode_batch([data])
print(*spans)
"""


@pytest.mark.slow
def test_large_images_of_two_processes_are_never_at_work_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.webp"
    path.write_bytes(flat(3_000, "RGB", "WEBP", lossless=True))
    monkeypatch.setattr(memory_budget, "BYTES_PER_WORKER", 128 * MIB)
    assert estimate(path.read_bytes()) > 128 * MIB
    command = [sys.executable, "-c", ALONE, str(path)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with memory_budget.shared_budget(1):
        both = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(2)]
        for one in both:
            assert one.stdout.readline() == "ready\n"
        told = []
        for one in both:
            one.stdin.write("go\n")
            one.stdin.flush()
        for one in both:
            told.append([float(moment) for moment in one.communicate(timeout=300)[0].split()])
    spans = sorted(
        (begin, end, process)
        for process, moments in enumerate(told)
        for begin, end in zip(moments[::2], moments[1::2], strict=True)
    )
    assert len(spans) == 8
    assert all(end <= begin for (_, end, _), (begin, _, _) in itertools.pairwise(spans))
