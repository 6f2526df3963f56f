"""Rewrites filters so that NaN and infinity count as null, as a user of SQL expects.

To DuckDB NaN is larger than any number and infinity equal to itself, so that `sqrt(x - 1) > 0`
would keep rows below one, and `x / 0 > 1` all rows. So each function and cast whose type has an
infinity or NaN is wrapped into the macro `sql.FINITE`, and SQL's three-valued logic does the rest.
What cannot be wrapped, comparisons of whole lists or structs, is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from beam_export.errors import InputError
from beam_export.metadata.filter_functions import DISTANCES, PASSING, arguments
from beam_export.metadata.sql import (
    FINITE,
    WHOLE_ARRAY,
    WHOLE_LIST,
    Node,
    quoted,
    to_sql,
    walk,
)

if TYPE_CHECKING:
    import duckdb

__all__ = ["guard_nulls"]

#: The type of an expression, in DuckDB's Python package.
Type: TypeAlias = "duckdb.sqltypes.DuckDBPyType"

#: Types whose values may be infinite or NaN.
_WITHOUT_END = frozenset(
    [
        "float",
        "double",
        "date",
        "timestamp",
        "timestamp_s",
        "timestamp_ms",
        "timestamp_ns",
        "timestamp with time zone",
    ]
)
_NESTED = frozenset(["list", "array", "struct", "map", "union", "tuple", "row"])
_INTEGERS = frozenset(
    f"{sign}{size}int" for sign in ("", "u") for size in ("tiny", "small", "big", "huge")
)
_NUMBERS = _INTEGERS | {"integer", "uinteger", "float", "double", "decimal", "boolean", "null"}
_ORDERING = frozenset(
    [
        "COMPARE_LESSTHAN",
        "COMPARE_GREATERTHAN",
        "COMPARE_LESSTHANOREQUALTO",
        "COMPARE_GREATERTHANOREQUALTO",
        "COMPARE_BETWEEN",
        "greatest",
        "least",
    ]
)
_JOINING = frozenset(["||", "concat", "concat_ws", "array_to_string"])
#: Functions that compare or print whole lists and structs.
_WHOLE = _ORDERING | _JOINING | {"nullif"}
#: Text of a list or struct that may hold an infinite number or NaN.
_HOLDS_NO_NUMBER = re.compile(
    r"\s*[\[({].*(?:nan|inf|e\+?[0-9]|[0-9]{38})", re.IGNORECASE | re.DOTALL
)
#: The largest float32.
_LARGEST = 3.4028235e38


def guard_nulls(
    connection: duckdb.DuckDBPyConnection, text: str, statement: Node, table: str
) -> None:
    """Rewrites a filter's syntax tree so that NaN and infinity become null where they arise.

    Args:
        connection: has a table with the filter's columns.
        text: the filter as given, for messages.
        statement: as `parse_expression` returns it, with the table's column names; modified.
        table: name of that table.

    Raises:
        InputError: if whole lists or structs are compared, where null would equal null.
        duckdb.Error: if an expression does not fit the types of its columns.
    """
    nodes = [one for one in walk(statement["select_list"]) if "class" in one]
    for one in nodes:
        _keep_text(one)
    made = [one for one in nodes if one["class"] in ("FUNCTION", "CAST") or _is_huge(one)]
    parts = [(one, found) for one in nodes if (found := _parts(one))]
    asked = {id(one): one for one in made}
    asked.update((id(part), part) for _, found in parts for part in found)
    types = _types(
        connection=connection, statement=statement, nodes=list(asked.values()), table=table
    )
    for one, found in parts:
        kinds = [types[id(part)] for part in found]
        _check(text=text, node=one, parts=kinds, own=types.get(id(one)))
        if one.get("function_name", "").lower() not in _JOINING:
            _check_texts(text, found, kinds)
    for one in made:
        name = one.get("function_name", "").lower()
        if name in DISTANCES:
            for part in arguments(one):
                _wrap(part, WHOLE_ARRAY if name.startswith("array") else WHOLE_LIST, [])
        if types[id(one)].id in _WITHOUT_END and name not in PASSING:
            _wrap(one, FINITE, [])


def _types(
    connection: duckdb.DuckDBPyConnection, statement: Node, nodes: list[Node], table: str
) -> dict[int, Type]:
    """Returns the type of each node by its id."""
    # Equal columns and constants are asked for once.
    alike: dict[str, list[Node]] = {}
    for one in nodes:
        key = one.get("literal") or one.get("column_names") or id(one)
        alike.setdefault(repr(key), []).append(one)
    if not alike:
        return {}
    query = to_sql(connection, statement, [group[0] for group in alike.values()])
    types = connection.sql(f'{query} FROM "{table}"').types
    groups = zip(alike.values(), types, strict=True)
    return {id(one): kind for group, kind in groups for one in group}


def _keep_text(node: Node) -> None:
    """Keeps a constant such as 'nan' a text, which DuckDB would cast to a number beside numbers."""
    literal = node.get("literal")
    if literal and literal["kind"] == "STRING" and _is_no_number(literal["text"]):
        _wrap(node, "||", [{**node, "literal": {"kind": "STRING", "text": ""}}])


def _is_no_number(text: str) -> bool:
    try:
        return not abs(float(text)) <= _LARGEST
    except ValueError:
        return bool(_HOLDS_NO_NUMBER.match(text))


def _is_huge(node: Node) -> bool:
    literal = node.get("literal")
    if not literal or literal["kind"] not in ("NUMERIC", "INTEGER"):
        return False
    return math.isinf(float(literal["text"]))


def _wrap(node: Node, function: str, more: list[Node]) -> None:
    """Replaces a node by a call of a function, whose first argument it becomes."""
    inner = {**node, "alias": ""}
    alias = node["alias"]
    node.clear()
    node.update(
        {
            "class": "FUNCTION",
            "type": "FUNCTION",
            "alias": alias,
            "function_name": function,
            "schema": "",
            "catalog": "",
            "filter": None,
            "order_bys": {"type": "ORDER_MODIFIER", "orders": []},
            "distinct": False,
            "is_operator": function == "||",
            "export_state": False,
            "is_legacy_function_call": False,
            "qualified_name": {"path": [function]},
            "arguments": [{"name": "", "expression": one} for one in (inner, *more)],
        }
    )


def _parts(node: Node) -> list[Node]:
    """Returns the operands whose types decide whether a node is allowed."""
    match node["class"]:
        case "COMPARISON":
            return [node["left"], node["right"]]
        case "BETWEEN":
            return [node["input"], node["lower"], node["upper"]]
        case "CAST":
            return [node["child"]]
        case "OPERATOR" if node["type"] == "COMPARE_IN":
            return list(node["children"])
        case "FUNCTION" if node["function_name"].lower() in _WHOLE:
            return arguments(node)
    return []


def _check(text: str, node: Node, parts: list[Type], own: Type | None) -> None:
    nested = [part for part in parts if part.id in _NESTED]
    name = node.get("function_name", "").lower()
    if node["class"] == "CAST" and own is not None:
        if (nested or own.id in _NESTED) and not _is_number_list(parts[0], own):
            raise _refused(text, f"a cast of {parts[0]} to {own}", "cast its values")
    elif name in _JOINING:
        whole = [one for one in nested if name in ("||", "concat") or not _is_plain_list(one)]
        if whole and own is not None and own.id not in _NESTED:
            raise _refused(text, f"a text made of {whole[0]}", "name its values")
    elif nested:
        ordered = name in _ORDERING or node["type"] in _ORDERING
        if ordered or not _WITHOUT_END.isdisjoint(_leaves(nested)):
            # Within lists and structs null equals null, and is larger than any value.
            raise _refused(text, f"a comparison of {nested[0]} as a whole", "compare its values")


def _check_texts(text: str, parts: Iterable[Node], kinds: Sequence[Type]) -> None:
    """Refuses implicit casts of text to a number, NaN from 'nan'; `_keep_text` treats constants."""
    ends = [kind for kind in kinds if kind.id in _WITHOUT_END]
    is_text = (
        kind.id == "varchar" and "literal" not in part
        for part, kind in zip(parts, kinds, strict=True)
    )
    if len(kinds) > 1 and ends and any(is_text):
        raise InputError(
            f"--filter={quoted(text)} compares {ends[0]} with text: cast the text, as in "
            "try_cast(x as float); NaN counts as null, and isinf() finds what is infinite."
        )


def _is_number_list(given: Type, own: Type) -> bool:
    # Text could become NaN within a list, and numbers become longer as text.
    both = {"list", "array"}.issuperset([given.id, own.id])
    return both and _NUMBERS.issuperset(_leaves([given, own]))


def _is_plain_list(kind: Type) -> bool:
    return kind.id in ("list", "array") and _children(kind)[0].id not in _NESTED


def _leaves(types: Iterable[Type]) -> Iterator[str]:
    for one in types:
        if one.id in _NESTED:
            yield from _leaves(_children(one))
        else:
            yield one.id


def _children(kind: Type) -> list[Type]:
    # The children of an array include its size.
    parts: Sequence[tuple[str, Any]] = kind.children
    return [child for _, child in parts if not isinstance(child, int)]


def _refused(text: str, what: str, instead: str) -> InputError:
    return InputError(
        f"--filter={quoted(text)} holds {what}: {instead}, as in tags[1] = 'cat' or len(tags) > 2."
    )
