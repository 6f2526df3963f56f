"""Makes flags of declared options: an argparse parser whose errors are one sentence."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NoReturn

from beam_export.declaration import Option
from beam_export.errors import InputError

__all__ = ["FlagParser", "add_flags", "with_underscores"]

#: What editors make of a dash, too.
_DASHES = "-\N{EN DASH}\N{EM DASH}"
#: Values that stand alone, where an option takes several.
_ALONE = {"all", "auto", "none"}


class FlagParser(argparse.ArgumentParser):
    """A parser that raises `InputError` where argparse would end the program."""

    def error(self, message: str) -> NoReturn:
        message = message.replace("--input/-i", "--input").replace(
            "--output_dir/-o", "--output_dir"
        )
        raise InputError(f"{message}: see beam-export {self.prog.rpartition(' ')[2]} --help.")


class _Once(argparse.Action):
    """Stores the value of a flag, and refuses a second one that is not the same.

    Where the last counted, what the first named would be left out without a word. A parser parses
    once.
    """

    def __init__(self, *args: Any, option: Option, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._option = option
        self._given: list[Any] = []

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if self._given and values != self._given[0]:
            raise InputError(_given_twice(self._option, self._given[0], values))
        self._given.append(values)
        setattr(namespace, self.dest, values)


def _given_twice(one: Option, first: Any, second: Any) -> str:
    """Returns the error for a flag with two values: one flag for both where it takes several."""
    texts = [str(value).lower() if one.kind is bool else str(value) for value in (first, second)]
    both = ""
    if one.several and _ALONE.isdisjoint(texts):
        both = f"write --{one.name}={shlex.quote(','.join(texts))} for both, or "
    said = " and as ".join(map(shlex.quote, texts))
    return f"--{one.name} is given twice, as {said}: {both}leave one of them out."


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def add_flags(
    parser: argparse.ArgumentParser, options: Iterable[Option], *, complete: bool = True
) -> None:
    """Adds a flag for each option, under the headings of their groups."""
    groups: dict[str, argparse._ActionsContainer] = {"": parser}
    for one in options:
        if one.group not in groups:
            groups[one.group] = parser.add_argument_group(one.group)
        names = [f"--{one.name}", *([f"-{one.short}"] if one.short else [])]
        arguments = _arguments(one)
        if one.required:
            arguments["required"] = complete
        groups[one.group].add_argument(*names, **arguments)


def _arguments(one: Option) -> dict[str, Any]:
    """Returns the arguments of `add_argument` for an option."""
    text = one.help if one.default_text is None else f"{one.help} (default: {one.default_text})"
    arguments: dict[str, Any] = {
        "action": _Once,
        "option": one,
        "help": text.replace("%", "%%"),
        "default": one.default,
    }
    if one.metavar:
        arguments["metavar"] = one.metavar
    if one.choices:
        arguments["choices"] = one.choices
    elif one.kind is bool:
        arguments |= {"type": _boolean, "nargs": "?", "const": True, "metavar": "true|false"}
    else:
        arguments["type"] = one.kind
    return arguments


def with_underscores(argv: Sequence[str], names: Collection[str]) -> list[str]:
    """Returns the arguments with underscores in the names of our own flags.

    Raises:
        InputError: if a flag of ours has one dash in front of it, which would be read otherwise.
    """
    found = []
    for one in argv:
        name, equals, value = one.partition("=")
        plain = name.lstrip(_DASHES).replace("-", "_")
        if plain in names and name.startswith("--"):
            one = f"--{plain}{equals}{value}"
        elif plain in names and len(plain) > 1 and name[:1] in _DASHES:
            raise InputError(f"{name} has two dashes in front of it: write --{plain}.")
        found.append(one)
    return found
