"""Reads the JSON member of samples: its top-level keys are metadata columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from beam_export.errors import SampleError
from beam_export.samples import Failure, Member, SampleRef, failure_of
from beam_export.sources.reader import Reader

__all__ = ["MAX_JSON", "with_content", "with_json", "with_metadata"]

#: The metadata of a JSON is held with the ref, so it has to be small.
MAX_JSON = 1 << 20
#: Bytes of JSON that are read together, and held.
_BYTES_AT_ONCE = 16 << 20
#: Levels of lists and objects; the types of columns are as deep.
_MOST_LEVELS = 32
#: Integers that a column may have: signed ones, or unsigned ones.
_LEAST, _MOST = -(2**63), 2**64 - 1


def _json_of(ref: SampleRef) -> Member | None:
    """Returns the member whose keys are metadata, None if there is none.

    An export of ours has its content as columns already, with better types.

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
    """Returns the ref with the top-level keys of its JSON added; columns that it has stay.

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
    member = _json_of(ref)
    return ref if member is None else with_content(ref, read(member))


def with_json(refs: Sequence[SampleRef], reader: Reader) -> Iterator[SampleRef | Failure]:
    """Yields refs in order with the keys of their JSON members, or a failure each.

    JSON members are read together, some 16 MiB at a time.

    Raises:
        OSError: if they cannot be read at present.
    """
    start, size = 0, 0
    for at, ref in enumerate(refs):
        if size > _BYTES_AT_ONCE:
            yield from _with_json_of(refs[start:at], reader)
            start, size = at, 0
        size += sum(field.size for field in ref.fields if field.ext == "json")
    yield from _with_json_of(refs[start:], reader)


def _with_json_of(refs: Sequence[SampleRef], reader: Reader) -> Iterator[SampleRef | Failure]:
    wanted: list[Member | SampleError | None] = []
    for ref in refs:
        try:
            wanted.append(_json_of(ref))
        except SampleError as error:
            wanted.append(error)
    found = iter(reader.read_all([one for one in wanted if isinstance(one, Member)]))
    for ref, member in zip(refs, wanted, strict=True):
        data = next(found) if isinstance(member, Member) else member
        try:
            if isinstance(data, SampleError):
                raise data
            yield ref if data is None else with_content(ref, data)
        except SampleError as error:
            yield failure_of(ref, error)


def _misfit(content: Any) -> str | None:
    """Returns what in a JSON value no column can hold, in words; None if nothing."""
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
