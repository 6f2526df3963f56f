"""Parses Python's `repr` of plain values, without evaluating anything.

NeMo Curator writes metadata as `repr(dict)`. Beside Python's own literals such text has what numpy
and datetime print: `nan`, `np.float32(0.5)`, `array([1, 2], dtype=float32)`,
`datetime.datetime(2024, 1, 2, 3, 4)`. These are read as the values they mean; any other name or
call is refused, and so is an array that numpy has shortened with `...`.
"""

from __future__ import annotations

import ast
import datetime
import math
from collections.abc import Callable
from typing import Any

__all__ = ["MAX_CHARS", "MAX_DEPTH", "parse_literal"]

#: Longer texts are refused: parsing takes some hundred times their size in memory.
MAX_CHARS = 1 << 20
MAX_DEPTH = 32

_CONSTANTS = (str, bytes, int, float, bool, type(None))
_NAMES = {"nan": math.nan, "inf": math.inf, "True_": True, "False_": False}
_NUMBERS: dict[str, Callable[[Any], Any]] = {
    **{f"float{bits}": float for bits in ("", 16, 32, 64)},
    **{f"{sign}int{bits}": int for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "bool_": bool,
    "bool": bool,
    "str_": str,
}
_TIMES: dict[str, Callable[..., Any]] = {
    "datetime": datetime.datetime,
    "date": datetime.date,
    "time": datetime.time,
    "timedelta": datetime.timedelta,
}
_MODULES = ("np", "numpy", "datetime")


def parse_literal(text: str) -> Any:
    """Returns the value that a `repr` means; tuples, sets and arrays become lists.

    >>> parse_literal("{'score': np.float32(0.5), 'tags': ('a', 'b')}")
    {'score': 0.5, 'tags': ['a', 'b']}

    Raises:
        ValueError: if the text is no literal, too long (`MAX_CHARS`) or too deep (`MAX_DEPTH`).
    """
    if len(text) > MAX_CHARS:
        raise ValueError(f"a literal of {len(text)} characters, more than {MAX_CHARS}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    # The parser itself gives up on deep nesting, before `_value` can count the levels.
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError("the text is not a literal") from error
    return _value(tree.body, MAX_DEPTH)


def _value(node: ast.expr, depth: int) -> Any:
    if depth == 0:
        raise ValueError(f"a literal is nested more than {MAX_DEPTH} deep")
    match node:
        case ast.Constant(value=value) if isinstance(value, _CONSTANTS):
            return value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, depth - 1) for item in items]
        case ast.Set(elts=items):
            # A set has no order of its own: text gives it one.
            return sorted((_value(item, depth - 1) for item in items), key=repr)
        case ast.Dict(keys=keys, values=values):
            return _mapping(keys, values, depth)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(_value(operand, depth - 1))
        case ast.Name() | ast.Attribute() if _name_of(node) in _NAMES:
            return _NAMES[_name_of(node)]
        case ast.Call(func=function, args=arguments, keywords=keywords):
            return _call(
                name=_name_of(function), arguments=arguments, keywords=keywords, depth=depth
            )
    raise ValueError(f"a {type(node).__name__} is not part of a literal")


def _mapping(keys: list[ast.expr | None], values: list[ast.expr], depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in zip(keys, values, strict=True):
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            raise ValueError("a key of a mapping is not text")
        found[key.value] = _value(value, depth - 1)
    return found


def _number(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise ValueError("a minus sign stands before what is no number")


def _name_of(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id=module), attr=name) if module in _MODULES:
            return name
    raise ValueError(f"a {type(node).__name__} is not part of a literal")


def _call(name: str, arguments: list[ast.expr], keywords: list[ast.keyword], depth: int) -> Any:
    # The values are all in the text: the dtype is not needed, and so not read.
    if name == "array" and len(arguments) == 1 and all(word.arg == "dtype" for word in keywords):
        return _value(arguments[0], depth - 1)
    values = [_value(argument, depth - 1) for argument in arguments]
    try:
        if name in _NUMBERS and len(values) == 1 and not keywords:
            if isinstance(values[0], (str, int, float)):
                return _NUMBERS[name](values[0])
        elif name in _TIMES:
            named = {str(word.arg): _value(word.value, depth - 1) for word in keywords}
            return _TIMES[name](*values, **named)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"the arguments of {name} make no value") from error
    raise ValueError(f"a call of {name} is not part of a literal")
