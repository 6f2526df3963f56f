"""Lists the files behind a pattern in one sorted pass, the same on every storage.

The order is that of the whole relative path, byte by byte, as object stores list. Links are
followed; a link to a directory above itself is skipped and counted.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import stat
from collections.abc import Iterator
from typing import NamedTuple

from beam_export.errors import InputError
from beam_export.samples import Failure
from beam_export.sources.entries import (
    IMAGE_SUFFIXES,
    Companion,
    Entry,
    Item,
    Skipped,
    broken_source,
    join,
    kind_of,
    local_entry,
    source_kind,
    split,
    tar_stem,
)
from beam_export.sources.patterns import Pattern, translate_glob
from beam_export.sources.siblings import companion_names, group_listing, group_siblings
from beam_export.storage.local_file import special_kind, special_kind_at
from beam_export.storage.registry import Stat, storage_of
from beam_export.storage.uris import is_local
from beam_export.text import printable

__all__ = ["list_images", "refuse_special_file"]

#: What a directory's iterator gives when it has nothing more.
_END = ("", None)


def list_images(pattern: Pattern, exclude: str) -> Iterator[Item]:
    """Yields the images and sources behind a pattern, in order, with failures and skipped files.

    Args:
        pattern: what to list.
        exclude: a directory to leave out: the output, which may lie inside the input.

    Raises:
        InputError: if the path does not exist.
    """
    if is_local(pattern.path):
        return _list_local(pattern, os.path.realpath(exclude) if is_local(exclude) else "")
    return _list_remote(pattern, exclude)


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


class _Folder(NamedTuple):
    path: str
    relative: str
    above: frozenset[tuple[int, int]]


class _Unlisted(NamedTuple):
    """A directory that cannot be listed: images that are wanted may be in it."""

    failure: Failure


class _Found(NamedTuple):
    """An item and its place: the relative path that it is sorted by."""

    place: str
    item: Item | Companion | _Folder | _Unlisted


def _list_local(pattern: Pattern, exclude: str) -> Iterator[Item]:
    path = os.path.abspath(pattern.path)
    # A file of exactly that name is meant as such: its wildcards are letters.
    literal = pattern.path == pattern.given and os.path.lexists(path)
    root = os.path.abspath(pattern.root) if pattern.root and not literal else ""
    if os.path.isdir(path):
        return _list_folder(_Folder(path, _below(path, root), frozenset()), exclude, None)
    if os.path.lexists(path):
        refuse_special_file("--input", path)
        folder, name = os.path.split(path)
        place = _below(folder, root)
        if tar_stem(name) is not None:
            return _list_tar(folder, name, place)
        wanted = re.compile(re.escape(join(place, name)))
        return _list_folder(_Folder(folder, place, frozenset()), exclude, wanted)
    if pattern.is_glob and os.path.isdir(root):
        glob = os.path.relpath(path, root)
        top = _Folder(root, "", frozenset())
        found = _list_folder(top, exclude, wanted=_or_below(glob), above=_folders_above(glob))
        return _or_refuse(found, pattern)
    raise _nothing_at(pattern)


def _list_tar(folder: str, name: str, place: str) -> Iterator[Item]:
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
    yield from (item for at, item in group_siblings(entries, place) if at == wanted)  # type: ignore[misc]


def _or_refuse(found: Iterator[Item], pattern: Pattern) -> Iterator[Item]:
    """Yields the items as they are; raises an InputError after them if there was none."""
    nothing = True
    for item in found:
        nothing = False
        yield item
    if nothing:
        raise _nothing_at(pattern)


def _nothing_at(pattern: Pattern) -> InputError:
    return InputError(
        f"--input={printable(pattern.given)}: there is no {printable(pattern.path)}: give a "
        "directory, a file or a pattern that exists."
    )


def _below(path: str, root: str) -> str:
    return os.path.relpath(path, root) if root and root != path else ""


def _or_below(glob: str) -> re.Pattern[str]:
    """Returns the expression of paths that match a glob, or are below a directory that does."""
    return re.compile(translate_glob(glob) + "(?s:/.*)?")


def _folders_above(glob: str) -> re.Pattern[str] | None:
    """Returns the expression of directories below which a path may match a glob."""
    parts = glob.split("/")
    globs = []
    for depth, part in enumerate(parts):
        if "**" in part:
            globs.append("/".join([*parts[:depth], part[: part.index("**") + 2]]))
            break
        if depth < len(parts) - 1:
            globs.append("/".join(parts[: depth + 1]))
    return re.compile("|".join(map(translate_glob, globs))) if globs else None


def _list_folder(
    top: _Folder,
    exclude: str,
    wanted: re.Pattern[str] | None,
    above: re.Pattern[str] | None = None,
) -> Iterator[Item]:
    """Yields the items below a directory in the order of whole paths.

    Args:
        top: the directory.
        exclude: real path of a directory to leave out.
        wanted: expression that the relative path of a file, or of a directory above it, matches.
        above: expression of directories that are entered though not all in them is wanted.
    """
    # The directories that are open on the way down.
    stack = [_scan(top, exclude)]
    while stack:
        place, item = next(stack[-1], _END)
        matches = wanted is None or wanted.fullmatch(place)
        if item is None:
            stack.pop()
        elif isinstance(item, _Folder):
            if matches or (above is not None and above.fullmatch(place)):
                stack.append(_scan(item, exclude))
        elif isinstance(item, _Unlisted):
            yield item.failure
        elif matches and (wanted_item := _wanted_item(place, item, wanted)) is not None:
            yield wanted_item


def _wanted_item(
    place: str,
    item: Item | Companion,
    wanted: re.Pattern[str] | None,
) -> Item | None:
    """Returns what a file whose place is wanted is read as; None if a tar is read with it.

    A pattern that matches the Parquet files of an export, and not its tars, means both.
    """
    if not isinstance(item, Companion):
        return item
    tar = join(place.rpartition("/")[0], item.tar.name)
    return None if wanted is None or wanted.fullmatch(tar) else item.tar


def _scan(folder: _Folder, exclude: str) -> Iterator[_Found]:
    """Yields one directory's images and folders, in order."""
    try:
        status = os.stat(folder.path)
        with os.scandir(folder.path) as scanned:
            # As a whole: a directory that fails midway is a failure, and not half a listing.
            entries = list(scanned)
    except OSError as error:
        reason = f"the directory cannot be listed: {error.strerror}"
        failure = broken_source(folder.relative, folder.path, reason)
        yield _Found(folder.relative, _Unlisted(failure))
        return
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
        found = _examine(entry, inner, below)
        if isinstance(found, Entry):
            files.append(found)
        # The real path, since a link may lead to the output.
        elif not (isinstance(found, _Folder) and os.path.realpath(entry.path) == exclude):
            others.append(_Found(inner, found))
    pairs = [_Found(*one) for one in group_siblings(files, folder.relative)]
    yield from sorted(pairs + others, key=_sort_key)


