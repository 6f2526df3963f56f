"""The exceptions of this package: wrong input, a failed run, a sample that cannot be exported.

    BeamExportError
    +-- InputError    the command line or the input is wrong: exit code 2
    +-- RunError      the run failed, or too many samples did: exit code 1
    SampleError       one sample cannot be exported: it is listed, and the run goes on

Runners pass an exception of a worker on as text, often within a traceback. So the text of the first
two holds their sentence between marks, from which `find_error` restores the exception.
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

#: Characters of a failure's message; those of codecs and tables may quote a whole value.
LONGEST_MESSAGE = 1000

_MARK = re.compile(r"<beam_export:(InputError|RunError):([A-Za-z0-9_\-=]*)>")


class BeamExportError(Exception):
    """An error that is one sentence: what was given, what is wrong, what to do.

    Attributes:
        sentence: the message without marks.
    """

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
    """The run failed, or more samples than `--max_failed_fraction` did (exit code 1)."""


class SampleError(Exception):
    """One sample cannot be exported.

    Attributes:
        stage: `list`, `read`, `decode`, `encode` or `write`.
        error: name of the error's class, for the table of failures.
        message: the same on every run: without addresses, times and temporary names. It is cut
            after a thousand characters.
    """

    def __init__(self, stage: str, error: str, message: str) -> None:
        message = cut(message, LONGEST_MESSAGE)
        super().__init__(stage, error, message)
        self.stage = stage
        self.error = error
        self.message = message


def find_error(text: str) -> BeamExportError | None:
    """Returns the first error of this package in the text of an exception; None if there is none.

    >>> find_error(f"RuntimeError: {InputError('--limit=0 is too small.')} while running").sentence
    '--limit=0 is too small.'
    """
    found = _MARK.search(text)
    if found is None:
        return None
    sentence = base64.urlsafe_b64decode(found[2]).decode("utf-8")
    return InputError(sentence) if found[1] == "InputError" else RunError(sentence)
