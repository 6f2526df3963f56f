"""Chooses the metadata columns that are left out, and those that are kept as JSON text."""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from beam_export.metadata.features import features_of, with_features
from beam_export.metadata.json_text import column_text
from beam_export.metadata.schema import output_name

__all__ = ["ColumnChoice", "choice_of", "is_named", "names_given", "split_names", "unnamed"]


def split_names(given: str | None) -> tuple[str, ...]:
    """Returns the names of a comma-separated list; one that holds commas stands in quotes.

    >>> split_names('label, "a,b"'), split_names(None)
    (('label', 'a,b'), ())
    """
    if given is None:
        return ()
    try:
        names = next(csv.reader([given], skipinitialspace=True), [])
    except csv.Error:
        # A manifest may hold anything; no column is called so.
        names = [given]
    return tuple(name.strip() for name in names if name.strip())


class ColumnChoice(NamedTuple):
    """The columns of `--drop_columns` and `--text_columns`; a `*` stands for any characters.

    Names are those of the input, or those under which columns are stored (`input_width`).
    """

    drop: tuple[str, ...] = ()
    text: tuple[str, ...] = ()

    @property
    def drops_all(self) -> bool:
        """Whether no column is left."""
        return any(not one.strip("*") for one in self.drop)

    def drops(self, name: str) -> bool:
        """Returns whether a column is left out.

        >>> ColumnChoice(drop=("c*",)).drops("c17"), ColumnChoice(drop=("c",)).drops("c17")
        (True, False)
        """
        return is_named(self.drop, name)

    def as_text(self, name: str) -> bool:
        """Returns whether a column is kept as JSON text."""
        return is_named(self.text, name)

    def of_metadata(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a sample's metadata as it goes on; a null stays null."""
        return {
            name: column_text(value) if self.as_text(name) else value
            for name, value in metadata.items()
            if not self.drops(name)
        }

    def of_schema(self, schema: pa.Schema) -> pa.Schema:
        """Returns the columns that are left of a schema, those of JSON text as text."""
        kept = [
            pa.field(field.name, pa.string()) if self.as_text(field.name) else field
            for field in schema
            if not self.drops(field.name)
        ]
        # What is text now is no class, and no image.
        described = {
            name: feature
            for name, feature in features_of(schema).items()
            if not self.drops(name) and not self.as_text(name)
        }
        return with_features(pa.schema(kept), described)

    def of_types(self, types: Mapping[str, pa.DataType | None]) -> dict[str, pa.DataType | None]:
        """Returns the columns that are left, by name; None where a type is not known yet."""
        return {
            name: pa.string() if self.as_text(name) else kind
            for name, kind in types.items()
            if not self.drops(name)
        }

    def naming(self, names: Iterable[str]) -> frozenset[str]:
        """Returns those of the names that are given under which some column is left out or text.

        >>> sorted(ColumnChoice(drop=("a*", "b"), text=("c",)).naming(["a1", "c"]))
        ['a*', 'c']
        """
        given = (*self.drop, *self.text)
        return frozenset(one for name in names for one in given if is_named((one,), name))

    def unused(self, names: Iterable[str]) -> str | None:
        """Returns the first name that is given and that no column has; None if there is none."""
        return unnamed((*self.drop, *self.text), names)


def choice_of(options: Mapping[str, Any]) -> ColumnChoice:
    """Returns the choice that a manifest's options state; of none that it does not.

    >>> choice_of({"drop_columns": "a", "seed": 0})
    ColumnChoice(drop=('a',), text=())
    """
    given = (options.get(name) for name in ("drop_columns", "text_columns"))
    drop, text = (split_names(one if isinstance(one, str) else None) for one in given)
    return ColumnChoice(drop, text)


def names_given(text: str | None) -> tuple[str, ...]:
    """Returns the names that `--json_columns` gives, of which `all` alone is each.

    >>> names_given("all"), names_given("a,b"), names_given(None)
    (('*',), ('a', 'b'), ())
    """
    return ("*",) if text is not None and text.strip() == "all" else split_names(text)


def unnamed(given: Iterable[str], names: Iterable[str]) -> str | None:
    """Returns the first of the names given that no column has; None if there is none."""
    known = list(names)
    return next((one for one in given if not any(is_named((one,), name) for name in known)), None)


# Asked for each value of each sample: inputs have few different names of columns.
@functools.lru_cache(maxsize=20_000)
def is_named(given: tuple[str, ...], name: str) -> bool:
    """Returns whether a column is one of those given; a `*` stands for any characters."""
    names = (name, output_name(name))
    return any(one in names or any(map(_pattern(one).fullmatch, names)) for one in given)


@functools.lru_cache(maxsize=1_000)
def _pattern(given: str) -> re.Pattern[str]:
    # A bracket or a question mark in a name is meant as such.
    return re.compile(".*".join(map(re.escape, given.split("*"))), re.DOTALL)
