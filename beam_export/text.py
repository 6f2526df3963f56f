"""Text that any file can hold."""

from __future__ import annotations

__all__ = ["printable"]


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
