"""What writes to a path, on whatever storage that is: for `sinks` alone."""

from __future__ import annotations

from beam_export.paths import is_google, is_local
from beam_export.storage.base import Target
from beam_export.storage.filesystems import BeamTarget
from beam_export.storage.local import LocalTarget

__all__ = ["target_of"]


def target_of(uri: str) -> Target:
    """Returns what writes to a path."""
    if is_local(uri):
        return LocalTarget()
    if is_google(uri):
        # Not before it is needed: its library takes half a second to load.
        from beam_export.storage.google_target import GoogleTarget

        return GoogleTarget()
    return BeamTarget()
