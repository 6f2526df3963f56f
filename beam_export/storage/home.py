"""Expands `~` at the beginning of paths to the home directory, as a shell does."""

from __future__ import annotations

import os

from beam_export.errors import InputError

__all__ = ["expand_given", "expand_home", "expand_output"]


def expand_home(path: str) -> str:
    """Returns a path with the home directory in place of `~`, if it is `~` or begins with `~/`.

    Raises:
        InputError: if there is no home directory.
    """
    if path != "~" and not path.startswith("~/"):
        return path
    home = os.path.expanduser("~")
    if home == "~":
        raise InputError(
            f"{path!r} begins with the home directory, and there is none: set HOME, or write the "
            "path out."
        )
    return home.rstrip("/") + path[1:]


def expand_output(path: str) -> str:
    """Returns the path of a directory to write to, with the home directory in place of `~`.

    Raises:
        InputError: if there is no home directory, or the path begins with that of another user, as
            a shell would take it: nothing is made under such a name unless it is there.
    """
    first = path.partition("/")[0]
    if path[:1] == "~" and first != "~" and not os.path.lexists(first):
        raise InputError(
            f"{path!r} begins with {first}, which only a shell takes for the home directory of a "
            f"user: write that directory out, or ./{path} for one of just that name."
        )
    return expand_home(path)


def expand_given(text: str) -> str:
    """Returns a path, or a list of paths with commas, with the home directory in place of `~`.

    What exists under just the name that was given is meant as such.

    Raises:
        InputError: if there is no home directory.
    """
    if "~" not in text or os.path.lexists(text):
        return text
    parts = text.split(",")
    return ",".join(part if os.path.lexists(part) else _in_place(part) for part in parts)


def _in_place(part: str) -> str:
    path = part.lstrip()
    return part[: len(part) - len(path)] + expand_home(path)
