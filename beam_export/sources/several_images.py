"""Notices samples that hold several images, and images that look like parts of others' samples."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable

from beam_export.samples import Member
from beam_export.sources.entries import IMAGE_SUFFIXES, split

__all__ = ["PartsOfOthers", "holds_several"]


def holds_several(fields: Iterable[Member]) -> bool:
    """Returns whether one of a sample's other members is an image too."""
    return any(_is_image(field.ext) for field in fields)


# Of a million samples, few extensions differ.
@functools.lru_cache(maxsize=1024)
def _is_image(ext: str) -> bool:
    return ext.rpartition(".")[2].lower() in IMAGE_SUFFIXES


class PartsOfOthers:
    """Finds image files that are named after another: `0.seg.png` beside `0.jpg`.

    Files of one beginning lie side by side in a listing, but for folders of that beginning, such as
    `0.d/` between `0.a.jpg` and `0.jpg`: only the families around a name are held at a time.

    >>> parts = PartsOfOthers()
    >>> for name in ("a/0.jpg", "a/0.seg.png", "a/1.b.jpg"):
    ...     parts.add(name)
    >>> parts.finish()
    ['a/0.seg.png']
    """

    def __init__(self) -> None:
        self._found: list[str] = []
        # Families that may have further names, the outermost first: each one's beginning and names.
        self._open: list[tuple[str, list[str]]] = []

    def add(self, relative: str) -> None:
        """Adds an image file, in the order of the listing."""
        while self._open and not relative.startswith(self._open[-1][0]):
            self._close()
        family = relative[: relative.find(".", relative.rfind("/") + 1) + 1]
        if not self._open or self._open[-1][0] != family:
            self._open.append((family, []))
        self._open[-1][1].append(relative)

    def finish(self) -> list[str]:
        """Returns the files found, in order."""
        while self._open:
            self._close()
        return sorted(self._found, key=os.fsencode)

    def _close(self) -> None:
        _, names = self._open.pop()
        if len(names) > 1:
            stems = {split(one)[0] for one in names}
            self._found.extend(one for one in names if _is_part(split(one)[0], stems))


def _is_part(stem: str, stems: set[str]) -> bool:
    begin = stem.rfind("/") + 1
    dot = stem.rfind(".")
    while dot > begin:
        if stem[:dot] in stems:
            return True
        dot = stem.rfind(".", 0, dot)
    return False
