"""The JSON that travels with an image: its top-level keys are metadata columns."""

from __future__ import annotations

import json
from collections.abc import Callable

from beam_export.errors import SampleError
from beam_export.samples import Member, SampleRef

__all__ = ["MAX_JSON", "with_metadata"]

#: The metadata of a JSON is held with the ref, so it has to be small.
MAX_JSON = 1 << 20


def with_metadata(ref: SampleRef, read: Callable[[Member], bytes]) -> SampleRef:
    """Returns the ref with the top-level keys of its `.json`, if it has one, as metadata.

    Args:
        ref: what is to have them.
        read: returns a member's bytes, or raises a SampleError.

    Raises:
        SampleError: if it cannot be read, or is no JSON.
    """
    for field in ref.fields:
        if field.ext == "json":
            if field.size > MAX_JSON:
                reason = f"the .json has {field.size} bytes; its keys are columns up to {MAX_JSON}"
                raise SampleError("list", "TooLarge", reason)
            try:
                content = json.loads(read(field))
            except (ValueError, RecursionError) as error:
                reason = f"the .json is not valid JSON: {type(error).__name__}"
                raise SampleError("list", "ValueError", reason) from error
            return ref._replace(metadata=content) if isinstance(content, dict) else ref
    return ref
