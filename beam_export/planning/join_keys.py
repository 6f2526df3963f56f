"""Matches the keys of tables and lists with the ids of samples, bucket by bucket."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Container, Iterable, Sequence

from beam_export.planning.duplicates import Decisions
from beam_export.sources.entries import IMAGE_SUFFIXES

__all__ = ["Keys", "bucket_count", "bucket_of", "bucket_of_key", "new_names", "normal"]

#: Samples, or rows, that a bucket holds about.
_BUCKET = 10_000


def bucket_count(counts: Iterable[int]) -> int:
    """Returns the number of buckets, so that the largest input has some 10,000 rows per bucket.

    >>> bucket_count([25_000, 3]), bucket_count([])
    (3, 1)
    """
    return max(1, -(-max(counts, default=0) // _BUCKET))


def bucket_of(ident: str, buckets: int) -> int:
    """Returns the bucket of an id or key; those that may match are in the same one.

    >>> bucket_of("cat.jpg", 1000) == bucket_of("cat", 1000)
    True
    """
    name = normal(_without_suffix(ident) or ident).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") % buckets


def bucket_of_key(key: str, buckets: int, renamed: Container[str]) -> int:
    """Returns the bucket of a row's key: of a name that renaming gives, that of the id before it.

    Args:
        key: as the table has it.
        buckets: how many there are.
        renamed: names that `--duplicates=rename` gives, in normal form (`new_names`).
    """
    name = normal(_without_suffix(key) or key)
    if name in renamed:
        # A name that is given is the id, "-" and a number.
        name = name.rpartition("-")[0]
    return bucket_of(name, buckets)


def new_names(decisions: Decisions) -> frozenset[str]:
    """Returns the names that `--duplicates=rename` gives, in normal form."""
    return frozenset(map(normal, decisions.renamed.values()))


def normal(text: str) -> str:
    r"""Returns text in Unicode's normal form C, in which equal names are equal.

    >>> normal("cafe\u0301") == "caf\xe9"
    True
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _without_suffix(key: str) -> str | None:
    """Returns a key without its image suffix, None if it has none."""
    stem, dot, suffix = key.rpartition(".")
    return stem if dot and stem and suffix.lower() in IMAGE_SUFFIXES else None


class Keys:
    """Keys, looked up by id: the same text first, then that text with an image suffix.

    Where neither is there, the same in normal form C: names of files on a Mac have another. A key
    that is written as the id of another sample is that one's, and of no other form.
    """

    def __init__(self, keys: Iterable[str], ids: Iterable[str]) -> None:
        self.all = frozenset(keys)
        self._with_suffix: dict[str, list[str]] = {}
        # By the normal form of a key and of its stem; those of ASCII are their own.
        self._normal: dict[str, list[str]] = {}
        written = frozenset(ids)
        self._written: set[str] = set()
        for key in self.all:
            stem = _without_suffix(key)
            if stem is not None:
                self._with_suffix.setdefault(stem, []).append(key)
            if key in written or stem in written:
                self._written.add(key)
            elif not key.isascii():
                for name in {normal(key), normal(stem or key)}:
                    self._normal.setdefault(name, []).append(key)

    def of(self, names: Sequence[str]) -> Sequence[str]:
        """Returns the keys of a sample by the first of its names that has any."""
        return next(filter(None, map(self._of, names)), ())

    def _of(self, name: str) -> Sequence[str]:
        if name in self.all:
            return [name]
        found = self._with_suffix.get(name)
        if found or (name.isascii() and not self._normal):
            return found or ()
        form = normal(name)
        if form != name and form in self.all and form not in self._written:
            return [form]
        others = self._with_suffix.get(form, [])
        return self._normal.get(form) or [one for one in others if one not in self._written]
