"""The part of the page on failures: a line for each reason, which opens its examples."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from beam_export.exports.report.charts import count_text, share_text
from beam_export.exports.report.elements import Child, data, element
from beam_export.exports.report.failures import FailureGroup
from beam_export.exports.report.gather import Gathered
from beam_export.samples import Failure

__all__ = ["failures"]

#: Reasons that are seen at once; the others are folded together.
_MOST_SEEN = 20
#: Characters of a path; those of a message are as many as of any text.
_LONGEST_PATH = 200


def failures(gathered: Gathered) -> ET.Element:
    """Returns the section on failures by reason."""
    heading, groups = element("h2", "Failures", id="failures"), gathered.failures
    if not groups:
        return element("section", [heading, element("p", "No image failed.")])
    totals = gathered.catalog.manifest["totals"]
    lost, tried = totals["failed"], totals["failed"] + totals["written"]
    said = f"{lost:,} of {count_text(tried, 'image')} failed; each is listed, with its reason, in "
    where = element("code", gathered.catalog.names.failures)
    note = element("p", [said, where, "."], class_="note")
    return element("section", [heading, note, element("div", _lines(groups, lost), class_="card")])


def _lines(groups: Sequence[FailureGroup], lost: int) -> list[ET.Element]:
    """Returns a line for each reason; those behind the commonest in a fold of their own."""
    most = max(one.failed for one in groups)
    lines = [_line(one, lost, most) for one in groups]
    seen, rest = lines[:_MOST_SEEN], lines[_MOST_SEEN:]
    if rest:
        images = count_text(sum(one.failed for one in groups[_MOST_SEEN:]), "image")
        title = f"{count_text(len(rest), 'reason')} more, of {images}"
        seen.append(element("details", [element("summary", title), *rest]))
    return seen


def _line(group: FailureGroup, lost: int, most: int) -> ET.Element:
    """Returns a reason, with how often it occurs as a number and a bar, and its examples behind."""
    width = f"width:{100 * group.failed / most:.1f}%"
    told: list[Child] = [
        element("span", f"{group.failed:,}", class_="count"),
        element("span", share_text(group.failed, lost), class_="share"),
        element("span", _reason(group), class_="why"),
        element("span", element("i", style=width), class_="track"),
    ]
    # A summary that is a grid itself loses the mark that it can be opened.
    summary = element("summary", element("span", told, class_="line"))
    return element("details", [summary, _examples(group)], class_="reason")


def _reason(group: FailureGroup) -> list[Child]:
    """Returns the error, where it happened, and what the first of its images says."""
    name: list[Child] = [element("b", data(group.error))]
    if not group.stage:
        return name
    # Of several images each has numbers and names of its own in the message.
    begins = ", the first" if group.failed > 1 else ""
    return [*name, f" ({group.stage}){begins}: ", data(group.examples[0].message)]


def _examples(group: FailureGroup) -> ET.Element:
    head = element("tr", [element("th", "image", scope="col"), element("th", "why", scope="col")])
    lines = [_example(one) for one in group.examples]
    return element("div", element("table", [head, *lines]), class_="scroll")


def _example(one: Failure) -> ET.Element:
    path = data(one.original_path or one.image_id, _LONGEST_PATH)
    return element("tr", [element("td", path), element("td", data(one.message))])
