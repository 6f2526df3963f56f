"""Reads the JSON member of samples: its top-level keys are metadata columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from beam_export.errors import SampleError
from beam_export.metadata.columns import ColumnChoice
from beam_export.metadata.json_text import with_unicode_names
from beam_export.samples import Failure, Member, SampleRef, failure_of
from beam_export.sources.reader import Reader
from beam_export.text import cut

__all__ = [
    "MAX_JSON",
    "has_large_json",
    "parsed_json",
    "with_content",
    "with_json",
    "with_metadata",
]

#: The metadata of a JSON is held with the ref, so it has to be small.
MAX_JSON = 1 << 20
#: Bytes of JSON that are read together, and held.
_BYTES_AT_ONCE = 16 << 20
#: Levels of lists and objects; the types of columns are as deep.
_MOST_LEVELS = 32
#: Integers that a column may have: signed ones, or unsigned ones.
_LEAST, _MOST = -(2**63), 2**64 - 1
#: Types of JSON values that every column can hold.
_FITTING = frozenset({str, float, bool, type(None)})
#: Digits of the longest integer that Python makes of text.
_MOST_DIGITS = 4_000
_ALL = ColumnChoice()


def has_large_json(fields: Iterable[Member]) -> bool:
    """Returns whether a sample has a JSON that is too large to give columns."""
    return any(field.ext == "json" and field.size > MAX_JSON for field in fields)


def _json_of(ref: SampleRef, choice: ColumnChoice) -> Member | None:
    """Returns the member whose keys are metadata, None if there is none.

    An export of ours has its content as columns already, with better types; a large JSON travels as
    a member alone, as each does where all columns are left out.
    """
    if not ref.fields or choice.drops_all:
        return None
    found = next((field for field in ref.fields if field.ext == "json"), None)
    if found is None or ref.earlier is not None or found.size > MAX_JSON:
        return None
    return found


def with_content(ref: SampleRef, data: bytes, choice: ColumnChoice = _ALL) -> SampleRef:
    """Returns the ref with the top-level keys of its JSON added; columns that it has stay.

    Args:
        ref: what is to have them.
        data: the JSON.
        choice: of columns: those that are left out are null here, and may hold anything.

    Raises:
        SampleError: if it is no JSON, or holds what no column does.
    """
    try:
        content = parsed_json(data)
    except (ValueError, RecursionError) as error:
        raise _unfit(
            f"is not valid JSON: {type(error).__name__}; mend it, or leave out the columns of all "
            ".json by --drop_columns='*'"
        ) from error
    if not isinstance(content, dict):
        return ref
    if choice.drop:
        content = {n: None if choice.drops(n) else one for n, one in content.items()}
    for name, value in content.items():
        # Most values are text and numbers: only what could be amiss is looked at.
        if type(value) not in _FITTING:
            _check(name, value, choice)
    return ref._replace(metadata={**content, **ref.metadata} if ref.metadata else content)


def parsed_json(data: bytes) -> Any:
    """Returns the value of a JSON, whose names are Unicode.

    Raises:
        ValueError: if it is no JSON, or two of its names are one as Unicode.
        RecursionError: if it is nested too deep.
    """
    try:
        content = json.loads(data)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Of an integer that is too long for Python, or of text in no encoding of JSON.
        content = json.loads(data, parse_int=_long_integer)
    # Lone surrogates come of escapes alone.
    return with_unicode_names(content) if b"\\u" in data else content


def _long_integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= _MOST_DIGITS else Decimal(text)


def _unfit(reason: str) -> SampleError:
    return SampleError("list", "ValueError", f"the .json {reason}")


def _check(name: str, value: Any, choice: ColumnChoice) -> None:
    """Raises a SampleError if no column can hold a value; as JSON text, it can hold any number."""
    misfit = _misfit(value)
    if misfit is None:
        return
    what, may_be_text = misfit
    if may_be_text and choice.as_text(name):
        return
    keep = f"keep it as JSON text by --text_columns={name}, or " if may_be_text else ""
    raise _unfit(
        f"holds {what} in {cut(name)!r}, which no column holds: {keep}leave it out by "
        f"--drop_columns={name}"
    )


def with_metadata(
    ref: SampleRef, read: Callable[[Member], bytes], choice: ColumnChoice = _ALL
) -> SampleRef:
    """Returns the ref with the top-level keys of its `.json`, if it has one, as metadata.

    Args:
        ref: what is to have them.
        read: returns a member's bytes, or raises a SampleError.
        choice: as of `with_content`.

    Raises:
        SampleError: if it cannot be read, or as `with_content` does.
    """
    member = _json_of(ref, choice)
    return ref if member is None else with_content(ref, read(member), choice)


def with_json(
    refs: Sequence[SampleRef], reader: Reader, choice: ColumnChoice
) -> Iterator[SampleRef | Failure]:
    """Yields refs in order with the keys of their JSON members, or a failure each.

    JSON members are read together, some 16 MiB at a time.

    Raises:
        OSError: if they cannot be read at present.
    """
    start, size = 0, 0
    for at, ref in enumerate(refs):
        if size > _BYTES_AT_ONCE:
            yield from _with_json_of(refs[start:at], reader, choice)
            start, size = at, 0
        size += 0 if (member := _json_of(ref, choice)) is None else member.size
    yield from _with_json_of(refs[start:], reader, choice)


def _with_json_of(
    refs: Sequence[SampleRef], reader: Reader, choice: ColumnChoice
) -> Iterator[SampleRef | Failure]:
    wanted = [_json_of(ref, choice) for ref in refs]
    found = iter(reader.read_all([one for one in wanted if one is not None]))
    for ref, member in zip(refs, wanted, strict=True):
        data = None if member is None else next(found)
        try:
            if isinstance(data, SampleError):
                raise data
            yield ref if data is None else with_content(ref, data, choice)
        except SampleError as error:
            yield failure_of(ref, error)


def _misfit(content: Any) -> tuple[str, bool] | None:
    """Returns what in a JSON value no column can hold, in words, and whether its text can be one.

    None if a column can hold it.
    """
    found: tuple[str, bool] | None = None
    waiting = [(content, 1)]
    while waiting:
        value, level = waiting.pop()
        if isinstance(value, Decimal):
            found = found or (f"an integer of {value.adjusted() + 1:,} digits", True)
        elif isinstance(value, int):
            if not _LEAST <= value <= _MOST:
                found = found or (f"an integer of {value.bit_length()} bits", True)
        elif isinstance(value, (dict, list)):
            if level == _MOST_LEVELS:
                # Nothing more is looked at: this is the worst.
                return f"more than {_MOST_LEVELS} levels", False
            inside = value.values() if isinstance(value, dict) else value
            waiting.extend((one, level + 1) for one in inside)
    return found
