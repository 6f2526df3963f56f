"""Makes flags of declared options: an argparse parser whose errors are one sentence."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NoReturn

from beam_export.declaration import Option
from beam_export.errors import InputError

__all__ = ["FlagParser", "add_flags", "with_underscores"]

#: What editors make of a dash, too.
_DASHES = "-\N{EN DASH}\N{EM DASH}"


class FlagParser(argparse.ArgumentParser):
    """A parser that raises `InputError` where argparse would end the program."""

    def error(self, message: str) -> NoReturn:
        message = message.replace("--input/-i", "--input").replace(
            "--output_dir/-o", "--output_dir"
        )
        raise InputError(f"{message}: see beam-export {self.prog.rpartition(' ')[2]} --help.")


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
    arguments: dict[str, Any] = {"help": text.replace("%", "%%"), "default": one.default}
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
