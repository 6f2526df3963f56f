"""SQL expressions on one row, as DuckDB parses them, and a database where they reach nothing."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from beam_export.errors import InputError

if TYPE_CHECKING:
    import duckdb

__all__ = ["ask", "connect", "parse_expression", "walk"]

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


def connect() -> duckdb.DuckDBPyConnection:
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
    return connect()


def parse_expression(text: str) -> dict[str, Any]:
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
    tree = json.loads(ask(_parser().cursor(), question, f"SELECT (\n{text}\n)"))
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


def ask(connection: duckdb.DuckDBPyConnection, question: str, given: str) -> str:
    # All rows, or the connection would wait for who fetches the rest.
    ((answer,),) = connection.execute(question, [given]).fetchall()
    return str(answer)


def _refuse_strangers(text: str, tree: Any) -> None:
    for one in walk(tree):
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
    rows = connect().execute(
        "SELECT DISTINCT lower(function_name), function_type = 'macro' FROM duckdb_functions() "
        "WHERE (function_type = 'scalar' AND stability = 'CONSISTENT') OR function_type = 'macro'"
    )
    return frozenset(
        name
        for name, macro in rows.fetchall()
        if name not in _REFUSED and (not macro or name in _MACROS or name.startswith(_MACROS_OF))
    )


def walk(tree: Any) -> Iterator[dict[str, Any]]:
    """Yields every object of a syntax tree."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(reversed(node.values()))
        elif isinstance(node, list):
            waiting.extend(reversed(node))
