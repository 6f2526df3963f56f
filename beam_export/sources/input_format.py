"""Decides by file names and `--input_format` how an input is read: as images, tars or tables."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar, assert_never

from beam_export.sources.entries import (
    FOLDER_TABLES,
    Entry,
    Exported,
    FolderTable,
    Item,
    Listed,
    ListedItem,
    Skipped,
    Source,
    join,
    skipped_kind,
)
from beam_export.sources.own_exports import OwnExports

__all__ = ["Choice", "Held", "choose", "choose_held"]

_Placed = TypeVar("_Placed", bound=tuple[Any, ...])

#: What files of exports of ours are counted as, beside other images.
_EXPORT = "(an export)"

#: The kinds of sources that each `--input_format` reads; `auto` is more than a set.
_READ = {
    "files": frozenset[str](),
    "webdataset": frozenset({"webdataset"}),
    "parquet": frozenset({"parquet"}),
    "table": frozenset({"parquet", "table"}),
}


@dataclasses.dataclass
class Held:
    """What of an input, or of a part of it, waits until all is known; with segments of the listing.

    Attributes:
        exported: files of exports of ours, and whether each is known to be of its directory's.
        tables: that the input names.
        near: tables near the images that it names.
        folders: of the images that are no tar's.
        images: whether there are images or tars.
        anything: whether there is anything that the input names.
    """

    exported: list[tuple[int, Exported, bool]] = dataclasses.field(default_factory=list)
    tables: list[tuple[int, Source]] = dataclasses.field(default_factory=list)
    near: list[tuple[int, Source]] = dataclasses.field(default_factory=list)
    folders: set[str] = dataclasses.field(default_factory=set)
    images: bool = False
    anything: bool = False


def choose(found: Iterable[ListedItem], input_format: str) -> Iterator[Item]:
    """Yields the items of one input that are read, in order; all others as `Skipped`.

    Under `auto`, tables are read where there are neither image files nor tars: beside those they
    describe them, and name no other images. Exports of ours are read where there are no other
    images: inside a folder of images they were made of it.

    Args:
        found: all that one input holds.
        input_format: as the flag.
    """
    choice = Choice(input_format)
    yield from choice.take(found)
    yield from choose_held([choice.held()], input_format)


class Choice:
    """Decides how the items of an input, or of a part of it, are read, and holds back the others.

    Args:
        input_format: as the flag.
    """

    def __init__(self, input_format: str) -> None:
        self._format = input_format
        self._ours = OwnExports()
        self._exported: list[tuple[int, Exported]] = []
        self._held = Held()

    def take(self, found: Iterable[ListedItem], segment: int = 0) -> Iterator[Item]:
        """Yields the items that are decided at once, in order.

        Args:
            found: the next items of the listing.
            segment: of the listing that they are in: what is held back is sorted by it.
        """
        if self._format == "auto":
            return self._take_auto(found, segment)
        plain = (item.item if isinstance(item, Exported) else item for item in found)
        return self._take_given((item for item in plain if item is not None), segment)

    def held(self) -> Held:
        """Returns what is held back: the last file of an input can be its first image."""
        exported = [(at, one, self._ours.is_at_home(one)) for at, one in self._exported]
        anything = self._held.anything or any(one.item is not None for _, one, _ in exported)
        return dataclasses.replace(self._held, exported=exported, anything=anything)

    def _take_auto(self, found: Iterable[ListedItem], segment: int) -> Iterator[Item]:
        for item in found:
            if isinstance(item, Exported):
                # What is passed by in any case may be known as an export's by what is yet to come.
                if self._ours.knows(item) or isinstance(item.item, Skipped):
                    self._exported.append((segment, item))
                    continue
                if item.item is None:
                    continue
                item = item.item
            if isinstance(item, FolderTable) or (isinstance(item, Source) and _is_table(item)):
                self._hold_table(item, segment)
                continue
            self._note(item)
            yield item

    def _take_given(self, found: Iterable[Item], segment: int) -> Iterator[Item]:
        kinds = _READ[self._format]
        for item in found:
            if isinstance(item, FolderTable) or (
                isinstance(item, Source) and item.name in FOLDER_TABLES and self._format == "files"
            ):
                self._hold_table(item, segment)
                continue
            self._note(item)
            if isinstance(item, Source) and item.parquet is not None and "parquet" in kinds:
                # Tables are asked for: the Parquet beside a tar is one then.
                yield Skipped(skipped_kind(item.relative))
                yield _table_of(item, item.parquet)
            elif isinstance(item, Source) and item.kind not in kinds:
                yield Skipped(skipped_kind(item.relative), uri=item.uri)
            elif isinstance(item, Listed) and self._format != "files":
                yield Skipped(skipped_kind(item.relative))
                yield from (Skipped(f".{field.ext}") for field in item.fields)
            else:
                yield item

    def _hold_table(self, table: Source | FolderTable, segment: int) -> None:
        """Keeps a table that the input names, or one near the images that it names."""
        if isinstance(table, FolderTable):
            self._held.near.append((segment, table.source))
        else:
            self._held.tables.append((segment, table))
            self._held.anything = True

    def _note(self, item: Item) -> None:
        self._held.anything = True
        if isinstance(item, Listed):
            self._held.folders.add(_folder(item.relative))
            self._held.images = True
        elif isinstance(item, Source):
            self._held.images = True


def _is_table(item: Source) -> bool:
    match item.kind:
        case "webdataset":
            return False
        case "parquet" | "table":
            return True
        case _:
            assert_never(item.kind)


def choose_held(parts: Sequence[Held], input_format: str) -> Iterator[Item]:
    """Yields the items that the parts of an input have held back, now that all of it is known.

    Args:
        parts: in any order.
        input_format: as the flag.
    """
    if input_format != "auto":
        if input_format == "files":
            yield from _beside_images(parts, None)
        return
    images = any(part.images for part in parts)
    exported = _sorted(one for part in parts for one in part.exported)
    for _, one, at_home in exported:
        if one.item is not None:
            yield Skipped(_EXPORT) if images and at_home else one.item
    if images or any(isinstance(one.item, Source) for _, one, _ in exported):
        yield from _beside_images(parts, OwnExports())
    else:
        yield from (table for _, table in _sorted(one for part in parts for one in part.tables))


def _sorted(found: Iterable[_Placed]) -> list[_Placed]:
    # Those of one segment are of one part, and in order there.
    return sorted(found, key=operator.itemgetter(0))


def _beside_images(
    parts: Sequence[Held], ours: OwnExports | None
) -> Iterator[FolderTable | Skipped]:
    """Yields tables that are read for no images of their own: of image folders, or skips.

    Of several in one folder none is taken: they would say different things of the same images.

    Args:
        parts: of the input.
        ours: recognises tables that exports have left; None to count them as others.
    """
    folders: dict[str, list[FolderTable]] = {}
    of_images = {folder for part in parts for folder in part.folders}
    asked = [table for _, table in _sorted(one for part in parts for one in part.tables)]
    written: frozenset[str] = frozenset()
    if ours is not None:
        written = ours.written(one.uri for one in asked if one.kind == "parquet")
    for table in asked:
        if of_images and table.name in FOLDER_TABLES:
            folders.setdefault(_folder(table.relative), []).append(FolderTable(table))
        elif table.uri in written:
            yield Skipped(_EXPORT)
        else:
            beside = table if of_images else None
            yield Skipped(skipped_kind(table.relative), beside, uri=table.uri)
    above = {one for folder in of_images for one in _with_parents(folder)}
    for _, table in _sorted(one for part in parts for one in part.near):
        if (folder := _folder(table.relative)) in above:
            folders.setdefault(folder, []).append(FolderTable(table, near=True))
    for found in folders.values():
        names = sorted(one.source.name for one in found)
        for one in found:
            others = (name for name in names if name != one.source.name)
            yield one._replace(others=tuple(others))


def _folder(relative: str) -> str:
    return relative.rpartition("/")[0]


def _with_parents(folder: str) -> Iterator[str]:
    yield folder
    while folder:
        folder = _folder(folder)
        yield folder


def _table_of(tar: Source, table: Entry) -> Source:
    place = join(tar.relative.rpartition("/")[0], table.name)
    return Source(kind="parquet", relative=place, uri=table.uri, size=table.size)
