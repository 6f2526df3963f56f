"""The parts of the page on numbers: sizes of images, classes, splits, columns, shards."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from beam_export.exports.report.charts import bars, count_text, draw, number_text
from beam_export.exports.report.columns import (
    ClassSummary,
    ColumnSummary,
    NumberSummary,
    TextSummary,
    moment_text,
)
from beam_export.exports.report.distribution import Distribution
from beam_export.exports.report.elements import Child, data, element, plain_text
from beam_export.exports.report.gather import Gathered
from beam_export.exports.report.histogram import Histogram, histogram_of
from beam_export.text import size

__all__ = ["class_sections", "column_cards", "shard_sizes", "size_cards", "split_table"]

_MOST_CLASSES, _MOST_TEXTS = 30, 12
#: Shards that have a bar each; of more, a histogram of their sizes is shown.
_MOST_BARS = 200


def size_cards(gathered: Gathered) -> ET.Element:
    """Returns the section on sides, shapes and bytes of the images."""
    rows = gathered.rows
    cards = [
        _number_card("Width, pixels", rows.width),
        _number_card("Height, pixels", rows.height),
        _number_card("Pixels", rows.pixels, _pixels_text),
        _number_card("Width / height", rows.aspect),
        _number_card("Bytes", rows.bytes, size),
    ]
    return element(
        "section",
        [
            element("h2", "Sizes", id="sizes"),
            element("p", "As stored, before any EXIF orientation.", class_="note"),
            element("div", cards, class_="cards"),
        ],
    )


def _pixels_text(value: float) -> str:
    return f"{value / 1e6:.3g} M" if value >= 1e6 else number_text(value)


def _number_card(
    title: Child,
    numbers: Distribution,
    text: Callable[[float], str] = number_text,
    *,
    kind: str = "",
    label: str = "",
) -> ET.Element:
    """Returns a card with a histogram, and what lies outside of it."""
    moments = text is moment_text
    parts: list[Child] = [element("h3", [title, element("span", f" {kind}", class_="type")])]
    parts.append(element("p", _described(numbers, text), class_="note"))
    histogram = histogram_of(numbers, moments=moments)
    if histogram is not None:
        name = label or (title if isinstance(title, str) else "")
        # Dates are long.
        most = 3 if moments else 6
        parts.append(draw(histogram, f"Histogram: {name}", text=text, most_ticks=most))
        if beyond := _beyond(histogram, text):
            parts.append(element("p", beyond, class_="note"))
    return element("div", parts, class_="card")


def _described(numbers: Distribution, text: Callable[[float], str]) -> str:
    """Returns the least, the middle and the largest value, and how many are missing."""
    gone = []
    if numbers.missing:
        gone.append(f"{numbers.missing:,} missing")
    if numbers.infinite:
        gone.append(f"{numbers.infinite:,} infinite")
    if numbers.least is None or numbers.most is None:
        return ", ".join(["no value", *gone])
    if numbers.least == numbers.most:
        return ", ".join([f"always {text(numbers.least)}", *gone])
    middle = numbers.quantile(0.5)
    middle = float(round(middle)) if numbers.whole else middle
    found = f"{text(numbers.least)} to {text(numbers.most)}, median {text(middle)}"
    return ", ".join([found, *gone])


def _beyond(histogram: Histogram, text: Callable[[float], str]) -> str:
    parts = []
    if histogram.below:
        parts.append(f"{histogram.below:,} below {text(histogram.edges[0])}")
    if histogram.above:
        parts.append(f"{histogram.above:,} above {text(histogram.edges[-1])}")
    return f"Not drawn: {', '.join(parts)}." if parts else ""


def class_sections(gathered: Gathered) -> ET.Element | None:
    """Returns the section on columns of classes; None if there are none."""
    found = {
        name: one for name, one in gathered.rows.columns.items() if isinstance(one, ClassSummary)
    }
    if not found:
        return None
    cards = [_class_card(name, one, gathered.catalog.samples) for name, one in found.items()]
    return element("section", [element("h2", "Classes", id="classes"), *cards])


def _class_card(name: str, classes: ClassSummary, samples: int) -> ET.Element:
    counts = classes.counts()
    said = count_text(len(classes.names), "class", "classes")
    if counts:
        fewest, most = counts[-1][1], counts[0][1]
        said += f", {fewest:,} to {most:,} images each" if fewest < most else f", {most:,} each"
    if empty := len(classes.names) - len(counts):
        said += f", {empty:,} without an image" if empty > 0 else ""
    if classes.missing:
        said += f", {classes.missing:,} images without a class"
    return element(
        "div",
        [
            element("h3", data(name)),
            element("p", said, class_="note"),
            bars(counts, whole=samples, most=_MOST_CLASSES, what=("class", "classes")),
        ],
        class_="card",
    )


def split_table(gathered: Gathered) -> ET.Element | None:
    """Returns the section on splits; None if there are none."""
    splits: Sequence[Mapping[str, int | str]] = gathered.catalog.manifest.get("splits", ())
    if not splits:
        return None
    lines = [
        element(
            "tr",
            [
                element("td", data(str(split["name"]), 120)),
                *(
                    element("td", text, class_="number")
                    for text in (
                        f"{split['samples']:,}",
                        f"{100 * int(split['samples']) / max(1, gathered.catalog.samples):.2f} %",
                        f"{split['shards']:,}",
                        size(int(split["bytes"])),
                    )
                ),
            ],
        )
        for split in splits
    ]
    names = ("split", "images", "share", "shards", "bytes")
    head = element("tr", [*(element("th", name, scope="col") for name in names)])
    return element(
        "section",
        [
            element("h2", "Splits", id="splits"),
            element("div", element("table", [head, *lines]), class_="card scroll"),
        ],
    )


def column_cards(gathered: Gathered) -> ET.Element | None:
    """Returns the section on metadata columns; None if there are none."""
    rows, samples = gathered.rows, gathered.catalog.samples
    types = {one["name"]: one["type"] for one in gathered.catalog.manifest["schema"]}
    cards = [
        _column_card(name, one, kind=str(types.get(name, "")), samples=samples)
        for name, one in rows.columns.items()
        if not isinstance(one, ClassSummary)
    ]
    if not cards and not rows.others:
        return None
    left: list[Child] = [
        element("tr", [element("td", data(name)), element("td", data(kind, 120))])
        for name, kind in rows.others.items()
    ]
    others = element(
        "details",
        [
            element("summary", f"{count_text(len(left), 'column')} more, without a chart"),
            element("div", element("table", left), class_="scroll"),
        ],
    )
    return element(
        "section",
        [
            element("h2", "Columns", id="columns"),
            element("div", cards, class_="cards"),
            others if left else None,
        ],
    )


def _column_card(name: str, column: ColumnSummary, *, kind: str, samples: int) -> ET.Element:
    title, label = data(name, 120), plain_text(name)
    if isinstance(column, NumberSummary):
        text = moment_text if column.moments else number_text
        return _number_card(title, column.distribution, text, kind=plain_text(kind), label=label)
    assert isinstance(column, TextSummary)
    counts = column.counts()
    if counts is None:
        lengths = column.lengths
        lengths.missing = column.missing
        return _number_card(title, lengths, kind="length of text, characters", label=label)
    said = count_text(len(counts), "different value")
    if column.missing:
        said += f", {column.missing:,} missing"
    return element(
        "div",
        [
            element("h3", [title, element("span", f" {plain_text(kind)}", class_="type")]),
            element("p", said, class_="note"),
            bars(counts, whole=samples, most=_MOST_TEXTS, what=("value", "values")),
        ],
        class_="card",
    )


def shard_sizes(gathered: Gathered) -> ET.Element:
    """Returns the section on the sizes of the shards."""
    catalog = gathered.catalog
    samples = np.diff(catalog.firsts)
    cards = []
    for title, counts, text in (
        ("Images per shard", samples, number_text),
        ("Bytes of tar per shard", catalog.tar_bytes, size),
    ):
        cards.append(_shard_card(title, counts, text))
    return element(
        "section",
        [element("h2", "Shards", id="shards"), element("div", cards, class_="cards")],
    )


def _shard_card(title: str, counts: np.ndarray, text: Callable[[float], str]) -> ET.Element:
    sizes = Distribution()
    sizes.add(counts)
    if len(counts) > _MOST_BARS or len(counts) < 2:
        return _number_card(title, sizes, text)
    by_number = Histogram(
        edges=[number - 0.5 for number in range(len(counts) + 1)],
        counts=counts.tolist(),
        logarithmic=False,
    )
    return element(
        "div",
        [
            element("h3", title),
            element("p", f"{_described(sizes, text)}; by number of the shard", class_="note"),
            draw(by_number, f"Shards by number: {title}", counted=text),
        ],
        class_="card",
    )
