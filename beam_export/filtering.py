"""`--filter`: an expression over the columns of samples, in SQL as DuckDB reads it.

People write filters as SQL conditions (`score >= 0.5 and split in ('train', 'val')`); DuckDB reads
those, `==` too, and works on Arrow columns as they are. What it is given is an expression and
nothing else: parsed first, looked through, and evaluated where no file or network can be reached.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from beam_export.errors import InputError
from beam_export.expressions import ask, connect, parse_expression, walk

if TYPE_CHECKING:
    pass

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

#: A name that no column has.
_TABLE = "beam_export samples"
_FALSE_STARTS = ("Binder Error: ", "Conversion Error: ", "Catalog Error: ", "Parser Error: ")


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

    def _refs(self) -> Iterator[dict[str, Any]]:
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
        statement = json.loads(json.dumps(self._node))
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

    def __init__(
        self, text: str, statement: dict[str, Any], types: Mapping[str, pa.DataType]
    ) -> None:
        self.text, self.types = text, dict(types)
        self._connection = connect()
        document = json.dumps({"error": False, "statements": [{"node": statement}]})
        expression = ask(self._connection, "SELECT json_deserialize_sql($1::JSON)", document)
        self._select = f'{expression} FROM "{_TABLE}"'
        self._check()

    def keep(self, columns: Mapping[str, pa.Array], count: int) -> list[bool]:
        """Returns for each of `count` samples whether it is kept: null is no.

        Raises:
            InputError: if the expression fails on a value, a text that is no number say.
        """
        arrays = [_plain(columns[name], self.types[name]) for name in self.types]
        # A column that only counts, as an expression may name none.
        arrays.append(pa.nulls(count, pa.bool_()))
        table = pa.table(arrays, names=[*self.types, " "])
        kept = pc.fill_null(self._run(self._select, table).column(0), False)
        return [bool(one) for one in kept.to_pylist()]

    def _check(self) -> None:
        # With one sample of which nothing is known: constants are looked at with the first.
        nothing = [_plain(pa.nulls(1, kind), kind) for kind in self.types.values()]
        table = pa.table([*nothing, pa.nulls(1)], names=[*self.types, " "])
        result = self._run(self._select, table)
        kind = result.schema.field(0).type
        if not (pat.is_boolean(kind) or pat.is_null(kind)):
            raise InputError(
                f"--filter={self.text!r} is of type {kind}, neither true nor false: compare it "
                "with something, as in score >= 0.5."
            )

    def _run(self, statement: str, table: pa.Table) -> pa.Table:
        import duckdb

        self._connection.register(_TABLE, table)
        try:
            return self._connection.sql(statement).to_arrow_table()
        except duckdb.Error as error:
            raise InputError(
                f"--filter={self.text!r} cannot be evaluated ({_reason(error)}): "
                f"{_told(self.types)}."
            ) from None
        finally:
            self._connection.unregister(_TABLE)


def _resolve(text: str, name: str, types: Mapping[str, pa.DataType | None]) -> str:
    """Returns the column that a name means: as it is written, else in other letters' cases."""
    if name in types:
        return name
    alike = [column for column in types if column.lower() == name.lower()]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise InputError(
            f"--filter={text!r} names {name!r}, which may be {_listed(alike)}: write it in double "
            "quotes as it is."
        )
    raise InputError(f"--filter={text!r} names {name!r}, and {_told(types)}.")


def _told(types: Mapping[str, pa.DataType | None]) -> str:
    return f"the columns are {tell_columns(types)}" if types else "it names no column"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _reason(error: Exception) -> str:
    first = str(error).split("\n", 1)[0].strip()
    for start in _FALSE_STARTS:
        first = first.removeprefix(start)
    return first.rstrip(".")


def _plain(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Returns the column as DuckDB takes it; what is not a number counts as null.

    DuckDB holds NaN for the largest number, which no one who writes `score >= 0.5` means.
    """
    if pat.is_float16(kind):
        array = pc.cast(array, pa.float32())
    elif pat.is_decimal256(kind):
        array = pc.cast(array, pa.float64())
    if pat.is_floating(array.type):
        return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    return array
