"""The standard streams: there whatever the command was started with, and never a reason to fail.

A file of an export that got the number of a closed stream would be printed into; a full disk under
a log, a reader that has gone or a letter that a terminal does not have would end the run. And file
names are bytes: they are taken for UTF-8, whatever the locale, so that an export is the same in
each.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import IO, TextIO

__all__ = ["cannot_print", "open_streams", "speak_utf8"]

_ONCE = "BEAM_EXPORT_UTF8"
#: What stands for streams that were closed, as long as the process is.
_open: list[IO[str]] = []


def speak_utf8() -> None:
    """Starts this process anew in Python's UTF-8 mode (PEP 540) where file names are not UTF-8.

    What is printed stays in the terminal's encoding. Processes that are started later inherit both.
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
    """Opens standard streams that are closed at nothing, and makes writing to them never fail."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Gets the lowest number that is free: this one.
            _open.append(open(os.devnull, "r+"))  # noqa: SIM115 (as long as the process is)
            os.set_inheritable(descriptor, True)
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115 (as long as the process is)
    sys.stdout = _unfailing(sys.stdout, 1)
    sys.stderr = _unfailing(sys.stderr, 2)


def cannot_print() -> OSError | None:
    """Returns why not all that was printed has arrived; None if it has, or nobody wants it."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failed = raw.failed if isinstance(raw, _Unfailing) else None
    # Whoever has closed a pipe has read enough.
    return None if isinstance(failed, BrokenPipeError) else failed


def _unfailing(stream: TextIO | None, descriptor: int) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(_Unfailing(descriptor, "w", closefd=False)),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=descriptor == 2 or bool(stream is not None and stream.line_buffering),
    )


class _Unfailing(io.FileIO):
    """A file that takes all that is written to it, and remembers why some has not arrived."""

    failed: OSError | None = None

    def write(self, data: object, /) -> int:
        size = len(memoryview(data))  # type: ignore[arg-type]
        if self.failed is not None:
            return size
        try:
            written = super().write(data)  # type: ignore[arg-type]
            while written is None:
                # Somebody who shares it has set it not to wait.
                select.select([], [self], [])
                written = super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            self.failed = error
            return size
        return written
