"""Counts which members samples have: whether all have the same, and which do not."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from beam_export.samples import SampleRef

__all__ = ["MemberSets", "SetExample", "describe_members"]

#: Extensions that are counted; an input that has more names its members by what they hold.
_MOST = 1_000
#: Extensions that are counted in any case: what `--json_columns` is called follows from them.
_ALWAYS = ("json", "meta.json")
#: Different sets that are held before they are added up.
_HELD = 256
#: Extensions that a line names.
_NAMED = 6


class SetExample(NamedTuple):
    """The first sample that has a set of members.

    Attributes:
        place: its order key, or whatever decides which sample comes first.
        id: its id.
        exts: extensions of its members but the image, sorted.
    """

    place: bytes
    id: str
    exts: tuple[str, ...]


class MemberSets:
    """The members of samples, added up; small however many there are, and merged in any order.

    Attributes:
        samples: how many were added.
    """

    def __init__(self) -> None:
        self.samples = 0
        self._crowded = False
        self._counts: collections.Counter[str] = collections.Counter()
        self._common: frozenset[str] | None = None
        # Of the two sets that come first.
        self._firsts: dict[tuple[str, ...], SetExample] = {}
        # By set: how many samples, the first of them.
        self._held: dict[tuple[str, ...], tuple[int, SetExample]] = {}

    def add(self, exts: tuple[str, ...], place: bytes, id: str) -> None:
        """Adds a sample.

        Args:
            exts: extensions of its members but the image, sorted.
            place: what decides which sample comes first.
            id: its id.
        """
        self.samples += 1
        held = self._held.get(exts)
        if held is None:
            if len(self._held) >= _HELD:
                self._add_up()
            self._held[exts] = 1, SetExample(place, id, exts)
        elif place < held[1].place:
            self._held[exts] = held[0] + 1, SetExample(place, id, exts)
        else:
            self._held[exts] = held[0] + 1, held[1]

    def add_sample(self, ref: SampleRef) -> None:
        """Adds a sample by its order key."""
        self.add(tuple([field.ext for field in ref.fields]), ref.order, ref.id)

    def _add_up(self) -> None:
        held, self._held = self._held, {}
        for exts, (count, example) in held.items():
            self._take(dict.fromkeys(exts, count), frozenset(exts), [example])

    def _take(
        self, counts: Mapping[str, int], common: frozenset[str], firsts: Iterable[SetExample]
    ) -> None:
        self._common = common if self._common is None else self._common & common
        for example in firsts:
            known = self._firsts.get(example.exts, example)
            self._firsts[example.exts] = min(known, example)
        # The two that come first of all are among the two that come first of any part.
        self._firsts = {one.exts: one for one in sorted(self._firsts.values())[:2]}
        for ext, count in counts.items():
            if not self._crowded or ext in _ALWAYS:
                self._counts[ext] += count
        if len(self._counts) > _MOST + len(_ALWAYS):
            self._give_up()

    def _give_up(self) -> None:
        self._crowded = True
        self._counts = collections.Counter({ext: self._counts[ext] for ext in _ALWAYS})

    def merge(self, other: MemberSets) -> None:
        """Adds all that `other` has."""
        other._add_up()
        self._add_up()
        self.samples += other.samples
        if other._crowded:
            self._give_up()
        if other._common is not None:
            self._take(other._counts, other._common, other._firsts.values())

    @property
    def crowded(self) -> bool:
        """Whether there are too many extensions to count."""
        self._add_up()
        return self._crowded

    @property
    def common(self) -> frozenset[str]:
        """The extensions that all samples have."""
        self._add_up()
        return self._common or frozenset()

    @property
    def counts(self) -> dict[str, int]:
        """How many samples have an extension, by extension; if crowded, of few of them."""
        self._add_up()
        return {ext: count for ext, count in sorted(self._counts.items()) if count}

    @property
    def firsts(self) -> list[SetExample]:
        """The first sample, and the first that has other members; fewer where there are none."""
        self._add_up()
        return sorted(self._firsts.values())

    @property
    def are_unequal(self) -> bool:
        """Whether samples have unequal members."""
        return len(self.firsts) > 1

    def pack(self) -> tuple[Any, ...]:
        """Returns all of it as a tuple of plain values."""
        firsts = tuple(map(tuple, self.firsts))
        common = None if self._common is None else tuple(sorted(self._common))
        return self.samples, self.crowded, tuple(self.counts.items()), common, firsts

    @classmethod
    def unpack(cls, packed: tuple[Any, ...]) -> MemberSets:
        """Returns what `pack` packed."""
        sets = cls()
        sets.samples, sets._crowded, counts, common, firsts = packed
        sets._counts = collections.Counter(dict(counts))
        sets._common = None if common is None else frozenset(common)
        sets._firsts = {example.exts: example for example in (SetExample(*one) for one in firsts)}
        return sets


def describe_members(counts: Mapping[str, int], samples: int) -> str:
    """Returns in words which members not all samples have.

    >>> describe_members({"txt": 7, "xml": 2}, 7)
    '.xml in 2 of 7'
    >>> describe_members({}, 7)
    'more extensions than are counted'

    Args:
        counts: how many samples have an extension; none if there are too many.
        samples: how many there are.
    """
    partial = [(ext, count) for ext, count in sorted(counts.items()) if count < samples]
    if not partial:
        return "more extensions than are counted"
    shown = ", ".join(f".{ext} in {count:,}" for ext, count in partial[:_NAMED])
    more = len(partial) - _NAMED
    return f"{shown}{f' and {more} more' if more > 0 else ''} of {samples:,}"
