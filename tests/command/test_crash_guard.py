"""Images that crash, hang or eat memory in their codec: isolated, listed, and nothing else lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from support.exports import ROOT, check_export, left_over, make_images, picture, read_export

from beam_export.cli.worker import QUIET
from beam_export.errors import SampleError
from beam_export.images.crash_guard import GuardedEncoder, _digest, guarded
from beam_export.images.encoder import EncodeSpec
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.images.sandbox import Sandbox
from beam_export.samples import EncodedImage
from beam_export.shards.output import Output

#: What every process loads that is started with it on its path: a codec with a sense of drama.
EVIL = """
import ctypes, os, re, time
from PIL import Image, ImageFile

class Evil(ImageFile.ImageFile):
    format = "BMP"
    def _open(self):
        self.what, *self.how_much = self.fp.read(16).decode().split()[1:]
        self._size, self._mode, self.tile = (8, 8), "RGB", []
    def load(self):
        if self.what == "crash":
            os.kill(os.getpid(), 11)
        if self.what == "hang":
            time.sleep(3600)
        if self.what == "hang-locked":
            ctypes.PyDLL(None).sleep(3600)  # with Python's lock
        if self.what == "loop":
            while True:
                pass
        if self.what == "loop-locked":
            re.match("(a+)+$", "a" * 64 + "b")
        if self.what == "busy":
            end = time.thread_time() + float(self.how_much[0])
            while time.thread_time() < end:
                pass
        if self.what == "take":
            taken = bytearray(int(self.how_much[0]) << 20)
        if self.what == "eat":
            eaten = []
            while True:
                eaten.append(bytearray(64 << 20))
                if len(eaten) == 20:  # as a machine ends who takes what it has not
                    os.kill(os.getpid(), 9)
        raise ValueError("what else")

opener = Image.open
def evil_open(fp, *args, **kwargs):
    start = fp.read(5) if hasattr(fp, "read") else b""
    if hasattr(fp, "seek"):
        fp.seek(0)
    return Evil(fp) if start == b"EVIL " else opener(fp, *args, **kwargs)
