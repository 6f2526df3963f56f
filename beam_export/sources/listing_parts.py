"""Divides the listing of a directory of this machine, for several workers; one order still.

Some folders are listed apart, and all else by one worker, the trunk: what lies in the folders above
them. Each item is in a segment: folders of one part with nothing of the trunk between them are a
run, and the run numbered `n`, in order, is segment `2n + 1`; what lies between two of them in the
trunk has an even number. How many items each segment has gives all items the positions that they
have where one process lists everything. What comes into a run meanwhile, to the trunk, follows it.
"""

from __future__ import annotations

import bisect
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
        apart: of the trunk, the relative paths of all folders that are listed apart, in order.
        runs: for each of them, the number of its run.
    """

    pattern: Pattern
    folders: tuple[Folder, ...] = ()
    apart: tuple[str, ...] = ()
    runs: tuple[int, ...] = ()


def divide(pattern: Pattern, exclude: str) -> list[Part]:
    """Returns the parts of the listing of a pattern; one if it cannot be divided.

    Args:
        pattern: what to list.
        exclude: as in `list_images`.
    """
    start = _start_of(pattern, exclude)
    folders, between = ([], frozenset()) if start is None else _find_folders(start)
    if not folders:
        return [Part(pattern)]
    size = -(-len(folders) // _MOST_PARTS)
    begins = (at > 0 and (at % size == 0 or at in between) for at in range(len(folders)))
    runs = tuple(itertools.accumulate(begins))
    parts = [
        Part(pattern, tuple(folders[at : at + size]), runs=runs[at : at + size])
        for at in range(0, len(folders), size)
    ]
    return [Part(pattern, apart=tuple(one.relative for one in folders), runs=runs), *parts]


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
        for run, folder in zip(part.runs, part.folders, strict=True):
            for item in list_folder(folder, start.asked):
                yield 2 * run + 1, item
    elif start is not None:
        yield from _list_trunk(start, dict(zip(part.apart, part.runs, strict=True)))
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


def _find_folders(start: Start) -> tuple[list[Folder], frozenset[int]]:
    """Returns folders that together hold most of what is listed, and where others lie between.

    The folders are in the order of their paths; before those whose places are returned, something
    lies that is the trunk's.
    """
    found, others = _inner_folders(start.top, start)
    for _ in range(_LEVELS - 1):
        if len(found) >= _ENOUGH:
            break
        inner = [_inner_folders(folder, start) for folder in found]
        if not any(below for below, _ in inner):
            break
        # What lies in a folder itself is the trunk's then.
        others += [other for below, beside in inner if below for other in beside]
        found = [
            one
            for folder, (below, _) in zip(found, inner, strict=True)
            for one in below or [folder]
        ]
    found.sort(key=lambda one: os.fsencode(f"{one.relative}/"))
    keys = [os.fsencode(f"{one.relative}/") for one in found]
    # As a file or as a folder: a place too many does no harm.
    ends = (os.fsencode(other + end) for other in others for end in ("", "/"))
    return found, frozenset(bisect.bisect(keys, end) for end in ends)


def _inner_folders(folder: Folder, start: Start) -> tuple[list[Folder], list[str]]:
    """Returns the folders in one that a listing enters, and the relative paths of all else there.

    What cannot be listed, the listing says.
    """
    try:
        status = os.stat(folder.path)
        with os.scandir(folder.path) as scanned:
            entries = [(entry, is_folder(entry)) for entry in scanned]
    except OSError:
        return [], []
    me = (status.st_dev, status.st_ino)
    if me in folder.above:
        return [], []
    asked, above = start.asked, folder.above | {me}
    inner, others = [], []
    for entry, is_inner in entries:
        place = join(folder.relative, entry.name)
        # What is in `_meta` or `_tmp` says of the folder above what it is.
        hidden = entry.name[0] == "_" or asked.visible.hides_part(entry.name)
        if is_inner and not hidden and enters(place, asked) and not asked.leaves_out(entry):
            inner.append(Folder(entry.path, place, above))
        else:
            others.append(place)
    return inner, others


def _list_trunk(start: Start, runs: dict[str, int]) -> Iterator[tuple[int, ListedItem]]:
    """Yields the items of the folders above those that are listed apart.

    Args:
        start: of the listing.
        runs: numbers of those folders' runs, by their relative paths.
    """
    segment = 0
    for item in list_around(start.top, start.asked, runs):
        if isinstance(item, Apart):
            segment = 2 * item.number + 2
        else:
            yield segment, item
    for table in tables_of(start.folders, start.root):
        yield LAST_SEGMENT - 1, table
