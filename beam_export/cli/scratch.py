"""A run's own folder for temporary files: of Beam and libraries, of workers; gone when it is."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

__all__ = ["remove_scratch", "scratch"]

#: Folders of the runs of this process.
_folders: list[str] = []


@contextlib.contextmanager
def scratch() -> Iterator[None]:
    """Has temporary files made in a folder that is removed with the block, however it ends.

    Processes that are started meanwhile make theirs there too.
    """
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    folder = tempfile.mkdtemp(prefix="beam_export-")
    _folders.append(folder)
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    try:
        yield
    finally:
        tempfile.tempdir = before[0]
        if before[1] is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before[1]
        _folders.remove(folder)
        shutil.rmtree(folder, ignore_errors=True)


def remove_scratch() -> None:
    """Removes the folders of runs that are cut short."""
    for folder in _folders:
        shutil.rmtree(folder, ignore_errors=True)
