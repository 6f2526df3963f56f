"""Decides by file names and `--input_format` how an input is read: as images, tars or tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import assert_never

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

__all__ = ["choose"]

#: What files of exports of ours are counted as, beside other images.
_EXPORT = "(an export)"

#: The kinds of sources that each `--input_format` reads; `auto` is more than a set.
_READ = {
    "files": frozenset[str](),
    "webdataset": frozenset({"webdataset"}),
    "parquet": frozenset({"parquet"}),
    "table": frozenset({"parquet", "table"}),
}


def choose(found: Iterable[ListedItem], input_format: str) -> Iterator[Item]:
    """Yields the items of one input that are read, in order; all others as `Skipped`.

    Under `auto`, tables are read where there are neither image files nor tars: beside those they
    describe them, and name no other images. Exports of ours are read where there are no other
    images: inside a folder of images they were made of it.

    Args:
        found: all that one input holds.
        input_format: as the flag.
    """
    if input_format == "auto":
        return _choose_auto(found)
    plain = (item.item if isinstance(item, Exported) else item for item in found)
    return _choose_given((item for item in plain if item is not None), input_format)


def _choose_auto(found: Iterable[ListedItem]) -> Iterator[Item]:
    # Held back to the end, since the last file of an input can be its first image.
    tables = _Tables()
    exported: list[Exported] = []
    images = False
    ours = OwnExports()
    for item in found:
        if isinstance(item, Exported):
            # What is passed by in any case may be known as an export's by what is yet to come.
            if ours.knows(item) or isinstance(item.item, Skipped):
                exported.append(item)
                continue
            if item.item is None:
                continue
            item = item.item
        if isinstance(item, FolderTable) or (isinstance(item, Source) and _is_table(item)):
            tables.add(item)
            continue
        if isinstance(item, Listed):
            tables.add_image(item)
        images = images or isinstance(item, (Listed, Source))
        yield item
    for one in exported:
        if one.item is not None:
            yield Skipped(_EXPORT) if images and ours.is_home(one.home) else one.item
    only_tables = not images and not any(isinstance(one.item, Source) for one in exported)
    yield from tables.read() if only_tables else tables.beside_images(ours)


def _is_table(item: Source) -> bool:
    match item.kind:
        case "webdataset":
            return False
        case "parquet" | "table":
            return True
        case _:
            assert_never(item.kind)


class _Tables:
    """The tables of an input, of which it is not known yet whether it holds images too."""

    def __init__(self) -> None:
        self._asked: list[Source] = []
        self._near: list[Source] = []
        # Of the images that are no tar's.
        self._folders: set[str] = set()

    def add(self, table: Source | FolderTable) -> None:
        """Adds a table that the input names, or one near the images that it names."""
        if isinstance(table, FolderTable):
            self._near.append(table.source)
        else:
            self._asked.append(table)

    def add_image(self, image: Listed) -> None:
        """Adds the folder of an image."""
        self._folders.add(_folder(image.relative))

    def read(self) -> Iterator[Item]:
        """Yields the tables that are read for images of their own."""
        yield from self._asked

    def beside_images(self, ours: OwnExports | None) -> Iterator[FolderTable | Skipped]:
        """Yields those that are read for no images of their own: of image folders, or skips.

        Of several in one folder none is taken: they would say different things of the same images.

        Args:
            ours: recognises tables that exports have left; None to count them as others.
        """
        folders: dict[str, list[FolderTable]] = {}
        asked = self._asked
        written: frozenset[str] = frozenset()
        if ours is not None:
            written = ours.written(one.uri for one in asked if one.kind == "parquet")
        for table in asked:
            if self._folders and table.name in FOLDER_TABLES:
                folders.setdefault(_folder(table.relative), []).append(FolderTable(table))
            elif table.uri in written:
                yield Skipped(_EXPORT)
            else:
                kind = skipped_kind(table.relative)
                yield Skipped(kind, table if self._folders else None)
        above = {one for folder in self._folders for one in _with_parents(folder)}
        for table in self._near:
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


def _choose_given(found: Iterable[Item], input_format: str) -> Iterator[Item]:
    kinds = _READ[input_format]
    tables = _Tables()
    for item in found:
        if isinstance(item, FolderTable) or (
            isinstance(item, Source) and item.name in FOLDER_TABLES and input_format == "files"
        ):
            tables.add(item)
            continue
        if isinstance(item, Source) and item.parquet is not None and "parquet" in kinds:
            # Tables are asked for: the Parquet beside a tar is one then.
            yield Skipped(skipped_kind(item.relative))
            yield _table_of(item, item.parquet)
        elif isinstance(item, Source) and item.kind not in kinds:
            yield Skipped(skipped_kind(item.relative))
        elif isinstance(item, Listed) and input_format != "files":
            yield Skipped(skipped_kind(item.relative))
            yield from (Skipped(f".{field.ext}") for field in item.fields)
        else:
            if isinstance(item, Listed):
                tables.add_image(item)
            yield item
    if input_format == "files":
        yield from tables.beside_images(None)


def _table_of(tar: Source, table: Entry) -> Source:
    place = join(tar.relative.rpartition("/")[0], table.name)
    return Source(kind="parquet", relative=place, uri=table.uri, size=table.size)
