"""The cause of a failed run: one line of an exception's text, without what engines put around it.

Engines in Java pass an error on with frames of their own and the name of each class that has
wrapped it, Spark with an account of its tries too.
"""

from __future__ import annotations

import re

__all__ = ["cause_of"]

#: Lines that are no reason: frames, the number of those left out, Spark's heading of more frames.
_FRAME = re.compile(r"\s*(?:at \S+\(.*\)|\.\.\. \d+ more|Driver stacktrace:|Suppressed: .*)?\s*\Z")
_CLASS = r"(?:[a-z_][\w$]*\.)+[A-Z][\w$]*"
_AROUND = re.compile(
    # Beam's client, of any engine.
    r"RuntimeError: Pipeline \S+ failed in state [A-Z]+: "
    r"|Caused by: "
    # Spark: the stage, the task, its tries, and where it ran.
    r"|.*?, most recent failure: Lost task \S+ in stage \S+ \(TID \d+\) \([^)]*\): "
    # A class that has wrapped another one.
    rf"|{_CLASS}: (?={_CLASS}\b)",
)
_PACKAGE = re.compile(r"(?:[a-z_][\w$]*\.)+(?=[A-Z][\w$]*(?:Exception|Error)\b)")


def cause_of(text: str) -> str:
    """Returns the last line of an exception's text that is no frame, without what engines add.

    >>> cause_of("Caused by: java.lang.RuntimeException: java.io.IOException: no space")
    'IOException: no space'
    """
    said = [line for line in text.splitlines() if not _FRAME.match(line)]
    cause = said[-1].strip() if said else text.strip()
    while around := _AROUND.match(cause):
        cause = cause[around.end() :]
    return _PACKAGE.sub("", cause, count=1) if _PACKAGE.match(cause) else cause
