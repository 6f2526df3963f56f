"""Local files that change between listing and reading, for tests."""

from __future__ import annotations

import os
from pathlib import Path

from beam_export.storage.registry import storage_of

CONTENT = bytes(range(200))


def pinned(path: Path) -> str:
    """Returns the URI of what a file holds at present."""
    found = storage_of(str(path)).stat(str(path))
    assert found is not None
    return found.pinned


def later(path: Path, content: bytes | None = None) -> None:
    """Writes a file anew, if there is a content, and has it be changed a nanosecond later."""
    moment = path.stat().st_mtime_ns + 1
    if content is not None:
        path.write_bytes(content)
    os.utime(path, ns=(moment, moment))
