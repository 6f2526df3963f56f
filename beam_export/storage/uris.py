"""URIs: the storage that a path lies on, and URIs of one content of a file."""

from __future__ import annotations

import re

__all__ = ["is_google", "is_local", "pin", "pin_file", "scheme_of", "unpin", "unpin_file"]

#: As Beam's `FileSystems.get_scheme` reads it.
_SCHEME = re.compile(r"\s*([a-zA-Z][-a-zA-Z0-9+.]*)://")
_PINNED = re.compile(r"(gs://.+)#([0-9]+)", re.DOTALL)
#: No local path holds it.
_MARK = "\0"


def scheme_of(path: str) -> str | None:
    """Returns the scheme of a path; None if it is of the local file system.

    >>> scheme_of("s3://bucket/x.jpg"), scheme_of("/photos/x.jpg"), scheme_of("9://x")
    ('s3', None, None)
    """
    found = _SCHEME.match(path)
    return found[1] if found else None


def is_google(path: str) -> bool:
    """Returns whether a path lies on Google Cloud Storage."""
    return path.startswith("gs://")


def is_local(path: str) -> bool:
    """Returns whether a path lies on the local file system."""
    return "://" not in path or scheme_of(path) is None


def pin(uri: str, generation: int) -> str:
    """Returns `gs://bucket/name#generation`, as gsutil writes it.

    >>> pin("gs://b/x.jpg", 17), pin("/x.jpg", 0)
    ('gs://b/x.jpg#17', '/x.jpg')
    """
    return f"{uri}#{generation}" if generation else uri


def pin_file(path: str, size: int, moment: int) -> str:
    r"""Returns a local path with what its content is known by.

    Two pins of one content are the same text, so that nobody has to take one apart.

    Args:
        path: of a file.
        size: in bytes.
        moment: when it last changed, in nanoseconds since the epoch.

    >>> pin_file("/x.jpg", 255, 4096)
    '/x.jpg\x00255.4096'
    """
    return f"{path}{_MARK}{size}.{moment}"


def unpin(uri: str) -> tuple[str, int]:
    r"""Returns what was pinned, without its pin, and the generation of an object.

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
