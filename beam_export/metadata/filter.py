"""`--filter`: an expression over the columns of samples, in SQL as DuckDB reads it.

People write filters as SQL conditions (`score >= 0.5 and split in ('train', 'val')`); DuckDB reads
those, `==` too, and works on Arrow columns as they are. What it is given is an expression and
nothing else: parsed first, looked through, and evaluated where no file or network can be reached.
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa
import pyarrow.types as pat

from beam_export.errors import InputError
from beam_export.metadata.filter_functions import work
from beam_export.metadata.filter_nulls import guard_nulls
from beam_export.metadata.filter_operands import operand
from beam_export.metadata.sql import Node, connect, cut, parse_expression, shown, to_sql, walk
from beam_export.text import printable

__all__ = ["FACTS", "BoundFilter", "Filter", "needs_probe", "needs_size", "tell_columns"]

#: What can be asked of a sample beside its metadata, and of what type it is.
FACTS: dict[str, pa.DataType] = {
    "image_id": pa.string(),
    "size": pa.int64(),
    "width": pa.int32(),
    "height": pa.int32(),
    "format": pa.string(),
}
#: Those of them that stand in the image's header.
_HEADER = frozenset({"width", "height", "format"})

#: Names that no column has.
_TABLE = "beam_export samples"
_COUNTING = "beam_export count"
#: Bytes that a filter may make of rows at once.
_ROOM = 128 << 20
#: What DuckDB's messages start with.
_KIND = re.compile(r"^[A-Z][A-Za-z ]* Error: ")


class Filter:
    """A filter that is well formed; which columns there are and of what types is not known yet.

    Attributes:
        text: as given.
        columns: the columns that it names, each once.

    Raises:
        InputError: if the text is not one expression on the columns of one sample.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._node = parse_expression(text)
        self.columns = tuple(dict.fromkeys(ref["column_names"][0] for ref in self._refs()))

    def _refs(self) -> Iterator[Node]:
        return (one for one in walk(self._node) if one.get("class") == "COLUMN_REF")

    def check(self, types: Mapping[str, pa.DataType | None]) -> None:
        """Makes sure that it fits such columns, as far as their types are known.

        Raises:
            InputError: as `bind`.
        """
        found = [_resolve(self.text, name, types) for name in self.columns]
        if all(types[name] is not None for name in found):
            self.bind({name: kind for name, kind in types.items() if kind is not None})

    def bind(self, types: Mapping[str, pa.DataType]) -> BoundFilter:
        """Returns the filter, ready for samples with such columns.

        Raises:
            InputError: if it names a column that is not there, or uses one as what it is not.
        """
        found = {name: _resolve(self.text, name, types) for name in self.columns}
        statement = copy.deepcopy(self._node)
        for ref in walk(statement):
            if ref.get("class") == "COLUMN_REF":
                ref["column_names"][0] = found[ref["column_names"][0]]
        return BoundFilter(self.text, statement, {name: types[name] for name in found.values()})


def tell_columns(types: Mapping[str, pa.DataType | None]) -> str:
    """Returns columns for people: names, and types where they are known."""
    shown = (name if kind is None else f"{name} ({kind})" for name, kind in types.items())
    return ", ".join(shown)


def needs_probe(text: str) -> bool:
    """Tells whether a filter asks for what stands in the headers of images.

    Raises:
        InputError: if the text is no filter.
    """
    return any(name.lower() in _HEADER for name in Filter(text).columns)


def needs_size(text: str) -> bool:
    """Tells whether a filter asks how large images are.

    Raises:
        InputError: if the text is no filter.
    """
    return any(name.lower() == "size" for name in Filter(text).columns)


