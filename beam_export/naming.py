"""Makes and parses names: of shard files, of samples in a tar (keys), and of tar members.

All readers of WebDataset split a member's name at the first dot after the last slash; some skip
names that begin with `.` or `_`, and some read no more than the 100 bytes of the first name field
of a tar header (POSIX.1-2017, pax, "ustar Interchange Format"). Keys are names that all of them
read alike.
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

#: Longest extension. Each key leaves room for it: if its length depended on the extensions of the
#: sample, it would change as soon as the sample gets another field.
MAX_EXT = 16

#: Longest key: with a dot and the longest extension it fills a member's name.
MAX_KEY = MAX_MEMBER_NAME - 1 - MAX_EXT

#: Regular expressions of a key and of an extension, without the limits of length.
KEY_PATTERN = r"[A-Za-z0-9\-][A-Za-z0-9_\-]*(?:/[A-Za-z0-9\-][A-Za-z0-9_\-]*)*"
EXT_PATTERN = r"[a-z0-9_]+(?:\.[a-z0-9_]+)*"

_HASH_DIGITS = 16

# An id that ends like a derived key is not kept, so that no id can have the key of another.
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
    """Returns the key of a sample, derived from its id alone, which may be any string.

    An id that is a valid key, and does not end like a derived one, is the key. Any other becomes
    readable text, `-` and 16 hex digits of the SHA-256 of the id. The Parquet holds the id itself.

    >>> key_of("train/cats/000123"), key_of("a photo.v2")
    ('train/cats/000123', 'a_photo_v2-b82caa3ad0c0e209')
    """
    if _KEPT_ID.fullmatch(id):
        return id
    digest = hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    text = _sanitised(id)[: MAX_KEY - 1 - _HASH_DIGITS].rstrip("/_")
    return f"{text}-{digest}"


def _sanitised(id: str) -> str:
    # Letters are not transliterated: Unicode's tables, and so the keys, would differ between
    # versions of Python.
    *folders, last = (part.strip("_") for part in _FOREIGN.sub("_", id).split("/"))
    return "/".join([*filter(None, folders), last or "sample"])


def sequential_key(rank: int) -> str:
    """Returns the key of the sample at a rank in the dataset: 9 digits, more from 10^9 on.

    Raises:
        ValueError: if the rank is negative.

    >>> sequential_key(0), sequential_key(10**9)
    ('000000000', '1000000000')
    """
    if rank < 0:
        raise ValueError(f"a rank counts from 0 and was given as {rank}")
    return f"{rank:09d}"


def member_name(key: str, ext: str) -> str:
    """Returns the name of a tar member; `ext` has no leading dot.

    >>> member_name("train/cats/000123", "seg.png")
    'train/cats/000123.seg.png'
    """
    return f"{key}.{ext}"


def clean_ext(text: str) -> str | None:
    """Returns an extension in lower case; None if no member can have it.

    It may have inner dots but no leading one, and at most `MAX_EXT` characters.

    >>> clean_ext("SEG.png"), clean_ext(".png"), clean_ext("a b")
    ('seg.png', None, None)
    """
    if len(text) > MAX_EXT or not _EXT.fullmatch(text):
        return None
    return text.lower()


class ParsedName(NamedTuple):
    """What the name of a file of an export says.

    Attributes:
        hash: 12 hex digits.
        kind: `tar`, `parquet`, `manifest`, `shards`, `failures` or `run`.
        number: of the shard; None for a file that is not of a shard.
    """

    hash: str
    kind: str
    number: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class ShardNames:
    """Names of the files of one export, relative to its directory (format.md, part 4).

    Attributes:
        hash: 12 hex digits: of the export's hash, or of the run's token if names are random.

    >>> ShardNames("0123456789ab").tar(7)
    'images-0123456789ab-000007.tar'
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
        """Name of the file with facts of the run, such as versions of software."""
        return f"_meta/images-{self.hash}-run.json"


def parse(name: str) -> ParsedName | None:
    """Returns what the name of a file says; None if it is no name of an export.

    Args:
        name: relative to the export's directory, with `/` between its parts.

    >>> parse("images-0123456789ab-000007.tar")
    ParsedName(hash='0123456789ab', kind='tar', number=7)
    """
    if found := _SHARD_FILE.fullmatch(name):
        if found["number"] is None:
            return ParsedName(found["hash"], "manifest", None)
        return ParsedName(found["hash"], found["kind"], int(found["number"]))
    if found := _META_FILE.fullmatch(name):
        return ParsedName(found["hash"], found["table"] or "run", None)
    return None
