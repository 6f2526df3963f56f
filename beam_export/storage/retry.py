"""Retries of storage calls: which errors another attempt may mend, and how often it is made.

Network file systems and object stores fail for a moment now and then. A read that is given up at
once would fail the whole bundle, and one that is listed as a failure would change the export.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from beam_export.storage.base import ReplacedError

__all__ = ["is_permanent", "is_transient", "with_retries"]

#: Errors that another attempt will not mend.
_PERMANENT = frozenset(
    getattr(errno, name)
    for name in ["ENOENT", "EACCES", "EPERM", "EISDIR", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "ENXIO"]
)
_TRIES = 3

_T = TypeVar("_T")


def is_permanent(error: OSError) -> bool:
    """Returns whether another attempt would fail the same way: no such file, no permission, ...

    >>> is_permanent(FileNotFoundError(errno.ENOENT, "")), is_permanent(OSError(errno.EIO, ""))
    (True, False)
    """
    return isinstance(error, ReplacedError) or error.errno in _PERMANENT


def is_transient(error: OSError) -> bool:
    """Returns whether another attempt may succeed: the opposite of `is_permanent`."""
    return not is_permanent(error)


def with_retries(
    call: Callable[[], _T],
    *,
    retriable: Callable[[OSError], bool] = is_transient,
    wait: float = 0.4,
) -> _T:
    """Returns the result of `call`, which is made up to three times.

    Args:
        call: what to do.
        retriable: whether an error is worth another attempt.
        wait: seconds before the second attempt; before the third it is four times as long.

    Raises:
        OSError: the error of the last attempt, or the first that is not retriable.
    """
    for _ in range(_TRIES - 1):
        try:
            return call()
        except OSError as error:
            if not retriable(error):
                raise
        time.sleep(wait)
        wait *= 4
    return call()
