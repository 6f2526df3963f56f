"""What of a listing an input asks for, the same for directories and for any other storage."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from beam_export.errors import InputError
from beam_export.sources.entries import (
    FOLDER_TABLES,
    Companion,
    Exported,
    FolderTable,
    ListedItem,
    Skipped,
    Source,
    join,
    skipped_kind,
)
from beam_export.sources.hidden import Visible
from beam_export.sources.patterns import Pattern
from beam_export.text import printable

__all__ = ["HIDDEN", "Asked", "is_asked_for", "nothing_at", "outright", "wanted_item"]

#: A file that is hidden.
HIDDEN = Skipped("(hidden)")


class Asked(NamedTuple):
    """What of a directory is asked for.

    Attributes:
        wanted: expression that the relative path of a file, or of a directory above it, matches;
            None for all.
        visible: what of it is hidden.
        above: expression of directories that are entered though not all in them is wanted.
        exclude: real path of a directory to leave out.
        most: names in one directory, more of which end the listing; None for any number.
    """

    wanted: re.Pattern[str] | None
    visible: Visible
    above: re.Pattern[str] | None = None
    exclude: str = ""
    most: int | None = None

    def wants(self, place: str) -> bool:
        """Returns whether a relative path is wanted."""
        return self.wanted is None or self.wanted.fullmatch(place) is not None

    def leaves_out(self, entry: os.DirEntry[str]) -> bool:
        """Returns whether an entry is the directory to leave out, or a link to it."""
        # What is no link is still called so once links are followed: most need no look.
        if entry.name != os.path.basename(self.exclude) and not entry.is_symlink():
            return False
        return os.path.realpath(entry.path) == self.exclude


def wanted_item(place: str, item: ListedItem | Companion, asked: Asked) -> ListedItem | None:
    """Returns what a file is read as; None if it is not wanted, or a tar is read with it.

    A pattern that matches the Parquet files of an export, and not its tars, means both.

    Args:
        place: that is wanted, or is not.
        item: what is there.
        asked: what is wanted.
    """
    if not asked.wants(place):
        return _near(item, asked)
    if isinstance(item, Companion):
        tar = join(place.rpartition("/")[0], item.tar.name)
        return None if asked.wants(tar) else item.tar
    if isinstance(item, Source) and asked.visible.hides_source(item.relative):
        return Skipped(skipped_kind(item.relative))
    if isinstance(item, Exported) and asked.visible.hides_source(item.relative):
        return item._replace(item=Skipped(skipped_kind(item.relative)))
    return item


def _near(item: ListedItem | Companion, asked: Asked) -> ListedItem | None:
    """Returns what a file that is not wanted says of others that are; None if it says nothing."""
    if isinstance(item, Source) and item.name in FOLDER_TABLES:
        hidden = asked.visible.hides_source(item.relative)
        return None if hidden else FolderTable(item, near=True)
    if isinstance(item, Exported) and item.proofs and item.home != _folder(item.relative):
        return item._replace(item=None)
    return None


def _folder(relative: str) -> str:
    return relative.rpartition("/")[0]


def is_asked_for(item: ListedItem) -> bool:
    """Returns whether an item is one that an input names, and not there for others' sake."""
    if isinstance(item, FolderTable):
        return not item.near
    return not isinstance(item, Exported) or item.item is not None


def outright(items: Iterable[ListedItem]) -> Iterator[ListedItem]:
    """Yields items of a file that is named outright: of an export or not, it is read."""
    for item in items:
        if not isinstance(item, Exported):
            yield item
        elif item.item is not None:
            yield item.item


def nothing_at(pattern: Pattern) -> InputError:
    """Returns the error of an input that names nothing that is there."""
    return InputError(
        f"--input={printable(pattern.given)}: there is no {printable(pattern.path)}: give a "
        "directory, a file or a pattern that exists."
    )
