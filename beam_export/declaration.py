"""Declares options as fields of dataclasses: name, type, default, help and allowed values.

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Printing:
        order: Literal["source", "shuffled"] = option(
            "source", Option("the order of pages", "paper", shapes="always")
        )
        copies: int = option(1, Option("how often", "paper", shapes="never", at_least=1))

Name, type and default are those of the field, a `Literal` holds the choices, and `| None` makes the
option optional. `declared(Printing)` returns all of it, so that the command line, digests, the Flex
Template and tests need no lists of options of their own.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from beam_export.errors import InputError

__all__ = ["Option", "declared", "option"]

T = TypeVar("T")

_KEY = "option"


@dataclasses.dataclass(frozen=True)
class Option:
    """The declaration of one option.

    Attributes:
        help: what it means, for `--help` and the console of Google Cloud.
        group: its heading in `--help`; "" for none.
        shapes: whether it enters the hash, the digests and the manifest of an export: `always`,
            `unless_default` (so that exports from before the option existed keep their names), or
            `never`, if it changes no byte of the output. It has no default: if it were forgotten,
            two different exports would have one name.
        at_least: smallest allowed number; None for no bound.
        at_most: largest allowed number; None for no bound.
        keyword: whether `WriteShards` has a keyword of that name.
        path: what is done with the path, if the option is one.
        short: the letter of the flag `-i`, if there is one beside its name.
        several: whether the value may be several, with commas between them.
        metavar: placeholder of the value in `--help`; None for the name in capitals.
        complaint: error message for a refused value, to follow the value; "" for the one that
            follows from the type.
        name: of the flag, the keyword and the attribute; set by `declared`, like all below.
        kind: `bool`, `int`, `float` or `str`.
        optional: whether it may be None.
        choices: the allowed words; empty for no such list.
        required: whether it must be given.
        default: None too if it must be given.
    """

    help: str
    group: str = ""
    _: dataclasses.KW_ONLY
    shapes: Literal["always", "unless_default", "never"]
    at_least: float | None = None
    at_most: float | None = None
    keyword: bool = True
    path: Literal["read_file", "read_folder", "write_folder"] | None = None
    short: str = ""
    several: bool = False
    metavar: str | None = None
    complaint: str = ""
    name: str = ""
    kind: type = str
    optional: bool = False
    choices: tuple[str, ...] = ()
    required: bool = False
    default: Any = None

    def as_metadata(self) -> dict[str, Option]:
        """Returns the `metadata` of a dataclass field, for options without a default."""
        return {_KEY: self}

    @property
    def default_text(self) -> str | None:
        """The default as it is written on the command line; None if there is none."""
        if self.default is None:
            return None
        return str(self.default).lower() if self.kind is bool else str(self.default)

    def enters(self, value: Any) -> bool:
        """Returns whether a value of the option enters hash, digests and manifest."""
        if self.shapes == "unless_default":
            return bool(value != self.default)
        return self.shapes == "always"

    def check(self, value: Any) -> None:
        """Checks that a value fits type, choices and bounds.

        Raises:
            InputError: if it does not.
        """
        complaint = None if value is None and self.optional else self._complaint(value)
        if complaint is not None:
            raise InputError(f"--{self.name}={value!r} {self.complaint or complaint}.")

    def _complaint(self, value: Any) -> str | None:
        """Returns what is wrong with a value and what to do; None if nothing is."""
        if self.choices:
            if value not in self.choices:
                return f"is not a choice: give one of {', '.join(map(repr, self.choices))}"
        elif self.kind is bool:
            # Only True and False themselves: the text "false" would count as true.
            if not isinstance(value, bool):
                return "is neither True nor False: give one of the two"
        elif self.kind is str:
            if not isinstance(value, str) or not value.strip():
                return "names nothing: give a name, or leave it out"
        else:
            return self._complaint_of_number(value)
        return None

    def _complaint_of_number(self, value: Any) -> str | None:
        is_number = type(value) is int or (type(value) is float and self.kind is float)
        # "not ... >=" and not "<", since NaN is neither.
        if not is_number or (self.at_least is not None and not value >= self.at_least):
            noun = "whole number" if self.kind is int else "number"
            if self.at_least is None:
                return f"is not a {noun}: give one, 0 or 42 say"
            return f"is not a {noun} of at least {self.at_least}: give such a number"
        if self.at_most is not None and value > self.at_most:
            return f"is above {self.at_most}: give {self.at_least} to {self.at_most}"
        return None


def option(default: T, said: Option) -> T:
    """Declares a field of a dataclass as an option with a default."""
    return dataclasses.field(default=default, metadata=said.as_metadata())


def declared(owner: type) -> Mapping[str, Option]:
    """Returns the options that a dataclass declares, by name, in the order of its fields."""
    return _declared(owner)


# Cached, since evaluating annotations takes a millisecond or two.
@functools.cache
def _declared(owner: type) -> Mapping[str, Option]:
    hints = typing.get_type_hints(owner)
    fields = [field for field in dataclasses.fields(owner) if _KEY in field.metadata]
    return types.MappingProxyType(
        {field.name: _complete(field, hints[field.name]) for field in fields}
    )


def _complete(field: dataclasses.Field[Any], hint: Any) -> Option:
    """Returns an option with name, type, choices and default of its field."""
    optional = types.NoneType in typing.get_args(hint)
    if optional:
        (hint,) = (one for one in typing.get_args(hint) if one is not types.NoneType)
    choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
    said: Option = field.metadata[_KEY]
    return dataclasses.replace(
        said,
        name=field.name,
        kind=str if choices else hint,
        optional=optional,
        choices=choices,
        required=field.default is dataclasses.MISSING,
        default=None if field.default is dataclasses.MISSING else field.default,
    )