class BoundFilter:
    """A filter and the types of the columns that it is about.

    Attributes:
        types: Arrow types of those columns.
    """

    def __init__(self, text: str, statement: Node, types: Mapping[str, pa.DataType]) -> None:
        self.text, self.types = text, dict(types)
        self._work = work(statement["select_list"][0])
        self._connection = connect()
        self._names = _distinct(self.types)
        for ref in walk(statement):
            if ref.get("class") == "COLUMN_REF":
                ref["column_names"][0] = self._names[ref["column_names"][0]]
        # One sample of which nothing is known: constants are looked at with the first.
        nothing = self._table({name: pa.nulls(1, kind) for name, kind in self.types.items()}, 1)
        with self._given(nothing, ""):
            guard_nulls(self._connection, text, statement, _TABLE)
            self._select = (
                f'{to_sql(self._connection, statement, statement["select_list"])} FROM "{_TABLE}"'
            )
            kind = self._connection.sql(self._select).to_arrow_table().schema.field(0).type
        if not pat.is_boolean(kind) and not (pat.is_null(kind) and self.types):
            advice = "compare something, as in score >= 0.5"
            if pat.is_struct(kind):
                advice = "put and, or or, between conditions"
            raise InputError(
                f"--filter={shown(text)} is of type {kind}, neither true nor false: {advice}."
            )

    def keep(self, columns: Mapping[str, pa.Array], count: int) -> list[bool]:
        """Returns for each of `count` samples whether it is kept: null is no.

        Raises:
            InputError: if the expression fails on a value, a text that is no number say.
        """
        table = self._table(columns, count)
        # So many rows at once that what is made of them fits, whatever is made.
        step = max(1, _ROOM * count // max(1, table.nbytes * self._work))
        found: list[bool] = []
        for start in range(0, count, step):
            with self._given(table.slice(start, step), "; what may fail is null within try(...)"):
                answer = self._connection.sql(self._select).to_arrow_table().column(0)
            found += [one is True for one in answer.to_pylist()]
        return found

    def _table(self, columns: Mapping[str, pa.Array], count: int) -> pa.Table:
        arrays = [operand(columns[name]) for name in self.types]
        # A column that only counts, as an expression may name none.
        return pa.table(
            [*arrays, pa.nulls(count, pa.bool_())], names=[*self._names.values(), _COUNTING]
        )

    @contextlib.contextmanager
    def _given(self, table: pa.Table, advice: str) -> Iterator[None]:
        """Has a table to ask while the block runs; what DuckDB says against it is one sentence."""
        import duckdb

        try:
            self._connection.register(_TABLE, table)
            yield
        except (duckdb.Error, pa.ArrowException) as error:
            raise InputError(
                f"--filter={shown(self.text)} cannot be evaluated ({_reason(error)}): "
                f"{_told(self.types)}{advice}."
            ) from None
        finally:
            self._connection.unregister(_TABLE)


def _distinct(names: Iterable[str]) -> dict[str, str]:
    """Returns a name for each column that DuckDB, to which letters' cases are one, can tell."""
    found: dict[str, str] = {}
    taken = {_COUNTING}
    for name in names:
        given, number = name, 1
        while given.casefold() in taken:
            number += 1
            given = f"{name} ({number})"
        taken.add(given.casefold())
        found[name] = given
    return found


def _resolve(text: str, name: str, types: Mapping[str, pa.DataType | None]) -> str:
    """Returns the column that a name means: as it is written, else in other letters' cases."""
    if name in types:
        return name
    alike = [column for column in types if column.lower() == name.lower()]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise InputError(
            f"--filter={shown(text)} names {name!r}, which may be {_listed(alike)}: write it in "
            "double quotes as it is."
        )
    raise InputError(
        f"--filter={shown(text)} names {name!r}{_hint(text, name)}, and {_told(types)}."
    )


def _hint(text: str, name: str) -> str:
    """Returns what a name that no column has was probably meant for, to follow it."""
    if f'"{name}"' in text:
        return " (text stands in single quotes)"
    if name.lower() in ("nan", "inf", "infinity"):
        return " (NaN counts as null, and isinf() tells what is infinite)"
    if name.lower().startswith(("current_", "localtime")):
        return " (which would not be the same at any time)"
    return ""


def _told(types: Mapping[str, pa.DataType | None]) -> str:
    return f"the columns are {tell_columns(types)}" if types else "it names no column"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _reason(error: Exception) -> str:
    first = printable(str(error).split("\n", 1)[0].strip())
    return cut(_KIND.sub("", first).rstrip("."))
