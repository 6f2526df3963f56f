"""Decodes tables and lists: by a byte-order mark if there is one, else as `--table_encoding` says.

Nothing is decoded by guess: a file in another encoding is refused with the line that shows it,
since a wrong letter would be stored for good.
"""

from __future__ import annotations

import codecs
import io
import re
from typing import BinaryIO, Protocol, cast

from beam_export.errors import InputError

__all__ = ["UTF8", "Plain", "decoded", "encoding_of", "undecodable"]

UTF8 = "utf-8"


class Plain(Protocol):
    """The plain content of a file, which can be looked ahead in."""

    def read(self, size: int, /) -> bytes: ...

    def peek(self, size: int, /) -> bytes: ...


#: Byte-order marks; that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: Bytes that show whether text is of 16 or 32 bits per character, and the share of zeros in them
#: from which on it is: text in other encodings has none, and one of CJK has its commas and line
#: ends.
_HEAD, _SHARE = 4096, 64
_PIECE = 1 << 16


def encoding_of(head: bytes, asked: str) -> tuple[str, int]:
    """Returns the encoding of a file by its first bytes, and how many of those are its mark.

    >>> encoding_of(codecs.BOM_UTF16_BE, "utf-8"), encoding_of(b"id", "cp1252")
    (('utf-16-be', 2), ('cp1252', 0))
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name, len(mark)
    return asked, 0


def decoded(
    fh: Plain, what: str, asked: str, newline: str, lenient: bool = False
) -> io.TextIOWrapper:
    """Returns the text of a file, without its byte-order mark; detach it, it closes the file.

    Args:
        fh: at its start.
        what: it is, with its name, for the message.
        asked: the encoding if there is no mark.
        newline: as of `open`.
        lenient: whether what is no UTF-8 is kept as it is (`surrogateescape`) where neither a mark
            nor `asked` says how it is encoded.

    Raises:
        InputError: if it is text of 16 or 32 bits per character that does not say so.
    """
    head = fh.peek(_HEAD)[:_HEAD]
    encoding, mark = encoding_of(head, asked)
    if not encoding.startswith(("utf-16", "utf-32")) and (wide := _wide_encoding(head)):
        raise InputError(
            f"{what} looks like {wide[:6].upper()} without a byte-order mark, "
            f"as many of its bytes are zero: give --table_encoding={wide}."
        )
    fh.read(mark)
    errors = "surrogateescape" if lenient and not mark and asked == UTF8 else "strict"
    return io.TextIOWrapper(cast(BinaryIO, fh), encoding, errors, newline=newline)


def _wide_encoding(head: bytes) -> str:
    """Returns the encoding of text of 16 or 32 bits per character by its zeros; empty if of 8.

    >>> _wide_encoding("id,é\\n".encode("utf-16-le")), _wide_encoding(b"id,a\\n")
    ('utf-16-le', '')
    """
    enough = max(2, len(head) // _SHARE)
    zeros = [head[at::4].count(0) for at in range(4)]
    size = len(head) // 4
    for encoding, high, low in (("utf-32-le", (2, 3), 0), ("utf-32-be", (0, 1), 3)):
        if size and zeros[low] < size and all(zeros[at] >= size for at in high):
            return encoding
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    if odd >= enough and odd > 2 * even:
        return "utf-16-le"
    return "utf-16-be" if even >= enough and even > 2 * odd else ""


def undecodable(fh: Plain, what: str, asked: str) -> InputError:
    """Returns the error of a file that cannot be decoded, with the line that shows it.

    Args:
        fh: at its start once more.
        what: it is, with its name, for the message.
        asked: the encoding if there is no mark.
    """
    encoding, mark = encoding_of(fh.peek(_HEAD)[:_HEAD], asked)
    fh.read(mark)
    line, wrong = _first_fault(fh, encoding)
    way = (
        "mend that line"
        if mark
        else "say how it is encoded by --table_encoding, cp1252 for what Windows mostly writes"
    )
    said = ", as its byte-order mark says," if mark else ""
    return InputError(
        f"{what} cannot be read as {encoding}{said} in line {line} (byte 0x{wrong:02x}): {way}."
    )


def _first_fault(fh: Plain, encoding: str) -> tuple[int, int]:
    """Returns the number of the first line that cannot be decoded, from 1, and the wrong byte."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    line, more = 1, True
    while more:
        piece = fh.read(_PIECE)
        more = bool(piece)
        try:
            line += decoder.decode(piece, final=not more).count("\n")
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(encoding, "replace")
            return line + len(re.findall("\r\n|\r|\n", before)), error.object[error.start]
    raise AssertionError("a file that could not be decoded can be decoded now")