def _sort_key(found: _Found) -> bytes:
    """Returns the bytes that an item is sorted by; a directory sorts as the paths inside it do."""
    return os.fsencode(found.place + "/" * isinstance(found.item, _Folder))


def _examine(
    entry: os.DirEntry[str], inner: str, above: frozenset[tuple[int, int]]
) -> Entry | _Folder | Failure | Skipped:
    try:
        status = entry.stat()
    except OSError as error:
        return _unreadable(entry, inner, str(error.strerror))
    if stat.S_ISDIR(status.st_mode):
        return _Folder(entry.path, inner, above)
    if stat.S_ISREG(status.st_mode):
        return local_entry(entry.name, entry.path, status)
    return Skipped(f"({special_kind(status.st_mode)})")


def _unreadable(entry: os.DirEntry[str], inner: str, reason: str) -> Failure | Skipped:
    """Returns the failure of a file without a status if it is named like an image or source."""
    if source_kind(entry.name) is not None:
        reason = f"the file cannot be read: {reason}"
        return broken_source(inner, entry.path, reason)
    if split(entry.name)[1] not in IMAGE_SUFFIXES:
        return Skipped(kind_of(entry.name))
    ident = printable(inner.rpartition(".")[0])
    return Failure(
        image_id=ident,
        original_path=printable(entry.path),
        stage="list",
        error="OSError",
        message=reason,
    )


# Any other storage.


def _list_remote(pattern: Pattern, exclude: str) -> Iterator[Item]:
    path = pattern.path
    if pattern.is_glob:
        files, wanted = _match(_before_suffix(pattern.fixed)), _or_below(path)
        return _sort_remote(files, pattern, root=pattern.root, wanted=wanted, exclude=exclude)
    folder = path.rstrip("/") + "/"
    files = _match(folder)
    if (first := next(files, None)) is not None:
        everything = re.compile("(?s:.*)")
        files = itertools.chain([first], files)
        return _sort_remote(
            files, pattern, root=pattern.root or folder, wanted=everything, exclude=exclude
        )
    root = pattern.root or path[: path.rfind("/") + 1]
    files, wanted = _match(_before_suffix(path)), re.compile(re.escape(path))
    return _sort_remote(files, pattern, root=root, wanted=wanted, exclude=exclude)


def _sort_remote(
    files: Iterator[Stat], pattern: Pattern, root: str, wanted: re.Pattern[str], exclude: str
) -> Iterator[Item]:
    """Yields the items of the files whose paths are wanted, as they are listed."""
    matched = False
    # As with local files, an output inside the input is left out.
    skip = exclude.rstrip("/") + "/"
    inside = skip.startswith(root) and skip != root

    def entries() -> Iterator[tuple[str, Entry]]:
        nonlocal matched
        for file in files:
            matched = matched or wanted.fullmatch(file.uri) is not None
            if not (inside and file.uri.startswith(skip)) and not file.uri.endswith("/"):
                folder, _, name = file.uri.removeprefix(root).rpartition("/")
                yield folder, Entry(name, file.pinned, file.size)

    for place, item in group_listing(entries()):
        if wanted.fullmatch(root + place):
            wanted_item = _wanted_item(root + place, item, wanted)
            if wanted_item is not None:
                yield wanted_item
    if not matched:
        raise _nothing_at(pattern)


def _before_suffix(uri: str) -> str:
    """Returns the common prefix of the paths of a file and of its sidecars."""
    folder, slash, name = uri.rpartition("/")
    stem = tar_stem(name)
    return folder + slash + (stem or (name.rpartition(".")[0] if "." in name else name))


def _match(prefix: str) -> Iterator[Stat]:
    """Yields all files whose path has a prefix, by a listing of those alone."""
    # A bucket that does not exist holds no files.
    with contextlib.suppress(FileNotFoundError):
        yield from storage_of(prefix).list(prefix)
