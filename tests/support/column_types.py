"""Types of columns as they are collected from samples."""

from __future__ import annotations

from typing import Any

from beam_export.errors import InputError
from beam_export.metadata.schema import ColumnTypes


def outcome(types: ColumnTypes) -> Any:
    """Returns the schema, or the sentence that refuses it."""
    try:
        return types.finish()
    except InputError as error:
        return error.sentence


def collect(samples: list[tuple[dict[str, Any], str]]) -> ColumnTypes:
    types = ColumnTypes()
    for metadata, where in samples:
        types.add(metadata, where)
    return types
