"""Chooses the storage of a path by its scheme: local, Google Cloud Storage, or through Beam.

`storage_of` returns the one that reads, `writer_of` the one that writes, for `shards.output` alone.
Google's client and Beam are imported when a path needs them: each takes half a second or more.
"""

from __future__ import annotations

import importlib.util

from beam_export.errors import InputError
from beam_export.storage.base import (
    Folders,
    Storage,
    StorageWriter,
)
from beam_export.storage.local import LocalStorage
from beam_export.storage.local_writer import LocalWriter
from beam_export.storage.uris import is_google, is_local, scheme_of

__all__ = [
    "check_reachable",
    "check_scheme",
    "folders_of",
    "storage_of",
    "writer_of",
]

#: The extra that has to be installed for a scheme, of this package or of Beam, and a module that it
#: brings.
_EXTRAS = {
    "gs": ("beam_export[gcp]", "google.cloud.storage"),
    "s3": ("beam_export[aws]", "boto3"),
    "hdfs": ("apache-beam[hadoop]", "hdfs"),
    "azfs": ("apache-beam[azure]", "azure.storage.blob"),
}
#: Object stores that are asked whether they answer, and buckets that have.
_STORES = {"gs": "Google Cloud Storage", "s3": "S3"}
_answered: set[str] = set()


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
    """Checks that there is a file system for a path's scheme, and that an object store answers.

    Args:
        flag: the flag that gave the path.
        path: a local path, or one of the form `scheme://...`.

    Raises:
        InputError: if there is none, or it does not.
    """
    check_scheme(flag, path)
    if (reason := _unreachable(path)) is not None:
        raise InputError(
            f"{flag}={path}: {_STORES[str(scheme_of(path))]} cannot be reached from this machine "
            f"({reason}): see to that, and run again."
        )


def _unreachable(path: str) -> str | None:
    """Returns why an object store cannot be reached; None if it answers, or is none."""
    scheme = scheme_of(path)
    place = f"{scheme}://{path.removeprefix(f'{scheme}://').partition('/')[0]}"
    if scheme not in _STORES or place in _answered:
        return None
    if scheme == "gs":
        from beam_export.storage.google_client import cloud_unreachable

        reason = cloud_unreachable()
    else:
        from beam_export.storage.beam import s3_unreachable

        reason = s3_unreachable(path)
    if reason is None:
        _answered.add(place)
    return reason


def check_scheme(flag: str, path: str) -> None:
    """Checks that there is a file system for a path's scheme; makes no request.

    Args:
        flag: the flag that gave the path.
        path: a local path, or one of the form `scheme://...`.

    Raises:
        InputError: if there is none.
    """
    scheme = scheme_of(path)
    if scheme is None:
        return
    needed, module = _EXTRAS.get(scheme, ("", ""))
    if needed:
        # Before Beam is asked, which lists file systems whose libraries are missing.
        if not _is_installed(module):
            raise InputError(
                f"{flag}={path}: what {scheme}:// needs is not installed: install the extra "
                f"{needed.partition('[')[2][:-1]!r}, pip install '{needed}'."
            )
        if scheme == "gs":
            return
    if not _beam_knows(scheme):
        raise InputError(
            f"{flag}={path}: Beam has no file system here for {scheme}://: give a local path, "
            "gs://bucket/prefix or s3://bucket/prefix."
        )


def _beam_knows(scheme: str) -> bool:
    from beam_export.storage.beam import schemes

    return scheme in schemes()


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it would be part of
        return False
