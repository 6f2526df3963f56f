"""Parses SQL expressions over one row, and opens the sandboxed DuckDB that evaluates them.

DuckDB's own parser makes the syntax tree (`json_serialize_sql`). Everything but expressions over
the columns of one row is refused, and so is what would take much time or memory.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from beam_export.errors import InputError
from beam_export.metadata.filter_functions import cost, objection
from beam_export.text import printable

if TYPE_CHECKING:
    import duckdb

__all__ = [
    "FINITE",
    "WHOLE_ARRAY",
    "WHOLE_LIST",
    "Node",
    "connect",
    "parse_expression",
    "quoted",
    "shortened",
    "to_sql",
    "walk",
]

#: An object of a syntax tree, as `json_serialize_sql` makes it.
Node: TypeAlias = dict[str, Any]

#: Classes of nodes that an expression over one row may hold, as `json_serialize_sql` names them.
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
#: Classes of nodes without children.
LEAF_CLASSES = frozenset(["TYPE", "CONSTANT", "COLUMN_REF"])
#: Macros that are put around expressions; each evaluates its argument once.
FINITE = "beam_export finite"
WHOLE_ARRAY = "beam_export whole array"
WHOLE_LIST = "beam_export whole list"
_MACROS = {
    # A finite number as it is, null in place of infinity and NaN.
    FINITE: "list_filter([x], lambda y: isfinite(y))[1]",
    # A list without nulls as it is, null in place of one with nulls. The slice makes a list of an
    # array, whose values behind a null would count otherwise.
    WHOLE_ARRAY: "list_filter([x], lambda y: list_count(y) = len(y))[1]",
    WHOLE_LIST: "list_filter([x], lambda y: list_count(y) = len(y))[1][:]",
}

_MAX_CHARACTERS = 100_000
_MAX_CALLS = 500
_MAX_DEPTH = 100
#: Nodes that are neither a column nor a constant.
_MAX_NODES = 2000
#: Bound of `filter_functions.cost`.
_MAX_WORK = 1000
#: Levels of a syntax tree that are converted to SQL at once.
_SHALLOW = 20
#: Characters of a filter or a value in a message.
_SHOWN = 300


def connect() -> duckdb.DuckDBPyConnection:
    """Returns an empty in-memory database, whose statements reach neither files nor network."""
    import duckdb

    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "enable_external_access": "false",
            # More threads may change the order of rows.
            "threads": "1",
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    # The bar would be drawn on stdout.
    connection.execute("SET enable_progress_bar = false")
    # Null, as for other results that are not finite: else one zero in a column would end the run.
    connection.execute("SET error_on_division_by_zero = false")
    for name, body in _MACROS.items():
        connection.execute(f'CREATE TEMP MACRO "{name}"(x) AS {body}')
    connection.execute("SET lock_configuration = true")
    return connection


@functools.lru_cache(maxsize=1)
def _parser() -> duckdb.DuckDBPyConnection:
    """Returns the database whose parser is used; opening one takes fifty times as long as parsing.

    It stays empty; each thread uses a cursor of its own.
    """
    return connect()


def parse_expression(text: str) -> Node:
    """Returns the syntax tree of `SELECT (text)`.

    Raises:
        InputError: if it is anything but one expression over one row, of bounded cost.
    """
    if not isinstance(text, str) or not text.strip():
        raise _no_expression(text)
    if printable(text) != text:
        raise InputError(f"--filter={text!r} is no text: write it in UTF-8.")
    if len(text) > _MAX_CHARACTERS:
        raise _too_much(text, f"{len(text):,} characters, and {_MAX_CHARACTERS:,} are")
    tree = _read_tree(text)
    node: Node = tree["statements"][0]["node"]
    plain = node["type"] == "SELECT_NODE" and node["from_table"]["type"] == "EMPTY"
    clauses = ("where_clause", "group_expressions", "having", "qualify", "sample", "modifiers")
    if _is_nothing(node):
        raise _no_expression(text)
    single = len(tree["statements"]) == 1 and plain and len(node["select_list"]) == 1
    if not single or any(node.get(name) for name in clauses):
        raise _not_one_row(text, "more than one expression")
    _refuse_foreign_nodes(text, node["select_list"])
    _refuse_large_trees(text, node["select_list"])
    return node


def _is_nothing(node: Node) -> bool:
    # Comments alone between the brackets are parsed as a row without values.
    first = node["select_list"][0] if node.get("select_list") else {}
    return first.get("function_name") == "row" and not first["arguments"]


def _no_expression(text: Any) -> InputError:
    return InputError(
        f"--filter={text!r} is no expression: give one over the columns, as in "
        '"score >= 0.5 and width > 256".'
    )


def _read_tree(text: str) -> Node:
    question = "SELECT json_serialize_sql($1::VARCHAR)"
    try:
        tree: Node = json.loads(ask(_parser().cursor(), question, f"SELECT (\n{text}\n)"))
    except RecursionError:
        raise _too_deep(text) from None
    if not tree["error"]:
        return tree
    reason = tree["error_message"].split("\n", 1)[0]
    if reason.startswith("Max expression depth"):
        raise _too_deep(text)
    raise InputError(
        f"--filter={quoted(text)} cannot be read ({reason}): write a SQL condition over the "
        "columns, as in score >= 0.5 and split in ('train', 'val')."
    )


def ask(connection: duckdb.DuckDBPyConnection, question: str, given: str) -> str:
    """Returns the single value of a query with one parameter."""
    # All rows are fetched, since else the result stays open.
    ((answer,),) = connection.execute(question, [given]).fetchall()
    return str(answer)


def to_sql(connection: duckdb.DuckDBPyConnection, statement: Node, nodes: list[Node]) -> str:
    """Returns the statement `SELECT ...` of syntax trees.

    DuckDB takes no tree of more than 256 levels of JSON, so deep parts are converted by themselves.

    Args:
        connection: of any database.
        statement: any that `parse_expression` has returned.
        nodes: the expressions to select.
    """
    deep: dict[int, tuple[str, Node]] = {}
    sql = _node_sql(connection, statement, [_cut(one, _SHALLOW, deep) for one in nodes])
    while deep:
        below: dict[int, tuple[str, Node]] = {}
        for name, node in deep.values():
            part = _node_sql(connection, statement, [_cut(node, _SHALLOW, below)])
            sql = sql.replace(f'"{name}"', f"({part.removeprefix('SELECT ')})")
        deep = below
    return sql


def _node_sql(connection: duckdb.DuckDBPyConnection, statement: Node, nodes: list[Node]) -> str:
    node = {**statement, "select_list": nodes}
    document = json.dumps({"error": False, "statements": [{"node": node}]})
    return ask(connection, "SELECT json_deserialize_sql($1::JSON)", document)


def _cut(tree: Any, levels: int, deep: dict[int, tuple[str, Node]]) -> Any:
    """Returns a tree with names in place of deeper nodes, which are added to `deep` by `id`."""
    if isinstance(tree, list):
        return [_cut(one, levels, deep) for one in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.get("class", "TYPE") not in LEAF_CLASSES:
        if levels == 0:
            # No filter can hold this name, with an address in it: replacing it would never end.
            name, _ = deep.setdefault(id(tree), (f"beam_export part {id(tree)}", tree))
            part = {"class": "COLUMN_REF", "type": "COLUMN_REF", "column_names": [name]}
            return {**part, "alias": tree["alias"]}
        levels -= 1
    return {name: _cut(one, levels, deep) for name, one in tree.items()}


def quoted(text: str) -> str:
    """Returns a filter's text for a message: in quotes, and cut if it is long."""
    return repr(shortened(text))


