from __future__ import annotations

import pytest

from beam_export.shards.undecodable import cannot_decode, is_decoded, say_undecodable


@pytest.mark.parametrize(
    ("ext", "data", "name"),
    [
        ("txt", b"caf\xe9", "no_text_txt"),
        ("long.transcript", b"\xff", "no_text_long.transcript"),
        ("id", b"n1", "no_number_id"),
        ("fine.cls2", b"", "no_number_fine.cls2"),
        ("text", "\u00e9".encode(), ""),
        ("index", b" -3\n", ""),
    ],
)
def test_what_is_neither_text_nor_a_number_is_named(ext: str, data: bytes, name: str) -> None:
    assert is_decoded(ext)
    assert cannot_decode(ext, data) == name
    said = say_undecodable(name, "2 samples")
    assert said.startswith(f"the .{ext} of 2 samples is n" if name else "")
    assert bool(said) == bool(name)


@pytest.mark.parametrize("ext", ["xml", "label", "cls.json", "txt.gz"])
def test_members_of_other_extensions_may_hold_anything(ext: str) -> None:
    assert not is_decoded(ext)
    assert cannot_decode(ext, b"\xff") == ""
