"""The part of the page on what is not the same for all samples: members, orientations, colours."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from typing import Any

from beam_export.exports.report.charts import count_text
from beam_export.exports.report.elements import Child, data, element
from beam_export.exports.report.gather import Gathered
from beam_export.shards.manifest import LACKS, MEMBERS
from beam_export.shards.uniformity import Lack, describe_ensured, lacks_of, member_notes

__all__ = ["uniformity"]

_NOT_KNOWN = "What the images carry is not known: the facts of the run that wrote them are missing."


def uniformity(gathered: Gathered) -> ET.Element:
    """Returns the section on what readers may be surprised by."""
    steps = {one["step"]: one for one in gathered.catalog.manifest["steps"]}
    encode: Mapping[str, Any] = steps.get("encode", {})
    # Where nothing was done about members, the facts of the run alone know of them.
    known = {MEMBERS: [steps["members"]]} if "members" in steps else {}
    facts = {**known, **gathered.run}
    said: list[Child] = [element("p", data(one, 2_000)) for one in _members(encode, facts)]
    said += [element("p", one) for one in describe_ensured(encode)]
    return element(
        "section",
        [
            element("h2", "Alike or not", id="uniform"),
            element("div", [*said, *_images(gathered, encode, facts)], class_="card"),
        ],
    )


def _members(encode: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[str]:
    notes = [*member_notes(encode, facts)]
    yield from (f"{one[0].upper()}{one[1:]}." for one in notes)
    steps = facts.get(MEMBERS)
    if steps is not None and not any(one["unequal"] for one in steps):
        yield "All samples have the same members in the tars."


def _images(
    gathered: Gathered, encode: Mapping[str, Any], facts: Mapping[str, Any]
) -> Iterator[Child]:
    """Yields what is said of orientations, colours and gray."""
    if LACKS not in facts:
        yield element("p", _NOT_KNOWN, class_="note")
        return
    written = int(facts[LACKS].get("samples", 0))
    if kept := gathered.catalog.samples - written:
        yield element(
            "p",
            f"What follows is of the {count_text(written, 'image')} that the last run wrote; of "
            f"the {kept:,} that stood finished before it is not known.",
            class_="note",
        )
    lines = [_line(one) for one in lacks_of(encode, facts)]
    if lines:
        yield element("div", element("table", lines), class_="scroll")
    elif written:
        yield element(
            "p", "No JPEG carries an orientation or other colours than sRGB; all or none are gray."
        )


def _line(lack: Lack) -> ET.Element:
    share = f"{100 * lack.images / max(1, lack.of):.1f} %"
    flag, _, does = lack.remedy.partition(" ")
    remedy: list[Child] = [element("code", flag, class_="flag"), f" {does}"] if flag else []
    return element(
        "tr",
        [
            element("td", f"{lack.images:,}", class_="number"),
            element("td", share, class_="number"),
            element("td", [f"{lack.means}; " if flag else lack.means, *remedy]),
        ],
    )
