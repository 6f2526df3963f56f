"""Says in lines of text what was noted while the input was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from beam_export.planning.steps import (
    BESIDE,
    LARGE_JSON,
    ODD_IDS,
    PARTS,
    SEVERAL,
    UNFIT,
    UNJOINED,
    UNLIKE,
)
from beam_export.text import quantity

__all__ = ["note_lines"]

#: Notes of one kind that are said as they are.
_MOST = 3


def note_lines(read: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line for each kind of note that there is.

    Args:
        read: how many there are by kind, with examples (`steps.read_notes`, `column_notes`).
    """
    if count := read.get(SEVERAL, 0):
        hold = quantity(count, "sample holds", "samples hold")
        yield (
            f"  {hold} several images ({_example(read, SEVERAL)} say): the image is .jpg, else "
            ".jpeg, .png, .webp, else the first by extension, which begins at the first dot (.tif "
            "before .a.webp before .b.png; HEIC, JPEG 2000 and PPM last); the others travel "
            "unchanged"
        )
    if count := read.get(PARTS, 0):
        yield (
            f"  {quantity(count, 'image file is', 'image files are')} named after another "
            f"({_example(read, PARTS)} say): each is a sample of its own; masks are kept as they "
            "are in a tar of pairs, or with --encode=never"
        )
    if count := read.get(LARGE_JSON, 0):
        yield (
            f"  the .json of {quantity(count, 'sample')} is larger than 1 MiB "
            f"({_example(read, LARGE_JSON)} say): it travels, and gives no columns"
        )
    if count := read.get(ODD_IDS, 0):
        says = "; ".join(read[f"{ODD_IDS}_examples"][:_MOST])
        yield f"  ids of {quantity(count, 'sample')} are made of paths or row numbers: {says}"
    yield from _as_they_are(read, UNJOINED, "not joined: ")
    yield from _as_they_are(read, UNFIT, "not joined: ")
    yield from _as_they_are(read, BESIDE, "passed by: ")
    yield from _as_they_are(read, UNLIKE, "not kept: ")


def _example(read: Mapping[str, Any], name: str) -> str:
    return repr(read[f"{name}_examples"][0])


def _as_they_are(read: Mapping[str, Any], name: str, begin: str) -> Iterator[str]:
    """Yields the first few notes that are sentences themselves."""
    for one in read.get(f"{name}_examples", ())[:_MOST]:
        yield f"  {begin}{one}"
    if (more := read.get(name, 0) - _MOST) > 0:
        yield f"  {begin}{more} more like these"
