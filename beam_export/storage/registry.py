"""The one way to what lies under a path, on whatever storage that is.

`storage_of` gives what reads; `targets.target_of` what writes, for `sinks` alone. Google Cloud
Storage has its own client, everything else that is not local goes through Beam's `FileSystems`.
"""

from __future__ import annotations

from beam_export.storage.base import LANES, IrregularError, ReplacedError, Stat, Storage
from beam_export.storage.beam import BeamStorage
from beam_export.storage.local import LocalStorage
from beam_export.storage.paths import is_google, is_local

__all__ = ["LANES", "IrregularError", "ReplacedError", "Stat", "Storage", "storage_of"]


def storage_of(uri: str) -> Storage:
    """Returns what reads a path."""
    if is_local(uri):
        return LocalStorage()
    if is_google(uri):
        # Not before it is needed: its library takes half a second to load.
        from beam_export.storage.google_reader import GoogleStorage

        return GoogleStorage()
    return BeamStorage()
