"""The JSON that travels with an image: its top-level keys are metadata columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from beam_export.errors import SampleError
from beam_export.samples import Member, SampleRef

__all__ = ["MAX_JSON", "json_of", "with_content", "with_metadata"]

#: The metadata of a JSON is held with the ref, so it has to be small.
MAX_JSON = 1 << 20
#: Levels of lists and objects; the types of columns are as deep.
_MOST_LEVELS = 32
#: Integers that a column may have: signed ones, or unsigned ones.
_LEAST, _MOST = -(2**63), 2**64 - 1


def json_of(ref: SampleRef) -> Member | None:
    """Returns the member whose keys are metadata, None if there is none.

    That of an export of ours is in its columns already, with better types.

    Raises:
        SampleError: if it is too large.
    """
    found = next((field for field in ref.fields if field.ext == "json"), None)
    if found is None or ref.earlier is not None:
        return None
    if found.size > MAX_JSON:
        reason = f"the .json has {found.size} bytes; its keys are columns up to {MAX_JSON}"
        raise SampleError("list", "TooLarge", reason)
    return found


def with_content(ref: SampleRef, data: bytes) -> SampleRef:
    """Returns the ref with the top-level keys of its JSON; what it knows already stays.

    Raises:
        SampleError: if it is no JSON.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = f"the .json is not valid JSON: {type(error).__name__}"
        raise SampleError("list", "ValueError", reason) from error
    if (misfit := _misfit(content)) is not None:
        raise SampleError("list", "ValueError", f"the .json holds {misfit}")
    if not isinstance(content, dict):
        return ref
    return ref._replace(metadata={**content, **ref.metadata})


def with_metadata(ref: SampleRef, read: Callable[[Member], bytes]) -> SampleRef:
    """Returns the ref with the top-level keys of its `.json`, if it has one, as metadata.

    Args:
        ref: what is to have them.
        read: returns a member's bytes, or raises a SampleError.

    Raises:
        SampleError: if it cannot be read, or is no JSON.
    """
    member = json_of(ref)
    return ref if member is None else with_content(ref, read(member))


def _misfit(content: Any) -> str | None:
    """Returns what of a JSON no column can hold, whatever the others' are; None if nothing."""
    waiting = [(content, 0)]
    while waiting:
        value, level = waiting.pop()
        if isinstance(value, int):
            if not _LEAST <= value <= _MOST:
                return f"an integer of {value.bit_length()} bits, which no column holds"
        elif isinstance(value, (dict, list)):
            if level == _MOST_LEVELS:
                return f"more than {_MOST_LEVELS} levels"
            inside = value.values() if isinstance(value, dict) else value
            waiting.extend((one, level + 1) for one in inside)
    return None
