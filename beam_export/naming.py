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
from collections.abc import Callable, Iterable
from typing import NamedTuple

__all__ = [
    "CARD_MARK",
    "EXT_PATTERN",
    "KEY_PATTERN",
    "LONGEST_EXT",
    "MAX_EXT",
    "MAX_KEY",
    "MAX_MEMBER_NAME",
    "TEMPORARY",
    "ParsedName",
    "ShardNames",
    "clean_ext",
    "find_equal_keys",
    "is_temporary",
    "key_of",
    "member_name",
    "other_hash",
    "parse",
    "says_whose",
    "sequential_key",
    "split_key",
]

#: Bytes of the name field of a ustar header.
MAX_MEMBER_NAME = 100

#: Longest extension that each key leaves room for: if its length depended on all extensions of the
#: sample, it would change as soon as the sample gets another field.
MAX_EXT = 16

#: Longest extension: with it, a key still has room for some text and its digest.
LONGEST_EXT = 64

#: Longest key: with a dot and the longest extension it fills a member's name.
MAX_KEY = MAX_MEMBER_NAME - 1 - MAX_EXT

#: Regular expressions of a key and of an extension, without the limits of length.
KEY_PATTERN = r"[A-Za-z0-9\-][A-Za-z0-9_\-]*(?:/[A-Za-z0-9\-][A-Za-z0-9_\-]*)*"
EXT_PATTERN = r"[a-z0-9_\-]+(?:\.[a-z0-9_\-]+)*"

_HASH_DIGITS = 16

# An id that ends like a derived key is not kept, so that no id can have the key of another.
_KEPT_ID = re.compile(
    rf"(?=.{{1,{MAX_KEY}}}\Z){KEY_PATTERN}(?<!-[0-9a-f]{{{_HASH_DIGITS}}})", re.ASCII
)
_FOREIGN = re.compile(r"[^A-Za-z0-9_\-/]+")
_EXT = re.compile(r"[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]+)*")

# What Hugging Face's `datasets` takes for the name of a split (`NamedSplit`), within ASCII.
_KEPT_SPLIT = re.compile(r"(?=.{1,64}\Z)[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*", re.ASCII)
_SPLIT_DIGITS = 8

_SHARD_HASH = re.compile(r"[0-9a-f]{12}")
_NAMED = re.compile(rb"images-([0-9a-f]{12})-")
_SHARD_FILE = re.compile(
    r"images-(?P<hash>[0-9a-f]{12})-"
    r"(?:(?P<number>[0-9]{6}|[1-9][0-9]{6,17})\.(?P<kind>tar\.idx|idx|tar|parquet)"
    r"|manifest\.json|(?P<wids>(?:[A-Za-z0-9_.]+-)?wids\.json))"
)
_META_FILE = re.compile(
    r"_meta/images-(?P<hash>[0-9a-f]{12})-"
    r"(?:(?P<table>shards|failures|indexes)\.parquet|run\.json)"
)
#: Temporary files of a run, in its directory below `_tmp` (`shards.workspace`).
TEMPORARY = re.compile(r"(?:note-|spill-)?[0-9a-f]{32}|claim-[0-9a-f]{64}|elsewhere|run", re.ASCII)
_TEMPORARY_FILE = re.compile(rf"_tmp/(?:beam_export|lock|[0-9a-f]{{32}}/(?:{TEMPORARY.pattern}))")
#: Files whose content says that this tool wrote what lies beside them, shards apart.
_SAYS_WHOSE = re.compile(
    r"_tmp/(?:beam_export|lock|[0-9a-f]{32}/(?:run|claim-[0-9a-f]{64}))"
    r"|_meta/(?:images-[0-9a-f]{12}-(?:(?:shards|failures|indexes)\.parquet|run\.json)|report\.html)"
)
#: What the dataset card of each export has, behind its header.
CARD_MARK = "<!-- made by beam_export -->"
#: The endings of a shard's indexes, by the loader that reads them.
_INDEXES = {"idx": "dali", "tar.idx": "energon"}


