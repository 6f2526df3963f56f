"""JSON files that carry a digest of themselves, so that no flipped bit in them goes unseen.

The form is canonical (sorted keys, two spaces a level, one newline at the end), and the field
`sha256` is the SHA-256 of the same form without that field. It tells damage, not forgery.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["SealError", "seal", "unseal"]

_FIELD = "sha256"


class SealError(Exception):
    """A file is not what was sealed; the text says how, in one clause."""


def seal(content: Mapping[str, Any]) -> bytes:
    """Returns the content as a file; it must have no field `sha256` of its own."""
    return _canonical({**content, _FIELD: _digest(content)})


def unseal(data: bytes) -> dict[str, Any]:
    """Returns the content of a sealed file, without its seal.

    Raises:
        SealError: if any byte of it has changed.
    """
    try:
        content = json.loads(data)
    # A few kB of brackets are deeper than the parser goes.
    except (ValueError, RecursionError) as error:
        raise SealError(f"it is not JSON ({type(error).__name__})") from error
    if not isinstance(content, dict) or not isinstance(content.get(_FIELD), str):
        raise SealError(f"it has no field {_FIELD!r}, the digest of its content")
    stored = content.pop(_FIELD)
    if stored != _digest(content):
        raise SealError(f"its content is not what its field {_FIELD!r} says")
    if data != _canonical({**content, _FIELD: stored}):
        raise SealError("it is not written as such a file is: sorted keys, two spaces a level")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(content)).hexdigest()


def _canonical(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"
