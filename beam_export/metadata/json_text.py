"""Metadata values as canonical JSON text: one text for equal values, whatever the order of keys."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from beam_export.text import stored

__all__ = ["column_text", "json_text", "plain_value", "with_unicode_names"]


def json_text(value: Any) -> str:
    """Returns a metadata value as JSON, with sorted keys and without spaces.

    NaN and infinity are null, times are in ISO 8601, bytes in base64, decimal numbers text.

    >>> json_text("cat"), json_text({"b": [1, float("nan")], "a": None})
    ('"cat"', '{"a":null,"b":[1,null]}')

    Raises:
        TypeError: if the value is of a type that is no metadata.
    """
    return json.dumps(plain_value(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def column_text(value: Any) -> str | None:
    """Returns the value of a column that is kept as JSON text; None for a null, `NaT` too.

    A number that JSON has not is written as Python's and most other writers of JSON do: "null"
    would say that there is none.

    >>> column_text("cat"), column_text(float("nan")), column_text(float("-inf")), column_text(None)
    ('"cat"', 'NaN', '-Infinity', None)

    Raises:
        TypeError: if the value is of a type that is no metadata.
    """
    number = value.item() if isinstance(value, np.floating) else value
    if isinstance(number, float) and not math.isfinite(number):
        return json.dumps(number)
    text = json_text(value)
    return None if text == "null" else text


def with_unicode_names(value: Any) -> Any:
    r"""Returns a value of JSON with the names of its objects as they are stored (`text.stored`).

    >>> with_unicode_names([{"a\ud83d": 1}]) == [{"a\ufffd": 1}]
    True

    Raises:
        ValueError: if two names in one object are the same then.
    """
    if isinstance(value, list):
        return [with_unicode_names(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {stored(name): with_unicode_names(item) for name, item in value.items()}
    if len(renamed) < len(value):
        raise ValueError("two names differ in what is no Unicode")
    return renamed


def plain_value(value: Any) -> Any:
    """Returns a metadata value as one of JSON's own types; see `json_text`.

    Raises:
        TypeError: if the value is of a type that is no metadata.
    """
    if isinstance(value, np.datetime64 | np.timedelta64):
        return None if np.isnat(value) else str(value)
    if isinstance(value, np.ndarray):
        value = list(value)
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(name): plain_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__} cannot be a metadata value")
