"""Recognises the files of a run that ended by its failures, and says what to do about it."""

from __future__ import annotations

from collections.abc import Iterable

from beam_export.naming import parse

__all__ = ["AFTER_FAILURES", "failures_of_ended_run"]

#: What to do about a run that its failures ended: the same again would end the same way.
AFTER_FAILURES = (
    "mend what failed, or allow it by --max_failed_fraction or --allow_broken_sources, or leave "
    "it out by --probe=full, and run the export again"
)


def failures_of_ended_run(files: Iterable[str]) -> str:
    """Returns the list of the failures that ended the run of a directory; empty if none did.

    Args:
        files: names in the directory and its `_meta`; those of runs that end well have a table of
            shards, which they write at once behind that of failures.
    """
    parsed = [(one, name) for name in files if (one := parse(name)) is not None]
    whole = {one.hash for one, _ in parsed if one.kind in ("manifest", "shards")}
    ended = {one.hash: name for one, name in parsed if one.kind == "failures"}
    hashes = {one.hash for one, _ in parsed}
    # Of several runs, the others may well be under way.
    return "" if whole or hashes - ended.keys() else next(iter(ended.values()), "")