Image.open = evil_open
"""


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(EVIL)
    paths = [str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    # A command that ran in this process has left it, and then no process says where it hangs.
    monkeypatch.delenv(QUIET, raising=False)
    return folder


def said(result: object) -> str:
    assert isinstance(result, SampleError), result
    assert (result.stage, result.error) == ("decode", "Crashed")
    return result.message


def test_the_sandbox_gives_what_pillow_gives_and_outlives_its_images(
    evil: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox, spec = Sandbox(EncodeSpec()), EncodeSpec()
    plain = PillowEncoder(spec)
    plain.open()
    images = [picture(1), picture(3, "png"), np.full((5, 7, 3), 9, np.uint8), b"no image"]
    for image, wanted in zip(images, plain.encode_batch(images), strict=True):
        given = sandbox.encode(image)
        if isinstance(wanted, EncodedImage):
            assert given == wanted
        else:
            assert isinstance(given, SampleError)
            assert given.args == wanted.args
    assert said(sandbox.encode(b"EVIL crash")) == "its codec crashed (SIGSEGV)"
    assert "more memory than an image of its size" in said(sandbox.encode(b"EVIL eat"))
    assert sandbox.encode(images[0]) == plain.encode_batch(images[:1])[0]
    sandbox.close()


def hurry(evil: Path) -> None:
    """Has every process lose its patience soon."""
    with (evil / "sitecustomize.py").open("a") as file:
        file.write(
            "\nfrom beam_export.images import limits, watch\n"
            "limits.CHECK_EVERY, limits.MAX_ASLEEP, limits.SECONDS = 0.1, 5, 1\n"
            "watch.CHECK_EVERY, watch.MAX_ASLEEP, watch.AT_FIRST = 0.1, 5, 1\n"
        )


HANGS = [
    *("hang", "loop-locked"),  # asleep and awake, without Python's lock and with it
    *(pytest.param(how, marks=pytest.mark.slow) for how in ("hang-locked", "loop")),
]


@pytest.mark.parametrize("how", HANGS)
def test_an_image_that_hangs_is_given_up(evil: Path, how: str) -> None:
    hurry(evil)
    sandbox = Sandbox(EncodeSpec())
    assert "longer than an image of its size" in said(sandbox.encode(f"EVIL {how}".encode()))
    assert isinstance(sandbox.encode(picture(1)), EncodedImage)
    sandbox.close()


def child_of(process: int) -> int:
    for _ in range(600):
        for task in Path(f"/proc/{process}/task").glob("*/children"):
            for child in task.read_text().split():
                return int(child)
        time.sleep(0.05)
    raise AssertionError


def test_an_image_that_is_stopped_is_waited_for(evil: Path) -> None:
    """Looks are counted, not the clock: whoever is stopped does not sleep."""
    hurry(evil)
    sandbox = Sandbox(EncodeSpec())
    sandbox.encode(picture(1))
    assert sandbox._server is not None
    server, results = sandbox._server.pid, []
    thread = threading.Thread(target=lambda: results.append(sandbox.encode(b"EVIL busy 0.8")))
    thread.start()
    child = child_of(server)
    for process in (child, server):
        os.kill(process, signal.SIGSTOP)
        time.sleep(2)
        os.kill(process, signal.SIGCONT)
    thread.join(60)
    sandbox.close()
    (told,) = results
    assert isinstance(told, SampleError)
    assert told.error == "UndecodableImage"


def test_notes_stand_while_a_batch_is_at_work_and_name_suspects(tmp_path: Path) -> None:
    output = Output(str(tmp_path), "token")
    seen: list[list[bytes]] = []

    class Spy(PillowEncoder):
        def encode_batch(self, images):  # type: ignore[no-untyped-def]
            seen.append(output.notes())
            if b"short" in images:
                raise MemoryError
            return super().encode_batch(images)

    encoder = GuardedEncoder(Spy(EncodeSpec()), output, cautious=False)
    encoder.open()
    encoder.encode_batch([picture(1), picture(2)])
    assert [len(note) for note in seen[0]] == [64]
    assert output.notes() == []
    with pytest.raises(MemoryError):
        encoder.encode_batch([picture(1), b"short"])
    assert len(output.notes()) == 1
    encoder.close()
    # Who begins after that tries those two apart, and only those.
    after = GuardedEncoder(Spy(EncodeSpec()), output, cautious=False)
    after.open()
    results = after.encode_batch([picture(1), picture(2), b"short"])
    assert len(seen) == 3
    assert [len(note) for note in seen[2]].count(32) == 1
    assert [isinstance(one, EncodedImage) for one in results] == [True, True, False]
    after.close()


def test_images_are_told_apart_by_their_lengths_and_both_ends() -> None:
    image = bytes(100_000)
    others = [
        image + b"\0",
        b"\1" + image[1:],
        image[:-1] + b"\1",
        image[:10],
        b"",
        np.zeros((2, 3), np.uint8),
        np.zeros((3, 2), np.uint8),
    ]
    assert len({_digest(one) for one in [image, *others]}) == 1 + len(others)
    # What differs in between only is suspected together, which costs time and no image.
    assert _digest(image) == _digest(image[:50_000] + b"\1" + image[50_001:])


def test_notes_need_a_disk(tmp_path: Path) -> None:
    plain = PillowEncoder(EncodeSpec())
    assert guarded(plain, Output("mem://b/out", "token")) is plain
    assert guarded(plain, Output(str(tmp_path), "token")) is not plain


def export(source: Path, out: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "beam_export", "--input", str(source)]
    given = ["--output_dir", str(out), "--images_per_tar=4", "--max_failed_fraction=0.5", *flags]
    return subprocess.run(
        [*command, *given], capture_output=True, text=True, check=False, timeout=400
    )


def failed(out: Path) -> dict[str, str]:
    found = read_export(out).failures
    assert {(one["stage"], one["error"]) for one in found} == {("decode", "Crashed")}
    return {one["image_id"]: one["message"] for one in found}


@pytest.mark.slow
def test_a_run_with_two_workers_isolates_what_crashes_them(evil: Path, tmp_path: Path) -> None:
    folder = make_images(tmp_path / "in", 12)
    (folder / "img00001b.jpg").write_bytes(b"EVIL crash")
    (folder / "part1" / "zz.jpg").write_bytes(b"EVIL eat")
    done = export(folder, tmp_path / "out", "--direct_num_workers=2")
    assert done.returncode == 0, done.stderr
    assert "a worker was lost" in done.stderr
    assert "Traceback" not in done.stderr
    assert failed(tmp_path / "out") == {
        "img00001b": "its codec crashed (SIGSEGV)",
        "part1/zz": "it took its codec more memory than an image of its size may take",
    }
    assert len(read_export(tmp_path / "out").rows) == 12
    assert left_over(tmp_path / "out") == []
    check_export(tmp_path / "out", 4, "--allow-short")


@pytest.mark.slow
def test_a_run_in_one_process_is_gone_and_the_next_one_knows_why(
    evil: Path, tmp_path: Path
) -> None:
    folder = make_images(tmp_path / "in", 6)
    (folder / "img00001b.jpg").write_bytes(b"EVIL crash")
    assert export(folder, tmp_path / "out", "--direct_num_workers=1").returncode == -11
    assert left_over(tmp_path / "out") != []
    done = export(folder, tmp_path / "out", "--direct_num_workers=1")
    assert done.returncode == 0, done.stderr
    assert list(failed(tmp_path / "out")) == ["img00001b"]
    assert left_over(tmp_path / "out") == []


WATCHED = """
import sys
from beam_export.images import crash_guard
from beam_export.images import memory_budget
from beam_export.images.encoder import EncodeSpec
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.shards.output import Output

