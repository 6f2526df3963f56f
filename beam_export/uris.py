"""URIs of one content of an object, whatever comes to stand under its name later."""

from __future__ import annotations

import re

__all__ = ["pin", "unpin"]

_PINNED = re.compile(r"(gs://.+)#([0-9]+)", re.DOTALL)


def pin(uri: str, generation: int) -> str:
    """Returns `gs://bucket/name#generation`, as gsutil writes it.

    >>> pin("gs://b/x.jpg", 17), pin("/x.jpg", 0)
    ('gs://b/x.jpg#17', '/x.jpg')
    """
    return f"{uri}#{generation}" if generation else uri


def unpin(uri: str) -> tuple[str, int]:
    """Takes apart what `pin` made; a local path may end like that, and stays whole.

    >>> unpin("gs://b/x.jpg#17"), unpin("/x#1.jpg#17")
    (('gs://b/x.jpg', 17), ('/x#1.jpg#17', 0))
    """
    found = _PINNED.fullmatch(uri)
    return (found[1], int(found[2])) if found else (uri, 0)
