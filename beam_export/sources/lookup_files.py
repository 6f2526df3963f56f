"""Recognises the files of an input that `--metadata`, `--ids` and `--exclude_ids` name.

They are read, though no sample is made of them: nobody is told that they were passed by.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from beam_export.options import ExportOptions
from beam_export.sources.patterns import or_below, parse_inputs
from beam_export.sources.tables.formats import is_table
from beam_export.storage.uris import is_local, unpin

__all__ = ["LookupFiles", "lookup_files"]


class LookupFiles(NamedTuple):
    """What names such files.

    Attributes:
        tables: expressions of the paths of tables, or of folders that hold them.
        lists: paths of lists of ids.
    """

    tables: tuple[re.Pattern[str], ...] = ()
    lists: frozenset[str] = frozenset()

    def have(self, uri: str) -> bool:
        """Returns whether a file is one of them; `uri` may be pinned."""
        if not self.tables and not self.lists:
            return False
        path = _real(unpin(uri)[0])
        if path in self.lists:
            return True
        return is_table(path) and any(one.fullmatch(path) for one in self.tables)


def lookup_files(options: ExportOptions) -> LookupFiles:
    """Returns what recognises the files that an export's flags name."""
    given = [] if options.tables is None else parse_inputs(options.tables)
    lists = (options.ids, options.exclude_ids)
    return LookupFiles(
        tuple(_expression(one.path) for one in given),
        frozenset(_real(one) for one in lists if one is not None),
    )


def _expression(path: str) -> re.Pattern[str]:
    real = _real(path).rstrip("/")
    if is_local(path) and os.path.lexists(path):
        # A name that is there is meant as such, with all its brackets.
        return re.compile(re.escape(real) + "(?s:/.*)?")
    return or_below(real)


def _real(path: str) -> str:
    return os.path.realpath(path) if is_local(path) else path
