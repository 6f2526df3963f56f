"""Which image files there are: one sorted pass over a pattern, the same on every storage.

Order is that of the whole relative path, byte by byte, as object stores list. Links are followed;
a link to a directory above itself is passed by and counted.
"""

from __future__ import annotations

import collections
import itertools
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from apache_beam.io.filesystem import FileSystem
from apache_beam.io.filesystems import FileSystems

from beam_export.errors import InputError
from beam_export.naming import clean_ext
from beam_export.patterns import Pattern
from beam_export.samples import WHOLE, Failure, Member
from beam_export.text import printable

__all__ = ["IMAGE_SUFFIXES", "Listed", "Skipped", "is_local", "list_images"]

IMAGE_SUFFIXES = frozenset(
    [
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "png",
        "apng",
        "webp",
        "gif",
        "tif",
        "tiff",
        "bmp",
        "dib",
        "avif",
    ]  # format.md, part 5
)


class Listed(NamedTuple):
    """An image file: its path relative to the root, where it lies, and its sidecars."""

    relative: str
    image: Member
    fields: tuple[Member, ...]


class Skipped(NamedTuple):
    """Something that is not exported, by what it is: a suffix, or a few words in brackets."""

    kind: str


#: Deeper than any path is long.
_ANY_DEPTH = 1 << 16
#: What a directory's iterator gives when it has nothing more.
_END = ("", None)


class _Entry(NamedTuple):
    name: str
    uri: str
    size: int


def is_local(path: str) -> bool:
    """Tells whether a path lies on the local file system."""
    return FileSystems.get_scheme(path) is None


def list_images(pattern: Pattern, exclude: str) -> Iterator[Listed | Failure | Skipped]:
    """Yields the images behind a pattern, in order, and what is wrong or not an image.

    Args:
        pattern: what to list.
        exclude: a directory to leave out: the output, which may lie inside the input.

    Raises:
        InputError: if the path does not exist.
    """
    if is_local(pattern.path):
        return _list_local(pattern, os.path.realpath(exclude) if is_local(exclude) else "")
    return _list_remote(pattern, exclude)


# Local files.


class _Folder(NamedTuple):
    path: str
    relative: str
    above: frozenset[tuple[int, int]]


class _Found(NamedTuple):
    """An item and its place: the path, relative to where the walk began, that it is sorted by."""

    place: str
    item: Listed | Failure | Skipped | _Folder


def _list_local(pattern: Pattern, exclude: str) -> Iterator[Listed | Failure | Skipped]:
    path = os.path.abspath(pattern.path)
    root = os.path.abspath(pattern.root) if pattern.root else ""
    if os.path.isdir(path):
        prefix = os.path.relpath(path, root) + "/" if root and root != path else ""
        return _walk(path, exclude, None, prefix)
    if os.path.lexists(path):
        folder, name = os.path.split(path)
        prefix = os.path.relpath(folder, root) + "/" if root and root != folder else ""
        return _walk(folder, exclude, re.compile(re.escape(name)), prefix, 0)
    if pattern.is_glob and os.path.isdir(root):
        inside = os.path.relpath(path, root)
        depth = _ANY_DEPTH if "**" in inside else inside.count("/")
        return _walk(root, exclude, _translate(inside), "", depth)
    raise InputError(
        f"--input={pattern.given}: there is no {printable(pattern.path)}: give a directory, a file "
        "or a pattern that exists."
    )


def _translate(glob: str) -> re.Pattern[str]:
    """Returns what matches a glob, or what lies below a directory that matches it."""
    expression = FileSystem.translate_pattern(glob)
    return re.compile(re.sub(r"\\[Zz]$", "", expression) + r"(/.*)?")


def _walk(
    root: str,
    exclude: str,
    wanted: re.Pattern[str] | None,
    prefix: str,
    depth: int = _ANY_DEPTH,
) -> Iterator[Listed | Failure | Skipped]:
    """Walks a directory in order of whole paths; the stack holds what is open on the way down.

    Args:
        root: where to begin.
        exclude: real path of a directory to leave out.
        wanted: what the relative path of a file, or of a directory above it, has to match.
        prefix: what stands before the relative paths in the result.
        depth: directories further down are entered only if they match.
    """
    stack = [_scan(_Folder(root, "", frozenset()), exclude)]
    while stack:
        place, item = next(stack[-1], _END)
        matches = wanted is None or wanted.fullmatch(place)
        if item is None:
            stack.pop()
        elif isinstance(item, _Folder):
            if matches or len(stack) <= depth:
                stack.append(_scan(item, exclude))
        elif isinstance(item, Listed) and matches:
            yield item._replace(relative=prefix + item.relative)
        elif matches or (isinstance(item, Failure) and item.error == "BrokenSource"):
            yield item


