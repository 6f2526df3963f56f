from __future__ import annotations

import errno
import hashlib
import io
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_export.naming import ShardNames
from beam_export.shards.manifest import seal
from beam_export.verify.dataset import Opened, find_hash, open_for_checks, read_file

OURS, OTHER = ShardNames("0123456789ab"), ShardNames("ba9876543210")


def table(**facts: str) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"key": ["a"]}).replace_schema_metadata(facts), file)
    return file.getvalue()


def test_the_hash_is_that_of_the_export_that_has_more_than_shards() -> None:
    files = [OTHER.tar(0), OTHER.tar(1), OURS.manifest, OURS.tar(0)]
    assert find_hash(files, lambda name: b"") == "0123456789ab"


@pytest.mark.parametrize(("facts", "found"), [({"beam_export.plan": "0"}, OURS.hash), ({}, None)])
def test_shards_alone_are_an_export_of_ours_by_their_parquet(
    facts: dict[str, str], found: str | None
) -> None:
    assert find_hash([OURS.parquet(0), OURS.tar(0)], lambda name: table(**facts)) == found


def test_a_file_is_read_as_far_as_it_may_be_large() -> None:
    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            assert 0 < size <= 1 << 20
            return bytes(size)

    assert len(read_file(Endless(), OURS.manifest)) == 64 << 20
    assert len(read_file(Endless(), OURS.parquet(0), stated=(64 << 20) + 5)) == (64 << 20) + 6
    assert read_file(io.BytesIO(b"{}"), OURS.manifest) == b"{}"


def opened(*files: str) -> Opened:
    return open_for_checks(OURS.hash, files, lambda name: b"damaged")


def test_what_is_missing_or_a_stranger_is_a_fault_and_a_note_what_does_no_harm() -> None:
    found = opened(
        OURS.tar(0), OURS.parquet(0), OURS.tar(2), OTHER.tar(0), "notes.txt", "README.md"
    )
    faults = {fault.file: fault.problem for fault in found.faults}
    assert faults[OURS.manifest] == faults[OURS.parquet(1)] == "it is missing"
    # What is not there can be neither moved away nor removed.
    gone = {fault.remedy for fault in found.faults if fault.problem == "it is missing"}
    assert gone == {
        "restore it from a copy, or run the same export again, which writes what is missing"
    }
    assert faults[OTHER.tar(0)] == "it is of another export than this directory's"
    assert found.notes == ["notes.txt: not of the export, and not looked at"]
    assert (found.numbers, found.whole) == ([0], False)


def test_a_card_of_another_export_is_a_note_and_so_is_what_cannot_be_read() -> None:
    def notes(read: Callable[[str], bytes]) -> list[str]:
        return open_for_checks(OURS.hash, ["README.md"], read).notes

    def unreadable(name: str) -> bytes:
        raise OSError(errno.EACCES, "Permission denied", name)

    (note,) = notes(lambda _: f"---\n- {OTHER.tar(0)}\n---\n".encode())
    assert note.startswith(f"README.md: its header names files of another export ({OTHER.hash})")
    assert notes(lambda _: f"---\n- {OURS.tar(0)}\n---\n".encode()) == []
    (note,) = notes(unreadable)
    assert note == "README.md: it cannot be read (Permission denied), and was not looked at"


def test_a_card_that_is_missing_or_not_what_was_written_is_a_note() -> None:
    card = f"---\n- {OURS.tar(0)}\n---\n".encode()
    run = seal({"card_sha256": hashlib.sha256(card).hexdigest()})

    def notes(**changed: bytes | None) -> list[str]:
        held = {"README.md": card, OURS.run: run, **changed}
        there = {name: data for name, data in held.items() if data is not None}
        names = [*there, OURS.manifest]
        return open_for_checks(OURS.hash, names, lambda name: there.get(name, b"")).notes

    assert notes() == []
    (note,) = notes(**{"README.md": card + b"mine"})
    assert note == "README.md: not what the export wrote there, and read by loaders as it is"
    (note,) = notes(**{"README.md": None})
    assert note.startswith("README.md: it is missing, and load_dataset(OUT) goes by it: restore it")
    # Of a run that was cut short, it is not there yet; without its facts, nothing is known.
    assert open_for_checks(OURS.hash, [OURS.tar(0)], lambda _: b"").notes == []
    assert notes(**{OURS.run: b"", "README.md": b"mine"}) == []


def test_what_a_run_lacks_that_its_failures_ended_is_not_made_by_the_same_again() -> None:
    for others, said in ((), True), ((OURS.shards,), False), ((OTHER.tar(0),), True):
        found = opened(OURS.tar(0), OURS.parquet(0), OURS.failures, *others)
        (gone,) = (one.remedy for one in found.faults if one.file == OURS.manifest)
        assert (f"the run ended by the failures that {OURS.failures} lists: mend" in gone) == said


def test_nothing_is_known_of_an_export_whose_manifest_is_damaged() -> None:
    found = opened(OURS.manifest, OURS.run, OURS.shards)
    assert (found.manifest, found.run, found.shards) == (None, None, None)
    assert (found.options, found.renamed, found.name_count) == ({}, False, 0)


def test_options_and_about_how_many_names_there_are() -> None:
    whole = Opened(OURS, {"options": {"duplicates": "rename"}}, None, [], [], True, [], [])
    assert whole.renamed
    assert whole._replace(shards={0: {"samples": 3}, 1: {"samples": None}}).name_count == 9
