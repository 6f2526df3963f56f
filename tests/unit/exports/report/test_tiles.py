from __future__ import annotations

import datetime
from typing import Any

import pytest

from beam_export.exports.report.elements import to_html
from beam_export.exports.report.sheet import Tile
from beam_export.exports.report.tiles import _tile

ROW: dict[str, Any] = {
    "image_id": "cats/1",
    "tar_file": "images-0123456789ab-000000.tar",
    "member_name": "cats/1.jpg",
    "original_path": "/in/cats/1.jpg",
    "offset": 512,
    "size": 2_000,
    "width": 30,
    "height": 20,
    "sha256": "ab" * 32,
    "source_sha256": None,
    "encoding": "copied",
}


def shown(**row: Any) -> str:
    thumb, sample = _tile(Tile(7, {**ROW, **row}, b"jpeg"), "sheet-7")
    return to_html(thumb) + to_html(sample)


def test_a_sample_shows_its_image_and_where_it_lies() -> None:
    html = shown()
    assert html.count("data:image/jpeg;base64,anBlZw==") == 2
    assert "30 x 20 pixels, 2 kB, copied" in html
    assert "/in/cats/1.jpg" in html
    assert 'popovertarget="sheet-7"' in html
    assert 'id="sheet-7" popover="auto"' in html


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (0.5, "0.5"),
        (b"abc", "3 bytes"),
        ("a & b", "a &amp; b"),
        ([1, None, {"x": 2}], '[1, null, {"x": 2}]'),
        (datetime.date(2024, 2, 29), "2024-02-29"),
        (float("nan"), "NaN"),
        (True, "true"),
    ],
)
def test_values_are_written_for_people(value: Any, text: str) -> None:
    assert text in shown(thing=value)


def test_an_image_of_unknown_size_has_none() -> None:
    html = shown(width=None, height=None)
    assert "pixels" not in html
    assert "2 kB, copied" in html


def test_of_very_many_columns_some_are_left_out() -> None:
    html = shown(**{f"c{number}": number for number in range(70)})
    assert "and 10 columns more" in html
