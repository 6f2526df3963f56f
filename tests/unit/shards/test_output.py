from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from beam_export.errors import InputError, RunError
from beam_export.shards.output import Output

RUN = "0123456789abcdef" * 2
NAME = "images-0123456789ab-manifest.json"


@pytest.fixture
def output(tmp_path: Path) -> Output:
    output = Output(str(tmp_path / "out"), RUN)
    output.prepare()
    return output


def names(output: Output) -> list[str]:
    return sorted(name for name in os.listdir(output.directory) if name != "_tmp")


def test_a_file_takes_its_name_when_it_is_complete(output: Output) -> None:
    with output.writing("a.txt") as target:
        target.write(b"half")
        assert names(output) == []
    assert names(output) == ["a.txt"]
    with output.read("a.txt") as source:
        assert source.read() == b"half"


def test_an_error_while_it_is_written_leaves_what_was_there(output: Output) -> None:
    output.put("a.txt", b"old")
    with pytest.raises(ZeroDivisionError), output.writing("a.txt") as target:
        target.write(b"%d" % (1 // 0))
    assert names(output) == ["a.txt"]
    assert output.holds("a.txt", b"old")


def test_what_is_there_with_that_content_is_not_written_again(output: Output) -> None:
    assert output.put("a.txt", b"one")
    assert not output.put("a.txt", b"one")
    assert output.put("a.txt", b"two")


def test_a_file_is_removed_if_it_is_there(output: Output) -> None:
    output.put("a.txt", b"one")
    output.remove("a.txt")
    output.remove("a.txt")
    assert names(output) == []


def test_a_full_disk_is_one_sentence(output: Output) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(RunError, match="has no room left"), output.writing("a.txt"):
        raise full
    assert names(output) == []


def test_what_is_not_ours_and_came_meanwhile_is_not_replaced(output: Output) -> None:
    path = Path(output.directory, NAME)
    with (
        pytest.raises(RunError, match="not this tool's and came there meanwhile"),
        output.writing(NAME),
    ):
        path.write_text("somebody's")
    assert path.read_text() == "somebody's"


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match=r"--output_dir="):
        Output(str(tmp_path / "out"), RUN).prepare()


def test_temporary_files_go_with_the_run(output: Output) -> None:
    with output.spilling() as (path, target):
        target.write(b"x")
    assert Path(path).read_bytes() == b"x"
    output.sweep()
    assert not os.path.exists(path)
