"""Temporary files: whose they are, and what of them is swept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.errors import RunError
from beam_export.naming import TEMPORARY
from beam_export.shards.output import Output
from beam_export.shards.workspace import _TOKEN

RUN, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2


def begin(out: Path, token: str = RUN) -> Output:
    output = Output(str(out), token)
    output.prepare()
    return output


def spill(output: Output, data: bytes = b"x") -> str:
    with output.spilling() as (path, target):
        target.write(data)
    return path


def test_all_of_a_run_goes_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = begin(out)
    spill(run)
    run.note(OTHER, b"n")
    run.record_tar("images-0123456789ab-000000.tar", "ab" * 32)
    run.work.mark_workers_outlive()
    run.sweep()
    # What the run has made to lie in goes with it.
    assert not out.exists()


@pytest.mark.parametrize("name", ["thesis.txt", "0123", f"{OTHER}.txt", f"note-{OTHER}x", "lock"])
def test_a_stranger_in_a_workspace_stays_and_the_directory_with_it(
    tmp_path: Path, name: str
) -> None:
    run = begin(tmp_path)
    spill(run)
    (Path(run.workspace) / name).write_text("mine")
    (Path(run.workspace) / OTHER).symlink_to(name)
    (Path(run.workspace) / f"note-{OTHER}").mkdir()
    run.sweep()
    assert sorted(os.listdir(run.workspace)) == sorted([name, OTHER, f"note-{OTHER}"])
    assert (Path(run.workspace) / name).read_text() == "mine"
    # Nobody takes it for a run's any more.
    assert begin(tmp_path, OTHER).work.others().keys() == {OTHER}


@pytest.mark.parametrize("content", [None, "", "somebody's", f"run {RUN}"])
def test_a_directory_without_our_mark_is_no_workspace(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "_tmp" / RUN
    folder.mkdir(parents=True)
    (folder / OTHER).write_text("mine")
    if content is not None:
        (folder / "run").write_text(content)
    assert begin(tmp_path, OTHER).work.others().keys() == {OTHER}


def test_the_mark_of_another_run_is_none(tmp_path: Path) -> None:
    """Whoever copies a workspace has made a directory of his own."""
    run = begin(tmp_path)
    os.rename(run.workspace, tmp_path / "_tmp" / OTHER)
    assert run.work.others() == {}


def test_tmp_goes_only_if_it_was_made_here(tmp_path: Path) -> None:
    begin(tmp_path).sweep()
    assert os.listdir(tmp_path) == []
    (tmp_path / "_tmp").mkdir()
    begin(tmp_path).sweep()
    assert os.listdir(tmp_path) == ["_tmp"]
    assert os.listdir(tmp_path / "_tmp") == []


def test_what_a_dead_run_knew_is_taken_over(tmp_path: Path) -> None:
    dead, run = begin(tmp_path), begin(tmp_path, OTHER)
    dead.note(OTHER, b"suspects")
    dead.record_tar("images-0123456789ab-000000.tar", "ab" * 32)
    for _ in range(2):  # it may be tried twice
        run.work.adopt(RUN)
    dead.work.sweep()
    assert run.notes() == [b"suspects"]
    assert run.recorded_tars() == {("images-0123456789ab-000000.tar", "ab" * 32)}
    run.forget_tar("ab" * 32)
    assert run.recorded_tars() == set()


def test_a_workspace_that_was_swept_is_marked_again(tmp_path: Path) -> None:
    """By a worker thought dead: the next run has to know whose it is."""
    run = begin(tmp_path)
    run.work.sweep()
    spill(run)
    assert run.work.others().keys() == {RUN}


def test_a_run_that_has_ended_writes_no_more(tmp_path: Path) -> None:
    run = begin(tmp_path, "00" * 16)
    run.work.end()
    with pytest.raises(RunError, match="has ended"):
        spill(run)


@given(st.text(alphabet="0123456789abcdefglnortu-.", max_size=70))
def test_names_that_are_not_made_here_are_not_known(name: str) -> None:
    kept = name.removeprefix("note-").removeprefix("spill-").removeprefix("claim-")
    made = all(one in "0123456789abcdef" for one in kept) and len(kept) in (32, 64)
    assert bool(TEMPORARY.fullmatch(name)) <= (made or name in ("run", "elsewhere"))
    assert bool(_TOKEN.fullmatch(name)) == (made and len(name) == 32)
