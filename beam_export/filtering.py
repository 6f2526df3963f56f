"""`--filter`: an expression over the columns of samples, in SQL as DuckDB reads it.

People write filters as SQL conditions (`score >= 0.5 and split in ('train', 'val')`); DuckDB reads
those, `==` too, and works on Arrow columns as they are. What it is given is an expression and
nothing else: parsed first, looked through, and evaluated where no file or network can be reached.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from beam_export.errors import InputError

if TYPE_CHECKING:
    import duckdb

__all__ = ["FACTS", "BoundFilter", "Filter", "needs_probe", "tell_columns"]

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

#: What an expression on one row is made of, as DuckDB's parser names it (`json_serialize_sql`).
_ROW_WISE = frozenset(
    [
        "BETWEEN",
        "CASE",
        "CAST",
        "COLLATE",
        "COLUMN_REF",
        "COMPARISON",
        "CONJUNCTION",
        "CONSTANT",
        "FUNCTION",
        "OPERATOR",
        "TYPE",
    ]
)
#: Macros that are functions of one row like any other; the rest ask about a database.
_MACROS = frozenset({"date_add", "days_in_month", "fdiv", "if", "nullif", "split_part"})
_MACROS_OF = ("array_", "list_")
#: Has a form that is told the time by the clock.
_REFUSED = frozenset({"age"})
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
        self._node = _parse(text)
        self.columns = tuple(dict.fromkeys(ref["column_names"][0] for ref in self._refs()))

    def _refs(self) -> Iterator[dict[str, Any]]:
        return (one for one in _walk(self._node) if one.get("class") == "COLUMN_REF")

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
        for ref in _walk(statement):
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


class BoundFilter:
    """A filter and the types of the columns that it is about.

    Attributes:
        types: Arrow types of those columns.
    """

    def __init__(
        self, text: str, statement: dict[str, Any], types: Mapping[str, pa.DataType]
    ) -> None:
        self.text, self.types = text, dict(types)
        self._connection = _connect()
        document = json.dumps({"error": False, "statements": [{"node": statement}]})
        expression = _ask(self._connection, "SELECT json_deserialize_sql($1::JSON)", document)
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


def _connect() -> duckdb.DuckDBPyConnection:
    """Opens a database of nothing, whose statements reach nothing."""
    import duckdb

    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "enable_external_access": "false",
            # Rows come out as they went in.
            "threads": "1",
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET lock_configuration = true")
    return connection


@functools.lru_cache(maxsize=1)
def _parser() -> duckdb.DuckDBPyConnection:
    """Returns the database whose parser is used: to open one takes fifty times as long as to ask.

    Nothing is ever made in it; threads ask by cursors of their own.
    """
    return _connect()


def _parse(text: str) -> dict[str, Any]:
    """Returns the syntax tree of `SELECT (text)`.

    Raises:
        InputError: if it is anything but an expression on one row.
    """
    if not isinstance(text, str) or not text.strip():
        raise InputError(
            f"--filter={text!r} is no expression: give one over the columns, as in "
            '"score >= 0.5 and width > 256".'
        )
    question = "SELECT json_serialize_sql($1::VARCHAR)"
    tree = json.loads(_ask(_parser().cursor(), question, f"SELECT (\n{text}\n)"))
    if tree["error"]:
        reason = tree["error_message"].split("\n", 1)[0]
        raise InputError(
            f"--filter={text!r} cannot be read ({reason}): write a SQL condition over the columns, "
            "as in score >= 0.5 and split in ('train', 'val')."
        )
    node: dict[str, Any] = tree["statements"][0]["node"]
    plain = node["type"] == "SELECT_NODE" and node["from_table"]["type"] == "EMPTY"
    clauses = ("where_clause", "group_expressions", "having", "qualify", "sample", "modifiers")
    if len(tree["statements"]) != 1 or not plain or any(node.get(name) for name in clauses):
        raise _not_one_row(text, "more than one expression")
    _refuse_strangers(text, node["select_list"])
    return node


def _ask(connection: duckdb.DuckDBPyConnection, question: str, given: str) -> str:
    # All rows, or the connection would wait for who fetches the rest.
    ((answer,),) = connection.execute(question, [given]).fetchall()
    return str(answer)


def _refuse_strangers(text: str, tree: Any) -> None:
    for one in _walk(tree):
        kind = one.get("class")
        if kind is None:
            continue
        if kind not in _ROW_WISE:
            raise _not_one_row(text, f"a {kind.lower().replace('_', ' ')}")
        if kind == "FUNCTION":
            name = one["function_name"].lower()
            if one["schema"] or one["catalog"] or name not in _functions():
                raise _not_one_row(text, f"{name}()")


def _not_one_row(text: str, what: str) -> InputError:
    return InputError(
        f"--filter={text!r} holds {what}: give one expression over the columns of a sample, "
        "with no functions but those that tell the same of it at any time."
    )


@functools.lru_cache(maxsize=1)
def _functions() -> frozenset[str]:
    """Returns the names of functions of one row that always give the same."""
    rows = _connect().execute(
        "SELECT DISTINCT lower(function_name), function_type = 'macro' FROM duckdb_functions() "
        "WHERE (function_type = 'scalar' AND stability = 'CONSISTENT') OR function_type = 'macro'"
    )
    return frozenset(
        name
        for name, macro in rows.fetchall()
        if name not in _REFUSED and (not macro or name in _MACROS or name.startswith(_MACROS_OF))
    )


def _walk(tree: Any) -> Iterator[dict[str, Any]]:
    """Yields every object of a syntax tree."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(reversed(node.values()))
        elif isinstance(node, list):
            waiting.extend(reversed(node))


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
