"""Counts the values of a column of numbers in little memory, in whatever order they come.

Values are kept as they are while there are few different ones. When there are more, the last bits
of all of them are dropped, one by one, until few enough are left: a floating-point number keeps its
size and the first bits behind it. So the result depends on the values alone, and at 16,384
different ones a value is known to about a thousandth.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Distribution", "Entries"]

_SIGN = np.uint64(1 << 63)
#: Values that are added at a time, for each entry: sorting a few is cheap, and merging costs as
#: much each time; of many columns, which have few entries each, less is to wait.
_PENDING = 4


class Entries(NamedTuple):
    """Different values in ascending order, and how often each occurs."""

    values: np.ndarray
    counts: np.ndarray


class Distribution:
    """How often each value occurs.

    Attributes:
        missing: null values and NaN, which is no number.
        infinite: infinite values, which are in no histogram.
        whole: whether all values are whole numbers.
        least, most: of the finite values; None if there are none.
    """

    def __init__(self, most_entries: int = 16_384) -> None:
        self._limit, self._shift = most_entries, 0
        self._most_pending = _PENDING * most_entries
        self._keys, self._counts = np.empty(0, np.uint64), np.empty(0, np.int64)
        self._pending: list[np.ndarray] = []
        self._held = 0
        self.missing = self.infinite = 0
        self.whole = True
        self.least: float | None = None
        self.most: float | None = None

    def add(self, values: np.ndarray, missing: int = 0) -> None:
        """Adds numbers, and so many null values."""
        numbers = np.asarray(values, np.float64)
        finite = np.isfinite(numbers)
        if not finite.all():
            nans = int(np.isnan(numbers).sum())
            missing += nans
            self.infinite += len(numbers) - int(finite.sum()) - nans
            numbers = numbers[finite]
        self.missing += missing
        if not len(numbers):
            return
        self.whole = self.whole and bool((numbers == np.floor(numbers)).all())
        least, most = float(numbers.min()), float(numbers.max())
        self.least = least if self.least is None else min(least, self.least)
        self.most = most if self.most is None else max(most, self.most)
        self._pending.append(numbers)
        self._held += len(numbers)
        if self._held >= self._most_pending:
            self._merge()

    @property
    def count(self) -> int:
        """Number of finite values."""
        return int(self._counts.sum()) + self._held

    def entries(self) -> Entries:
        """Returns the values, each in the middle of those that were counted with it."""
        self._merge()
        if not self._shift:
            return Entries(_from_keys(self._keys), self._counts)
        keys = (self._keys << np.uint64(self._shift)) + np.uint64(1 << (self._shift - 1))
        # The middle of a range may lie beyond all that was in it.
        return Entries(np.clip(_from_keys(keys), self.least, self.most), self._counts)

    def quantile(self, share: float) -> float:
        """Returns a value that so large a share of the values do not exceed.

        Raises:
            ValueError: if there are no values.
        """
        values, counts = self.entries()
        if not len(values):
            raise ValueError("there is no quantile of no values")
        behind = np.cumsum(counts)
        at = int(np.searchsorted(behind, share * behind[-1], side="left"))
        return float(values[min(at, len(values) - 1)])

    def _merge(self) -> None:
        if not self._pending:
            return
        # 0.0 and -0.0 are one value.
        new = _to_keys(np.concatenate(self._pending) + 0.0) >> np.uint64(self._shift)
        self._pending, self._held = [], 0
        keys = np.concatenate([self._keys, new])
        counts = np.concatenate([self._counts, np.ones(len(new), np.int64)])
        self._keys, self._counts = _summed(keys, counts)
        while len(self._keys) > self._limit:
            self._shift += 1
            self._keys, self._counts = _summed(self._keys >> np.uint64(1), self._counts)


def _summed(keys: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns different keys in order, and the sums of their counts."""
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    return keys[starts], np.add.reduceat(counts, starts)


def _to_keys(values: np.ndarray) -> np.ndarray:
    """Returns the bits of floating-point numbers as whole numbers of the same order."""
    bits = values.view(np.uint64)
    return np.where(bits & _SIGN != 0, ~bits, bits | _SIGN)


def _from_keys(keys: np.ndarray) -> np.ndarray:
    bits = np.where(keys & _SIGN != 0, keys & ~_SIGN, ~keys)
    return bits.view(np.float64)
