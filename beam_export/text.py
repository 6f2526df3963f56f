"""Text that any file can hold, and numbers for people."""

from __future__ import annotations

__all__ = ["printable", "size"]


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
