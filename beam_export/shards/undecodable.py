"""Finds members that loaders take for text or for a number, by the last part of an extension.

webdataset's `decode()` and Hugging Face's `datasets` fail on such a member if it is neither, and
leave the members of other extensions as they are. It travels as it came, and is counted.

Sources: `autodecode.py` of webdataset 1.0.2, `packaged_modules/webdataset/webdataset.py` of
datasets 5.2.0.
"""

from __future__ import annotations

from beam_export.text import is_utf8, is_whole_number

__all__ = ["TXT", "cannot_decode", "is_decoded", "say_undecodable"]

#: How what is counted begins; the extension follows.
_NO_TEXT, _NO_NUMBER = "no_text_", "no_number_"
#: What a `.txt` that is no text is counted as.
TXT = f"{_NO_TEXT}txt"
_TEXTS = frozenset({"text", "transcript", "txt"})
_NUMBERS = frozenset({"cls", "cls2", "id", "index", "inx"})
#: What it means for readers, by the beginning.
_MEANS = {
    _NO_TEXT: (
        "is not UTF-8, and was kept as it came: Hugging Face datasets and webdataset's decode() "
        "cannot load it"
    ),
    _NO_NUMBER: (
        "is no whole number: Hugging Face datasets and webdataset's decode() cannot load it (a "
        ".label they leave as it is)"
    ),
}


def is_decoded(ext: str) -> bool:
    """Returns whether loaders take a member for text or for a number.

    >>> is_decoded("cls"), is_decoded("long.txt"), is_decoded("txt.xml")
    (True, True, False)
    """
    return _last(ext) in _TEXTS | _NUMBERS


def cannot_decode(ext: str, data: bytes) -> str:
    r"""Returns under which name a member is counted that loaders cannot decode; "" if they can.

    >>> cannot_decode("fine.cls", b"cat"), cannot_decode("txt", b"\xe9"), cannot_decode("cls", b"3")
    ('no_number_fine.cls', 'no_text_txt', '')
    """
    last = _last(ext)
    if last in _TEXTS and not is_utf8(data):
        return _NO_TEXT + ext
    if last in _NUMBERS and not is_whole_number(data):
        return _NO_NUMBER + ext
    return ""


def _last(ext: str) -> str:
    return ext.rpartition(".")[2]


def say_undecodable(name: str, samples: str) -> str:
    """Returns the sentence about members that loaders cannot decode; "" of any other name.

    >>> say_undecodable("no_text_txt", "2 samples").partition(",")[0]
    'the .txt of 2 samples is not UTF-8'

    Args:
        name: under which `cannot_decode` has counted them, or any other.
        samples: whose members they are, in words.
    """
    for begin, means in _MEANS.items():
        if name.startswith(begin):
            return f"the .{name.removeprefix(begin)} of {samples} {means}"
    return ""
