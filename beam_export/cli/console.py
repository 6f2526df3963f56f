"""Prepares the standard streams, so that printing never ends a run, and file names are UTF-8.

Without it, a file of an export could get the descriptor of a stream that is closed, and messages
would be printed into it; and a full disk under a log, a closed pipe or a character that the
terminal lacks would end the run. File names are read as UTF-8 whatever the locale, so that exports
are the same in each.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import IO, TextIO

__all__ = ["cannot_print", "open_streams", "speak_utf8"]

_ONCE = "BEAM_EXPORT_UTF8"
#: Files in place of streams that were closed, kept open until the process exits.
_open: list[IO[str]] = []


def speak_utf8() -> None:
    """Replaces this process by one in Python's UTF-8 mode (PEP 540), unless file names are UTF-8.

    What is printed stays in the terminal's encoding. Child processes inherit both.
    """
    if sys.getfilesystemencoding().lower().replace("_", "-") == "utf-8" or _ONCE in os.environ:
        return
    encoding = next((s.encoding for s in (sys.stdout, sys.stderr) if s is not None), "utf-8")
    environ = os.environ | {
        _ONCE: "1",
        "PYTHONUTF8": "1",
        "PYTHONIOENCODING": f"{encoding}:backslashreplace",
    }
    os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], environ)


def open_streams() -> None:
    """Opens closed standard streams on /dev/null, and makes printing never raise."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Gets the lowest free descriptor: this one.
            _open.append(open(os.devnull, "r+"))  # noqa: SIM115 (until the process exits)
            os.set_inheritable(descriptor, True)
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115 (until the process exits)
    sys.stdout = _unfailing(sys.stdout, 1)
    sys.stderr = _unfailing(sys.stderr, 2)


def cannot_print() -> OSError | None:
    """Returns the error that has cut stdout short; None if there is none, or a closed pipe."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failed = raw.failed if isinstance(raw, _Unfailing) else None
    # A reader such as `head` closes the pipe when it has read enough.
    return None if isinstance(failed, BrokenPipeError) else failed


def _unfailing(stream: TextIO | None, descriptor: int) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(_Unfailing(descriptor, "w", closefd=False)),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=descriptor == 2 or bool(stream is not None and stream.line_buffering),
    )


class _Unfailing(io.FileIO):
    """A file whose writes never raise; after the first error the rest is dropped.

    Attributes:
        failed: the first error.
    """

    failed: OSError | None = None

    def write(self, data: object, /) -> int:
        size = len(memoryview(data))  # type: ignore[arg-type]
        if self.failed is not None:
            return size
        try:
            written = super().write(data)  # type: ignore[arg-type]
            while written is None:
                # Another process that shares the stream has made it non-blocking.
                select.select([], [self], [])
                written = super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            self.failed = error
            return size
        return written
