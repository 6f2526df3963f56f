"""FIFOs, sockets and devices where files should be: nothing waits for them, and all is told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.exports import ROOT, Export, directory_hashes, make_images, read_export
from support.runs import run_export
from support.waiting import time_limit

from beam_export.cli.main import main

IN_MEMORY = "--direct_running_mode=in_memory"
#: Seconds that only a run which hangs takes.
LIMIT = 900


@pytest.fixture(autouse=True)
def _limit() -> Iterator[None]:
    with time_limit(LIMIT):
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("in"), 4)


def fifo(path: Path) -> Path:
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


NAMED = [
    *(("input", name) for name in ("x.jpg", "x.tar", "x.tar.gz", "x.parquet", "x.csv")),
    *(("metadata", name) for name in ("m.parquet", "m.csv")),
    *((flag, name) for flag in ("ids", "exclude_ids") for name in ("i.txt", "i.parquet")),
]


@pytest.mark.parametrize(
    ("kind", "flag", "name"),
    [
        *(("FIFO", *named) for named in NAMED),
        ("character device", "input", "x.tar"),
        *(
            pytest.param("character device", *named, marks=pytest.mark.slow)
            for named in NAMED
            if named != ("input", "x.tar")
        ),
    ],
)
def test_what_is_named_outright_is_refused_in_a_sentence(
    tmp_path: Path,
    images: Path,
    capsys: pytest.CaptureFixture[str],
    flag: str,
    name: str,
    kind: str,
) -> None:
    path = tmp_path / name
    if kind == "FIFO":
        fifo(path)
    else:
        path.symlink_to("/dev/zero")
    given = [f"--{flag}={path}", *([] if flag == "input" else [f"--input={images}"])]
    assert main(["export", *given, f"--output_dir={tmp_path / 'out'}", IN_MEMORY]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (
        f"beam-export: --{flag}={path} is a {kind}, which is never read: give a regular file."
    )


def test_what_lies_in_a_folder_is_passed_by_and_counted(tmp_path: Path) -> None:
    """Through the command, whose workers are processes of their own."""
    folder = make_images(tmp_path / "in", 3)
    for name in ("a.jpg", "b.tar", "c.txt"):
        fifo(folder / name)
    (folder / "d.png").symlink_to("/dev/zero")
    fifo(folder / "img00000.txt")
    command = [sys.executable, "-m", "beam_export", "--input", str(folder)]
    done = subprocess.run(
        [*command, f"--output_dir={tmp_path / 'out'}", "--direct_num_workers=2"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    export = read_export(tmp_path / "out")
    assert (len(export.rows), export.failures) == (3, [])
    steps = {step["step"]: step for step in export.manifest["steps"]}
    assert steps["read"]["skipped"] == {"(FIFO)": 4, "(character device)": 1}


@pytest.fixture(scope="module")
def plain(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    return run_export(images, tmp_path_factory.mktemp("plain") / "out", images_per_tar=2)


@pytest.fixture
def exported(plain: Export, tmp_path: Path) -> Path:
    """An export of one's own, to do harm to."""
    return Path(shutil.copytree(plain.out, tmp_path / "out"))


NAMES = ["images-*-000000.tar", "images-*-000001.parquet", "*-manifest.json", "_meta/*-shards*"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [fifo, lambda path: path.unlink() or path.mkdir()])
def test_verify_tells_of_a_file_that_is_none(
    exported: Path, capsys: pytest.CaptureFixture[str], name: str, make: Callable[[Path], object]
) -> None:
    (victim,) = exported.glob(name)
    make(victim)
    code = main(["verify", str(exported), "--decode", "--direct_num_workers=1"])
    assert code in (1, 2)
    assert victim.name in "".join(capsys.readouterr()) or code == 2


@pytest.mark.parametrize("name", ["x.tar", "x.parquet"])
def test_verify_of_what_others_made(
    tmp_path: Path, plain: Export, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    made = tmp_path / "made"
    made.mkdir()
    for end in ("tar", "parquet"):
        content = plain.shards[0].tar.with_suffix(f".{end}").read_bytes()
        (made / f"x.{end}").write_bytes(content)
    fifo(made / name)
    assert main(["verify", str(made), "--direct_num_workers=1"]) == 1
    assert f"{name}: it cannot be read (it is a FIFO, and not a regular file)" in "".join(
        capsys.readouterr()
    )


@pytest.mark.parametrize(
    "name",
    [NAMES[0], NAMES[2], *(pytest.param(NAMES[at], marks=pytest.mark.slow) for at in (1, 3))],
)
def test_a_run_into_an_export_of_which_a_file_is_none_ends(
    images: Path, exported: Path, name: str
) -> None:
    """Whatever it says of that: what stands in the place of one's own is nobody's business here."""
    before = directory_hashes(exported)
    (victim,) = exported.glob(name)
    fifo(victim)
    given = [f"--input={images}", f"--output_dir={exported}", "--images_per_tar=2", IN_MEMORY]
    if main(["export", *given]) == 0:
        assert directory_hashes(exported) == before