def shortened(text: str) -> str:
    """Returns text for a message, cut to 300 characters."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _refuse_foreign_nodes(text: str, tree: Any) -> None:
    for one in walk(tree):
        kind = one.get("class")
        if kind is None:
            continue
        if kind not in _ROW_WISE:
            raise _not_one_row(text, _named(kind))
        if kind == "FUNCTION" and (wrong := objection(one)):
            name = one["function_name"]
            called = f"{name}()" if name[0].isalpha() else name
            raise InputError(
                f"--filter={quoted(text)} holds {called}, which {wrong}: allowed are comparisons, "
                "in, between, like, case, casts, and functions of numbers, texts, dates, lists and "
                "JSON (docs/filters.md lists them)."
            )


def _named(kind: str) -> str:
    if kind == "LAMBDA":
        return "a lambda, or -> (of JSON, ->> and json_extract() are allowed)"
    return f"a {kind.lower().replace('_', ' ')}"


def _refuse_large_trees(text: str, tree: Any) -> None:
    nodes = [one for one in walk(tree) if one.get("class", "TYPE") not in LEAF_CLASSES]
    if len(nodes) > _MAX_NODES:
        raise _too_much(text, f"{len(nodes)} comparisons and other parts, and {_MAX_NODES} are")
    calls = [one for one in nodes if one["class"] in ("FUNCTION", "CAST")]
    if len(calls) > _MAX_CALLS:
        raise _too_much(text, f"{len(calls)} operators, functions and casts, and {_MAX_CALLS} are")
    if _depth(tree) > _MAX_DEPTH:
        raise _too_deep(text)
    made = cost(tree[0])
    if made > _MAX_WORK:
        raise _too_much(
            text, f"texts or lists of {made} times what a row brings, and {_MAX_WORK} are"
        )


def _depth(tree: Any) -> int:
    deepest, waiting = 0, [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        if isinstance(node, dict):
            depth += "class" in node
            deepest = max(deepest, depth)
            waiting.extend((one, depth) for one in node.values())
        elif isinstance(node, list):
            waiting.extend((one, depth) for one in node)
    return deepest


def _not_one_row(text: str, what: str) -> InputError:
    return InputError(
        f"--filter={quoted(text)} holds {what}: give one expression over the columns of a sample, "
        "and only functions whose result is the same at any time."
    )


def _too_much(text: str, what: str) -> InputError:
    return InputError(
        f"--filter={quoted(text)} has {what} the most: write less of it, put what is more into a "
        "column of --metadata, or give --ids a list."
    )


def _too_deep(text: str) -> InputError:
    return _too_much(text, f"expressions within expressions, and {_MAX_DEPTH} levels are")


def walk(tree: Any) -> Iterator[Node]:
    """Yields every object of a syntax tree, parents before their children."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(reversed(node.values()))
        elif isinstance(node, list):
            waiting.extend(reversed(node))
