"""Draws histograms as inline SVG, and counts of names as bars."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator

from beam_export.exports.report.elements import Child, data, element, plain_text
from beam_export.exports.report.histogram import Histogram, ticks

__all__ = ["bars", "count_text", "draw", "number_text", "share_text"]

#: The picture's own units: it is scaled to the width that it gets.
_WIDTH, _HEIGHT, _BASE = 320.0, 108.0, 90.0
_TOP = 4.0
#: About the width of a character below the axis.
_CHARACTER = 5.6

_Format = Callable[[float], str]
_Counted = Callable[[int], str]


def number_text(value: float) -> str:
    """Returns a number for people: four digits, or all those of a whole number.

    >>> number_text(1234567.0), number_text(0.123456), number_text(-2e300)
    ('1,234,567', '0.1235', '-2e+300')
    """
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def count_text(count: int, what: str, plural: str = "") -> str:
    """Returns a number with what it counts.

    >>> count_text(1, "image"), count_text(1200, "class", "classes")
    ('1 image', '1,200 classes')
    """
    return f"{count:,} {what if count == 1 else plural or what + 's'}"


def _images(count: int) -> str:
    return count_text(count, "image")


def draw(
    histogram: Histogram,
    title: str,
    *,
    text: _Format = number_text,
    counted: _Counted = _images,
    most_ticks: int = 6,
) -> ET.Element:
    """Returns a histogram as an SVG; each bar says on hovering what it counts.

    Args:
        histogram: to draw.
        title: what it is of, for those who do not see it.
        text: writes a value.
        counted: writes a count.
        most_ticks: about how many values are written below.
    """
    svg = element(
        "svg",
        class_="histogram",
        viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}",
        role="img",
        aria_label=plain_text(title),
    )
    tallest = max(histogram.counts) or 1
    for number, count in enumerate(histogram.counts):
        said = f"{_range_text(histogram, number, text)}: {counted(count)}"
        height = (_BASE - _TOP) * count / tallest
        svg.append(_bar(histogram, number, height=height, said=said))
    base = f"{_BASE:g}"
    svg.append(element("line", class_="axis", x1="0", x2=f"{_WIDTH:g}", y1=base, y2=base))
    svg.extend(_ticks(histogram, ticks(histogram, most_ticks), text))
    return svg


def _bar(histogram: Histogram, number: int, *, height: float, said: str) -> ET.Element:
    left, right = (_place(histogram, edge) for edge in histogram.edges[number : number + 2])
    # A bar of few among many is still seen.
    bar = _box(left, right, height=max(height, 1.0), class_="bar") if height else None
    # Over the whole height, so that a low bar can be pointed at.
    return element(
        "g", [element("title", said), _box(left, right, height=_BASE, class_="hit"), bar]
    )


def _box(left: float, right: float, *, height: float, class_: str) -> ET.Element:
    gap = min(1.0, (right - left) / 8)
    return element(
        "rect",
        class_=class_,
        x=f"{left + gap / 2:.2f}",
        y=f"{_BASE - height:.2f}",
        width=f"{right - left - gap:.2f}",
        height=f"{height:.2f}",
    )


def _range_text(histogram: Histogram, number: int, text: _Format) -> str:
    low, high = histogram.edges[number : number + 2]
    if high - low == 1 and low % 1 == 0.5:
        return text(low + 0.5)
    return f"{text(low)} to {text(high)}"


def _ticks(histogram: Histogram, values: Iterable[float], text: _Format) -> Iterator[ET.Element]:
    """Yields a mark and a number for each value; no number over another, or over the edge."""
    behind = 0.0
    for value in values:
        at, label = f"{_place(histogram, value):.2f}", text(value)
        half = _CHARACTER * len(label) / 2
        middle = min(max(float(at), half), _WIDTH - half)
        mark = element("line", class_="axis", x1=at, x2=at, y1="90", y2="93")
        if middle - half < behind:
            yield mark
            continue
        behind = middle + half + _CHARACTER
        number = element("text", label, x=f"{middle:.2f}", y="104", text_anchor="middle")
        yield element("g", [mark, number])


def _place(histogram: Histogram, value: float) -> float:
    low, high = histogram.edges[0], histogram.edges[-1]
    if histogram.logarithmic:
        # Of logarithms, since a quotient of far apart numbers is infinite.
        start = math.log(low)
        return _WIDTH * (math.log(value) - start) / (math.log(high) - start)
    return _WIDTH * (value - low) / (high - low)


def bars(
    counts: Iterable[tuple[str, int]], *, whole: int, most: int, what: tuple[str, str]
) -> ET.Element:
    """Returns names with a bar each, as long as its count is large.

    Args:
        counts: names of the dataset with their counts, those first that are shown.
        whole: of what the counts are parts, for percentages.
        most: how many are shown; the rest is one line.
        what: what the names are: one of them, several of them.
    """
    found = list(counts)
    shown, left = found[:most], found[most:]
    tallest = max((count for _, count in shown), default=1) or 1
    lines: list[Child] = []
    for name, count in shown:
        lines.append(
            element(
                "li",
                [
                    element("span", _named(name), class_="name", title=plain_text(name)),
                    element(
                        "span",
                        element("i", style=f"width:{100 * count / tallest:.1f}%"),
                        class_="track",
                    ),
                    element("span", f"{count:,}", class_="count"),
                    element("span", share_text(count, whole), class_="share"),
                ],
            )
        )
    if left:
        rest = f"and {count_text(len(left), *what)} more, of {sum(n for _, n in left):,} images"
        lines.append(element("li", rest, class_="rest"))
    return element("ul", lines, class_="bars")


def _named(name: str) -> ET.Element:
    """Returns a name of the dataset as it is shown; what has nothing to be seen is said."""
    if plain_text(name).strip():
        return data(name, 120)
    return element("span", "(blank)" if name else "(empty)", class_="soft")


def share_text(count: int, whole: int) -> str:
    """Returns how large a part of a whole is, in per cent.

    >>> share_text(1, 3), share_text(1, 10_000), share_text(0, 0)
    ('33.3 %', '< 0.1 %', '0.0 %')
    """
    share = 100 * count / whole if whole else 0.0
    return f"{share:.1f} %" if share >= 0.1 or not count else "< 0.1 %"
