"""Finds the tables of image folders that an input does not list: above or beside what it names.

An input may name images alone: `photos/a/*.jpg`, `photos/{train,val}/*.jpg`, one file. The tables
in the folders from its root down to those images are theirs, as if the root itself were given.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from beam_export.sources.entries import (
    FOLDER_TABLES,
    Entry,
    FolderTable,
    Listed,
    ListedItem,
    Source,
    local_entry,
)
from beam_export.sources.patterns import Pattern
from beam_export.sources.siblings import group_siblings
from beam_export.storage.registry import storage_of
from beam_export.storage.uris import is_local

__all__ = ["folders_between", "has_near_tables", "is_reached", "tables_of", "with_tables_of"]

#: What the names of all such tables begin with.
_BEGIN = "metadata."


def folders_between(root: str, top: str) -> list[str]:
    """Returns the directories from a root down to one below it, both included; all end in `/`.

    >>> folders_between("gs://b/a/", "gs://b/a/c/d/")
    ['gs://b/a/', 'gs://b/a/c/', 'gs://b/a/c/d/']
    """
    found = [root]
    if top.startswith(root):
        for part in top.removeprefix(root).split("/")[:-1]:
            found.append(f"{found[-1]}{part}/")
    return found


def with_tables_of(
    items: Iterable[ListedItem], folders: Iterable[str], root: str
) -> Iterator[ListedItem]:
    """Yields the items of a listing, then the tables of some folders, if it has found images.

    Args:
        items: of the listing.
        folders: that it does not look into; each ends in `/`.
        root: directory that relative paths are relative to; ends in `/`.
    """
    listed = False
    for item in items:
        listed = listed or isinstance(item, Listed)
        yield item
    if listed:
        yield from tables_of(folders, root)


def tables_of(folders: Iterable[str], root: str) -> Iterator[FolderTable]:
    """Yields the tables of image folders that lie in some directories; arguments as above."""
    for folder in folders:
        files = _local_files(folder) if is_local(folder) else _objects(folder)
        for _, found in group_siblings(files, folder.removeprefix(root).rstrip("/")):
            if isinstance(found, Source) and found.name in FOLDER_TABLES:
                yield FolderTable(found, near=True)


def is_reached(folder: str, prefix: str) -> bool:
    """Returns whether a listing of a prefix has the tables of a folder.

    >>> is_reached("gs://b/a/", "gs://b/a/m"), is_reached("gs://b/a/", "gs://b/a/0")
    (True, False)
    """
    return all((folder + name).startswith(prefix) for name in FOLDER_TABLES)


def _local_files(folder: str) -> Iterator[Entry]:
    # A directory that cannot be listed is not one that was asked for.
    with contextlib.suppress(OSError), os.scandir(folder) as scanned:
        for entry in scanned:
            if entry.name.startswith(_BEGIN) and entry.is_file():
                yield local_entry(entry.name, entry.path, entry.stat())


def _objects(folder: str) -> Iterator[Entry]:
    with contextlib.suppress(FileNotFoundError):
        for file in storage_of(folder).list(folder + _BEGIN):
            name = file.uri.removeprefix(folder)
            if "/" not in name:
                yield Entry(name, file.pinned, file.size)


def has_near_tables(patterns: Iterable[Pattern]) -> bool:
    """Returns whether a folder of this machine from a root down to what is named has such a table.

    Args:
        patterns: the input.
    """
    folders = {folder for pattern in patterns for folder in _local_folders(pattern)}
    return any(os.path.lexists(folder + name) for folder in folders for name in FOLDER_TABLES)


def _local_folders(pattern: Pattern) -> list[str]:
    if not is_local(pattern.path):
        return []
    path = pattern.path
    if not os.path.isdir(path):
        path = os.path.dirname(path if os.path.lexists(path) else pattern.fixed)
    top = os.path.join(os.path.abspath(path), "")
    root = os.path.join(os.path.abspath(pattern.root), "") if pattern.root else top
    return folders_between(root, top)
