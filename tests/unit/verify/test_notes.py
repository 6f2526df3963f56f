from __future__ import annotations

from support.checked_shards import checked_shard as shard

from beam_export.verify.alike import AllMembers
from beam_export.verify.notes import notes_on_members
from beam_export.verify.shard import CheckedShard


def notes(shards: list[CheckedShard]) -> list[str]:
    return [*notes_on_members(shards, AllMembers.of(shards, {}))]


def test_json_that_differs_from_columns_is_a_note() -> None:
    differing = shard(1, differing=2, example="'a': column 'x' is 1, and its .json says 2")
    (note,) = notes([differing, shard(0)])
    assert note.startswith(
        "the .json of 2 samples says otherwise than their columns (the first, 'a'"
    )


def test_texts_that_are_not_utf8_are_a_note() -> None:
    found = notes([shard(0), shard(1, undecodable={"no_text_txt": (2, "x.txt")})])
    (note,) = found
    assert note.startswith("the .txt of 2 samples (the first, x.txt) is not UTF-8")


def test_members_that_are_no_numbers_are_a_note() -> None:
    parts = [
        {"no_number_cls": (1, "y.cls")},
        {},
        {"no_number_cls": (2, "x.cls"), "no_number_id": (1, "x.id")},
    ]
    found = notes([shard(number, undecodable=one) for number, one in enumerate(parts)])
    assert [note.partition(" is no whole")[0] for note in found] == [
        "the .cls of 3 samples (the first, y.cls)",
        "the .id of 1 sample (the first, x.id)",
    ]
