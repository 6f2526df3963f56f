"""Lists the files behind a pattern in one sorted pass, the same on every storage.

The order is that of the whole relative path, byte by byte, as object stores list. Links are
followed; a link to a directory above itself is skipped and counted, and so are hidden files.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from beam_export.errors import InputError
from beam_export.naming import says_whose
from beam_export.samples import Failure
from beam_export.sources.asked import HIDDEN, Asked, is_asked_for, nothing_at, outright, wanted_item
from beam_export.sources.entries import (
    IMAGE_SUFFIXES,
    Companion,
    Entry,
    ListedItem,
    Skipped,
    broken_source,
    join,
    local_entry,
    skipped_kind,
    source_kind,
    split,
    tar_stem,
)
from beam_export.sources.export_files import SIGNED, signs_of
from beam_export.sources.hidden import Visible
from beam_export.sources.listing_objects import list_objects
from beam_export.sources.near_tables import folders_between, with_tables_of
from beam_export.sources.patterns import Pattern, folders_above, or_below
from beam_export.sources.siblings import companion_names, group_siblings
from beam_export.storage.local_file import special_kind, special_kind_at
from beam_export.storage.uris import is_local
from beam_export.text import printable, stored

__all__ = [
    "Apart",
    "Folder",
    "Start",
    "TooManyError",
    "enters",
    "list_around",
    "list_folder",
    "list_images",
    "refuse_special_file",
    "start_of",
]

#: What a directory's iterator gives when it has nothing more.
_END = ("", None)


class TooManyError(Exception):
    """A directory of this machine has more names than were to be listed."""


def list_images(pattern: Pattern, exclude: str, most: int | None = None) -> Iterator[ListedItem]:
    """Yields the images and sources behind a pattern, in order, with failures and skipped files.

    Args:
        pattern: what to list.
        exclude: a directory to leave out: the output, which may lie inside the input.
        most: names in one directory of this machine; None for any number.

    Raises:
        InputError: if the path does not exist.
        TooManyError: if a directory has more than `most`.
    """
    if is_local(pattern.path):
        return _list_local(pattern, os.path.realpath(exclude) if is_local(exclude) else "", most)
    return list_objects(pattern, exclude)


def refuse_special_file(flag: str, path: str) -> None:
    """Refuses a path of this machine that is a FIFO, a socket or a device.

    Args:
        flag: that names the path.
        path: on any storage.

    Raises:
        InputError: if it is one: reading it would wait, or never end.
    """
    if is_local(path) and (kind := special_kind_at(path)):
        raise InputError(
            f"{flag}={printable(path)} is a {kind}, which is never read: give a regular file."
        )


# Local files.


class Folder(NamedTuple):
    """A directory of this machine, to be listed.

    Attributes:
        path: of it.
        relative: its path relative to the root.
        above: identities (device, inode) of the directories above it.
    """

    path: str
    relative: str
    above: frozenset[tuple[int, int]]


class Start(NamedTuple):
    """Where the listing of a pattern of this machine starts.

    Attributes:
        top: the directory that is listed, with what is in it.
        asked: what of it is asked for.
        folders: above the directory, whose tables may be of its images.
        root: directory that relative paths are relative to.
        is_glob: whether it is an error if nothing is found.
    """

    top: Folder
    asked: Asked
    folders: list[str]
    root: str
    is_glob: bool = False


class Apart(NamedTuple):
    """The place of a directory that is listed apart from those above it, by a number."""

    number: int


class _Unlisted(NamedTuple):
    """A directory that cannot be listed: images that are wanted may be in it."""

    failure: Failure


class _Hidden(NamedTuple):
    """A hidden file, or a directory whose files all are."""

    path: str
    is_folder: bool


class _Found(NamedTuple):
    """An item and its place: the relative path that it is sorted by."""

    place: str
    item: ListedItem | Companion | Folder | _Unlisted | _Hidden


def _list_local(pattern: Pattern, exclude: str, most: int | None) -> Iterator[ListedItem]:
    start = start_of(pattern, exclude, most)
    if start is not None:
        items = list_folder(start.top, start.asked)
        if start.is_glob:
            return _or_refuse(items, pattern)
        return with_tables_of(items, start.folders, start.root)
    if not os.path.lexists(pattern.path):
        raise nothing_at(pattern)
    refuse_special_file("--input", pattern.path)
    folder, name = os.path.split(os.path.abspath(pattern.path))
    root = _root_of(pattern)
    place = _below(folder, root)
    if tar_stem(name) is not None:
        return _list_tar(folder, name, place)
    wanted = join(place, name)
    visible = Visible(wanted, glob=False)
    asked = Asked(re.compile(re.escape(wanted)), visible, exclude=exclude, most=most)
    items = outright(list_folder(Folder(folder, place, frozenset()), asked))
    return with_tables_of(items, *_folders_above(folder, root))


def start_of(pattern: Pattern, exclude: str, most: int | None = None) -> Start | None:
    """Returns where the listing of a pattern of this machine starts; None for one file, or nothing.

    Args:
        pattern: what to list.
        exclude, most: as in `list_images`.
    """
    path, root = os.path.abspath(pattern.path), _root_of(pattern)
    if os.path.isdir(path):
        place = _below(path, root)
        asked = Asked(None, Visible(place, glob=False), exclude=exclude, most=most)
        return Start(Folder(path, place, frozenset()), asked, *_folders_above(path, root))
    if not os.path.lexists(path) and pattern.is_glob and os.path.isdir(root):
        glob = os.path.relpath(path, root)
        asked = Asked(or_below(glob), Visible(glob), folders_above(glob), exclude, most)
        return Start(Folder(root, "", frozenset()), asked, [], root, is_glob=True)
    return None


def _root_of(pattern: Pattern) -> str:
    # A file of exactly that name is meant as such: its wildcards are letters.
    literal = pattern.path == pattern.given and os.path.lexists(os.path.abspath(pattern.path))
    return os.path.abspath(pattern.root) if pattern.root and not literal else ""


def _folders_above(top: str, root: str) -> tuple[list[str], str]:
    """Returns the folders above one, down from the root, and the root; all end in `/`."""
    if not root:
        return [], root
    root, top = os.path.join(root, ""), os.path.join(top, "")
    return folders_between(root, top)[:-1], root


def _list_tar(folder: str, name: str, place: str) -> Iterator[ListedItem]:
    """Yields a tar that is named outright, with its companions.

    Ranges name thousands of tars: listing the whole directory for each would take minutes.
    """
    entries = []
    for near in (name, *companion_names(name)):
        path = os.path.join(folder, near)
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(path)
            if stat.S_ISREG(status.st_mode):
                entries.append(local_entry(near, path, status))
    wanted = join(place, name)
    found = (item for at, item in group_siblings(entries, place) if at == wanted)
    yield from outright(found)  # type: ignore[arg-type]


def enters(place: str, asked: Asked) -> bool:
    """Returns whether something in a directory may be asked for."""
    return asked.wants(place) or (
        asked.above is not None and asked.above.fullmatch(place) is not None
    )


def _or_refuse(found: Iterator[ListedItem], pattern: Pattern) -> Iterator[ListedItem]:
    """Yields the items as they are; raises an InputError after them if there was none."""
    nothing = True
    for item in found:
        nothing = nothing and not is_asked_for(item)
        yield item
    if nothing:
        raise nothing_at(pattern)


def _below(path: str, root: str) -> str:
    return os.path.relpath(path, root) if root and root != path else ""


def list_folder(top: Folder, asked: Asked) -> Iterator[ListedItem]:
    """Yields the items below a directory in the order of whole paths."""
    # Of no folders apart there are no places either.
    return list_around(top, asked, {})  # type: ignore[return-value]


def list_around(
    top: Folder, asked: Asked, apart: Mapping[str, int]
) -> Iterator[ListedItem | Apart]:
    """Yields the items below a directory in the order of whole paths; of some folders, the place.

    Args:
        top: the directory.
        asked: what of it is asked for.
        apart: numbers of the folders of which it is the place, by their paths relative to the root.
    """
    # The directories that are open on the way down.
    stack = [_scan(top, asked)]
    while stack:
        place, item = next(stack[-1], _END)
        if item is None:
            stack.pop()
        elif isinstance(item, Folder):
            if place in apart:
                yield Apart(apart[place])
            elif enters(place, asked):
                stack.append(_scan(item, asked))
        elif isinstance(item, _Unlisted):
            yield item.failure
        elif isinstance(item, _Hidden):
            yield from (HIDDEN for one in _files_of(item, place, asked) if asked.wants(one))
        elif (found := wanted_item(place, item, asked)) is not None:
            yield found


def _files_of(hidden: _Hidden, place: str, asked: Asked) -> Iterator[str]:
    """Yields the relative paths of the files of a hidden directory, or of the one file it is."""
    if not hidden.is_folder:
        yield place
        return
    for folder, folders, files in os.walk(hidden.path):
        if asked.exclude and os.path.realpath(folder) == asked.exclude:
            # The output, whose files come and go.
            folders.clear()
            continue
        inner = place + folder.removeprefix(hidden.path)
        yield from (join(inner, name) for name in files)


def _scan(folder: Folder, asked: Asked) -> Iterator[_Found]:
    """Yields one directory's images and folders, in order."""
    try:
        status = os.stat(folder.path)
        with os.scandir(folder.path) as scanned:
            # As a whole: a directory that fails midway is a failure, and not half a listing.
            entries = list(
                scanned if asked.most is None else itertools.islice(scanned, asked.most + 1)
            )
    except OSError as error:
        reason = f"the directory cannot be listed: {error.strerror}"
        failure = broken_source(folder.relative, folder.path, reason)
        yield _Found(folder.relative, _Unlisted(failure))
        return
    if asked.most is not None and len(entries) > asked.most:
        raise TooManyError(folder.path)
    # Not by its path: a loop of links has ever new ones.
    me = (status.st_dev, status.st_ino)
    if me in folder.above:
        yield _Found(folder.relative, Skipped("(link to a directory above itself)"))
        return
    files: list[Entry] = []
    others: list[_Found] = []
    below = folder.above | {me}
    for entry in entries:
        inner = join(folder.relative, entry.name)
        if asked.visible.hides_part(entry.name):
            is_folder = entry.is_dir(follow_symlinks=False)
            others.append(_Found(inner, _Hidden(entry.path, is_folder)))
            continue
        found = _examine(entry, inner, below)
        if isinstance(found, Entry):
            files.append(found)
        elif not (isinstance(found, Folder) and asked.leaves_out(entry)):
            others.append(_Found(inner, found))
    # Of one folder of millions, what is no longer needed is much.
    del entries
    signs = _signs_below(folder) if any(tar_stem(file.name) for file in files) else ()
    others += [_Found(*one) for one in group_siblings(files, folder.relative, signs)]
    del files
    others.sort(key=_sort_key)
    yield from others


