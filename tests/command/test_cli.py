"""The command line: what it returns, what it says, and what it leaves behind."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.exports import check_export, left_over, make_images, picture, read_export

from beam_export.cli import display
from beam_export.cli.main import main
from beam_export.pipeline import dry_run
from beam_export.planning import memory_check, spill_files
from beam_export.sources.contents import Contents, look_at
from beam_export.sources.patterns import Pattern
from beam_export.storage import registry

IN_MEMORY = "--direct_num_workers=1"
COMMAND = [sys.executable, "-m", "beam_export"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"), 7)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """So many large images that a run takes long enough to be cut short."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.effect_noise((1200, 1200), 90).save(folder / "0000.jpg")
    for number in range(1, 1500):
        os.link(folder / "0000.jpg", folder / f"{number:04d}.jpg")
    return folder


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def is_one_sentence(text: str) -> bool:
    """Tells whether that is all there is: one line, no traceback, a full stop or a hint."""
    return text.count("\n") == 1 and text.startswith("beam-export: ") and "Traceback" not in text


# Wrong use.


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--images_per_tar=0"], "--images_per_tar"),
        (["--images_per_tar=-5"], "--images_per_tar"),
        (["--images_per_tar=many"], "many"),
        (["--no_such_flag=1"], "--no_such_flag"),
        (["--image_per_tar=5"], "--image_per_tar"),
        (["stray"], "stray"),
        (["--order=random"], "random"),
        (["--deterministic_name=perhaps"], "perhaps"),
        (["--dry_run=maybe"], "maybe"),
        (["--encode=never", "--resize=10"], "--resize"),
        (["--max_failed_fraction=2"], "--max_failed_fraction"),
        (["--direct_running_mode=multi_threading"], "multi_threading"),
        (["--direct_num_workers=-1"], "-1"),
        (["--direct_num_workers=two"], "two"),
        (["--input=elsewhere"], "--input is given twice"),
    ],
)
def test_wrong_flags(
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    words: str,
) -> None:
    out = tmp_path / "out"
    assert main(["export", f"--input={images}", f"--output_dir={out}", *flags]) == 2
    said = capsys.readouterr().err
    assert is_one_sentence(said)
    assert words in said
    assert not out.exists()


@pytest.mark.parametrize("given", [["--output_dir=x"], ["--input=x"]])
def test_missing_flag(capsys: pytest.CaptureFixture[str], given: list[str]) -> None:
    assert main(given) == 2
    said = capsys.readouterr().err
    assert is_one_sentence(said)
    assert "required" in said


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exprot", "--input=x"]) == 2
    assert "'exprot' is no command" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["nowhere", "empty", "*.nothing", ""])
def test_no_input(tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str) -> None:
    (tmp_path / "empty").mkdir()
    source = str(tmp_path / given) if given else ""
    out = tmp_path / "out"
    assert main(["--input", source, "--output_dir", str(out), IN_MEMORY]) == 2
    said = capsys.readouterr().err
    assert is_one_sentence(said)
    assert not list(out.glob("*"))


