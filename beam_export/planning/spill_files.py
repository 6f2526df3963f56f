"""Hands packed values from one worker process to another by files, past the local runner.

Beam's local runner keeps whatever travels between its workers in the memory of one process, several
copies of it at a time: hundreds of bytes per sample. In a run of the command, a packed value is
written to a file of the worker that has made it, and what travels is its place in that file.
Outside such a run, on any other runner say, values travel as they are; they do so too if they
are small, or cannot be written, since the disk is full say.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import threading
from collections.abc import Iterator

from beam_export.errors import RunError
from beam_export.text import printable

__all__ = ["FOLDER", "load", "spill", "spilling"]

#: Environment variable of workers: the folder of the files.
FOLDER = "BEAM_EXPORT_SPILLS"
#: Before a value as it is, and before its place in a file: name of the file, offset, length.
_AS_IT_IS, _SPILLED = b"\0", b"\1"
_PLACE = struct.Struct(">8sQI")
_PREFIX = "planned-"
#: Bytes of a value below which its place would not be much smaller.
_SMALL = 128


class _File:
    """A file to which this process writes values, one behind the other, from any thread."""

    def __init__(self, folder: str) -> None:
        # Not shared with processes that this one forks: both would write to one place.
        self.process = os.getpid()
        self._descriptor, path = tempfile.mkstemp(prefix=_PREFIX, dir=folder)
        self._name = os.path.basename(path).removeprefix(_PREFIX).encode()
        self._end = 0
        self._turn = threading.Lock()

    def write(self, value: bytes) -> bytes:
        """Writes a value; returns its place.

        Raises:
            OSError: if it cannot be written.
        """
        with self._turn:
            start, self._end = self._end, self._end + len(value)
        done = 0
        while done < len(value):
            done += os.pwrite(self._descriptor, memoryview(value)[done:], start + done)
        return _SPILLED + _PLACE.pack(self._name, start, len(value))

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)


#: The file of this process by its folder, and files that it reads by their paths.
_written: dict[str, _File] = {}
_read: dict[str, int] = {}
_guard = threading.Lock()


def spill(value: bytes) -> bytes:
    """Returns what travels in place of a value; `load` brings the value back.

    >>> bytes(load(spill(b"value")))
    b'value'
    """
    folder = os.environ.get(FOLDER)
    if folder and len(value) >= _SMALL:
        # Then it travels as it is: that takes memory, and nothing else.
        with contextlib.suppress(OSError):
            return _file_in(folder).write(value)
    return _AS_IT_IS + value


def load(travelled: bytes | memoryview) -> bytes | memoryview:
    """Returns the value that was given to `spill`.

    Raises:
        RunError: if its file is gone.
    """
    if travelled[:1] == _AS_IT_IS:
        return memoryview(travelled)[1:]
    name, start, length = _PLACE.unpack(travelled[1:])
    path = os.path.join(os.environ.get(FOLDER, ""), _PREFIX + name.decode())
    try:
        value = os.pread(_descriptor_of(path), length, start)
    except OSError as error:
        raise _lost(path, error.strerror) from error
    if len(value) < length:
        raise _lost(path, "it is too short")
    return value


def _lost(path: str, why: str | None) -> RunError:
    return RunError(
        f"{printable(path)}, which this run has written, cannot be read back ({why}): run again, "
        "with TMPDIR set to a folder of which nothing is removed meanwhile."
    )


def _file_in(folder: str) -> _File:
    with _guard:
        file = _written.get(folder)
        if file is None or file.process != os.getpid():
            file = _written[folder] = _File(folder)
        return file


def _descriptor_of(path: str) -> int:
    with _guard:
        descriptor = _read.get(path)
        if descriptor is None:
            descriptor = _read[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return descriptor


@contextlib.contextmanager
def spilling() -> Iterator[None]:
    """Has workers that are started in the block, and this process, hand values over by files."""
    with tempfile.TemporaryDirectory(prefix="beam_export-", ignore_cleanup_errors=True) as folder:
        before = os.environ.get(FOLDER)
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ[FOLDER]
            else:
                os.environ[FOLDER] = before
            _close(folder)


def _close(folder: str) -> None:
    """Closes what this process has open of a folder's files."""
    with _guard:
        file = _written.pop(folder, None)
        if file is not None:
            file.close()
        for path in [path for path in _read if os.path.dirname(path) == folder]:
            os.close(_read.pop(path))
