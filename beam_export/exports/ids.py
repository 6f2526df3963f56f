"""Finds samples by their ids: 16 bytes a sample are kept, and not the ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

__all__ = ["IdIndex"]


class IdIndex:
    """The digests of all ids, sorted, each with the number of its sample."""

    def __init__(self, batches: Iterable[Sequence[str]], count: int) -> None:
        """Takes ids in the order of their samples.

        Args:
            batches: of ids.
            count: how many there are in all.

        Raises:
            ValueError: if there are more or fewer.
        """
        digests = np.empty(count, np.uint64)
        at = 0
        for ids in batches:
            if at + len(ids) > count:
                raise ValueError(f"there are more than {count} ids")
            joined = b"".join(map(_digest, ids))
            digests[at : at + len(ids)] = np.frombuffer(joined, np.uint64)
            at += len(ids)
        if at != count:
            raise ValueError(f"there are {at} ids and not {count}")
        self._numbers = np.argsort(digests, kind="stable")
        digests.sort()
        self._digests = digests

    def numbers(self, id: str) -> list[int]:
        """Returns the samples whose id may be this one: mostly one, rarely more, or none."""
        wanted = np.frombuffer(_digest(id), np.uint64)[0]
        first, behind = (np.searchsorted(self._digests, wanted, side) for side in ("left", "right"))
        return [int(number) for number in self._numbers[first:behind]]


def _digest(id: str) -> bytes:
    # A lone surrogate is in no id of an export, and is not found.
    return hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
