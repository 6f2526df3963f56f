"""Names of shards, of samples in a tar and of their members: making and parsing.

A key is what a sample is called in its tar. Every reader of WebDataset splits a member's name at
the first dot after the last slash, some skip what begins with `.` or `_`, and some know nothing
beyond the 100 bytes of the first name field of a tar header (POSIX.1-2017, pax, "ustar
Interchange Format"). Keys here are what all of them read right.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import NamedTuple

__all__ = [
    "EXT_PATTERN",
    "KEY_PATTERN",
    "MAX_EXT",
    "MAX_KEY",
    "MAX_MEMBER_NAME",
    "ParsedName",
    "ShardNames",
    "clean_ext",
    "key_of",
    "member_name",
    "parse",
    "sequential_key",
]

#: Bytes of the name field of a ustar header.
MAX_MEMBER_NAME = 100

#: Room kept for an extension, whether a sample has a long one or not: a key that depended on the
#: extensions would change as soon as a sample gets another field.
MAX_EXT = 16

#: Longest key: it, a dot and the longest extension fill a member's name.
MAX_KEY = MAX_MEMBER_NAME - 1 - MAX_EXT

#: Regular expressions of a key and of an extension, without their bounds of length.
KEY_PATTERN = r"[A-Za-z0-9\-][A-Za-z0-9_\-]*(?:/[A-Za-z0-9\-][A-Za-z0-9_\-]*)*"
EXT_PATTERN = r"[a-z0-9_]+(?:\.[a-z0-9_]+)*"

_HASH_DIGITS = 16

# An id that ends like a made key is made anew, so that no id can take the key of another.
_KEPT_ID = re.compile(
    rf"(?=.{{1,{MAX_KEY}}}\Z){KEY_PATTERN}(?<!-[0-9a-f]{{{_HASH_DIGITS}}})", re.ASCII
)
_FOREIGN = re.compile(r"[^A-Za-z0-9_\-/]+")
_EXT = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*")

_SHARD_HASH = re.compile(r"[0-9a-f]{12}")
_SHARD_FILE = re.compile(
    r"images-(?P<hash>[0-9a-f]{12})-"
    r"(?:(?P<number>[0-9]{6}|[1-9][0-9]{6,17})\.(?P<kind>tar|parquet)|manifest\.json)"
)
_META_FILE = re.compile(
    r"_meta/images-(?P<hash>[0-9a-f]{12})-"
    r"(?:(?P<table>shards|failures)\.parquet|run\.json)"
)


def key_of(id: str) -> str:
    """Returns the key of the sample of that id: the same on every run, for any string.

    An id that is a key and does not end like a made one stays as it is. Any other becomes
    readable text, `-` and 16 hex digits of the SHA-256 of the id. The true id stays in the Parquet.
    """
    if _KEPT_ID.fullmatch(id):
        return id
    digest = hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    text = _sanitised(id)[: MAX_KEY - 1 - _HASH_DIGITS].rstrip("/_")
    return f"{text}-{digest}"


def _sanitised(id: str) -> str:
    # Letters are not transliterated: Unicode's tables differ between versions of Python, and
    # with them the keys would.
    *folders, last = (part.strip("_") for part in _FOREIGN.sub("_", id).split("/"))
    return "/".join([*filter(None, folders), last or "sample"])


def sequential_key(rank: int) -> str:
    """Returns the key of the sample of that rank in the dataset: 9 digits, more from 10^9 on.

    Raises:
        ValueError: if the rank is negative.
    """
    if rank < 0:
        raise ValueError(f"a rank counts from 0 and was given as {rank}")
    return f"{rank:09d}"


def member_name(key: str, ext: str) -> str:
    """Returns the name of a sample's member; `ext` has no leading dot."""
    return f"{key}.{ext}"


def clean_ext(text: str) -> str | None:
    """Returns an extension in lower case, or None if no member can have it.

    It may have inner dots (`seg.png`) but no leading one, and at most `MAX_EXT` characters.
    """
    if len(text) > MAX_EXT or not _EXT.fullmatch(text):
        return None
    return text.lower()


class ParsedName(NamedTuple):
    """What a file of an export is.

    Attributes:
        hash: 12 hex digits.
        kind: `tar`, `parquet`, `manifest`, `shards`, `failures` or `run`.
        number: the shard's number; None for a file that is not a shard's.
    """

    hash: str
    kind: str
    number: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class ShardNames:
    """Names of the files of one export, relative to its directory (format.md, part 4).

    Attributes:
        hash: 12 hex digits: the hash of the run, or its token if names are not deterministic.
    """

    hash: str

    def __post_init__(self) -> None:
        if not _SHARD_HASH.fullmatch(self.hash):
            raise ValueError(
                f"a hash in file names is 12 hex digits and was given as {self.hash!r}"
            )

    def tar(self, number: int) -> str:
        """Returns the name of a shard's tar."""
        return f"images-{self.hash}-{number:06d}.tar"

    def parquet(self, number: int) -> str:
        """Returns the name of a shard's Parquet file."""
        return f"images-{self.hash}-{number:06d}.parquet"

    @property
    def manifest(self) -> str:
        """Name of the manifest."""
        return f"images-{self.hash}-manifest.json"

    @property
    def shards(self) -> str:
        """Name of the table of shards."""
        return f"_meta/images-{self.hash}-shards.parquet"

    @property
    def failures(self) -> str:
        """Name of the table of failures."""
        return f"_meta/images-{self.hash}-failures.parquet"

    @property
    def run(self) -> str:
        """Name of the file of the run's own facts."""
        return f"_meta/images-{self.hash}-run.json"


def parse(name: str) -> ParsedName | None:
    """Returns what the file of that name is, or None if `ShardNames` makes no such name.

    Args:
        name: relative to the export's directory, with `/` between its parts.
    """
    if found := _SHARD_FILE.fullmatch(name):
        if found["number"] is None:
            return ParsedName(found["hash"], "manifest", None)
        return ParsedName(found["hash"], found["kind"], int(found["number"]))
    if found := _META_FILE.fullmatch(name):
        return ParsedName(found["hash"], found["table"] or "run", None)
    return None
