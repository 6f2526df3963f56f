"""The one way to what lies under a path, on whatever storage that is.

`storage_of` gives what reads; `target_of` what writes, for the output directory alone. Google Cloud
Storage has its own client, everything else that is not local goes through Beam's `FileSystems`.
Both are loaded when a path asks for them: each takes half a second or more.
"""

from __future__ import annotations

import importlib.util

from beam_export.errors import InputError
from beam_export.storage.base import (
    LANES,
    Folders,
    IrregularError,
    ReplacedError,
    Stat,
    Storage,
    Target,
)
from beam_export.storage.local import LocalStorage
from beam_export.storage.local_writer import LocalTarget
from beam_export.storage.uris import is_google, is_local, scheme_of

__all__ = [
    "LANES",
    "IrregularError",
    "ReplacedError",
    "Stat",
    "Storage",
    "check_reachable",
    "folders_of",
    "storage_of",
    "target_of",
]

#: What has to be installed for a scheme, where that is an extra of this package.
_EXTRAS = {"gs": "gcp"}


def storage_of(uri: str) -> Storage:
    """Returns what reads a path."""
    if is_local(uri):
        return LocalStorage()
    if is_google(uri):
        from beam_export.storage.google_reader import GoogleStorage

        return GoogleStorage()
    from beam_export.storage.beam import BeamStorage

    return BeamStorage()


def target_of(uri: str) -> Target:
    """Returns what writes to a directory, and below it."""
    if is_local(uri):
        return LocalTarget(uri)
    if is_google(uri):
        from beam_export.storage.google_writer import GoogleTarget

        return GoogleTarget()
    from beam_export.storage.beam import BeamTarget

    return BeamTarget()


def folders_of(uri: str) -> Folders | None:
    """Returns what makes directories below one; None where there are no such."""
    return LocalTarget(uri) if is_local(uri) else None


def check_reachable(flag: str, path: str) -> None:
    """Makes sure that there is a file system for a path's scheme.

    Args:
        flag: the flag that gave the path.
        path: a local path, or one of the form `scheme://...`.

    Raises:
        InputError: if there is none.
    """
    scheme = scheme_of(path)
    if scheme is None or (_has_google() if scheme == "gs" else _beam_knows(scheme)):
        return
    extra = _EXTRAS.get(scheme)
    if extra is None:
        raise InputError(
            f"{flag}={path}: Beam has no file system here for {scheme}://: give a local path or "
            "gs://bucket/prefix."
        )
    raise InputError(
        f"{flag}={path}: what {scheme}:// needs is not installed: install the extra {extra!r}, "
        f"pip install 'beam_export[{extra}]'."
    )


def _beam_knows(scheme: str) -> bool:
    from beam_export.storage.beam import schemes

    return scheme in schemes()


def _has_google() -> bool:
    try:
        return importlib.util.find_spec("google.cloud.storage") is not None
    except ModuleNotFoundError:  # not even what it would be part of
        return False
