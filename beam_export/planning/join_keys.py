"""Matches the keys of tables and lists with the ids of samples, bucket by bucket."""

from __future__ import annotations

import collections
import hashlib
import itertools
import unicodedata
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from beam_export.planning.blocks import PackedRef, unpack_ref
from beam_export.planning.duplicates import Decisions
from beam_export.sources.entries import IMAGE_SUFFIXES

__all__ = ["Keys", "Named", "bucket_count", "bucket_of", "bucket_of_key", "new_names", "normal"]

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


class Named(NamedTuple):
    """A sample, and the names that it is found by: that which it is given, if any, and its id."""

    ref: PackedRef
    names: tuple[str, ...]

    def file_names(self) -> tuple[str, ...]:
        """Returns each of its names with the suffix of its image, as that is written.

        A name that has it already, as ids of tables may, stays; so does one of an image that has
        none.
        """
        path = unpack_ref(self.ref).path
        whole = path == self.ref.id or path.endswith((f"/{self.ref.id}", f"#{self.ref.id}"))
        stem = None if whole else _without_suffix(path)
        suffix = "" if stem is None else path[len(stem) :]
        return tuple([name + suffix for name in self.names])


class Keys:
    """Keys, looked up by sample: those of its id first, then those with an image suffix.

    Of keys with a suffix, one that is the name of the sample's own file goes first, as it is
    written or in other case; one that is the name of another sample's file is that one's alone.
    Where nothing is there, the same in normal form C: names of files on a Mac have another. A key
    that is written as the id of another sample is that one's, and of no other form.
    """

    def __init__(self, keys: Iterable[str], samples: Sequence[Named]) -> None:
        self.all = frozenset(keys)
        self._with_suffix: dict[str, list[str]] = {}
        # By the normal form of a key and of its stem; those of ASCII are their own.
        self._normal: dict[str, list[str]] = {}
        written = frozenset(itertools.chain.from_iterable(one.names for one in samples))
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
        self._files = _contested_files(self._with_suffix, samples, written)
        taken = itertools.chain.from_iterable(self._files.values())
        self._taken = frozenset(map(normal, taken))
        self._taken_in_any_case = frozenset(map(_any_case, self._taken))

    def of(self, sample: Named) -> Sequence[str]:
        """Returns the keys of a sample by the first of its names that has any."""
        return next(filter(None, self._of_each(sample)), ())

    def of_all_names(self, sample: Named) -> list[str]:
        """Returns all keys that mean a sample, by any of its names, whichever goes first."""
        found = (
            some
            for name, file in self._files_of(sample)
            for some in (self._of(name, file), self._among(name, file))
        )
        return [*itertools.chain.from_iterable(found)]

    def _of_each(self, sample: Named) -> Iterator[Sequence[str]]:
        for name, file in self._files_of(sample):
            yield self._of(name, file)

    def _files_of(self, sample: Named) -> Iterator[tuple[str, str]]:
        """Yields the names of a sample, each with the suffix of the image.

        The second is empty where no other sample and no other key could be meant.
        """
        files = self._files.get(sample.ref.order) or itertools.repeat("")
        return zip(sample.names, files, strict=False)

    def _of(self, name: str, file: str) -> Sequence[str]:
        if name in self.all:
            # Of a list of files that has both `a.jpg` and `a.jpg.png`, the id of the second is the
            # name of the first.
            by_file = file != name and file in self.all and normal(name) in self._taken
            return [file if by_file else name]
        return self._among(name, file)

    def _among(self, name: str, file: str) -> Sequence[str]:
        """Returns the keys of a name that are not that text."""
        found = self._found(name)
        return self._chosen(found, normal(file)) if file else found

    def _found(self, name: str) -> Sequence[str]:
        found = self._with_suffix.get(name)
        if found or (name.isascii() and not self._normal):
            return found or ()
        form = normal(name)
        if form != name and form in self.all and form not in self._written:
            return [form]
        others = self._with_suffix.get(form, [])
        return self._normal.get(form) or [one for one in others if one not in self._written]

    def _chosen(self, found: Sequence[str], file: str) -> Sequence[str]:
        """Returns those of some keys that mean a file rather than another of the same stem."""
        left = [key for key in found if normal(key) not in self._taken]
        return (
            [key for key in found if normal(key) == file]
            or [key for key in left if _any_case(normal(key)) == _any_case(file)]
            or [key for key in left if _any_case(normal(key)) not in self._taken_in_any_case]
        )


def _contested_files(
    with_suffix: Mapping[str, Sequence[str]], samples: Sequence[Named], ids: Container[str]
) -> dict[bytes, tuple[str, ...]]:
    """Returns by order key the file names of the samples that a key may take for one another.

    Of most samples they need not be known, and to open a sample takes longer than to look it up.

    Args:
        with_suffix: keys with an image suffix, by their stem.
        samples: all that keys may be of.
        ids: the names of all samples.
    """
    if not with_suffix:
        return {}
    times = collections.Counter(normal(name) for one in samples for name in {*one.names})
    keys: dict[str, list[str]] = {}
    for stem, some in with_suffix.items():
        keys.setdefault(normal(stem), []).extend(some)
    contested = {
        stem
        for stem, some in keys.items()
        if len(some) > 1 or times[stem] > 1 or any(key in ids for key in some)
    }
    contested.update(normal(key) for stem in [*contested] for key in keys[stem])
    return {
        one.ref.order: one.file_names()
        for one in samples
        if any(normal(name) in contested for name in one.names)
    }


def _any_case(key: str) -> str:
    """Returns a key with its suffix in lower case."""
    stem, dot, suffix = key.rpartition(".")
    return stem + dot + suffix.lower()
