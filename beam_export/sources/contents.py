"""Looks at what an input holds before a pipeline is built, so that it gets only steps it needs."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from beam_export.samples import Member
from beam_export.sources.entries import (
    FOLDER_TABLES,
    IMAGE_SUFFIXES,
    FolderTable,
    Listed,
    ListedItem,
    Source,
    source_kind,
)
from beam_export.sources.input_format import choose
from beam_export.sources.listing import TooManyError, list_images
from beam_export.sources.listing_parts import is_folder
from beam_export.sources.near_tables import has_near_tables
from beam_export.sources.patterns import Pattern
from beam_export.storage.uris import is_local

__all__ = [
    "ALL_KINDS",
    "FOLDER_TABLE",
    "Contents",
    "Names",
    "kind_of_item",
    "kinds_by_names",
    "look_at",
    "look_at_names",
]

#: The kind of the tables in image folders, which are joined with images (`FolderTable`).
FOLDER_TABLE = "folder_table"
#: What an input may hold: image files, the kinds of `Source`, and tables in image folders.
ALL_KINDS = frozenset({"files", "webdataset", "parquet", "table", FOLDER_TABLE})
#: Items that are looked at: more than one process copies at once (`planning.small_input`). The
#: listing that follows takes as long again.
_MOST_ITEMS = 5_000
#: Names in one directory, which is listed as a whole before its first item comes: some for each.
_MOST_IN_FOLDER = 40_000
#: Names that are looked at, which takes a microsecond each; all steps that there are take a second.
_MOST_NAMES = 200_000
#: Of one directory, that are taken at a time: it may have millions.
_NAMES_AT_ONCE = 10_000
#: Files from which on several workers list them: their steps take a tenth of a second, a listing
#: 8 microseconds a file.
_MANY = 50_000
#: What may stand before the suffix of a compressed file.
_INNER = (".tar", ".csv", ".tsv", ".jsonl")


class Contents(NamedTuple):
    """A summary of what an input holds: kinds of files, and its images.

    Attributes:
        kinds: those of `ALL_KINDS` that it holds.
        images: the image files.
        bytes: of the image files, with their sidecars.
        suffixes: of the image files.
    """

    kinds: frozenset[str]
    images: tuple[Member, ...]
    bytes: int
    suffixes: frozenset[str]


def look_at(patterns: Sequence[Pattern], exclude: str, input_format: str) -> Contents | None:
    """Returns what an input holds; None if that is not known in a moment.

    It is known of some thousand files of this machine. A listing of an object store is not made
    twice.

    Args:
        patterns: the input.
        exclude: a directory to leave out, as in `list_images`.
        input_format: as the flag.

    Raises:
        InputError: if there is nothing at a path.
    """
    if not all(is_local(pattern.path) for pattern in patterns):
        return None
    try:
        found = list(itertools.islice(_items(patterns, exclude, input_format), _MOST_ITEMS + 1))
    except TooManyError:
        return None
    if len(found) > _MOST_ITEMS:
        return None
    listed = [item for item in found if isinstance(item, Listed)]
    sizes = (member.size for one in listed for member in (one.image, *one.fields))
    return Contents(
        kinds=frozenset(kind for item in found if (kind := kind_of_item(item)) is not None),
        images=tuple(one.image for one in listed),
        bytes=sum(sizes),
        suffixes=frozenset(one.image.ext for one in listed),
    )


def _items(patterns: Sequence[Pattern], exclude: str, input_format: str) -> Iterator[ListedItem]:
    for pattern in patterns:
        yield from choose(list_images(pattern, exclude, _MOST_IN_FOLDER), input_format)


def kind_of_item(item: ListedItem) -> str | None:
    """Returns which of `ALL_KINDS` an item is; None for what is no sample."""
    if isinstance(item, Source):
        return item.kind
    if isinstance(item, FolderTable):
        return FOLDER_TABLE
    return "files" if isinstance(item, Listed) else None


class Names(NamedTuple):
    """What the names of an input's files alone tell of it.

    Attributes:
        kinds: those of `ALL_KINDS` that it can hold. It may hold fewer: some names are hidden, or
            lie beside others with which they are read. Where that cannot be known in a moment, it
            can hold all.
        many: whether there are so many on this machine that several workers list them sooner.
    """

    kinds: frozenset[str]
    many: bool


def kinds_by_names(patterns: Sequence[Pattern]) -> frozenset[str]:
    """Returns the kinds that an input can hold by its names: those of `look_at_names`."""
    return look_at_names(patterns).kinds


def look_at_names(patterns: Sequence[Pattern]) -> Names:
    """Returns what the names of an input's files tell.

    Args:
        patterns: the input.
    """
    suffixes: set[str] = set()
    in_folders = has_near_tables(patterns)
    count = 0
    for names in _names_below(patterns):
        if names is None:
            return Names(ALL_KINDS, many=count > _MANY)
        count += len(names)
        suffixes.update([name[name.rfind(".") :] for name in names])
        in_folders = in_folders or not FOLDER_TABLES.isdisjoint(names)
    kinds: set[str | None] = {
        source_kind(f"x{inner}{suffix}") for suffix in suffixes for inner in ("", *_INNER)
    }
    if not IMAGE_SUFFIXES.isdisjoint(suffix[1:].lower() for suffix in suffixes):
        kinds.add("files")
    if in_folders:
        kinds.add(FOLDER_TABLE)
    return Names(ALL_KINDS & kinds, many=count > _MANY)


def _names_below(patterns: Iterable[Pattern]) -> Iterator[list[str] | None]:
    """Yields the names of an input's files, some at a time, whether they match or not.

    The last is None if there are too many, or on another storage.

    Args:
        patterns: the input.
    """
    left = _MOST_NAMES
    for pattern in patterns:
        if not is_local(pattern.path):
            yield None
            return
        top = pattern.path
        if not os.path.isdir(top):
            if not pattern.is_glob or os.path.lexists(top):
                yield [top]
                continue
            top = os.path.dirname(pattern.fixed) or "."
        for names, others in _names_in(top):
            yield names
            left -= len(names) + others
            if left < 0:
                yield None
                return


def _names_in(top: str) -> Iterator[tuple[list[str], int]]:
    """Yields the names of files in a directory and below it, some at a time; links are followed.

    With them comes the number of folders among them.
    """
    folders = [top]
    while folders:
        # What cannot be listed, the listing says.
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as scanned:
            # One directory may have millions.
            while entries := list(itertools.islice(scanned, _NAMES_AT_ONCE)):
                # Once for each: of a link it takes a look at what it leads to.
                marked = [(entry, is_folder(entry)) for entry in entries]
                inner = [entry.path for entry, is_inner in marked if is_inner]
                folders += inner
                yield [entry.name for entry, is_inner in marked if not is_inner], len(inner)
