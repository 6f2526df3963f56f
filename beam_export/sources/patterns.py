"""Parses `--input`: commas, braces, globs, and the root that ids are relative to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from beam_export.errors import InputError
from beam_export.storage.home import expand_home
from beam_export.storage.uris import is_local

__all__ = [
    "Pattern",
    "expand_braces",
    "folders_above",
    "names_in",
    "or_below",
    "parse_inputs",
    "split_inputs",
    "translate_glob",
]

# Braces without a comma or a range are literal, as in a shell: names may have them.
_BRACE = re.compile(r"\{([^{},]*,[^{}]*|[0-9]{1,18}\.\.[0-9]{1,18})\}")
_RANGE = re.compile(r"([0-9]+)\.\.([0-9]+)")
_WILDCARD = re.compile(r"[*?\[]")
_GLOB_PART = re.compile(r"(?P<folders>(?<![^/])\*\*/)|\*\*|\*|\?|\[(?P<not>!?)(?P<set>\]?[^\]]*)\]")
#: A typing error in a range should not become a million listings.
_MOST_EXPANDED = 1_000_000
#: Commas that the name of one file is tried with.
_MOST_COMMAS = 8


class Pattern(NamedTuple):
    """One input: a path or glob without braces.

    Attributes:
        number: its place among the inputs; the first part of order keys in source order.
        path: what is to be listed.
        root: directory that ids are relative to; empty if it depends on whether the path is a file.
        given: what the user wrote.
    """

    number: int
    path: str
    root: str
    given: str

    @property
    def is_glob(self) -> bool:
        """Whether the path holds a wildcard."""
        return bool(_WILDCARD.search(self.path))

    @property
    def fixed(self) -> str:
        """The path up to its first wildcard."""
        found = _WILDCARD.search(self.path)
        return self.path[: found.start()] if found else self.path


def split_inputs(text: str) -> list[str]:
    """Returns the inputs of a list: splits at commas outside braces.

    >>> split_inputs("a,b/{x,y}.jpg")
    ['a', 'b/{x,y}.jpg']
    """
    return [part.strip() for part in _at_commas(text) if part.strip()]


def names_in(text: str) -> list[str]:
    """Returns the inputs of a list; a name that exists just as it is counts as one.

    >>> names_in("a,b/{x,y}.jpg")
    ['a', 'b/{x,y}.jpg']
    """
    return [name for name, _ in _given_inputs(text)]


def _at_commas(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        # A closing brace too many is a letter of a name, and hides no comma after it.
        depth = max(0, depth + (letter == "{") - (letter == "}"))
        if letter == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    parts.append(text[start:])
    return parts


def _given_inputs(text: str) -> Iterator[tuple[str, bool]]:
    """Yields each input of a list, and whether a file or directory of just that name is there."""
    if _is_there(text):
        yield text, True
        return
    parts = _at_commas(text)
    while parts:
        # The longest name first: its commas are no separators then.
        for count in range(min(len(parts), _MOST_COMMAS), 0, -1):
            name = ",".join(parts[:count]).strip()
            there = name if _is_there(name) else expand_home(name)
            if _is_there(there):
                yield there, True
                break
        else:
            count = 1
            if name := parts[0].strip():
                yield expand_home(name), False
        del parts[:count]


def _is_there(name: str) -> bool:
    return name != "" and is_local(name) and "\0" not in name and os.path.lexists(name)


def expand_braces(text: str) -> Iterator[str]:
    """Yields the paths that a brace expression means, as in a shell.

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
    numbers = _RANGE.fullmatch(inside)
    if numbers is None:
        yield from inside.split(",")
        return
    first, last = int(numbers[1]), int(numbers[2])
    padded = any(len(end) > 1 and end[0] == "0" for end in numbers.groups())
    width = max(map(len, numbers.groups())) if padded else 0
    step = 1 if first <= last else -1
    for number in range(first, last + step, step):
        yield f"{number:0{width}d}"


def translate_glob(glob: str) -> str:
    """Returns the regular expression of the paths that a glob matches.

    `*`, `?` and `[...]` match within one name, as in a shell; `**` crosses directories, and `**/`
    matches any number of directories, none included.

    >>> bool(re.fullmatch(translate_glob("**/x*"), "x1.jpg"))
    True

    Raises:
        InputError: if a range in brackets is backwards.
    """
    parts, at = [], 0
    for found in _GLOB_PART.finditer(glob):
        parts += [re.escape(glob[at : found.start()]), _expression(found)]
        at = found.end()
    expression = f"(?s:{''.join(parts)}{re.escape(glob[at:])})"
    try:
        re.compile(expression)
    except re.error as error:
        raise InputError(
            f"{glob!r} is no pattern, since its brackets hold a range that runs backwards: give "
            "[a-z], not [z-a]."
        ) from error
    return expression


def _expression(part: re.Match[str]) -> str:
    if part["set"]:
        # What `re` takes within brackets for more than a letter; `&&`, `~~`, `||` are reserved.
        inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", part["set"])
        # `[!a]` would match a slash, and cross directories.
        return f"(?!/)[{'^' if part['not'] else ''}{inside}]"
    if part["folders"]:
        return "(?:.*/)?"
    return {"**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part[0], re.escape(part[0]))


def or_below(glob: str) -> re.Pattern[str]:
    """Returns the expression of paths that match a glob, or are below a directory that does."""
    return re.compile(translate_glob(glob) + "(?s:/.*)?")


def folders_above(glob: str) -> re.Pattern[str] | None:
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


def _fixed_root(text: str) -> str:
    found = [found.start() for kind in (_WILDCARD, _BRACE) if (found := kind.search(text))]
    return (text[: text.rfind("/", 0, min(found)) + 1] or "./") if found else ""


def _refuse_nested(given: str) -> None:
    for found in _BRACE.finditer(given):
        before, after = given[: found.start()], given[found.end() :]
        if before.count("{") > before.count("}") and after.count("}") > after.count("{"):
            raise InputError(
                f"--input={given} has braces within braces, which are not understood: write the "
                "inputs one by one, with commas between them."
            )


def parse_inputs(text: str) -> list[Pattern]:
    """Returns the patterns that `--input` names, in their order.

    A name that exists just as it is written is meant as such, with all commas, braces and brackets
    in it. `~` at the beginning is the home directory.

    >>> [(one.number, one.path, one.root) for one in parse_inputs("a/*.jpg,b{1,2}.tar")]
    [(0, 'a/*.jpg', 'a/'), (1, 'b1.tar', './'), (2, 'b2.tar', './')]

    Raises:
        InputError: if there is none, braces are nested, or a range is absurdly long.
    """
    patterns: list[Pattern] = []
    for given, there in _given_inputs(text):
        if there:
            patterns.append(Pattern(number=len(patterns), path=given, root="", given=given))
            continue
        _refuse_nested(given)
        for path in filter(None, expand_braces(given)):
            if len(patterns) >= _MOST_EXPANDED:
                raise InputError(
                    f"--input={given} stands for more than {_MOST_EXPANDED} paths: "
                    "use a wildcard (*) or a shorter range."
                )
            patterns.append(
                # The root of all that was given keeps the ids of different choices apart.
                Pattern(number=len(patterns), path=path, root=_fixed_root(given), given=given)
            )
    if not patterns:
        raise InputError(f"--input={text!r} names nothing: give a directory, a file or a pattern.")
    return patterns
