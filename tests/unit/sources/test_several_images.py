from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.samples import WHOLE, Member
from beam_export.sources.entries import split
from beam_export.sources.several_images import PartsOfOthers, holds_several


@pytest.mark.parametrize(
    ("exts", "several"),
    [
        (["right.jpg"], True),
        (["1.jpg"], True),
        (["txt", "seg.PNG"], True),
        (["webp"], True),
        (["txt", "json"], False),
        (["jpg.txt"], False),
        ([], False),
    ],
)
def test_another_image_of_a_sample_shows_in_its_extension(exts: list[str], several: bool) -> None:
    assert holds_several([Member(ext, "x.tar", WHOLE, 1) for ext in exts]) is several


def parts(*names: str) -> list[str]:
    found = PartsOfOthers()
    for name in sorted(names, key=os.fsencode):
        found.add(name)
    return found.finish()


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["0.jpg", "0.seg.png"], ["0.seg.png"]),
        (["0.jpg", "0.aseg.png"], ["0.aseg.png"]),
        (["0.jpg", "0.a.b.png", "1.jpg"], ["0.a.b.png"]),
        (["0.jpg", "0.jpg.png"], ["0.jpg.png"]),
        (["a/0.jpg", "b/0.seg.png"], []),
        (["v1.0.jpg", "v1.1.jpg"], []),
        (["0.jpg", "0.png"], []),
        (["0.jpg", "00.seg.png"], []),
        (["0.jpg", "0-1.jpg", "0.seg.png"], ["0.seg.png"]),
        (["0.a.jpg", "0.d/1.jpg", "0.d/1.x.jpg", "0.jpg"], ["0.a.jpg", "0.d/1.x.jpg"]),
        (["-..jpg", "-./a.jpg", "-.jpg"], ["-..jpg"]),
        ([], []),
    ],
)
def test_files_named_after_another(names: list[str], found: list[str]) -> None:
    assert parts(*names) == found


@given(st.sets(st.text("a./-", min_size=1, max_size=7).map(lambda name: f"{name}.jpg")))
def test_they_are_those_that_a_look_at_all_names_finds(names: set[str]) -> None:
    names = {name for name in names if "/." not in name and not name.startswith(".")}
    stems = {split(name)[0] for name in names}
    expected = [
        name
        for name in sorted(names)
        if any(
            split(name)[0][:at] in stems
            for at in range(name.rfind("/") + 2, len(split(name)[0]))
            if name[at] == "."
        )
    ]
    assert parts(*names) == expected