def _signs_below(folder: Folder) -> tuple[str, ...]:
    """Returns the files in a directory's `_meta` and `_tmp` that may say whose it is."""
    found: list[tuple[str, Entry]] = []
    for top in SIGNED:
        base = os.path.join(folder.path, top)
        for path, folders, names in os.walk(base):
            # Workspaces of runs lie in `_tmp`, and nothing below them.
            folders[:] = folders if path == base else []
            within = top + path.removeprefix(base)
            for name in names:
                # Others may be many.
                if says_whose(f"{within}/{name}"):
                    with contextlib.suppress(OSError):
                        status = os.stat(place := os.path.join(path, name))
                        entry = local_entry(name, place, status)
                        found.append((join(folder.relative, within), entry))
    return signs_of(found).get(folder.relative, ())


def _sort_key(found: _Found) -> bytes:
    """Returns the bytes that an item is sorted by; a directory sorts as the paths inside it do."""
    return os.fsencode(found.place + "/" * isinstance(found.item, Folder))


def _examine(
    entry: os.DirEntry[str], inner: str, above: frozenset[tuple[int, int]]
) -> Entry | Folder | Failure | Skipped:
    try:
        status = entry.stat()
    except OSError as error:
        return _unreadable(entry, inner, str(error.strerror))
    if stat.S_ISDIR(status.st_mode):
        return Folder(entry.path, inner, above)
    if stat.S_ISREG(status.st_mode):
        return local_entry(entry.name, entry.path, status)
    return Skipped(f"({special_kind(status.st_mode)})")


def _unreadable(entry: os.DirEntry[str], inner: str, reason: str) -> Failure | Skipped:
    """Returns the failure of a file without a status if it is named like an image or source."""
    if source_kind(entry.name) is not None:
        reason = f"the file cannot be read: {reason}"
        return broken_source(inner, entry.path, reason)
    if split(entry.name)[1] not in IMAGE_SUFFIXES:
        return Skipped(skipped_kind(entry.name))
    ident = stored(inner.rpartition(".")[0])
    return Failure(
        image_id=ident,
        original_path=stored(entry.path),
        stage="list",
        error="OSError",
        message=reason,
    )
