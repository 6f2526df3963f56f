"""Which file system a path is on, and whether it can be reached from here."""

from __future__ import annotations

import importlib.util

from apache_beam.io.filesystem import FileSystem
from apache_beam.io.filesystems import FileSystems

from beam_export.errors import InputError

__all__ = ["check_reachable", "is_google", "is_local"]

#: What has to be installed for a scheme, where that is an extra of this package.
_EXTRAS = {"gs": "gcp"}


def check_reachable(flag: str, path: str) -> None:
    """Makes sure that there is a file system for a path's scheme.

    Args:
        flag: the flag that gave the path.
        path: a local path, or one of the form `scheme://...`.

    Raises:
        InputError: if there is none.
    """
    scheme = FileSystems.get_scheme(path)
    if _has_google() if scheme == "gs" else scheme in _schemes():
        return
    extra = _EXTRAS.get(scheme or "")
    if extra is None:
        raise InputError(
            f"{flag}={path}: Beam has no file system here for {scheme}://: give a local path or "
            "gs://bucket/prefix."
        )
    raise InputError(
        f"{flag}={path}: what {scheme}:// needs is not installed: install the extra {extra!r}, "
        f"pip install 'beam_export[{extra}]'."
    )


def is_google(path: str) -> bool:
    """Tells whether a path lies on Google Cloud Storage."""
    return path.startswith("gs://")


def is_local(path: str) -> bool:
    """Tells whether a path lies on the local file system."""
    return "://" not in path or FileSystems.get_scheme(path) is None


def _schemes() -> set[str | None]:
    return {system.scheme() for system in FileSystem.get_all_subclasses()}


def _has_google() -> bool:
    try:
        return importlib.util.find_spec("google.cloud.storage") is not None
    except ModuleNotFoundError:  # not even what it would be part of
        return False
