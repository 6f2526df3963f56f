"""What the console says of the input as it was read."""

from __future__ import annotations

import re
from typing import Any

import pytest

from beam_export.cli.read_notes import note_lines
from beam_export.planning.join import Tally
from beam_export.planning.steps import (
    BESIDE,
    LARGE_JSON,
    ODD_IDS,
    PARTS,
    SEVERAL,
    UNJOINED,
    UNLIKE,
    column_notes,
    read_notes,
)
from beam_export.sources.tar.webdataset import image_extension


def lines(**noted: list[str]) -> list[str]:
    tally = Tally()
    for name, found in noted.items():
        tally.note(name, found)
    # In the manifest or in the facts of the run.
    assert not read_notes(tally).keys() & column_notes(tally).keys()
    return list(note_lines({**read_notes(tally), **column_notes(tally)}))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (SEVERAL, "2 samples hold several images ('v1' say)"),
        (PARTS, "2 image files are named after another ('v1' say)"),
        (LARGE_JSON, "the .json of 2 samples is larger than 1 MiB ('v1' say): it travels"),
        (UNJOINED, "not joined: v1"),
        (BESIDE, "passed by: v1"),
        (UNLIKE, "not kept: v1"),
        (ODD_IDS, "ids of 2 samples are made of paths or row numbers: v1; v2"),
    ],
)
def test_each_note_is_a_line_with_an_example(name: str, line: str) -> None:
    assert lines(**{name: ["v1", "v2"]})[0].startswith(f"  {line}")
    assert lines(**{name: []}) == []


def test_which_of_several_images_is_taken_is_said_as_it_is_done() -> None:
    (said,) = lines(**{SEVERAL: ["v1"]})
    named = re.findall(r"\.([a-z.]+)(?:,| before|;)", said)
    assert named == ["jpg", "jpeg", "png", "webp", "tif", "a.webp", "b.png"]
    last = [*named, "heic", "a.jp2"]
    assert [image_extension(reversed(last[at:])) for at in range(len(last))] == last


@pytest.mark.parametrize(("count", "more"), [(3, []), (4, [1]), (17, [14])])
def test_of_many_tables_the_first_are_named(count: int, more: list[int]) -> None:
    found = lines(**{UNJOINED: [f"t{number:02d}" for number in range(count)]})
    assert found == [
        *("  not joined: t00", "  not joined: t01", "  not joined: t02"),
        *(f"  not joined: {number} more like these" for number in more),
    ]


def test_nothing_is_said_of_manifests_that_note_nothing() -> None:
    read: dict[str, Any] = {"step": "read", "samples": 3, "skipped": {}}
    assert list(note_lines(read)) == []
