"""The parts of the page that show images: the contact sheet, and groups of equal ones.

A thumbnail is a button that opens its sample without any script (HTML, "The popover attribute").
"""

from __future__ import annotations

import base64
import datetime
import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

from beam_export.exports.report.charts import count_text
from beam_export.exports.report.elements import Child, data, element, plain_text
from beam_export.exports.report.gather import EqualGroup, Gathered
from beam_export.exports.report.sheet import Tile
from beam_export.metadata.schema import STRUCTURAL
from beam_export.text import size

__all__ = ["contact_sheet", "equal_images"]

#: Columns that are shown of a sample; and characters of a value that is no text.
_MOST_VALUES = 60
_LONGEST = 300


def contact_sheet(gathered: Gathered) -> ET.Element:
    """Returns the section with a thumbnail of each image that was chosen."""
    count = gathered.catalog.samples
    tiles = gathered.tiles
    which = "all of them" if len(tiles) == count else f"chosen at random by seed {gathered.seed}"
    return element(
        "section",
        [
            element("h2", "Images", id="images"),
            element("p", f"{len(tiles):,} of {count:,} images, {which}.", class_="note"),
            element("div", [*_with_popovers(tiles, "sheet")], class_="sheet"),
        ],
    )


def _with_popovers(tiles: Sequence[Tile], place: str) -> list[Child]:
    return [part for tile in tiles for part in _tile(tile, f"{place}-{tile.number}")]


def _tile(tile: Tile, name: str) -> list[ET.Element]:
    """Returns a thumbnail, and the sample that it opens."""
    label = plain_text(tile.row["image_id"])
    picture = _picture(tile, label)
    thumb = element(
        "button",
        picture,
        type="button",
        class_="thumb",
        popovertarget=name,
        title=label,
    )
    close = element(
        "button",
        "Close",
        type="button",
        class_="close",
        popovertarget=name,
        popovertargetaction="hide",
    )
    heading = element("h3", data(tile.row["image_id"]))
    details = element("dialog", [close, heading, _picture(tile, label), _facts(tile)], id=name)
    details.set("popover", "auto")
    return [thumb, details]


def _picture(tile: Tile, label: str) -> ET.Element:
    if tile.picture is None:
        return element("span", ["cannot be shown: ", data(tile.problem)], class_="bad")
    source = "data:image/jpeg;base64," + base64.b64encode(tile.picture).decode("ascii")
    return element("img", src=source, alt=label, loading="lazy", decoding="async")


def _facts(tile: Tile) -> ET.Element:
    """Returns a table of what a sample's row says."""
    row = tile.row
    known = row["width"] is not None and row["height"] is not None
    sides = f"{row['width']} x {row['height']} pixels, " if known else ""
    lines = [
        _line("image", f"{sides}{size(row['size'])}, {row['encoding']}"),
        _line("from", data(row["original_path"] or "")),
        _line("in", data(f"{row['tar_file']}, {row['member_name']}")),
    ]
    columns = [name for name in row if name not in STRUCTURAL.names]
    lines += [_line(data(name), _value(row[name])) for name in columns[:_MOST_VALUES]]
    if len(columns) > _MOST_VALUES:
        lines.append(_line("", f"and {len(columns) - _MOST_VALUES} columns more"))
    return element("div", element("table", lines), class_="scroll")


def _line(name: Child, value: Child) -> ET.Element:
    return element("tr", [element("th", name, scope="row"), element("td", value)])


def _value(value: Any) -> ET.Element:
    if value is None:
        return element("span", "null", class_="soft")
    if isinstance(value, bytes):
        return element("span", count_text(len(value), "byte"), class_="soft")
    if isinstance(value, (str, datetime.date)):
        return data(str(value))
    # Values of columns may nest as deep as a file has them, and a cut text is no JSON.
    return data(json.dumps(value, ensure_ascii=False, default=str), _LONGEST)


def equal_images(gathered: Gathered) -> ET.Element:
    """Returns the section on images of equal bytes."""
    equal = gathered.rows.equal
    heading = element("h2", "Equal images", id="equal")
    if not equal.images:
        return element("section", [heading, element("p", "No two images have the same bytes.")])
    said = (
        f"{equal.images:,} images have the same bytes as another one: "
        f"{count_text(equal.kinds, 'different image')}, so that {equal.images - equal.kinds:,} "
        "could be left out."
    )
    left = equal.kinds - len(gathered.equal)
    more = f"{count_text(left, 'group')} more." if left else None
    return element(
        "section",
        [
            heading,
            element("p", said),
            element("div", [*map(_group, gathered.equal)], class_="cards"),
            element("p", more, class_="note") if more else None,
        ],
    )


def _group(group: EqualGroup) -> ET.Element:
    names: list[Child] = [element("li", data(id, 120)) for id in group.ids]
    if group.images > len(group.ids):
        names.append(element("li", f"and {group.images - len(group.ids):,} more", class_="soft"))
    return element(
        "div",
        [
            *_tile(group.tile, f"equal-{group.tile.number}"),
            element("div", [element("h3", f"{group.images:,} times"), element("ul", names)]),
        ],
        class_="card group",
    )