def key_of(id: str, longest: int = 0) -> str:
    """Returns the key of a sample, derived from its id, which may be any string.

    An id that is a valid key, and does not end like a derived one, is the key. Any other becomes
    readable text, `-` and 16 hex digits of the SHA-256 of the id. The Parquet holds the id itself.

    Args:
        id: of the sample.
        longest: length of the sample's longest extension; only one of more than `MAX_EXT`
            characters changes the key.

    >>> key_of("train/cats/000123"), key_of("a photo.v2")
    ('train/cats/000123', 'a_photo_v2-b82caa3ad0c0e209')
    """
    room = MAX_MEMBER_NAME - 1 - max(longest, MAX_EXT)
    if len(id) <= room and _KEPT_ID.fullmatch(id):
        return id
    digest = hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    text = _sanitised(id)[: room - 1 - _HASH_DIGITS].rstrip("/_")
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

    It may have inner dots but no leading one, and at most `LONGEST_EXT` characters.

    >>> clean_ext("T5-XL.npy"), clean_ext(".png"), clean_ext("a b")
    ('t5-xl.npy', None, None)
    """
    if len(text) > LONGEST_EXT or not _EXT.fullmatch(text):
        return None
    return text.lower()


def split_key(name: str) -> str:
    """Returns the name that files and loaders give a split, derived from its own, which may be any.

    Letters, digits, `_` and single dots between them stay; of other ASCII text the rest becomes
    `_`. Other letters, more than 64 characters and `all`, which Hugging Face keeps for all splits
    together, become readable text, `_` and 8 hex digits of the SHA-256 of the name.

    >>> split_key("train"), split_key("train-clean 100"), split_key("all")
    ('train', 'train_clean_100', 'all_5ef5ef03')
    """
    kept = _KEPT_SPLIT.fullmatch(name) is not None
    text = name if kept else re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")
    if text.lower() != "all" and (kept or (name.isascii() and 0 < len(text) <= 64)):
        return text
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_SPLIT_DIGITS]
    return "_".join(filter(None, (text[: 63 - _SPLIT_DIGITS], digest)))


def find_equal_keys(names: Iterable[str], key: Callable[[str], str]) -> tuple[str, str] | None:
    """Returns the first two different names that make one key; None if there are none.

    >>> find_equal_keys(["a b", "c", "a-b"], split_key)
    ('a b', 'a-b')
    """
    by_key: dict[str, str] = {}
    for name in names:
        other = by_key.setdefault(key(name), name)
        if other != name:
            return other, name
    return None


class ParsedName(NamedTuple):
    """The parts of a file name of an export.

    Attributes:
        hash: 12 hex digits.
        kind: `tar`, `parquet`, `manifest`, `shards`, `failures` or `run`; of indexes `dali` and
            `energon` (of a shard), `wids`, and `indexes` (the table of them).
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

    def dali_index(self, number: int) -> str:
        """Returns the name of a shard's index for DALI."""
        return f"images-{self.hash}-{number:06d}.idx"

    def energon_index(self, number: int) -> str:
        """Returns the name of a shard's index for Megatron Energon."""
        return f"{self.tar(number)}.idx"

    def wids_index(self, split: str = "") -> str:
        """Returns the name of the index for wids, of the dataset or of a split by its key.

        >>> ShardNames("0123456789ab").wids_index("train")
        'images-0123456789ab-train-wids.json'
        """
        return f"images-{self.hash}-{f'{split}-' if split else ''}wids.json"

    @property
    def indexes(self) -> str:
        """Name of the table of the shards' indexes."""
        return f"_meta/images-{self.hash}-indexes.parquet"

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
            return ParsedName(found["hash"], "wids" if found["wids"] else "manifest", None)
        kind = _INDEXES.get(found["kind"], found["kind"])
        return ParsedName(found["hash"], kind, int(found["number"]))
    if found := _META_FILE.fullmatch(name):
        return ParsedName(found["hash"], found["table"] or "run", None)
    return None


def other_hash(text: bytes, hash_: str) -> str:
    """Returns the hash of the first other export of which a text names files; "" if of none.

    >>> other_hash(b"- images-0123456789ab-000000.tar", "ba9876543210")
    '0123456789ab'

    Args:
        text: any.
        hash_: of the export that is not meant.
    """
    named = map(bytes.decode, _NAMED.findall(text))
    return next((one for one in named if one != hash_), "")


def is_temporary(name: str) -> bool:
    """Returns whether a file is named as the temporary ones of an export are.

    >>> is_temporary("_tmp/lock"), is_temporary("_tmp/" + 32 * "0" + "/run"), is_temporary("lock")
    (True, True, False)

    Args:
        name: relative to the export's directory.
    """
    return _TEMPORARY_FILE.fullmatch(name) is not None


def says_whose(name: str) -> bool:
    """Returns whether a file's content can show that an export is ours, shards apart.

    Args:
        name: relative to the export's directory.
    """
    return _SAYS_WHOSE.fullmatch(name) is not None
