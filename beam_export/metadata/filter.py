"""`--filter`: selects samples by a SQL condition over their columns, evaluated by DuckDB.

Users write conditions such as `score >= 0.5 and split in ('train', 'val')`; DuckDB parses them and
evaluates them on Arrow columns without a copy. Since the text comes from a command line, it is
parsed and checked first (`sql`), and evaluated where neither files nor network can be reached.
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from beam_export.errors import InputError
from beam_export.metadata.filter_functions import cost
from beam_export.metadata.filter_nulls import guard_nulls
from beam_export.metadata.sql import (
    Node,
    connect,
    parse_expression,
    quoted,
    shortened,
    to_sql,
    walk,
)
from beam_export.text import printable

__all__ = [
    "FACTS",
    "BoundFilter",
    "Filter",
    "describe_columns",
    "needs_probe",
    "needs_size",
    "operand",
]

#: Columns that a filter may use besides the metadata, with their types.
FACTS: dict[str, pa.DataType] = {
    "image_id": pa.string(),
    "size": pa.int64(),
    "width": pa.int32(),
    "height": pa.int32(),
    "format": pa.string(),
}
#: Those that are read from the image's header.
_HEADER = frozenset({"width", "height", "format"})

#: Names of the table and of an extra column; no metadata column has them.
_TABLE = "beam_export samples"
_COUNTING = "beam_export count"
#: Bytes that evaluating a filter may take at once.
_ROOM = 128 << 20
#: What DuckDB's messages start with.
_KIND = re.compile(r"^[A-Z][A-Za-z ]* Error: ")


class Filter:
    """A parsed filter, before it is known which columns there are and of what types.

    Attributes:
        text: as given.
        columns: the names of columns in it, each once.

    Raises:
        InputError: if the text is not one expression over the columns of one sample.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._node = parse_expression(text)
        self.columns = tuple(dict.fromkeys(ref["column_names"][0] for ref in self._refs()))

    def _refs(self) -> Iterator[Node]:
        return (one for one in walk(self._node) if one.get("class") == "COLUMN_REF")

    def check(self, types: Mapping[str, pa.DataType | None]) -> None:
        """Checks that the filter fits columns, as far as their types are known.

        Args:
            types: by column name; None for a type that is not known yet.

        Raises:
            InputError: as `bind`.
        """
        found = [_resolve(self.text, name, types) for name in self.columns]
        if all(types[name] is not None for name in found):
            self.bind({name: kind for name, kind in types.items() if kind is not None})

    def bind(self, types: Mapping[str, pa.DataType]) -> BoundFilter:
        """Returns the filter, ready to be evaluated on samples with such columns.

        Args:
            types: by column name.

        Raises:
            InputError: if it names a column that is not there, or does not fit a column's type.
        """
        found = {name: _resolve(self.text, name, types) for name in self.columns}
        statement = copy.deepcopy(self._node)
        for ref in walk(statement):
            if ref.get("class") == "COLUMN_REF":
                ref["column_names"][0] = found[ref["column_names"][0]]
        return BoundFilter(self.text, statement, {name: types[name] for name in found.values()})


def describe_columns(types: Mapping[str, pa.DataType | None]) -> str:
    """Returns columns as text for a message: names, with types where they are known.

    >>> describe_columns({"score": pa.float64(), "size": None})
    'score (double), size'
    """
    columns = (name if kind is None else f"{name} ({kind})" for name, kind in types.items())
    return ", ".join(columns)


def needs_probe(text: str) -> bool:
    """Returns whether a filter uses what is read from the headers of images.

    Raises:
        InputError: if the text is no filter.
    """
    return any(name.lower() in _HEADER for name in Filter(text).columns)


def needs_size(text: str) -> bool:
    """Returns whether a filter uses the sizes of images.

    Raises:
        InputError: if the text is no filter.
    """
    return any(name.lower() == "size" for name in Filter(text).columns)


