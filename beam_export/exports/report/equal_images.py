"""Finds images of equal bytes by their `sha256`: 8 bytes of each are kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["EqualImages", "ImageDigests"]

#: Hex digits of a digest that are kept, as 8 bytes: of a billion images, two that differ in the
#: rest alone occur once in forty datasets.
_DIGITS = 16


class EqualImages(NamedTuple):
    """Images whose bytes occur more than once.

    Attributes:
        images: how many there are.
        kinds: how many different ones.
        groups: of the most frequent ones: how often each occurs, and the numbers of the first.
    """

    images: int
    kinds: int
    groups: list[tuple[int, list[int]]]


class ImageDigests:
    """The digests of all images, in their order."""

    def __init__(self, count: int) -> None:
        self._digests, self._at = np.empty(count, np.uint64), 0

    def add(self, sha256: pa.Array) -> None:
        """Adds digests in hex, as the Parquet has them.

        Raises:
            ValueError: if one is none.
        """
        digits = pc.utf8_slice_codeunits(sha256, 0, _DIGITS).to_pylist()
        if any(len(one) != _DIGITS for one in digits):
            raise ValueError("a value of sha256 is no digest")
        found = np.frombuffer(bytes.fromhex("".join(digits)), ">u8")
        self._digests[self._at : self._at + len(found)] = found
        self._at += len(found)

    def equal(self, groups: int, examples: int) -> EqualImages:
        """Returns which are equal.

        Args:
            groups: how many are described; those of most images, then those that come first.
            examples: numbers given of each.
        """
        digests = self._digests[: self._at]
        ordered = np.sort(digests)
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
        counts = np.diff(np.append(starts, len(ordered)))
        several = counts > 1
        values, counts = ordered[starts][several], counts[several]
        # Of more that are equally frequent than are wanted, any may be the first in the dataset.
        least = np.sort(counts)[-groups] if len(counts) > groups else 0
        wanted = counts >= least
        firsts = _first_places(digests, values[wanted])
        ranked = sorted(zip((-counts[wanted]).tolist(), firsts, values[wanted], strict=True))
        return EqualImages(
            images=int(counts.sum()),
            kinds=len(counts),
            groups=[
                (-count, np.flatnonzero(digests == value)[:examples].tolist())
                for count, _, value in ranked[:groups]
            ],
        )


def _first_places(digests: np.ndarray, values: np.ndarray) -> list[int]:
    """Returns where each of some values, which are sorted, occurs first."""
    firsts = np.full(len(values), len(digests), np.int64)
    if len(values):
        places = np.searchsorted(values, digests)
        places[places == len(values)] = 0
        found = np.flatnonzero(values[places] == digests)
        np.minimum.at(firsts, places[found], found)
    return [int(first) for first in firsts]
