"""Recognises hidden files by their paths: one rule for folders, globs, tars and object stores."""

from __future__ import annotations

import re

from beam_export.sources.patterns import translate_glob

__all__ = ["Visible", "is_hidden"]

#: Folders that programs put beside images without a dot in their names: macOS's zip, Synology.
_FOLDERS = frozenset({"__MACOSX", "@eaDir"})


def is_hidden(name: str) -> bool:
    """Returns whether one part of a path hides all that is below it.

    >>> is_hidden("._cat.jpg"), is_hidden("__MACOSX"), is_hidden(".."), is_hidden("cat.jpg")
    (True, True, False, False)
    """
    return (name[:1] == "." and name not in (".", "..")) or name in _FOLDERS


class Visible:
    """Decides which paths below a root are hidden; what a pattern names outright is not.

    >>> Visible("*/.thumbs/*.jpg").hides("a/.thumbs/cat.jpg"), Visible().hides("a/.thumbs/cat.jpg")
    (False, True)

    Args:
        pattern: relative to the root; empty if all below the root is meant.
        glob: whether `*` and the like in it are wildcards.
    """

    def __init__(self, pattern: str = "", *, glob: bool = True) -> None:
        parts = [part for part in pattern.split("/") if is_hidden(part) or part[:1] == "_"]
        named = "|".join(translate_glob(part) if glob else re.escape(part) for part in parts)
        self._named = re.compile(named) if named else None

    def hides(self, path: str) -> bool:
        """Returns whether a part of a path is hidden, and not named outright."""
        # Nearly no path is, and there are millions.
        if path[:1] != "." and "/." not in path and "__MACOSX" not in path and "@eaDir" not in path:
            return False
        return any(map(self.hides_part, path.split("/")))

    def hides_part(self, part: str) -> bool:
        """Returns whether one part of a path is hidden, and not named outright."""
        return is_hidden(part) and not self._names(part)

    def hides_source(self, path: str) -> bool:
        """Returns whether a tar or a table describes a dataset, as those in `_meta` do."""
        return any(part[:1] == "_" and not self._names(part) for part in path.split("/"))

    def _names(self, part: str) -> bool:
        return self._named is not None and self._named.fullmatch(part) is not None
