"""Memory that one image after the other is saved to."""

from __future__ import annotations

import contextlib
import io
import os
import threading

__all__ = ["KEPT_BYTES", "Scratch"]

#: What a thread holds on to between images.
KEPT_BYTES = 1 << 20


class _MemoryFile(io.FileIO):
    """A file in memory that closes when nobody has it any more, as its thread ends."""

    def __init__(self) -> None:
        super().__init__(os.memfd_create("jpeg"), "r+")

    def __del__(self) -> None:
        self.close()


class Scratch(threading.local):
    """A file in memory a thread, to save one image after the other to.

    Pillow lets go of Python's lock while it encodes to a file descriptor, and holds it while it
    encodes to a `BytesIO`: with that, two threads are no faster than one. The bytes are the same.
    What an earlier image has left behind the end of a smaller one is not looked at.
    """

    def __init__(self) -> None:
        self.file: io.FileIO | io.BytesIO = io.BytesIO()
        if hasattr(os, "memfd_create"):
            # No such call in this sandbox, or no descriptor left: only speed is lost.
            with contextlib.suppress(OSError):
                self.file = _MemoryFile()
