"""Refuses options that contradict each other, and an encoding that there is none of.

Each in one sentence that says what to drop or to give.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beam_export.errors import InputError
from beam_export.metadata.columns import ColumnChoice, split_names
from beam_export.metadata.split_rule import parse_split
from beam_export.text import encoding_name

__all__ = ["check_together", "known_encoding"]

#: What must be encoded, by the option that asks for it.
_ENCODED = {"resize": "a resized image", "ensure": "an image that is changed"}
#: Options with which no GPU would be used.
_IDLE = (("encoder", "pillow"), ("device", "cpu"), ("encode", "never"))


def check_together(values: Mapping[str, Any], columns: ColumnChoice) -> None:
    """Checks that options go together; each by itself is right already.

    Args:
        values: of all options, by name.
        columns: those of `--drop_columns` and `--text_columns`.

    Raises:
        InputError: if two contradict each other.
    """
    _check_gpu(values)
    _check_columns(values, columns)
    _check_never(values)


def known_encoding(given: str) -> str:
    """Returns Python's name of the encoding that `--table_encoding` names.

    >>> known_encoding("UTF8")
    'utf-8'

    Raises:
        InputError: if there is none.
    """
    try:
        return encoding_name(given)
    except LookupError as error:
        raise InputError(
            f"--table_encoding={given} is no encoding of text that Python knows: give one such as "
            "utf-8, cp1252 or utf-16."
        ) from error


def _check_gpu(values: Mapping[str, Any]) -> None:
    """Refuses `--gpu` beside options with which no GPU would be used."""
    if values["gpu"] is None:
        return
    for name, word in _IDLE:
        if values[name] == word:
            raise InputError(
                f"--gpu={values['gpu']} with --{name}={word} contradict each other, since nothing "
                "would use the GPUs: drop one of the two."
            )


def _check_columns(values: Mapping[str, Any], columns: ColumnChoice) -> None:
    """Refuses columns that are asked for and left out at once."""
    for name in columns.text:
        if columns.drops(name):
            raise InputError(
                f"--text_columns and --drop_columns both name the column {name!r}: take it out "
                "of one of the two."
            )
    for name in split_names(values["json_columns"]):
        if name != "all" and columns.drops(name):
            raise InputError(
                f"--json_columns and --drop_columns both name the column {name!r}: take it out of "
                "one of the two."
            )
    split = None if values["split"] is None else parse_split(values["split"]).column
    for flag, column in (("caption_column", values["caption_column"]), ("split", split)):
        if column is not None and columns.drops(column):
            raise InputError(
                f"--{flag}={column} is left out by --drop_columns={values['drop_columns']}: drop "
                "one of the two."
            )


def _check_never(values: Mapping[str, Any]) -> None:
    """Refuses `--encode=never` beside what must be encoded."""
    if values["encode"] != "never":
        return
    for name, what in _ENCODED.items():
        if values[name] is not None:
            raise InputError(
                f"--encode=never with --{name}={values[name]} contradict each other, since {what} "
                "must be encoded: drop one of the two."
            )
