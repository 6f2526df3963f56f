"""Chooses the storage of a path by its scheme: local, Google Cloud Storage, or through Beam.

`storage_of` returns the one that reads, `writer_of` the one that writes, for `shards.output` alone.
Google's client and Beam are imported when a path needs them: each takes half a second or more.
"""

from __future__ import annotations

import importlib.util

from beam_export.errors import InputError
from beam_export.storage.base import (
    CONCURRENT_REQUESTS,
    Folders,
    IrregularError,
    ReplacedError,
    Stat,
    Storage,
    StorageWriter,
)
from beam_export.storage.local import LocalStorage
from beam_export.storage.local_writer import LocalWriter
from beam_export.storage.uris import is_google, is_local, scheme_of

__all__ = [
    "CONCURRENT_REQUESTS",
    "IrregularError",
    "ReplacedError",
    "Stat",
    "Storage",
    "check_reachable",
    "folders_of",
    "storage_of",
    "writer_of",
]

#: Extra of this package that has to be installed for a scheme.
_EXTRAS = {"gs": "gcp"}


def storage_of(uri: str) -> Storage:
    """Returns the storage that reads a path."""
    if is_local(uri):
        return LocalStorage()
    if is_google(uri):
        from beam_export.storage.google_reader import GoogleStorage

        return GoogleStorage()
    from beam_export.storage.beam import BeamStorage

    return BeamStorage()


def writer_of(uri: str) -> StorageWriter:
    """Returns the writer of a directory and of what lies below it."""
    if is_local(uri):
        return LocalWriter(uri)
    if is_google(uri):
        from beam_export.storage.google_writer import GoogleWriter

        return GoogleWriter()
    from beam_export.storage.beam import BeamWriter

    return BeamWriter()


def folders_of(uri: str) -> Folders | None:
    """Returns the maker of directories below one; None on storages without directories."""
    return LocalWriter(uri) if is_local(uri) else None


def check_reachable(flag: str, path: str) -> None:
    """Checks that there is a file system for a path's scheme.

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
