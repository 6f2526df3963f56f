"""Calls a function for items some places ahead of where they are used: storages are waited for."""

from __future__ import annotations

import collections
import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["map_ahead"]

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


def map_ahead(
    call: Callable[[_Item], _Made], items: Iterable[_Item], lanes: int
) -> Iterator[_Made]:
    """Yields the result of `call` for each item, in order; a few are made at a time.

    >>> list(map_ahead(abs, [-1, 2, -3], lanes=2))
    [1, 2, 3]

    Args:
        call: makes a result; called by several threads if there are several lanes.
        items: taken as far ahead as there are lanes.
        lanes: calls at a time; with one, each is made when it is asked for, by no thread.
    """
    if lanes == 1:
        yield from map(call, items)
        return
    coming: collections.deque[concurrent.futures.Future[_Made]] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(lanes) as pool:
        try:
            for item in items:
                coming.append(pool.submit(call, item))
                if len(coming) == lanes:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            for one in coming:
                one.cancel()
