"""What is at paths that samples or people name: how large a file is, and whether it is one."""

from __future__ import annotations

import os
import stat

from beam_export.errors import InputError, SampleError
from beam_export.storage.local_file import irregular_kind
from beam_export.storage.registry import check_reachable, storage_of
from beam_export.storage.retry import is_lasting
from beam_export.storage.uris import is_local, pin_file
from beam_export.text import printable

__all__ = ["locate", "refuse_irregular"]


def locate(path: str, stage: str) -> tuple[str, int]:
    """Returns the URI of just what is at a path that a sample names now, and its bytes.

    Args:
        path: on any file system that can be reached.
        stage: of the failure if there is no such file.

    Raises:
        SampleError: if there is none, or it cannot be reached.
        OSError: if it cannot be looked at at present.
    """
    if is_local(path):
        return _local(path, stage)
    try:
        check_reachable("path", path)
    except InputError as error:
        raise SampleError(stage, "InputError", error.sentence) from error
    try:
        found = storage_of(path).stat(path)
    except OSError as error:
        if not is_lasting(error):
            raise
        reason = f"its file cannot be looked at: {error.strerror}"
        raise SampleError(stage, "OSError", reason) from error
    if found is None:
        raise SampleError(stage, "OSError", "there is no file at its path")
    return found.pinned, found.size


def refuse_irregular(flag: str, path: str) -> None:
    """Makes sure that a path that a flag gives is no FIFO, socket or device of this machine.

    Raises:
        InputError: if it is: it would be waited for, or have no end.
    """
    if is_local(path) and (kind := irregular_kind(path)):
        raise InputError(
            f"{flag}={printable(path)} is a {kind}, which is never read: give a regular file."
        )


def _local(path: str, stage: str) -> tuple[str, int]:
    try:
        status = os.stat(path)
    except ValueError as error:
        raise SampleError(stage, "ValueError", "its path has a zero byte in it") from error
    except FileNotFoundError as error:
        raise SampleError(stage, "OSError", "there is no file at its path") from error
    except OSError as error:
        if not is_lasting(error):
            raise
        reason = f"its file cannot be looked at: {error.strerror}"
        raise SampleError(stage, "OSError", reason) from error
    if not stat.S_ISREG(status.st_mode):
        raise SampleError(stage, "OSError", "what is at its path is not a regular file")
    return pin_file(path, status.st_size, status.st_mtime_ns), status.st_size
