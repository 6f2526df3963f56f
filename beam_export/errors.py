"""The exceptions of this package: wrong input, a failed run, a sample that cannot be exported.

    BeamExportError
    +-- InputError    the command line or the input is wrong: exit code 2
    +-- RunError      the run failed, or too many samples did: exit code 1
    SampleError       one sample cannot be exported: it is listed, and the run goes on

Runners pass an exception of a worker on as text, often within a traceback. So the text of the first
two ends in a mark there, by which `find_error` finds the sentence before it, quoted or not. In a
pipeline of a user's own, where people read that text and nothing looks for the mark, it has none
(`leave_unmarked`).
"""

from __future__ import annotations

import os
import re
import traceback
import zlib

from beam_export.text import cut, printable

__all__ = [
    "LONGEST_MESSAGE",
    "BeamExportError",
    "InputError",
    "RunError",
    "SampleError",
    "find_error",
    "known_error",
    "leave_unmarked",
    "mark_errors",
]

#: Characters of a failure's message; those of codecs and tables may quote a whole value.
LONGEST_MESSAGE = 1000

_MARK = re.compile(
    r"<beam_export:(?P<kind>InputError|RunError):(?P<length>[0-9]{1,9}):(?P<digest>[0-9a-f]{8})>"
)
#: What Beam adds to an error: the step that raised it.
_STEP = re.compile(r" \[while running '[^']*'\]\Z")
#: Files of Beam's that process bundles.
_WORKER = re.compile(r"apache_beam[/\\]runners[/\\](?:common\b|worker\b)")
#: Environment variable, which worker processes of this machine inherit: `0` for no marks.
_MARKS = "BEAM_EXPORT_MARKS"
#: The longest sentence that is looked for, and how often a runner may have quoted it.
_LONGEST, _QUOTED = 1_000_000, 3
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.)", re.DOTALL)
_LETTERS = {"n": "\n", "r": "\r", "t": "\t"}


class BeamExportError(Exception):
    """An error that is one sentence: what was given, what is wrong, what to do.

    Attributes:
        sentence: the message, without what runners add.
    """

    def __init__(self, sentence: str) -> None:
        # A runner that raises it again says in which step it was.
        sentence = _STEP.sub("", sentence)
        super().__init__(sentence)
        self.sentence = sentence

    def __str__(self) -> str:
        marks = os.environ.get(_MARKS) != "0"
        return self.marked if marks and _of_worker(self) else self.sentence

    @property
    def marked(self) -> str:
        """The sentence, and behind it a mark by which `find_error` finds it in other text."""
        text = printable(self.sentence)
        return f"{text} <beam_export:{type(self).__name__}:{len(text)}:{_digest(text)}>"

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.sentence,)

    def _render_traceback_(self) -> list[str]:
        """Returns what IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self.sentence}"]


def _digest(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def mark_errors() -> None:
    """Has errors of workers marked from now on: this process is a command, which finds them."""
    os.environ[_MARKS] = "1"


def leave_unmarked() -> None:
    """Has errors of workers come without marks, unless this process is a command."""
    os.environ.setdefault(_MARKS, "0")


def _of_worker(error: BaseException) -> bool:
    """Returns whether an error was raised while a bundle was processed: it travels as text then."""
    frame = error.__traceback__
    while frame is not None:
        if _WORKER.search(frame.tb_frame.f_code.co_filename):
            return True
        frame = frame.tb_next
    return False


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

    >>> text = InputError("--limit=0 is too small.").marked
    >>> find_error(f"RuntimeError: {text} while running").sentence
    '--limit=0 is too small.'
    """
    for found in _MARK.finditer(text):
        length = int(found["length"])
        if length > _LONGEST:
            continue
        # Each level of quoting doubles backslashes at most, and makes ten letters of one.
        before = text[: found.start()][-(length + 1) * 20 :]
        for _ in range(_QUOTED + 1):
            sentence = before[-1 - length : -1]
            if len(sentence) == length and _digest(printable(sentence)) == found["digest"]:
                return InputError(sentence) if found["kind"] == "InputError" else RunError(sentence)
            before = _ESCAPE.sub(_unescaped, before)
    return None


def known_error(error: BaseException) -> BeamExportError | None:
    """Returns the error of this package that an exception is, was caused by, or has in its text."""
    found = find_error("".join(traceback.format_exception(error)))
    cause: BaseException | None = error
    while found is None and cause is not None:
        found = cause if isinstance(cause, BeamExportError) else None
        cause = cause.__cause__ or cause.__context__
    return found


def _unescaped(found: re.Match[str]) -> str:
    escape = found[1]
    if escape[0] in "xuU":
        return chr(int(escape[1:], 16))
    return _LETTERS.get(escape, escape)
