"""Lists the files behind a pattern on a storage without directories, as `listing` does locally."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator

from beam_export.sources.asked import HIDDEN, Asked, nothing_at, outright, wanted_item
from beam_export.sources.entries import Entry, ListedItem, tar_stem
from beam_export.sources.hidden import Visible
from beam_export.sources.near_tables import folders_between, is_reached, with_tables_of
from beam_export.sources.patterns import Pattern, or_below
from beam_export.sources.siblings import group_listing
from beam_export.storage.base import Stat
from beam_export.storage.registry import storage_of

__all__ = ["list_objects"]


def list_objects(pattern: Pattern, exclude: str) -> Iterator[ListedItem]:
    """Yields the images and sources behind a pattern, in order, with failures and skipped files.

    Args:
        pattern: what to list.
        exclude: a directory to leave out: the output, which may lie inside the input.

    Raises:
        InputError: if there is nothing.
    """
    path = pattern.path
    if pattern.is_glob and path == pattern.given and _is_named_so(path):
        pattern = pattern._replace(root="")
    elif pattern.is_glob:
        visible = Visible(path.removeprefix(pattern.root))
        asked = Asked(or_below(path), visible, exclude=exclude)
        prefix = _before_suffix(pattern.fixed)
        items = _sort_remote(_match(prefix), pattern, root=pattern.root, asked=asked)
        return _with_tables(items, prefix, pattern.root)
    folder = path.rstrip("/") + "/"
    files = _match(folder)
    if (first := next(files, None)) is not None:
        root = pattern.root or folder
        visible = Visible(folder.removeprefix(root), glob=False)
        asked = Asked(None, visible, exclude=exclude)
        files = itertools.chain([first], files)
        return _with_tables(_sort_remote(files, pattern, root=root, asked=asked), folder, root)
    root = pattern.root or path[: path.rfind("/") + 1]
    visible = Visible(path.removeprefix(root), glob=False)
    asked = Asked(re.compile(re.escape(path)), visible, exclude=exclude)
    prefix = _before_suffix(path)
    items = outright(_sort_remote(_match(prefix), pattern, root=root, asked=asked))
    return _with_tables(items, prefix, root)


def _with_tables(items: Iterator[ListedItem], prefix: str, root: str) -> Iterator[ListedItem]:
    """Yields items, and the tables of folders from the root on that a listing does not reach.

    Args:
        items: of the files of a prefix.
        prefix: what the paths of all that is listed begin with.
        root: directory that relative paths are relative to.
    """
    folders = folders_between(root, prefix[: prefix.rfind("/") + 1])
    return with_tables_of(items, (one for one in folders if not is_reached(one, prefix)), root)


def _is_named_so(path: str) -> bool:
    """Returns whether an object, or a directory, has brackets as a glob of them has."""
    if "[" not in path:
        # Far rarer in names: not worth two requests for each glob.
        return False
    first = next(_match(path), None)
    return (first is not None and first.uri == path) or next(
        _match(path.rstrip("/") + "/"), None
    ) is not None


def _sort_remote(
    files: Iterator[Stat], pattern: Pattern, root: str, asked: Asked
) -> Iterator[ListedItem]:
    """Yields the items of the files whose paths are wanted, as they are listed."""
    matched, hidden = False, 0
    # As with local files, an output inside the input is left out.
    skip = asked.exclude.rstrip("/") + "/"
    inside = skip.startswith(root) and skip != root

    def entries() -> Iterator[tuple[str, Entry]]:
        nonlocal matched, hidden
        for file in files:
            wanted = asked.wants(file.uri)
            matched = matched or wanted
            if (inside and file.uri.startswith(skip)) or file.uri.endswith("/"):
                continue
            relative = file.uri.removeprefix(root)
            if asked.visible.hides(relative):
                hidden += wanted
                continue
            folder, _, name = relative.rpartition("/")
            yield folder, Entry(name, file.pinned, file.size, file.owner)

    for place, item in group_listing(entries()):
        if (found := wanted_item(root + place, item, asked)) is not None:
            yield found
    yield from itertools.repeat(HIDDEN, hidden)
    if not matched:
        raise nothing_at(pattern)


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
