"""`beam_export.planning.spill_files`: values travel by files where a run has a folder for them."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.errors import RunError
from beam_export.planning import spill_files
from beam_export.planning.blocks import (
    is_measured,
    merged,
    open_block,
    open_group,
    pack_block,
    pack_group,
    pack_ref,
)
from beam_export.planning.spill_files import FOLDER, load, spill, spilling
from beam_export.samples import WHOLE, Member, SampleRef

#: Long enough to be written to a file.
LONG = bytes(range(256)) * 8


def ref(number: int) -> SampleRef:
    image = Member("jpg", f"/p/{number}.jpg", WHOLE, number)
    return SampleRef(b"%06d" % number, f"id{number}", image.uri, image, (), {}, number)


@given(st.lists(st.binary(max_size=600)))
def test_values_come_back_by_file_or_as_they_are(values: list[bytes]) -> None:
    assert [bytes(load(spill(value))) for value in values] == values
    with spilling():
        assert [bytes(load(one)) for one in [spill(value) for value in values]] == values


def test_what_travels_is_short_and_the_folder_goes_with_the_run() -> None:
    before = os.environ.get(FOLDER)
    with spilling():
        folder = pathlib.Path(os.environ[FOLDER])
        assert len(spill(LONG)) < 64
        assert load(spill(LONG[1:])) == LONG[1:]
        assert sum(file.stat().st_size for file in folder.iterdir()) == 2 * len(LONG) - 1
    assert not folder.exists()
    assert os.environ.get(FOLDER) == before
    assert not [path for path in spill_files._read if path.startswith(str(folder))]


def test_another_process_reads_what_this_one_has_written() -> None:
    script = (
        "import sys; from beam_export.planning.spill_files import load, spill\n"
        "value = bytes(load(bytes.fromhex(sys.argv[1])))\n"
        "print(spill(value[::-1]).hex())\n"
    )
    with spilling():
        command = [sys.executable, "-c", script, spill(LONG).hex()]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert len(answer) < 128
        assert load(bytes.fromhex(answer)) == LONG[::-1]


def test_a_process_that_is_forked_writes_to_a_file_of_its_own() -> None:
    with spilling():
        spill(LONG)
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(theirs, spill(LONG[1:]))
            os._exit(0)
        os.waitpid(child, 0)
        here = spill(LONG[2:])
        assert load(os.read(ours, 100)) == LONG[1:]
        assert load(here) == LONG[2:]
        assert len(os.listdir(os.environ[FOLDER])) == 2
        os.close(ours)
        os.close(theirs)


def test_threads_do_not_write_over_each_other() -> None:
    values = [bytes([n]) * (1000 + n) for n in range(200)]
    with spilling(), concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert [load(one) for one in pool.map(spill, values)] == values


def test_a_value_that_cannot_be_written_travels_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with spilling():
        monkeypatch.setattr(os, "pwrite", full)
        assert load(spill(LONG)) == LONG
        assert len(spill(LONG)) == len(LONG) + 1


def test_a_file_that_is_gone_or_cut_ends_the_run_with_what_to_do() -> None:
    with spilling():
        place = spill(LONG)
        (file,) = pathlib.Path(os.environ[FOLDER]).iterdir()
        os.truncate(file, 100)
        with pytest.raises(RunError, match=r"too short.*TMPDIR"):
            load(place)
    with spilling():
        place = spill(LONG)
        (file,) = pathlib.Path(os.environ[FOLDER]).iterdir()
        file.unlink()
        with pytest.raises(RunError, match=r"No such file.*TMPDIR"):
            load(place)


def test_blocks_of_a_run_are_sorted_and_asked_without_their_files() -> None:
    first, second = ([pack_ref(ref(n)) for n in range(at, 40, 2)] for at in (0, 1))
    plain = [pack_block(first), pack_block(second)]
    with spilling():
        blocks = [pack_block(first), pack_block(second)]
        assert max(map(len, blocks)) < 64 < min(map(len, plain))
        assert list(merged(blocks)) == list(merged(plain))
        assert [open_block(one) for one in blocks] == [open_block(one) for one in plain]
        shard, packed = pack_group(7, iter(20 * blocks))
        assert len(packed) < 64
        assert open_group(shard, packed) == (7, 20 * blocks)
    assert all(map(is_measured, blocks))
