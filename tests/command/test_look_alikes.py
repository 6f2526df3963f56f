"""An output full of what is not ours goes through every command, and none of it comes to harm.

Strangers with our names and in our places, links, pipes, other tools' directories and exports of
others: each is looked at before and after, with its content or where it leads, its inode and its
time. What stands where a run has to write is refused in one sentence that names it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.exports import ROOT, Export, directory_hashes, left_over, make_images
from support.look_alikes import CURATOR, IN_MEMORY, ONE, OTHER, README, SHARD, TOKEN

from beam_export.cli import main as cli
from beam_export.errors import InputError, RunError
from beam_export.options import ExportOptions
from beam_export.shards import lock
from beam_export.shards.directory import Snapshot
from beam_export.shards.leftovers import find_card, remove_or_refuse
from beam_export.shards.manifest import seal, unseal
from beam_export.shards.output import Output


def export(images: Path, out: Path, *flags: str) -> int:
    given = ["--input", str(images), "--output_dir", str(out), "--images_per_tar=3", IN_MEMORY]
    return cli.main([*given, *flags])


def identity(path: Path) -> tuple[Any, ...]:
    """Returns what changes if anybody touches something: of a directory, that it is there."""
    status = path.lstat()
    if path.is_symlink():
        return "link", os.readlink(path), status.st_ino, status.st_mtime_ns
    if path.is_dir():
        return ("directory", status.st_ino)
    if path.is_file():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return "file", digest, status.st_ino, status.st_mtime_ns
    return "special", status.st_ino, status.st_mtime_ns


def identities(*folders: Path) -> dict[str, tuple[Any, ...]]:
    """Returns the identities of all below some directories; no link is followed."""
    return {
        os.path.join(above, name): identity(Path(above, name))
        for folder in folders
        for above, below, names in os.walk(folder)
        for name in [*below, *names]
    }


def write(path: Path, content: bytes | str = b"mine") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def tar_of_another_tool(path: Path) -> Path:
    """A tar as NeMo Curator writes it, under a name like ours."""
    write(path.parent / "x.txt")
    with tarfile.open(path, "w") as tar:
        tar.add(path.parent / "x.txt", "x.txt")
    (path.parent / "x.txt").unlink()
    return path


def strangers_beside(out: Path, home: Path) -> None:
    """Makes what is in nobody's way: beside an export, in `_tmp` and in `_meta`."""
    write(home / "thesis.txt")
    write(home / TOKEN / "run", "home")
    # Other tools' temporary files, under names like ours and with files named like ours.
    write(out / "_tmp" / "mydata" / "thesis.txt")
    write(out / "_tmp" / "loose.txt")
    write(out / "_tmp" / TOKEN / OTHER)
    write(out / "_tmp" / TOKEN / f"spill-{OTHER}")
    write(out / "_tmp" / OTHER / "run", "somebody's run")
    write(out / "_tmp" / OTHER / f"note-{TOKEN}")
    (out / "_tmp" / ("ab" * 16)).symlink_to(home / TOKEN)
    (out / "_tmp" / "empty").mkdir()
    (out / "_tmp" / "to-home").symlink_to(home)
    os.mkfifo(out / "_tmp" / "pipe")
    write(out / "_tmp" / ("cd" * 16), "a file with a name of a run")
    # Foreign tables and reports.
    write(out / "_meta" / "mine.parquet")
    write(out / "_meta" / "images-notes.json")
    (out / "_meta" / "link.json").symlink_to("mine.parquet")
    (out / "_meta" / "nowhere").symlink_to("gone")
    # Indexes of other tars, and what Energon's own tool leaves.
    write(out / "sizes.json", '{"00000.tar": 5}')
    write(out / "nshards.txt", "7\n")
    write(out / "images-0123456789ab-00000.idx")
    write(out / ".nv-meta" / "index.sqlite")
    write(out / ".nv-meta" / "dataset.yaml", "mine: true\n")
    # Names that are nearly ours.
    for name in ("images-0123456789ab-00000.tar", "images-0123456789AB-000000.tar", "images.tar"):
        write(out / name)
    write(out / "images-0123456789ab-000000.tar.bak")
    write(out / "backup" / "images-0123456789ab-manifest.json")
    (out / "dangling").symlink_to("gone")
    os.mkfifo(out / "pipe")
    os.link(home / "thesis.txt", out / "hard-link.txt")


