from __future__ import annotations

import itertools
import re

from beam_export.exports.report.charts import bars, draw, number_text
from beam_export.exports.report.elements import to_html
from beam_export.exports.report.histogram import Histogram


def test_a_bar_is_as_high_as_its_count_and_says_it() -> None:
    svg = draw(Histogram(edges=[0, 1, 2, 3], counts=[4, 0, 2], logarithmic=False), "Of scores")
    found = [one for one in svg.iter("rect") if one.get("class") == "bar"]
    heights = [float(one.get("height", 0)) for one in found]
    assert heights == [86.0, 43.0]
    assert [one.text for one in svg.iter("title")] == [
        "0 to 1: 4 images",
        "1 to 2: 0 images",
        "2 to 3: 2 images",
    ]
    assert svg.get("aria-label") == "Of scores"
    assert [one.text for one in svg.iter("text")] == ["0", "0.5", "1", "1.5", "2", "2.5", "3"]


def test_bars_stand_where_their_values_are() -> None:
    svg = draw(Histogram(edges=[1, 10, 100], counts=[1, 1], logarithmic=True), "x")
    lefts = [float(one.get("x", -1)) for one in svg.iter("rect") if one.get("class") == "bar"]
    assert lefts == [0.5, 160.5]


def test_numbers_whose_quotient_is_infinite_have_places() -> None:
    svg = draw(Histogram(edges=[1e-300, 1.0, 1e300], counts=[1, 1], logarithmic=True), "x")
    lefts = [float(one.get("x", -1)) for one in svg.iter("rect") if one.get("class") == "bar"]
    assert lefts == [0.5, 160.5]


def test_names_with_nothing_to_be_seen_are_said() -> None:
    counts = [("", 3), (" ", 2), ("\u2028", 1)]
    html = to_html(bars(counts, whole=6, most=9, what=("value", "values")))
    shown = re.findall(r'class="name"[^>]*><[^>]*>([^<]*)<', html)
    assert shown == ["(empty)", "(blank)", "\\u2028"]


def test_a_bar_of_few_is_seen() -> None:
    svg = draw(Histogram(edges=[0, 1, 2], counts=[1_000_000, 1], logarithmic=False), "x")
    heights = [float(one.get("height", 0)) for one in svg.iter("rect") if one.get("class") == "bar"]
    assert heights[1] == 1.0


def test_counts_of_names_are_bars_and_the_rest_is_a_line() -> None:
    counts = [("<b>cat</b>", 6), ("dog", 3), ("eel", 2), ("fox", 1)]
    html = to_html(bars(counts, whole=12, most=2, what=("class", "classes")))
    assert "&lt;b&gt;cat&lt;/b&gt;" in html
    assert "width:100.0%" in html
    assert "width:50.0%" in html
    assert "50.0 %" in html
    assert "and 2 classes more, of 3 images" in html


def test_numbers_are_short() -> None:
    assert [number_text(one) for one in (0.5, 1e6, 1e20, 3.14159)] == [
        "0.5",
        "1,000,000",
        "1e+20",
        "3.142",
    ]


def test_no_number_below_the_axis_is_written_over_another() -> None:
    histogram = Histogram(edges=[0, 450, 900], counts=[1, 1], logarithmic=False)
    svg = draw(histogram, "x", text=lambda value: f"{value:g} bytes or so")
    found = [(float(one.get("x", 0)), len(one.text or "")) for one in svg.iter("text")]
    assert 2 <= len(found) < 5
    ends = [(at - 2.8 * size, at + 2.8 * size) for at, size in found]
    assert all(one[1] < other[0] for one, other in itertools.pairwise(ends))
    assert ends[0][0] >= -0.01
    assert ends[-1][1] <= 320.01
