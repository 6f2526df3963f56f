"""Makes text safe to store and to print: valid Unicode, no control characters, limited length."""

from __future__ import annotations

import codecs
import io
import re

__all__ = [
    "cut",
    "encoding_name",
    "escaped",
    "is_unicode",
    "is_utf8",
    "is_whole_number",
    "printable",
    "quantity",
    "shown",
    "size",
    "stored",
]

#: Control characters (C0, DEL, C1), line separators, and marks of the direction of text.
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]"
)
#: Characters shown of a quoted value, of a word and of a sentence.
_VALUE, _WORD, _SENTENCE = 200, 1000, 3000
#: Characters kept of the end of a long sentence, which says what to do.
_END = 600
_QUOTED = re.compile(
    rf"""(?<!\w)(['"])((?:(?!\1)[^\\]|\\.){{{_VALUE + 1},}}+)\1(?!\w)""", re.DOTALL
)
#: Encodings that ask for a byte-order mark: without one, what Windows writes.
_WITHOUT_MARK = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
#: Codecs of Python's that are of no files' text: two are of the names of hosts, one refuses all.
_OF_NO_TEXT = {"idna", "punycode", "undefined"}
_LONG_WORD = re.compile(rf"\S{{{_WORD + 1},}}+")
#: Halves of characters: Python has them for bytes of a file name that are not UTF-8.
_SURROGATE = re.compile("[\ud800-\udfff]")


def stored(text: str) -> str:
    r"""Returns text as it is stored: U+FFFD stands for what is no Unicode.

    That is a byte of a file name that is not UTF-8, or a lone surrogate, which JSON can hold.

    >>> stored("caf\udce9") == "caf\ufffd", stored("caf\xe9") == "caf\xe9"
    (True, True)
    """
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def is_unicode(text: str) -> bool:
    r"""Returns whether text can be stored as it is: it has no lone surrogates.

    >>> is_unicode("caf\xe9"), is_unicode("caf\udce9")
    (True, False)
    """
    return text.isascii() or _SURROGATE.search(text) is None


def printable(text: str) -> str:
    r"""Returns text to be shown; bytes of a file name that are not UTF-8 become `\xNN`.

    >>> printable("caf\udce9")
    'caf\\xe9'
    """
    if text.isascii():
        return text
    try:
        coded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Not from a file name: JSON can hold any surrogate.
        coded = text.encode("utf-8", "backslashreplace")
    return coded.decode("utf-8", "backslashreplace")


def encoding_name(name: str) -> str:
    """Returns the name under which Python knows an encoding of text.

    >>> encoding_name("UTF8"), encoding_name("windows-1252"), encoding_name("utf-8-sig")
    ('utf-8', 'cp1252', 'utf-8')

    Raises:
        LookupError: if it knows none of that name.
    """
    try:
        # Refuses what makes bytes of bytes, such as "base64", too.
        io.TextIOWrapper(io.BytesIO(), name)
    except ValueError as error:
        raise LookupError(name) from error
    known = codecs.lookup(name).name
    if known in _OF_NO_TEXT:
        raise LookupError(name)
    return _WITHOUT_MARK.get(known, known)


def is_utf8(data: bytes) -> bool:
    r"""Returns whether bytes are text in UTF-8.

    >>> is_utf8("é".encode()), is_utf8(b"caf\xe9")
    (True, False)
    """
    try:
        str(data, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def is_whole_number(data: bytes) -> bool:
    r"""Returns whether bytes are a whole number as Python reads them.

    >>> is_whole_number(b" 17\n"), is_whole_number(b"cat"), is_whole_number(b"")
    (True, False, False)
    """
    try:
        int(data)
    except ValueError:
        return False
    return True


def cut(text: str, most: int = _VALUE) -> str:
    """Returns text of at most `most` characters; what is cut says how long it was.

    >>> cut("a" * 1000, 30)
    'aaaaaaaa... (1,000 characters)'
    """
    if len(text) <= most:
        return text
    said = f"... ({len(text):,} characters)"
    return text[: max(0, most - len(said))] + said


def shown(text: str) -> str:
    r"""Returns a line that is safe to print: control characters are escaped, long parts cut.

    Escaped are characters that move the cursor, colour, end the line or turn the direction of text.
    Quoted values of more than 200 characters, words of more than 1,000 and lines of more than 3,000
    are cut.

    >>> shown("\x1b[31mred\r\n")
    '\\x1b[31mred\\r\\n'
    """
    # Cut first to what is needed to find long parts, since matching takes time.
    text = _middle(text, 100 * _SENTENCE)
    text = _QUOTED.sub(lambda found: f"{found[1]}{cut(found[2])}{found[1]}", text)
    text = _LONG_WORD.sub(lambda found: cut(found[0], _WORD), text)
    return _middle(escaped(text), _SENTENCE)


def escaped(text: str) -> str:
    r"""Returns text with control characters escaped.

    >>> escaped("a\tb\u202e")
    'a\\tb\\u202e'
    """
    return _CONTROLS.sub(
        lambda found: found[0].encode("unicode_escape").decode("ascii"), printable(text)
    )


def _middle(text: str, most: int) -> str:
    """Returns text without its middle if it has more than `most` characters."""
    if len(text) <= most:
        return text
    left_out = len(text) - most
    return f"{text[: most - _END]}... ({left_out:,} characters left out) ...{text[-_END:]}"


def size(count: float) -> str:
    """Returns a number of bytes with a unit, in three digits.

    >>> size(1_234_567)
    '1.23 MB'
    """
    if count == 1:
        return "1 byte"
    units = iter(("bytes", "kB", "MB", "GB", "TB", "PB"))
    unit = next(units)
    # From 999.5 on, three digits would round to 1000.
    while count >= 999.5:
        count, unit = count / 1000, next(units)
    return f"{count:.3g} {unit}"


def quantity(count: int, what: str, plural: str = "") -> str:
    """Returns a number with what it counts, in the singular where it is one.

    >>> quantity(1, "image"), quantity(0, "image"), quantity(1200, "class", "classes")
    ('1 image', '0 images', '1,200 classes')
    """
    return f"{count:,} {what if count == 1 else plural or what + 's'}"