def dead_run(out: Path) -> Output:
    """Leaves what a run leaves that was killed, with files of somebody else in its workspace."""
    dead = Output(str(out), "00112233445566778899aabbccddeeff")
    dead.prepare()
    with dead.spilling() as (_, target):
        target.write(b"spilled")
    dead.note(OTHER, b"a note")
    write(Path(dead.workspace, "thesis.txt"))
    Path(dead.workspace, TOKEN).symlink_to("thesis.txt")
    write(Path(dead.workspace, "below", OTHER))
    return dead


def of_dead_run(dead: Output) -> set[str]:
    """Returns what of it is this tool's."""
    work = dead.workspace
    files = [os.path.join(work, name) for name in os.listdir(work)]
    return {one for one in files if re.search(r"/(?:spill-|note-|run$)", one)}


COMMANDS: dict[str, list[tuple[int, tuple[str, ...]]]] = {
    "export": [(0, ())],
    "twice": [(0, ()), (0, ())],
    "clean": [(0, ()), (0, ("--clean",)), (0, ("--clean", "--quality=50", "--encode=always"))],
    "index": [(0, ("--index=dali,wids,energon",)), (2, ("--index=all",)), (0, ("--clean",))],
    "resume=false": [(0, ("--resume=false",)), (2, ("--resume=false",))],
    "dry_run": [(0, ("--dry_run",))],
    "another": [(0, ()), (2, ("--quality=50", "--encode=always"))],
    "fails": [(1, ("--max_failed_fraction=0",)), (0, ("--clean",))],
}
SLOW = ("twice", "resume=false", "another")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in COMMANDS],
)
def test_nothing_beside_an_export_comes_to_harm(
    images: Path, plain: Export, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, home = tmp_path / "out", tmp_path / "home"
    strangers_beside(out, home)
    write(out / "README.md", README)
    dead = dead_run(out)
    ours = of_dead_run(dead)
    strangers = identities(out, home)
    if name == "fails":
        images = shutil.copytree(images, tmp_path / "in")
        bad = write(images / "bad.jpg", b"no image")
    for code, flags in COMMANDS[name]:
        assert export(images, out, *flags) == code, capsys.readouterr().err
        said = capsys.readouterr().out
        if code == 0 and "--dry_run" not in flags:
            assert "README.md is not this tool's" in said
        if name == "fails":
            bad.unlink(missing_ok=True)
    after = identities(out, home)
    if name != "dry_run":
        strangers = {path: one for path, one in strangers.items() if path not in ours}
        assert not ours & set(after)
        # Not even a lock is left behind in somebody's directory.
        assert not (out / "_tmp" / "lock").exists()
    assert {path: after.get(path) for path in strangers} == strangers
    assert {path for path in after if path not in strangers and "/_tmp" in path} == set()


def test_verify_reads_and_touches_nothing(
    images: Path, plain: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(plain.out, tmp_path / "out")
    strangers_beside(out, tmp_path / "home")
    before = identities(tmp_path)
    # Names that are nearly ours are faults.
    assert cli.main(["verify", str(out), IN_MEMORY]) == 1
    assert "no file of an export has this name" in capsys.readouterr().out
    assert identities(tmp_path) == before


def test_what_a_dead_run_left_is_swept_where_it_is_a_dead_runs(
    images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    dead = Output(str(out), TOKEN)
    dead.prepare()
    with dead.spilling() as (_, target):
        target.write(b"spilled")
    assert export(images, out) == 0
    assert left_over(out) == []


# In the way.


MAKE: dict[str, Callable[[Path, Path], object]] = {
    "file": lambda path, home: write(path),
    "link": lambda path, home: path.symlink_to(home / "thesis.txt"),
    "link to a home": lambda path, home: path.symlink_to(home),
    "dangling link": lambda path, home: path.symlink_to(home / "gone"),
    "directory": lambda path, home: write(path / "thesis.txt"),
    "pipe": lambda path, home: os.mkfifo(path),
    "hard link": lambda path, home: os.link(home / "thesis.txt", path),
    "tar": lambda path, home: tar_of_another_tool(path),
    "table": lambda path, home: pq.write_table(pa.table({"image_id": ["x"]}), path),
    "json": lambda path, home: write(path, json.dumps({"hash": path.name[7:19]})),
}
AT_LAUNCH = [
    *((name, kind) for name in ("_tmp", "_meta") for kind in ("link to a home", "file")),
    *(
        (name, kind)
        for name in ("_tmp", "_meta", "_tmp/lock")
        for kind in ("dangling link", "pipe")
    ),
    *(("_tmp/lock", kind) for kind in ("file", "link", "directory", "hard link")),
]
PLANNED = [
    *((name, kind) for name in (*SHARD, *ONE) for kind in ("file", "link", "directory", "pipe")),
    *((name, "dangling link") for name in (*SHARD, *ONE)),
    ("_meta/images-{}-failures.parquet", "file"),
    *((SHARD[0], kind) for kind in ("tar", "hard link")),
    ("images-{}-000002.tar", "tar"),
    *((name, "table") for name in (SHARD[1], ONE[1], "_meta/images-{}-failures.parquet")),
    *((name, "json") for name in (ONE[0], ONE[2])),
]


def put_in_the_way(out: Path, hash_: str, name: str, kind: str) -> str:
    """Makes a stranger where a run has to write, and returns its name."""
    home = out.parent / "home"
    write(home / "thesis.txt")
    name = name.format(hash_)
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    MAKE[kind](out / name, home)
    return name


@pytest.mark.parametrize(("name", "kind"), AT_LAUNCH)
def test_a_stranger_in_the_way_is_refused_at_launch(
    images: Path, tmp_path: Path, name: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put_in_the_way(tmp_path / "out", CURATOR, name, kind)
    before = identities(tmp_path)
    for flags in ([], ["--clean"], ["--resume=false"]):
        assert export(images, tmp_path / "out", *flags) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"holds {name}" in said
        assert "give another directory" in said
    assert identities(tmp_path) == before


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize(("name", "kind"), PLANNED)
def test_a_stranger_in_the_way_is_refused_before_anything_is_written(
    tmp_path: Path, name: str, kind: str, clean: bool
) -> None:
    out = tmp_path / "out"
    name = put_in_the_way(out, CURATOR, name, kind)
    before = identities(tmp_path)
    output = lock.prepare_output(ExportOptions(output_dir=str(out)), bound=True)
    with pytest.raises(InputError, match="where this export is to be written") as caught:
        remove_or_refuse(output, CURATOR, 3, clean=clean)
    assert f"holds {name}" in caught.value.sentence
    lock.release_output(output)
    assert identities(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "kind"), [(SHARD[0], "tar"), (SHARD[1], "link"), (ONE[0], "json"), (ONE[0], "pipe")]
)
def test_the_command_refuses_a_stranger_in_the_way(
    images: Path,
    plain: Export,
    tmp_path: Path,
    name: str,
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = put_in_the_way(tmp_path / "out", plain.hash, name, kind)
    before = identities(tmp_path)
    assert export(images, tmp_path / "out") == 2
    assert f"holds {name}, where this export is to be written" in capsys.readouterr().err
    assert export(images, tmp_path / "out", "--clean") == 2
    assert identities(tmp_path) == before


def test_what_no_shard_of_this_export_is_called_is_in_nobodys_way(
    plain: Export, tmp_path: Path
) -> None:
    out = shutil.copytree(plain.out, tmp_path / "out")
    stranger = tar_of_another_tool(out / f"images-{plain.hash}-000007.tar")
    before = identity(stranger)
    output = lock.prepare_output(ExportOptions(output_dir=str(out)), bound=True)
    remove_or_refuse(output, plain.hash, 3, clean=True)
    lock.release_output(output)
    # All else was ours.
    assert [path.name for path in out.iterdir()] == [stranger.name, "_meta"]
    assert identity(stranger) == before


@pytest.mark.parametrize("clean", [False, True])
def test_shards_of_another_tool_are_no_export_to_clean(
    plain: Export, tmp_path: Path, clean: bool
) -> None:
    out = shutil.copytree(plain.out, tmp_path / "out")
    tar_of_another_tool(out / f"images-{CURATOR}-000000.tar")
    before = identities(out)
    output = lock.prepare_output(ExportOptions(output_dir=str(out)), bound=True)
    with pytest.raises(InputError, match=r"which this tool has not made: --clean leaves them"):
        remove_or_refuse(output, plain.hash, 3, clean=clean)
    lock.release_output(output)
    assert identities(out) == before


def test_a_stranger_that_comes_meanwhile_ends_the_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    output = lock.prepare_output(ExportOptions(output_dir=str(out)), bound=True)
    name, home = f"images-{CURATOR}-000000.tar", write(tmp_path / "home" / "thesis.txt")

    def write_late(seen: Snapshot, make: str) -> dict[str, tuple[Any, ...]]:
        with output.writing(name, seen) as target:
            target.write(b"ours")
            MAKE[make](out / name, home.parent)
            before.update(identities(tmp_path))
        raise AssertionError

    for make in ("file", "tar", "link", "dangling link", "directory", "pipe"):
        before: dict[str, tuple[Any, ...]] = {}
        seen = output.snapshot(name)
        time.sleep(0.01)
        with pytest.raises(RunError, match=f"holds {name}, a .*not this tool's") as caught:
            write_late(seen, make)
        assert "came there meanwhile" in caught.value.sentence
        after = identities(tmp_path)
        assert {path: after[path] for path in before if "/_tmp/" not in path} == {
            path: one for path, one in before.items() if "/_tmp/" not in path
        }
        (shutil.rmtree if (out / name).is_dir() else os.unlink)(out / name)
    lock.release_output(output)
    assert not out.exists()


def test_a_directory_that_becomes_a_link_is_not_followed(tmp_path: Path) -> None:
    """Between two looks: nothing is made, replaced or removed behind it."""
    out, home = tmp_path / "out", tmp_path / "home"
    output = lock.prepare_output(ExportOptions(output_dir=str(out)), bound=True)
    shutil.copytree(out / "_tmp", home)
    shutil.move(out / "_tmp", tmp_path / "moved")
    (out / "_tmp").symlink_to(home)
    before = identities(home)
    with pytest.raises(RunError, match="holds _tmp"), output.writing("x") as target:
        target.write(b"x")
    with pytest.raises(OSError, match="symbolic link"):
        output.note(TOKEN, b"x")
    lock.release_output(output)
    assert identities(home) == before


# Of one's own.


def test_the_output_itself_may_be_a_link(images: Path, plain: Export, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    assert export(images, tmp_path / "out") == 0
    assert directory_hashes(tmp_path / "real") == directory_hashes(plain.out)
    assert (tmp_path / "out").is_symlink()


@pytest.mark.parametrize("again", [False, True])
def test_a_tar_alone_is_known_by_the_record_of_the_run_that_made_it(
    plain: Export, tmp_path: Path, again: bool
) -> None:
    """A run may be killed between tar and Parquet, and the one that resumes it likewise."""
    out = tmp_path / "out"
    name = plain.shards[0].tar.name
    dead = Output(str(out), TOKEN)
    dead.prepare()
    shutil.copy(plain.shards[0].tar, out / name)
    dead.record_tar(name, hashlib.sha256(plain.shards[0].tar.read_bytes()).hexdigest())
    if again:
        later = Output(str(out), OTHER)
        later.prepare()
        later.work.adopt(TOKEN)
        later.work.of(TOKEN).sweep()
    output = lock.prepare_output(ExportOptions(output_dir=str(out)), bound=True)
    remove_or_refuse(output, plain.hash, 3, clean=False)
    assert (out / name).exists()
    # A run that ends there takes it along: without the record nobody would know whose it is.
    lock.release_output(output)
    assert not out.exists() or not list(out.iterdir())


def test_a_tar_that_only_has_the_name_of_a_record_is_a_strangers(
    plain: Export, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    name = plain.shards[0].tar.name
    dead = Output(str(out), TOKEN)
    dead.prepare()
    dead.record_tar(name, "0" * 64)
    tar_of_another_tool(out / name)
    before = identity(out / name)
    output = lock.prepare_output(ExportOptions(output_dir=str(out)), bound=True)
    with pytest.raises(InputError, match="a file that is not this tool's"):
        remove_or_refuse(output, plain.hash, 3, clean=False)
    lock.release_output(output)
    assert identity(out / name) == before


# The card.


#: As versions wrote it that kept no record of theirs.
FIRST_CARD = ROOT / "tests" / "support" / "first_card.txt"


@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("first_edition", [False, True])
def test_a_card_that_somebody_edited_is_kept(
    images: Path,
    plain: Export,
    tmp_path: Path,
    edited: bool,
    first_edition: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = shutil.copytree(plain.out, tmp_path / "out")
    card = out / "README.md"
    if first_edition:
        (run,) = out.glob("_meta/*-run.json")
        facts = unseal(run.read_bytes())
        del facts["card_sha256"]
        run.write_bytes(seal(facts))
        card.write_bytes(FIRST_CARD.read_bytes())
    if edited:
        card.write_text(card.read_text() + "\nPhotographed by me.\n")
    before = identity(card)
    output = lock.prepare_output(ExportOptions(output_dir=str(out)), bound=True)
    assert find_card(output) == ("kept" if edited else "ours")
    remove_or_refuse(output, plain.hash, 3, clean=True)
    lock.release_output(output)
    assert card.exists() == edited
    assert not edited or identity(card) == before


@pytest.mark.parametrize("kind", ["link", "dangling link", "directory", "pipe"])
def test_what_is_no_file_is_no_card(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(tmp_path / "home" / "thesis.txt")
    MAKE[kind](out / "README.md", tmp_path / "home")
    assert find_card(Output(str(out), TOKEN)) == "kept"


# Signals, and what is left of runs that come to nothing.


def start(images: Path, out: Path, *flags: str) -> subprocess.Popen[str]:
    given = [f"--input={images}", f"--output_dir={out}", "--images_per_tar=3", *flags]
    return subprocess.Popen(
        [sys.executable, "-m", "beam_export", "export", *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until(what: Callable[[], object], run: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 200
    while not what() and run.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def _hangup_ends() -> Iterator[None]:
    """Lets SIGHUP end what a test starts, which would inherit that it is ignored under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
@pytest.mark.usefixtures("_hangup_ends")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
)
def test_a_run_that_is_ended_harms_nothing_and_is_resumed(
    tmp_path: Path, number: int, code: int, workers: int
) -> None:
    images = make_images(tmp_path / "in", 600)
    out, home = tmp_path / "out", tmp_path / "home"
    strangers_beside(out, home)
    write(out / "README.md", README)
    strangers = identities(out, home)
    run = start(images, out, f"--direct_num_workers={workers}", "--encode=always")
    until(lambda: list(out.glob("images-*-000003.parquet")), run)
    run.send_signal(number)
    _, errors = run.communicate(timeout=300)
    assert run.returncode == code, errors
    assert number == signal.SIGKILL or errors.endswith("beam-export: interrupted\n")
    end = time.monotonic() + 60
    while alive(run.pid):
        assert time.monotonic() < end, "processes are left"
        time.sleep(0.05)
    after = identities(out, home)
    assert {path: after.get(path) for path in strangers} == strangers
    if number != signal.SIGKILL:
        assert {path for path in after if path not in strangers and "/_tmp" in path} == set()
    run = start(images, out, "--direct_num_workers=1", "--encode=always")
    said, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors
    assert "stood finished before" in said
    after = identities(out, home)
    assert {path: after.get(path) for path in strangers} == strangers
    assert {path for path in after if path not in strangers and "/_tmp" in path} == set()
    (manifest,) = out.glob("images-*-manifest.json")
    assert json.loads(manifest.read_bytes())["totals"]["written"] == 600


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    "flags",
    [
        ["--filter=nowhere > 1"],
        ["--input=nothing-there"],
        ["--metadata=nothing.csv"],
    ],
)
def test_what_comes_to_nothing_leaves_no_directory(
    images: Path, tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(images, tmp_path / "a" / "b" / "out", *flags) == 2
    assert list(tmp_path.iterdir()) == []
    # But one that was there stays, and so does what is in it.
    for name in ("_tmp", "_meta"):
        (tmp_path / "here" / name).mkdir(parents=True)
    before = identities(tmp_path)
    assert export(images, tmp_path / "here", *flags) == 2
    assert identities(tmp_path) == before
