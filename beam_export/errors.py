"""What can go wrong, and what that means for the run.

    BeamExportError
    +-- InputError    the command line or the input is wrong: exit 2
    +-- RunError      the run failed, or lost more than it may: exit 1
    SampleError       one sample is bad: it goes to the failures, the run goes on

A runner hands an exception of a worker on as text, often inside a traceback. So the first two
carry their sentence between marks, and `find_error` gets it back out of whatever arrives.
"""

from __future__ import annotations

import base64
import re

from beam_export.text import cut

__all__ = [
    "LONGEST_MESSAGE",
    "BeamExportError",
    "InputError",
    "RunError",
    "SampleError",
    "find_error",
]

#: Characters of a failure's message: codecs and tables may put a whole value into theirs.
LONGEST_MESSAGE = 1000

_MARK = re.compile(r"<beam_export:(InputError|RunError):([A-Za-z0-9_\-=]*)>")


class BeamExportError(Exception):
    """An error that is one clear sentence: what was given, what is wrong, what to do."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence

    def __str__(self) -> str:
        coded = base64.urlsafe_b64encode(self.sentence.encode("utf-8", "backslashreplace"))
        return f"{self.sentence} <beam_export:{type(self).__name__}:{coded.decode()}>"

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.sentence,)


class InputError(BeamExportError):
    """The command line or the input is wrong (exit code 2)."""


class RunError(BeamExportError):
    """The run failed, or lost more samples than it may (exit code 1)."""


class SampleError(Exception):
    """One sample cannot be exported.

    Attributes:
        stage: `list`, `read`, `decode`, `encode` or `write`.
        error: name of the error's class, as it stands in the failures table.
        message: the same on every run: no addresses, no times, no temporary names. One of more
            than a thousand characters is cut.
    """

    def __init__(self, stage: str, error: str, message: str) -> None:
        message = cut(message, LONGEST_MESSAGE)
        super().__init__(stage, error, message)
        self.stage = stage
        self.error = error
        self.message = message


def find_error(text: str) -> BeamExportError | None:
    """Returns the error that stands marked in `text`, an exception's text from any runner."""
    found = _MARK.search(text)
    if found is None:
        return None
    sentence = base64.urlsafe_b64decode(found[2]).decode("utf-8")
    return InputError(sentence) if found[1] == "InputError" else RunError(sentence)
