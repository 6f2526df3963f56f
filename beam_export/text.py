"""Text that any file can hold, text that any terminal can show, and numbers for people."""

from __future__ import annotations

import re

__all__ = ["cut", "escaped", "printable", "shown", "size"]

#: Controls (C0, DEL, C1), what separates lines, and what turns the direction of what follows.
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]"
)
#: Characters that are shown of a value in quotes, of a word without them, of a sentence.
_VALUE, _WORD, _SENTENCE = 200, 1000, 3000
#: What follows the middle of a sentence that is too long: what to do stands at its end.
_END = 600
_QUOTED = re.compile(
    rf"""(?<!\w)(['"])((?:(?!\1)[^\\]|\\.){{{_VALUE + 1},}}+)\1(?!\w)""", re.DOTALL
)
_LONG_WORD = re.compile(rf"\S{{{_WORD + 1},}}+")


def printable(text: str) -> str:
    r"""Returns text that is valid Unicode; bytes of a file name that are none become `\xNN`.

    >>> printable("caf\udce9")
    'caf\\xe9'
    """
    if text.isascii():
        return text
    try:
        coded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # No file name, but JSON can hold any surrogate.
        coded = text.encode("utf-8", "backslashreplace")
    return coded.decode("utf-8", "backslashreplace")


def cut(text: str, most: int = _VALUE) -> str:
    """Returns text that is no longer than so many characters; where it was, it says how long.

    >>> cut("a" * 1000, 30)
    'aaaaaaaa... (1,000 characters)'
    """
    if len(text) <= most:
        return text
    said = f"... ({len(text):,} characters)"
    return text[: max(0, most - len(said))] + said


def shown(text: str) -> str:
    r"""Returns a line as a terminal shows it: nothing in it acts, and no value fills the screen.

    What would move the cursor, colour, end the line or turn the direction of what follows is
    escaped; a value of more than 200 characters in quotes, a word of more than 1,000 and a
    line of more than 3,000 are cut.

    >>> shown("\x1b[31mred\r\n")
    '\\x1b[31mred\\r\\n'
    """
    # Cut once more than it takes to find what is long: matching takes its time.
    text = _middle(text, 100 * _SENTENCE)
    text = _QUOTED.sub(lambda found: f"{found[1]}{cut(found[2])}{found[1]}", text)
    text = _LONG_WORD.sub(lambda found: cut(found[0], _WORD), text)
    return _middle(escaped(text), _SENTENCE)


def escaped(text: str) -> str:
    r"""Returns text with an escape in place of each character that is not seen but acts."""
    return _CONTROLS.sub(
        lambda found: found[0].encode("unicode_escape").decode("ascii"), printable(text)
    )


def _middle(text: str, most: int) -> str:
    """Returns text without its middle if it is longer than so many characters."""
    if len(text) <= most:
        return text
    left_out = len(text) - most
    return f"{text[: most - _END]}... ({left_out:,} characters left out) ...{text[-_END:]}"


def size(count: float) -> str:
    """Returns a number of bytes for people.

    >>> size(1_234_567)
    '1.23 MB'
    """
    if count == 1:
        return "1 byte"
    units = iter(("bytes", "kB", "MB", "GB", "TB", "PB"))
    unit = next(units)
    # From 999.5 on, three digits would be rounded to a thousand.
    while count >= 999.5:
        count, unit = count / 1000, next(units)
    return f"{count:.3g} {unit}"
