"""Images that stand in tables as text: base64, and `data:` URIs (RFC 2397)."""

from __future__ import annotations

import base64
import binascii
import re
import urllib.parse

import pyarrow as pa
import pyarrow.compute as pc

from beam_export.images.header import sniff

__all__ = ["decode_bytes", "decode_column", "image_of_text", "is_image_text", "no_base64"]

_DATA = re.compile(r"data:([^,]*),", re.IGNORECASE)
_LETTERS = re.compile(r"[A-Za-z0-9+/_=\s-]*")
_SPACE = re.compile(r"\s+")
#: Letters at its ends that show whether text is an image, and the fewest that an image has: a path,
#: even one that begins as a JPEG does ("/9j/"), has the dot of its suffix.
_HEAD = 64
#: How bytes begin that may be base64 and not an image.
_TEXT = re.compile(rb"\s*(?:data:image/|[A-Za-z0-9+/_=\s-]{60})", re.IGNORECASE)
_URL_SAFE = str.maketrans("-_", "+/")


def is_image_text(text: object) -> bool:
    """Returns whether a value is plainly an image as text, and no path.

    >>> is_image_text("data:image/png;base64,iVBORw0KGgo="), is_image_text("/9j/4AAQ.jpg")
    (True, False)
    """
    if not isinstance(text, str):
        return False
    if text[:11].lower() == "data:image/":
        return True
    if len(text) < _HEAD or not _LETTERS.fullmatch(text[-_HEAD:]):
        return False
    head = _decode(_SPACE.sub("", text[: 2 * _HEAD])[:_HEAD])
    return head is not None and sniff(head) is not None


def image_of_text(text: str) -> bytes | None:
    """Returns the bytes that base64 or a `data:` URI stands for; None if it is neither.

    >>> image_of_text("data:,a%20b"), image_of_text("YWJj\\n"), image_of_text("a b.jpg")
    (b'a b', b'abc', None)
    """
    found = _DATA.match(text)
    if found is None:
        return _decode(_SPACE.sub("", text))
    content = text[found.end() :]
    if found[1].lower().endswith(";base64"):
        return _decode(_SPACE.sub("", urllib.parse.unquote(content)))
    return urllib.parse.unquote_to_bytes(content)


def _decode(text: str) -> bytes | None:
    """Returns what base64 stands for, of either alphabet, padded or not; None if it is none."""
    plain = text.rstrip("=").translate(_URL_SAFE)
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def decode_column(column: pa.Array) -> pa.Array:
    """Returns the bytes of a column of text; null where it is no base64."""
    found = [image_of_text(one) or None if one else None for one in column.to_pylist()]
    return pa.array(found, pa.large_binary())


def decode_bytes(column: pa.Array) -> pa.Array:
    """Returns a column of bytes with images in place of what is plainly base64 or a `data:` URI.

    Databases and pandas give such text as bytes. All else stays as it is.

    Args:
        column: of type `large_binary`.
    """
    heads = pc.binary_slice(column, 0, _HEAD).to_pylist()
    texts = [at for at, head in enumerate(heads) if head and _TEXT.match(head) and not sniff(head)]
    if not texts:
        return column
    values = column.to_pylist()
    for at in texts:
        text = values[at].decode("latin-1")
        if is_image_text(text.strip()):
            values[at] = image_of_text(text) or values[at]
    return pa.array(values, pa.large_binary())


def no_base64(column: str) -> str:
    """Returns what is said of a row whose column of images holds other text."""
    return f"its {column!r} holds no image in base64"