def test_kinds_that_come_after_the_look_are_exported_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = make_images(tmp_path / "in", 3), tmp_path / "out"
    looked: list[Contents | None] = []

    def look_and_write(patterns: list[Pattern], exclude: str, input_format: str) -> Any:
        looked.append(look_at(patterns, exclude, input_format))
        with tarfile.open(source / "late.tar", "w") as tar:
            data = picture(9)
            info = tarfile.TarInfo("late.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        return looked[0]

    monkeypatch.setattr("beam_export.cli.look.look_at", look_and_write)
    assert main(["--input", str(source), "--output_dir", str(out), IN_MEMORY]) == 0
    assert looked[0] is not None
    assert looked[0].kinds == {"files"}
    assert len(read_export(out).ids) == 4
    assert "late" in read_export(out).ids
    assert not left_over(out)


def test_output_that_cannot_be_written_to(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    assert main(["--input", str(images), "--output_dir", str(out), IN_MEMORY]) == 2
    said = capsys.readouterr().err
    assert is_one_sentence(said)
    assert str(out) in said


@pytest.mark.parametrize("flag", ["--input", "--output_dir", "--metadata", "--ids"])
def test_cloud_storage_without_its_extra(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flag: str,
) -> None:
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    given = {"--input": str(images), "--output_dir": str(tmp_path / "out"), flag: "gs://b/x"}
    flags = [f"{name}={value}" for name, value in given.items()]
    assert main([*flags, IN_MEMORY]) == 2
    said = capsys.readouterr().err
    assert is_one_sentence(said)
    assert f"{flag}=gs://b/x" in said
    assert "'gcp'" in said


def test_one_sentence_from_a_process_of_its_own(images: Path, tmp_path: Path) -> None:
    """Whatever Beam and its libraries log: with worker processes, and nothing patched."""
    for number in range(2):
        (tmp_path / f"in{number}").mkdir()
        (tmp_path / f"in{number}" / "same.jpg").write_bytes(picture(number))
    done = run("--input", f"{tmp_path}/in0,{tmp_path}/in1", "--output_dir", tmp_path / "out")
    assert done.returncode == 2
    assert done.stdout == ""
    assert is_one_sentence(done.stderr)
    for words in ("in0/same.jpg", "in1/same.jpg", "--duplicates=rename"):
        assert words in done.stderr
    assert left_over(tmp_path / "out") == []


# Runs.


def test_run_with_processes(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, temporary = tmp_path / "out", tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    (images / "notes.md").write_text("no image")
    done = run("--input", images, "--output_dir", out, "--images_per_tar", 3, "--verbose=false")
    assert done.returncode == 0, done.stderr
    export = read_export(out)
    assert export.sizes == [3, 3, 1]
    for words in ("7 images in 3 shards", "copied 6, encoded 1, failed 0", "1 .md"):
        assert words in done.stdout
    assert f"{out}/images-{export.hash}-manifest.json" in done.stdout
    assert done.stderr == "planned 7 images in 3 shards\n"
    check_export(out, 3)
    assert left_over(out) == []
    # No locks of idle cores either.
    assert list(temporary.glob("beam_export-*")) == []


def test_too_many_failures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_images(tmp_path / "in", 3)
    (folder / "bad.jpg").write_bytes(b"bad")
    out = tmp_path / "out"
    flags = ["--input", str(folder), "--output_dir", str(out), IN_MEMORY]
    assert main(flags) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("beam-export: 1 of 4 images failed")
    assert list(out.glob("_meta/*failures.parquet"))
    assert left_over(out) == []
    assert main([*flags, "--max_failed_fraction=0.5"]) == 0
    assert "failures.parquet" in capsys.readouterr().out


def test_verbose_tells_of_every_shard(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--input", str(images), "--output_dir", str(tmp_path / "out"), IN_MEMORY]
    for found in ("", ", finished before"):
        assert main([*flags, "--images_per_tar=4", "--verbose"]) == 0
        said = capsys.readouterr().err
        assert re.search(rf"^shard 000000: 4 images, [\d.]+ kB{found}$", said, re.MULTILINE)
        assert re.search(rf"^shard 000001: 3 images, [\d.]+ kB{found}$", said, re.MULTILINE)


def test_samples_go_by_files_and_more_than_memory_holds_are_refused_before_they_are_planned(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    written: list[bytes] = []
    write = spill_files._File.write

    def recorded(file: spill_files._File, value: bytes) -> bytes:
        written.append(value)
        return write(file, value)

    monkeypatch.setattr(spill_files._File, "write", recorded)
    monkeypatch.setattr(memory_check, "allowed_bytes", lambda: 7 * memory_check._BY_FILES - 1)
    out = tmp_path / "out"
    assert main(["--input", str(images), "--output_dir", str(out), IN_MEMORY]) == 2
    said = capsys.readouterr().err
    assert is_one_sentence(said)
    assert "7 samples take about" in said
    assert "enough for 6" in said
    assert len(written) == 2  # the listing and a block of refs; keys and names come after it
    assert left_over(out) == []
    assert not list(out.glob("images-*"))


def test_dry_run_writes_nothing_and_says_what_lacks_and_is_passed_by(
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dry_run, "heif_versions", lambda: None)
    out = tmp_path / "below" / "out"
    folder = shutil.copytree(images, tmp_path / "in")
    flags = ["--input", str(folder), "--output_dir", str(out), "--images_per_tar=3"]
    (folder / ".x").mkdir()
    for name in (".DS_Store", ".x/0.jpg", "notes.md", "more.md", "phone.heic"):
        (folder / name).write_bytes(b"x")
    for name in ("bad.jpg", "bad.json"):
        (folder / name).write_bytes(b"{")
    assert main([*flags, "--dry_run"]) == 0
    said = capsys.readouterr().out
    for words in ("8 images in 3 shards", "6 copied", "2 encoded", "nothing was written"):
        assert words in said
    passed_by = next(line for line in said.splitlines() if "passed by" in line)
    assert passed_by == "  passed by: 2 (hidden), 2 .md"
    assert f"  failed already: 1 with ValueError ({folder}/bad.jpg: the .json " in said
    assert "  1 image looks like HEIC or HEIF, which takes an extra" in said
    assert not (tmp_path / "below").exists()


def test_a_dry_run_says_what_is_left_out_as_the_run_does(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(images, tmp_path / "in")
    one = next(folder.rglob("*.jpg"))
    shutil.copy(one, one.with_suffix(".jpeg"))
    flags = ["--input", str(folder), "--output_dir", str(tmp_path / "out"), IN_MEMORY]
    flags += ["--duplicates=first", "--limit=3"]
    left_out = []
    for more in (["--dry_run"], []):
        assert main([*flags, *more]) == 0
        said = capsys.readouterr().out.splitlines()
        left_out.append([line for line in said if "left out" in line])
    assert left_out == 2 * [["  left out 1 duplicate, 4 beyond --limit"]]


def test_a_dry_run_says_what_it_is_at(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    monkeypatch.setattr(display.Progress, "receive", lambda self, counts: heard.extend(counts))
    flags = ["--input", str(images), "--output_dir", str(tmp_path / "out"), "--dry_run"]
    assert main(flags) == 0
    # Of what is planned the end says all.
    assert set(heard) == {"listed", "ranked"}


def test_runner_by_its_usual_name(images: Path, tmp_path: Path) -> None:
    flags = ["--input", str(images), "--output_dir", str(tmp_path / "out"), IN_MEMORY]
    assert main([*flags, "--runner", "DirectRunner"]) == 0
    assert len(read_export(tmp_path / "out").rows) == 7


# Terminals.


def read_terminal(leader: int, process: subprocess.Popen[bytes]) -> str:
    """Returns all that a process writes to a terminal until it ends."""
    parts = []
    while True:
        ready, _, _ = select.select([leader], [], [], 0.2)
        if ready:
            try:
                parts.append(os.read(leader, 65_536))
            except OSError:  # Linux's word for the end, once nobody holds the other side
                break
        elif process.poll() is not None:
            break
    return b"".join(parts).decode()


def test_bar_on_a_terminal(images: Path, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [*COMMAND, "--input", str(images), "--output_dir", str(tmp_path / "out"), IN_MEMORY]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower)
    os.close(follower)
    said = read_terminal(leader, process)
    out, _ = process.communicate(timeout=60)
    os.close(leader)
    assert process.returncode == 0
    assert re.search(r"writing:.*\d+/7.*images/s", said)
    assert re.search(r"B/s", said)
    assert "WARNING" not in said
    assert b"7 images in 1 shard" in out


# Ends that come too soon.


def descendants(process: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        found.extend(map(int, task.read_text().split()))
    return found + [below for child in found for below in descendants(child)]


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_for(what: Callable[[], bool], seconds: float = 240) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


@pytest.fixture
def running(many: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """An export with two workers, in the middle of writing shards."""
    out = tmp_path / "out"
    flags = ["--images_per_tar=40", "--encode=always", "--direct_num_workers=2"]
    process = subprocess.Popen(
        [*COMMAND, "--input", str(many), "--output_dir", str(out), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: process.poll() is not None or bool(list(out.glob("images-*.parquet"))))
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
def test_interrupted(running: subprocess.Popen[str], tmp_path: Path) -> None:
    workers = descendants(running.pid)
    assert len(workers) >= 2
    # To the whole group, as a terminal does.
    os.killpg(running.pid, signal.SIGINT)
    # And again, while it cleans up.
    time.sleep(0.2)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130
    assert said.splitlines()[-1] == "beam-export: interrupted"
    assert "Traceback" not in said
    wait_for(lambda: not any(map(is_alive, workers)), 5)
    assert_nothing_half_written(tmp_path / "out")
    assert left_over(tmp_path / "out") == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
def test_killed(running: subprocess.Popen[str], tmp_path: Path) -> None:
    workers = descendants(running.pid)
    assert len(workers) >= 2
    running.kill()
    running.wait(timeout=10)
    wait_for(lambda: not any(map(is_alive, workers)), 10)
    assert_nothing_half_written(tmp_path / "out")


def assert_nothing_half_written(out: Path) -> None:
    assert not list(out.glob("*manifest.json"))
    parquets = sorted(out.glob("images-*.parquet"))
    assert parquets
    for path in [*parquets, *out.glob("images-*.tar")]:
        content = path.read_bytes()
        whole = content.endswith(b"PAR1" if path.suffix == ".parquet" else b"\0" * 1024)
        assert whole, path
    assert all(path.with_suffix(".tar").exists() for path in parquets)