output = Output(sys.argv[1], "token")
encoder = crash_guard.GuardedEncoder(PillowEncoder(EncodeSpec()), output, False)
encoder.open()
print("open", flush=True)
encoder.encode_batch([sys.argv[2].encode()])
encoder.close()
"""


def watched(folder: Path, image: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WATCHED, str(folder), image],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("how", HANGS)
def test_a_process_that_hangs_is_ended_and_its_suspect_is_known(
    evil: Path, tmp_path: Path, how: str
) -> None:
    hurry(evil)
    process = watched(tmp_path, f"EVIL {how}")
    _, told = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGABRT
    assert "in load" in told
    encoder = GuardedEncoder(PillowEncoder(EncodeSpec()), Output(str(tmp_path), "token"), False)
    encoder.open()
    assert encoder._suspects == {_digest(f"EVIL {how}".encode())}
    encoder.close()


def test_a_process_that_is_stopped_or_slow_is_not_ended(evil: Path, tmp_path: Path) -> None:
    hurry(evil)
    process = watched(tmp_path, "EVIL busy 0.7")
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGSTOP)
    time.sleep(2)
    process.send_signal(signal.SIGCONT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told


WAITING = """
import sys, threading, time
from beam_export.images import memory_budget
from beam_export.images import watch

watch.begin()
memory_budget.SMALL = 0
with memory_budget.shared_budget(1):
    def work():
        with watch.at_work(), watch.waiting(), memory_budget.budget().taken(1 << 50):
            pass
    with memory_budget.budget().taken(1 << 50):
        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(3)
    thread.join()
"""


def test_who_waits_for_memory_does_not_hang(evil: Path) -> None:
    hurry(evil)
    subprocess.run([sys.executable, "-c", WAITING], check=True, timeout=120)


def test_memory_in_the_sandbox_is_limited_by_the_images_size(evil: Path) -> None:
    """The system refuses what the limit refuses: nobody has to kill the process."""
    sandbox = Sandbox(EncodeSpec())
    assert "more memory than an image of its size" in said(sandbox.encode(b"EVIL take 600"))
    # Of another failure, told as Pillow's own encoder tells it.
    told = sandbox.encode(b"EVIL take 100")
    assert isinstance(told, SampleError)
    assert told.error == "UndecodableImage"
    sandbox.close()


@pytest.mark.slow
def test_a_run_with_an_image_that_hangs_goes_on_without_it(evil: Path, tmp_path: Path) -> None:
    hurry(evil)
    folder = make_images(tmp_path / "in", 8)
    (folder / "img00001b.jpg").write_bytes(b"EVIL hang")
    done = export(folder, tmp_path / "out", "--direct_num_workers=2")
    assert done.returncode == 0, done.stderr
    (message,) = failed(tmp_path / "out").values()
    assert "longer than an image of its size" in message
    assert len(read_export(tmp_path / "out").rows) == 8
    assert left_over(tmp_path / "out") == []
