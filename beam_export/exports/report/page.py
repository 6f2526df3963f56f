"""Writes the page of a report: one file that loads nothing, and runs nothing.

Its policy forbids scripts and all that is not in it, so that even text that a browser took for HTML
would do nothing (W3C, "Content Security Policy Level 3").
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from typing import Any

from beam_export._version import __version__
from beam_export.exports.report.charts import count_text, number_text
from beam_export.exports.report.elements import Child, data, element, to_html
from beam_export.exports.report.gather import Gathered
from beam_export.exports.report.reason_list import failures
from beam_export.exports.report.sections import (
    class_sections,
    column_cards,
    shard_sizes,
    size_cards,
    split_table,
)
from beam_export.exports.report.style import STYLE
from beam_export.exports.report.tiles import contact_sheet, equal_images
from beam_export.exports.report.uniform import uniformity
from beam_export.text import size

__all__ = ["write_page"]

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"
#: Characters of a value of the manifest: filters, lists of classes.
_LONGEST = 600
_MOST_LISTED = 12
#: Facts of a run that are shown; not where it ran, as the page may be handed on.
_RUN = ("started", "seconds", "images_per_second", "machine", "python", "encoder", "device")


def write_page(gathered: Gathered) -> bytes:
    """Returns the page: the same bytes for the same data."""
    title = f"Images {gathered.catalog.names.hash}"
    sections = [
        contact_sheet(gathered),
        size_cards(gathered),
        class_sections(gathered),
        split_table(gathered),
        column_cards(gathered),
        uniformity(gathered),
        failures(gathered),
        equal_images(gathered),
        shard_sizes(gathered),
        _making(gathered),
    ]
    body = element(
        "body",
        [
            element(
                "header",
                [element("h1", title), element("p", _summary(gathered), class_="soft")],
            ),
            _navigation([one for one in sections if one is not None]),
            element("main", [element("div", [*_facts(gathered)], class_="facts"), *sections]),
            element("footer", f"Made by beam-export report {__version__}."),
        ],
    )
    return to_html(element("html", [_head(title), body], lang="en")).encode("utf-8")


def _head(title: str) -> ET.Element:
    policy = element("meta", content=_POLICY)
    policy.set("http-equiv", "Content-Security-Policy")
    return element(
        "head",
        [
            element("meta", charset="utf-8"),
            policy,
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="referrer", content="no-referrer"),
            element("title", title),
            element("style", STYLE),
        ],
    )


def _navigation(sections: list[ET.Element]) -> ET.Element:
    headings = [one for section in sections for one in section.iter("h2")]
    links = [element("a", one.text, href=f"#{one.get('id')}") for one in headings]
    return element("nav", links, aria_label="Sections")


def _summary(gathered: Gathered) -> str:
    catalog = gathered.catalog
    return (
        f"{count_text(catalog.samples, 'image')} in {count_text(catalog.shards, 'shard')}, "
        f"{size(int(catalog.tar_bytes.sum()))} of tar"
    )


def _facts(gathered: Gathered) -> Iterator[ET.Element]:
    """Yields the figures at the top."""
    totals, run = gathered.catalog.manifest["totals"], gathered.run
    yield _fact(f"{totals['written']:,}", "images")
    yield _fact(f"{totals['shards']:,}", "shards")
    yield _fact(size(totals["bytes"]), "of tar")
    yield _fact(size(totals["parquet_bytes"]), "of Parquet")
    yield _fact(f"{totals['copied']:,}", "copied")
    yield _fact(f"{totals['encoded']:,}", "encoded")
    yield _fact(f"{totals['failed']:,}", "failed")
    if left := totals["filtered"] + totals["duplicate"] + totals["limited"]:
        yield _fact(f"{left:,}", "left out")
    if isinstance(run.get("images_per_second"), (int, float)):
        yield _fact(number_text(run["images_per_second"]), "images per s")


def _fact(value: str, name: str) -> ET.Element:
    return element("div", [element("b", value), element("span", name)], class_="fact")


def _making(gathered: Gathered) -> ET.Element:
    """Returns the section on steps, options, software and the run."""
    manifest, run = gathered.catalog.manifest, gathered.run
    steps = [
        (str(step["step"]), {name: one for name, one in step.items() if name != "step"})
        for step in manifest["steps"]
    ]
    known = {name: run[name] for name in _RUN if name in run}
    return element(
        "section",
        [
            element("h2", "How it came to be", id="making"),
            element(
                "div",
                [
                    element(
                        "div",
                        _table((name, _details(more)) for name, more in steps),
                        class_="scroll",
                    ),
                    _folded("Options", manifest["options"]),
                    _folded("Software", manifest["software"]),
                    _folded("The run that wrote it", known) if known else None,
                ],
                class_="card",
            ),
        ],
    )


def _folded(title: str, values: Mapping[str, Any]) -> ET.Element:
    lines = ((str(name), _in_words(value)) for name, value in sorted(values.items()))
    return element("details", [element("summary", title), _table(lines)])


def _table(lines: Iterator[tuple[str, str]]) -> ET.Element:
    return element(
        "table",
        [
            *(
                element("tr", [element("th", data(name), scope="row"), _cell(text)])
                for name, text in lines
            )
        ],
    )


def _cell(text: str) -> Child:
    return element("td", data(text, _LONGEST))


def _details(step: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {_in_words(value)}" for name, value in step.items())


def _in_words(value: Any) -> str:
    """Returns a value of the manifest as text: lists without brackets, the first of a long one.

    Of nothing, it says that there is none.

    >>> _in_words({"jpg": 2, "png": None}), _in_words(["cat", "dog"]), _in_words(True)
    ('2 jpg, none png', 'cat, dog', 'true')
    >>> _in_words({}), _in_words("")
    ('none', 'none')
    """
    if value in ({}, [], ""):
        return "none"
    if isinstance(value, Mapping):
        return _listed([f"{_in_words(one)} {name}" for name, one in value.items()])
    if isinstance(value, list):
        return _listed([_in_words(one) for one in value])
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _listed(texts: list[str]) -> str:
    left = len(texts) - _MOST_LISTED
    return ", ".join(texts[:_MOST_LISTED]) + (f" and {left:,} more" if left > 0 else "")
