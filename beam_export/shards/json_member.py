"""Makes the member of `--json_columns`: metadata columns of a sample as JSON, as Parquet has them.

Keys are the same for all samples, sorted; a value is what the Parquet holds, in the column's type:
whole numbers of a column of floats are floats. NaN and infinity are null, as JSON has neither;
times are in ISO 8601, durations in seconds, bytes in base64, decimal numbers text.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pat

from beam_export.errors import InputError
from beam_export.metadata.arrow_types import is_list, is_text
from beam_export.metadata.json_text import plain_value
from beam_export.metadata.to_arrow import ColumnBuilder, to_values
from beam_export.shards.parquet import stored_values

__all__ = ["JSON_MEMBER", "JsonColumns", "json_of_row"]

#: Key in the Parquet of a shard: extension of the member; missing without one.
JSON_MEMBER = "beam_export.json_member"


class JsonColumns:
    """Makes the member of samples that are on their way into a shard.

    Args:
        columns: the metadata columns that go into it.
    """

    def __init__(self, columns: Sequence[pa.Field]) -> None:
        self._columns = columns
        self._builders = [ColumnBuilder(field) for field in columns]

    def of(self, metadata: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> Iterator[bytes]:
        """Yields the member of each sample.

        Args:
            metadata: of the samples.
            ids: of the samples, for error messages.

        Raises:
            InputError: if a value does not fit its column.
        """
        values = []
        for field, builder in zip(self._columns, self._builders, strict=True):
            try:
                array = builder.build(stored_values(metadata, field.name), ids)
            except ValueError as error:
                raise InputError(f"{error}.") from error
            values.append(to_values(array))
        names = [field.name for field in self._columns]
        for row in zip(*values, strict=True):
            yield json_of_row(self._columns, dict(zip(names, row, strict=True)))


def json_of_row(columns: Sequence[pa.Field], row: Mapping[str, Any]) -> bytes:
    """Returns the member of a row of a shard's Parquet.

    >>> json_of_row([pa.field("score", pa.float64())], {"score": 1.0, "label": "cat"})
    b'{"score":1.0}'

    Args:
        columns: those that go into it.
        row: values by column, as Parquet has them.
    """
    content = {}
    for field in columns:
        value = row[field.name]
        content[field.name] = None if value is None else _converter(field.type)(value)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


# Cached, since to ask a type what it is takes longer than to convert a value.
@functools.lru_cache(maxsize=1024)
def _converter(kind: pa.DataType) -> Callable[[Any], Any]:
    """Returns the function that makes JSON's own types of values of a type, null apart."""
    if is_text(kind) or pat.is_integer(kind) or pat.is_boolean(kind):
        return _same
    if is_list(kind):
        return functools.partial(_items, convert=_converter(kind.value_type))
    if pat.is_struct(kind):
        fields = {field.name: _converter(field.type) for field in kind}
        return functools.partial(_fields, converters=fields)
    # Of nanoseconds, which Python's times lack, in UTC where the column has a time zone.
    zone = "+00:00" if pat.is_timestamp(kind) and kind.tz is not None else ""
    return functools.partial(_scalar, zone=zone)


def _same(value: Any) -> Any:
    return value


def _items(values: Any, convert: Callable[[Any], Any]) -> list[Any]:
    return [None if one is None else convert(one) for one in values]


def _fields(value: Any, converters: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    return {
        name: None if value[name] is None else convert(value[name])
        for name, convert in converters.items()
    }


def _scalar(value: Any, zone: str) -> Any:
    if type(value) is float:
        return value if math.isfinite(value) else None
    if isinstance(value, np.datetime64):
        return f"{value}{zone}"
    if isinstance(value, np.timedelta64):
        return float(value / np.timedelta64(1, "s"))
    return plain_value(value)
