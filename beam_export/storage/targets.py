"""What writes to a path, on whatever storage that is: for `sinks` alone."""

from __future__ import annotations

from beam_export.storage.base import Folders, Target
from beam_export.storage.beam import BeamTarget
from beam_export.storage.local_writer import LocalTarget
from beam_export.storage.paths import is_google, is_local

__all__ = ["folders_of", "target_of"]


def target_of(uri: str) -> Target:
    """Returns what writes to a directory, and below it."""
    if is_local(uri):
        return LocalTarget(uri)
    if is_google(uri):
        # Not before it is needed: its library takes half a second to load.
        from beam_export.storage.google_writer import GoogleTarget

        return GoogleTarget()
    return BeamTarget()


def folders_of(uri: str) -> Folders | None:
    """Returns what makes directories below one; None where there are no such."""
    return LocalTarget(uri) if is_local(uri) else None
