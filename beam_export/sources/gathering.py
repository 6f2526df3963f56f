"""Sorts out a listing as it comes: what belongs together lies close together in it.

In order of whole paths, files of one stem are not far from each other, so that images and their
sidecars go on at once, however many there are. What tars, tables and exports mean is told by their
whole directory: from the first of them on, that is held back to its end.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from beam_export.sources.entries import Entry, join
from beam_export.sources.siblings import Found, sort_out, tells_of_others

__all__ = ["gather"]


def gather(files: Iterable[tuple[str, Entry]]) -> Iterator[Found]:
    """Yields what files are, each with its place, in order: as `sort_out` does of a directory.

    Args:
        files: (directory, file) in order of the bytes of whole paths.
    """
    held: list[tuple[str, Entry]] = []
    within = ""  # so begin the paths of all that may belong to what is held
    for folder, file in files:
        path = join(folder, file.name)
        if held and not path.startswith(within):
            yield from _sorted_out(held)
            held = []
        if not held:
            within = _family(path)
        if tells_of_others(file.name):
            directory = join(folder, "")
            within = directory if within.startswith(directory) else within
        held.append((folder, file))
    yield from _sorted_out(held)


def _family(path: str) -> str:
    """Returns how the paths of all files begin that have the stem of this one."""
    folder, slash, name = path.rpartition("/")
    stem, dot, _ = name.rpartition(".")
    # Without a dot there is no stem that it shares: nothing begins like this.
    return folder + slash + stem + dot if dot else path + "\0"


def _sorted_out(held: list[tuple[str, Entry]]) -> Iterator[Found]:
    folders: dict[str, list[Entry]] = {}
    for folder, file in held:
        folders.setdefault(folder, []).append(file)
    found = [one for folder, files in folders.items() for one in sort_out(files, folder)]
    return iter(sorted(found, key=lambda one: os.fsencode(one[0])))
