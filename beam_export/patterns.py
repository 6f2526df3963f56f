"""What stands behind `--input`: patterns, their braces, and the root that ids are relative to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from beam_export.errors import InputError

__all__ = ["Pattern", "expand_braces", "parse_inputs", "split_inputs"]

_BRACE = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)\Z")
_SPECIAL = re.compile(r"[*?\[{]")
#: A typing error in a range should not become a million listings.
_MOST_EXPANDED = 1_000_000


class Pattern(NamedTuple):
    """One input: a path or glob without braces.

    Attributes:
        number: its place among the inputs; the first part of order keys in source order.
        path: what is to be listed.
        root: directory that ids are relative to; empty if only a look at the path can tell.
        given: what the user wrote.
    """

    number: int
    path: str
    root: str
    given: str

    @property
    def is_glob(self) -> bool:
        """Whether the path holds a wildcard."""
        return bool(_SPECIAL.search(self.path))


def split_inputs(text: str) -> list[str]:
    """Splits at commas that stand outside braces.

    >>> split_inputs("a,b/{x,y}.jpg")
    ['a', 'b/{x,y}.jpg']
    """
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def expand_braces(text: str) -> Iterator[str]:
    """Yields what a brace expression stands for, as a shell does.

    >>> list(expand_braces("{08..10}-{a,b}"))
    ['08-a', '08-b', '09-a', '09-b', '10-a', '10-b']
    """
    found = _BRACE.search(text)
    if found is None:
        yield text
        return
    for choice in _choices(found[1]):
        for rest in expand_braces(text[found.end() :]):
            yield text[: found.start()] + choice + rest


def _choices(inside: str) -> Iterator[str]:
    numbers = _RANGE.match(inside)
    if numbers is None:
        yield from inside.split(",")
        return
    first, last = int(numbers[1]), int(numbers[2])
    width = max(len(numbers[1]), len(numbers[2])) if "0" in (numbers[1][0], numbers[2][0]) else 0
    step = 1 if first <= last else -1
    for number in range(first, last + step, step):
        yield f"{number:0{width}d}"


def _fixed_root(text: str) -> str:
    found = _SPECIAL.search(text)
    return text[: text.rfind("/", 0, found.start()) + 1] if found else ""


def parse_inputs(text: str) -> list[Pattern]:
    """Returns the patterns that `--input` names, in their order.

    Raises:
        InputError: if there is none, or a brace range is absurdly long.
    """
    patterns: list[Pattern] = []
    for given in split_inputs(text):
        for path in expand_braces(given):
            if len(patterns) >= _MOST_EXPANDED:
                raise InputError(
                    f"--input={given} stands for more than {_MOST_EXPANDED} paths: "
                    "use a wildcard (*) or a shorter range."
                )
            patterns.append(Pattern(len(patterns), path, _fixed_root(given), given))
    if not patterns:
        raise InputError(f"--input={text!r} names nothing: give a directory, a file or a pattern.")
    return patterns