def _scan(folder: _Folder, exclude: str) -> Iterator[_Found]:
    """Yields one directory's images and folders, in order."""
    try:
        status = os.stat(folder.path)
        with os.scandir(folder.path) as scanned:
            entries = list(scanned)
    except OSError as error:
        yield _Found(folder.relative, _broken(folder, error))
        return
    me = (status.st_dev, status.st_ino)
    if me in folder.above:
        yield _Found(folder.relative, Skipped("(link to a directory above itself)"))
        return
    files: list[_Entry] = []
    others: list[_Found] = []
    below = folder.above | {me}
    for entry in entries:
        inner = f"{folder.relative}/{entry.name}" if folder.relative else entry.name
        found = _look(entry, inner, below)
        if isinstance(found, _Entry):
            files.append(found)
        elif not (isinstance(found, _Folder) and os.path.realpath(entry.path) == exclude):
            others.append(_Found(inner, found))
    pairs = [_Found(*pair) for pair in _pair(files, folder.relative)]
    yield from sorted(pairs + others, key=_sort_key)


def _sort_key(found: _Found) -> bytes:
    """A folder sorts as the paths inside it do: as if its name ended with a slash."""
    return os.fsencode(found.place + "/" * isinstance(found.item, _Folder))


def _look(
    entry: os.DirEntry[str], inner: str, above: frozenset[tuple[int, int]]
) -> _Entry | _Folder | Failure | Skipped:
    try:
        status = entry.stat()
    except OSError as error:
        return _unreadable(entry, inner, str(error.strerror))
    if stat.S_ISDIR(status.st_mode):
        return _Folder(entry.path, inner, above)
    if stat.S_ISREG(status.st_mode):
        return _Entry(entry.name, entry.path, status.st_size)
    return _unreadable(entry, inner, "not a regular file")


def _unreadable(entry: os.DirEntry[str], inner: str, reason: str) -> Failure | Skipped:
    """What cannot be looked at is lost if it is named like an image, and skipped if not."""
    if _suffix(entry.name) not in IMAGE_SUFFIXES:
        return Skipped("." + printable(_suffix(entry.name)))
    ident = printable(inner.rpartition(".")[0])
    return Failure(ident, printable(entry.path), "list", "OSError", reason)


def _broken(folder: _Folder, error: OSError) -> Failure:
    return Failure(
        printable(folder.relative),
        printable(folder.path),
        "list",
        "BrokenSource",
        f"the directory cannot be listed: {error.strerror}",
    )


# Any file system that Beam knows.


def _list_remote(pattern: Pattern, exclude: str) -> Iterator[Listed | Failure | Skipped]:
    path = pattern.path
    root = pattern.root or path.rstrip("/") + "/"
    globs = [path, path.rstrip("/") + "/**"] if pattern.is_glob else [path.rstrip("/") + "/**"]
    files = _match(globs)
    if not files and not pattern.is_glob:
        files = _match([path])
        root = pattern.root or path[: path.rfind("/") + 1]
    if not files:
        raise InputError(f"--input={pattern.given}: nothing is found there: check the path.")
    folders: dict[str, list[_Entry]] = collections.defaultdict(list)
    skip = exclude.rstrip("/") + "/"
    for uri, size in files.items():
        if not uri.startswith(skip) and not uri.endswith("/"):
            folder, _, name = uri.removeprefix(root).rpartition("/")
            folders[folder].append(_Entry(name, uri, size))
    found = [pair for folder, entries in folders.items() for pair in _pair(entries, folder)]
    for _, item in sorted(found, key=lambda pair: os.fsencode(pair[0])):
        yield item


def _match(globs: Sequence[str]) -> dict[str, int]:
    results = FileSystems.match(list(globs))
    return {file.path: file.size_in_bytes for one in results for file in one.metadata_list}


# Images and their sidecars.


def _suffix(name: str) -> str:
    return name.rpartition(".")[2].lower() if "." in name else ""


def _pair(files: Iterable[_Entry], folder: str) -> Iterator[tuple[str, Listed | Failure | Skipped]]:
    """Yields a directory's images, each with the files of the same stem, by their place."""
    images = [file for file in files if _suffix(file.name) in IMAGE_SUFFIXES]
    stems = {image.name.rpartition(".")[0] for image in images}
    sidecars: dict[str, list[Member]] = {}
    prefix = f"{folder}/" if folder else ""
    for file in files:
        stem, _, suffix = file.name.rpartition(".")
        if suffix.lower() in IMAGE_SUFFIXES:
            continue
        ext = clean_ext(suffix)
        if stem in stems and ext is not None:
            sidecars.setdefault(stem, []).append(Member(ext, file.uri, WHOLE, file.size))
        else:
            yield prefix + file.name, Skipped("." + printable(_suffix(file.name)))
    for image in images:
        fields = sorted(sidecars.get(image.name.rpartition(".")[0], ()))
        yield prefix + image.name, _with_sidecars(image, prefix + image.name, fields)


def _with_sidecars(image: _Entry, relative: str, fields: list[Member]) -> Listed | Failure:
    for one, other in itertools.pairwise(fields):
        if one.ext == other.ext:
            names = " and ".join(printable(os.path.basename(each.uri)) for each in (one, other))
            ident = printable(relative.rpartition(".")[0])
            reason = f"its sidecars {names} would have the same name in the tar"
            return Failure(ident, printable(image.uri), "list", "ValueError", reason)
    member = Member(_suffix(image.name), image.uri, WHOLE, image.size)
    return Listed(relative, member, tuple(fields))
