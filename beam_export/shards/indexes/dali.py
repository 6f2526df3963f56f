"""The index of a shard for `readers.webdataset` of NVIDIA DALI: `{tar without .tar}.idx`, v1.2.

A first line `v1.2 SAMPLES`; then a line per sample with `EXT OFFSET SIZE NAME` of each of its
members, in the order of the tar, with single spaces between. OFFSET and SIZE are of the data in
bytes. The bytes are those that DALI's `wds2idx` makes (DALI 2.4.0, `tools/wds2idx.py`).
"""

from __future__ import annotations

import re

from beam_export.naming import EXT_PATTERN, KEY_PATTERN, member_name

__all__ = ["DaliIndex", "is_dali_index"]

_VERSION = "v1.2"
_MEMBER = rf"{EXT_PATTERN} [0-9]+ [0-9]+ {KEY_PATTERN}\.{EXT_PATTERN}"
_LINE = re.compile(rf"{_MEMBER}(?: {_MEMBER})*".encode())
_FIRST_LINE = re.compile(rf"{re.escape(_VERSION)} ([0-9]+)".encode())


class DaliIndex:
    """Makes the index of one shard, member by member."""

    def __init__(self) -> None:
        self._samples: list[str] = []

    def add(self, key: str, ext: str, *, offset: int, size: int, first: bool) -> None:
        """Adds a member; `first` is whether it is the first of its sample."""
        text = f"{ext} {offset} {size} {member_name(key, ext)}"
        if first:
            self._samples.append(text)
        else:
            self._samples[-1] += f" {text}"

    def content(self) -> bytes:
        """Returns the bytes of the index."""
        lines = [f"{_VERSION} {len(self._samples)}", *self._samples, ""]
        return "\n".join(lines).encode("ascii")


def is_dali_index(data: bytes) -> bool:
    """Returns whether a file is, in form, the index of a shard of ours.

    >>> is_dali_index(b"v1.2 1\\njpg 512 9 cat.jpg txt 1536 3 cat.txt\\n"), is_dali_index(b"v1.2 1")
    (True, False)
    """
    first, *lines = data.split(b"\n")
    found = _FIRST_LINE.fullmatch(first)
    # What is behind the last line is empty.
    if found is None or len(lines) != int(found[1]) + 1 or lines.pop():
        return False
    return all(map(_LINE.fullmatch, lines))
