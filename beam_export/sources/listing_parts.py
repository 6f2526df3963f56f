"""Divides the listing of a directory of this machine, for several workers; one order still.

Some folders are listed apart, and all else by one worker, the trunk: what lies in the folders above
them. Each item is in a segment: the folder numbered `n`, in order, is segment `2n + 1`, and what
lies between two of them in the trunk has an even number. How many items each segment has gives all
items the positions that they have where one process lists everything.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from beam_export.sources.entries import ListedItem, join
from beam_export.sources.listing import (
    Apart,
    Folder,
    Start,
    enters,
    list_around,
    list_folder,
    list_images,
    start_of,
)
from beam_export.sources.near_tables import tables_of
from beam_export.sources.patterns import Pattern
from beam_export.storage.uris import is_local

__all__ = [
    "LAST_SEGMENT",
    "Part",
    "divide",
    "first_positions",
    "is_folder",
    "is_refused_if_empty",
    "list_part",
]

#: Of what is held back until all is listed, and follows it.
LAST_SEGMENT = 1 << 62
#: Folders from which on none are looked for deeper down, and levels on which they are looked for.
_ENOUGH, _LEVELS = 32, 3
#: Most parts of an input beside its trunk: what is done for each takes a millisecond.
_MOST_PARTS = 64


class Part(NamedTuple):
    """A part of a listing, that one worker lists.

    Attributes:
        pattern: what is listed.
        folders: that are listed apart; none for the trunk.
        first: number of the first of them.
        apart: of the trunk, the relative paths of all folders that are listed apart, in order.
    """

    pattern: Pattern
    folders: tuple[Folder, ...] = ()
    first: int = 0
    apart: tuple[str, ...] = ()


def divide(pattern: Pattern, exclude: str) -> list[Part]:
    """Returns the parts of the listing of a pattern; one if it cannot be divided.

    Args:
        pattern: what to list.
        exclude: as in `list_images`.
    """
    start = _start_of(pattern, exclude)
    folders = [] if start is None else _find_folders(start)
    size = -(-len(folders) // _MOST_PARTS)
    parts = [
        Part(pattern, tuple(folders[first : first + size]), first)
        for first in (range(0, len(folders), size) if folders else ())
    ]
    return [Part(pattern, apart=tuple(one.relative for one in folders)), *parts]


def list_part(part: Part, exclude: str) -> Iterator[tuple[int, ListedItem]]:
    """Yields the items of a part in order, each after its segment.

    Args:
        part: of a listing.
        exclude: as in `list_images`.

    Raises:
        InputError: if there is nothing, and the listing is not divided.
    """
    start = _start_of(part.pattern, exclude) if part.apart or part.folders else None
    if start is not None and part.folders:
        for number, folder in enumerate(part.folders, part.first):
            for item in list_folder(folder, start.asked):
                yield 2 * number + 1, item
    elif start is not None:
        yield from _list_trunk(start, part.apart)
    elif not part.folders:
        # Of a directory that has gone since it was divided, this says so.
        for item in list_images(part.pattern, exclude):
            yield 0, item


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Returns whether an entry is a directory, or a link to one; False if that cannot be known."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_refused_if_empty(pattern: Pattern) -> bool:
    """Returns whether it is an error if nothing is found behind a pattern: it is no directory.

    Args:
        pattern: whose listing may be divided.
    """
    start = _start_of(pattern, "")
    return start is not None and start.is_glob


def first_positions(counts: Iterable[tuple[int, int, int]]) -> dict[tuple[int, int], int]:
    """Returns the position of the first item of each (pattern number, segment).

    >>> first_positions([(0, 1, 5), (0, 0, 2), (1, 0, 9)])
    {(0, 0): 0, (0, 1): 2, (0, 4611686018427387904): 7, (1, 0): 0, (1, 4611686018427387904): 9}

    Args:
        counts: (pattern number, segment, items), in any order.
    """
    first: dict[tuple[int, int], int] = {}
    for number, segments in itertools.groupby(sorted(counts), key=lambda one: one[0]):
        total = 0
        for _, segment, count in segments:
            first[number, segment] = total
            total += count
        first[number, LAST_SEGMENT] = total
    return first


def _start_of(pattern: Pattern, exclude: str) -> Start | None:
    if not is_local(pattern.path):
        return None
    return start_of(pattern, os.path.realpath(exclude) if is_local(exclude) else "")


def _find_folders(start: Start) -> list[Folder]:
    """Returns folders that together hold most of what is listed, in the order of their paths."""
    found = list(_inner_folders(start.top, start))
    for _ in range(_LEVELS - 1):
        if len(found) >= _ENOUGH:
            break
        inner = [list(_inner_folders(folder, start)) for folder in found]
        if not any(inner):
            break
        # What lies in a folder itself is the trunk's then.
        found = [
            one for folder, below in zip(found, inner, strict=True) for one in below or [folder]
        ]
    return sorted(found, key=lambda one: os.fsencode(f"{one.relative}/"))


def _inner_folders(folder: Folder, start: Start) -> Iterator[Folder]:
    """Yields the folders in one that a listing enters; what else there is, the listing says."""
    try:
        status = os.stat(folder.path)
        with os.scandir(folder.path) as scanned:
            inner = [entry for entry in scanned if is_folder(entry)]
    except OSError:
        return
    me = (status.st_dev, status.st_ino)
    if me in folder.above:
        return
    asked, above = start.asked, folder.above | {me}
    for entry in inner:
        place = join(folder.relative, entry.name)
        # What is in `_meta` or `_tmp` says of the folder above what it is.
        if entry.name[0] == "_" or asked.visible.hides_part(entry.name) or not enters(place, asked):
            continue
        if os.path.realpath(entry.path) != asked.exclude:
            yield Folder(entry.path, place, above)


def _list_trunk(start: Start, apart: tuple[str, ...]) -> Iterator[tuple[int, ListedItem]]:
    """Yields the items of the folders above those that are listed apart."""
    segment = 0
    numbers = {place: number for number, place in enumerate(apart)}
    for item in list_around(start.top, start.asked, numbers):
        if isinstance(item, Apart):
            segment = 2 * item.number + 2
        else:
            yield segment, item
    for table in tables_of(start.folders, start.root):
        yield LAST_SEGMENT - 1, table
