"""URIs: which storage a path lies on, and pinned URIs, which name one content of a file.

A pin says which content was listed: the generation of an object (`gs://bucket/name#17`), or size
and modification time of a local file, behind a null character.
"""

from __future__ import annotations

import re

__all__ = ["is_google", "is_local", "pin", "pin_file", "scheme_of", "unpin", "unpin_file"]

#: As Beam's `FileSystems.get_scheme` reads it.
_SCHEME = re.compile(r"\s*([a-zA-Z][-a-zA-Z0-9+.]*)://")
_PINNED = re.compile(r"(gs://.+)#([0-9]+)", re.DOTALL)
#: Separates a local path from its pin; no path can hold it.
_MARK = "\0"


def scheme_of(path: str) -> str | None:
    """Returns the scheme of a path; None if it is local.

    >>> scheme_of("s3://bucket/x.jpg"), scheme_of("/photos/x.jpg"), scheme_of("9://x")
    ('s3', None, None)
    """
    found = _SCHEME.match(path)
    return found[1] if found else None


def is_google(path: str) -> bool:
    """Returns whether a path lies on Google Cloud Storage.

    >>> is_google("gs://bucket/x.jpg"), is_google("/gs/x.jpg")
    (True, False)
    """
    return path.startswith("gs://")


def is_local(path: str) -> bool:
    """Returns whether a path lies on the local file system.

    >>> is_local("/photos/x.jpg"), is_local("a://b"), is_local("9://b")
    (True, False, True)
    """
    return "://" not in path or scheme_of(path) is None


def pin(uri: str, generation: int) -> str:
    """Returns `gs://bucket/name#generation`, as gsutil writes it; the URI itself for generation 0.

    >>> pin("gs://b/x.jpg", 17), pin("/x.jpg", 0)
    ('gs://b/x.jpg#17', '/x.jpg')
    """
    return f"{uri}#{generation}" if generation else uri


def pin_file(path: str, size: int, modified_ns: int) -> str:
    r"""Returns a local path with the size and modification time that identify its content.

    Equal contents have equal pins, which are compared as text and never parsed.

    Args:
        path: of a file.
        size: in bytes.
        modified_ns: time of the last change, in nanoseconds since the epoch.

    >>> pin_file("/x.jpg", 255, 4096)
    '/x.jpg\x00255.4096'
    """
    return f"{path}{_MARK}{size}.{modified_ns}"


def unpin(uri: str) -> tuple[str, int]:
    r"""Returns a URI without its pin, and the generation that it was pinned to, else 0.

    >>> unpin("gs://b/x.jpg#17"), unpin("/x#1.jpg#17"), unpin("/x.jpg\x00255.4096")
    (('gs://b/x.jpg', 17), ('/x#1.jpg#17', 0), ('/x.jpg', 0))
    """
    path, mark, _ = uri.partition(_MARK)
    if mark:
        return path, 0
    found = _PINNED.fullmatch(uri)
    return (found[1], int(found[2])) if found else (uri, 0)


def unpin_file(uri: str) -> tuple[str, bool]:
    r"""Returns a local path without its pin, and whether there was one.

    >>> unpin_file("/x.jpg\x00255.4096"), unpin_file("/x.jpg")
    (('/x.jpg', True), ('/x.jpg', False))
    """
    path, mark, _ = uri.partition(_MARK)
    return path, bool(mark)