class BoundFilter:
    """A filter with the types of its columns, ready to be evaluated.

    Attributes:
        text: as given.
        types: Arrow types of the columns that it uses.
    """

    def __init__(self, text: str, statement: Node, types: Mapping[str, pa.DataType]) -> None:
        self.text, self.types = text, dict(types)
        self._cost = cost(statement["select_list"][0])
        self._connection = connect()
        self._names = _distinct(self.types)
        for ref in walk(statement):
            if ref.get("class") == "COLUMN_REF":
                ref["column_names"][0] = self._names[ref["column_names"][0]]
        # Evaluated on one row of nulls, so that types are checked before there are samples.
        nothing = self._table({name: pa.nulls(1, kind) for name, kind in self.types.items()}, 1)
        with self._given(nothing, ""):
            guard_nulls(connection=self._connection, text=text, statement=statement, table=_TABLE)
            self._select = (
                f'{to_sql(self._connection, statement, statement["select_list"])} FROM "{_TABLE}"'
            )
            kind = self._connection.sql(self._select).to_arrow_table().schema.field(0).type
        if not pat.is_boolean(kind) and not (pat.is_null(kind) and self.types):
            advice = "compare something, as in score >= 0.5"
            if pat.is_struct(kind):
                advice = "put and, or or, between conditions"
            raise InputError(
                f"--filter={quoted(text)} is of type {kind}, neither true nor false: {advice}."
            )

    def keep(self, columns: Mapping[str, pa.Array], count: int) -> list[bool]:
        """Returns for each sample whether it is kept; null counts as false.

        Args:
            columns: the columns that it uses, by name.
            count: number of samples.


        Raises:
            InputError: if the expression fails on a value, as a cast of a text that is no number.
        """
        table = self._table(columns, count)
        # As many rows at once as fit into `_ROOM` at the expression's worst growth.
        step = max(1, _ROOM * count // max(1, table.nbytes * self._cost))
        found: list[bool] = []
        for start in range(0, count, step):
            with self._given(table.slice(start, step), "; what may fail is null within try(...)"):
                answer = self._connection.sql(self._select).to_arrow_table().column(0)
            found += [one is True for one in answer.to_pylist()]
        return found

    def _table(self, columns: Mapping[str, pa.Array], count: int) -> pa.Table:
        arrays = [operand(columns[name]) for name in self.types]
        # One more column keeps the number of rows where the expression uses no column.
        return pa.table(
            [*arrays, pa.nulls(count, pa.bool_())], names=[*self._names.values(), _COUNTING]
        )

    @contextlib.contextmanager
    def _given(self, table: pa.Table, advice: str) -> Iterator[None]:
        """Registers a table for the block, and raises DuckDB's errors as InputError."""
        import duckdb

        try:
            self._connection.register(_TABLE, table)
            yield
        except (duckdb.Error, pa.ArrowException) as error:
            raise InputError(
                f"--filter={quoted(self.text)} cannot be evaluated ({_reason(error)}): "
                f"{_columns_phrase(self.types)}{advice}."
            ) from None
        finally:
            self._connection.unregister(_TABLE)


def _distinct(names: Iterable[str]) -> dict[str, str]:
    """Returns a distinct name for each column, since DuckDB ignores case in names."""
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
    """Returns the column of a name: the same spelling, else the only one that differs in case."""
    if name in types:
        return name
    alike = [column for column in types if column.lower() == name.lower()]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise InputError(
            f"--filter={quoted(text)} names {name!r}, which may be {_listed(alike)}: write it in "
            "double quotes as it is."
        )
    raise InputError(
        f"--filter={quoted(text)} names {name!r}{_hint(text, name)}, and {_columns_phrase(types)}."
    )


def _hint(text: str, name: str) -> str:
    """Returns a hint, to follow a name that no column has, at what was probably meant."""
    if f'"{name}"' in text:
        return " (text stands in single quotes)"
    if name.lower() in ("nan", "inf", "infinity"):
        return " (NaN counts as null, and isinf() finds what is infinite)"
    if name.lower().startswith(("current_", "localtime")):
        return " (which would not be the same at any time)"
    return ""


def _columns_phrase(types: Mapping[str, pa.DataType | None]) -> str:
    return f"the columns are {describe_columns(types)}" if types else "it names no column"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _reason(error: Exception) -> str:
    first = printable(str(error).split("\n", 1)[0].strip())
    return shortened(_KIND.sub("", first).rstrip("."))


def operand(array: pa.Array) -> pa.Array:
    """Returns a column as DuckDB takes it: of a type that it knows, and with null for NaN.

    NaN becomes null in lists and structs too: to DuckDB it is the largest number, so that
    `score >= 0.5` would keep it. Types that DuckDB lacks become the nearest that it has;
    dictionaries, which differ from block to block, become their values.
    """
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return operand(array.storage)
    if pat.is_dictionary(kind):
        return operand(array.dictionary_decode())
    if pat.is_run_end_encoded(kind):
        return operand(pc.run_end_decode(array))
    if pat.is_float16(kind):
        return operand(pc.cast(array, pa.float32()))
    if pat.is_decimal256(kind):
        return operand(pc.cast(array, pa.float64()))
    if pat.is_floating(kind):
        return pc.if_else(pc.is_nan(array), pa.scalar(None, kind), array)
    if _is_plain(kind):
        return array
    if array.offset:
        # The children of a sliced array are not sliced.
        array = pc.take(array, pa.array(range(len(array)), pa.int64()))
    return _rebuild(array, array.is_null())


def _is_plain(kind: pa.DataType) -> bool:
    """Returns whether `operand` leaves arrays of a type as they are."""
    if not pat.is_nested(kind):
        return not (
            pat.is_floating(kind)
            or pat.is_decimal256(kind)
            or pat.is_dictionary(kind)
            or pat.is_run_end_encoded(kind)
            or isinstance(kind, pa.BaseExtensionType)
        )
    return all(_is_plain(kind.field(place).type) for place in range(kind.num_fields))


def _rebuild(array: pa.Array, missing: pa.Array) -> pa.Array:
    kind = array.type
    if pat.is_map(kind):
        # Keys of a map cannot be null, so that NaN stays there.
        return pa.MapArray.from_arrays(
            array.offsets, array.keys, operand(array.items), mask=missing
        )
    if pat.is_list(kind):
        return pa.ListArray.from_arrays(array.offsets, operand(array.values), mask=missing)
    if pat.is_large_list(kind):
        return pa.LargeListArray.from_arrays(array.offsets, operand(array.values), mask=missing)
    if pat.is_fixed_size_list(kind):
        values = array.values.slice(0, len(array) * kind.list_size)
        return pa.FixedSizeListArray.from_arrays(operand(values), kind.list_size, mask=missing)
    if pat.is_struct(kind):
        children = [operand(array.field(place)) for place in range(kind.num_fields)]
        names = [kind.field(place).name for place in range(kind.num_fields)]
        return pa.StructArray.from_arrays(children, names, mask=missing)
    return array
