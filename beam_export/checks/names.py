"""Names that must be unique over the whole dataset, and inputs that must be accounted for.

No worker holds all names: they are packed by the bucket that they fall into, and each bucket is
settled by itself.
"""

from __future__ import annotations

import collections
import itertools
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from beam_export.checks.faults import Fault

__all__ = ["Claim", "Left", "Tally", "base_of", "bucket_of", "pack", "settle", "tally", "unpack"]

#: Names a bucket, about; some 100 bytes each.
_PER_BUCKET = 200_000
_FEW = 5
_NUMBERED = re.compile(r"(.+)-[0-9]+", re.DOTALL)


class Claim(NamedTuple):
    """A name, and who bears it.

    Attributes:
        kind: `id` of a row, `key` of a sample in a tar, `failed` for the id of a failure that a
            shard lists, `listed` for a row of the failures table, `input` for a sample of the
            input.
        name: the id or the key.
        file: where it stands.
        source_sha256: of the image as it came; empty if that is not known.
    """

    kind: str
    name: str
    file: str
    source_sha256: str = ""


class Left(NamedTuple):
    """An id that has no counterpart: `missing` in the export, or `extra` in it."""

    kind: str
    name: str
    source_sha256: str


class Tally(NamedTuple):
    """How many ids of one bucket have no counterpart, and a few of them."""

    missing: int = 0
    extra: int = 0
    some_missing: tuple[str, ...] = ()
    some_extra: tuple[str, ...] = ()


def bucket_of(name: str, names: int) -> int:
    """Returns the bucket of a name, given how many names there are in all, about."""
    return zlib.crc32(name.encode("utf-8", "surrogatepass")) % (1 + names // _PER_BUCKET)


def pack(items: Iterable[Claim] | Iterable[Left]) -> bytes:
    """Returns claims, or ids that were left, as bytes."""
    return zlib.compress(json.dumps(list(items)).encode(), 1)


def unpack(packed: bytes) -> list[list[str]]:
    """Returns what was packed."""
    items: list[list[str]] = json.loads(zlib.decompress(packed))
    return items


def settle(claims: Iterable[Claim], against: bool) -> tuple[list[Fault], list[Left]]:
    """Returns the faults of one bucket, and the ids in it that lack a counterpart.

    Args:
        claims: all that fall into the bucket, in any order.
        against: whether the claims of the input are among them.
    """
    by_name: dict[tuple[bool, str], list[Claim]] = collections.defaultdict(list)
    for claim in claims:
        by_name[claim.kind == "key", claim.name].append(claim)
    faults: list[Fault] = []
    left: list[Left] = []
    for (is_key, name), group in by_name.items():
        faults.extend(_doubles("key" if is_key else "id", name, group))
        if against and not is_key:
            wrong, unmatched = _match(name, group)
            faults.extend(wrong)
            left.extend(unmatched)
    return faults, left


def _doubles(what: str, name: str, group: list[Claim]) -> Iterator[Fault]:
    files = sorted(claim.file for claim in group if claim.kind in ("id", "key", "failed"))
    # Within one tar the walk over it has told of it already.
    for first, second in itertools.pairwise(files):
        where = f"in {first} too" if first != second else "twice in it"
        yield Fault(
            second,
            name,
            f"its {what} stands {where}, and must be one in the whole dataset",
            "export the input again into an empty directory; give --duplicates if ids are equal",
        )


def _match(name: str, group: list[Claim]) -> tuple[list[Fault], list[Left]]:
    """Pairs the samples of the input that have one id with what became of them."""
    given = collections.Counter(one.source_sha256 for one in group if one.kind == "input")
    rows = [one for one in group if one.kind == "id"]
    failed = sum(one.kind == "listed" for one in group)
    faults: list[Fault] = []
    extra: list[Left] = []
    others = []
    for row in rows:
        if given[row.source_sha256] > 0:
            given[row.source_sha256] -= 1
        else:
            others.append(row)
    for row in others:
        given = +given
        if not given:
            extra.append(Left("extra", name, row.source_sha256))
            continue
        match = min(given)
        given[match] -= 1
        # An array has no bytes as it came, and what cannot be read now has none to compare.
        if row.source_sha256 and match:
            faults.append(_changed(row))
    # What failed has no bytes to tell it by; a failure too many is of a renamed id.
    rest = sorted((+given).elements())
    left = [Left("missing", name, sha256) for sha256 in rest[failed:]]
    extra.extend([Left("extra", name, "")] * max(0, failed - len(rest)))
    return faults, left + extra


def _changed(row: Claim) -> Fault:
    return Fault(
        row.file,
        row.name,
        "the input's image is not the one that was exported (source_sha256)",
        "see which of the two is right, and export again if it is the input",
    )


def tally(left: Iterable[Left], renamed: bool) -> Tally:
    """Counts what has no counterpart, once renamed ids are paired with what they were.

    Args:
        left: what was left of the buckets; `base_of` has brought together what belongs together.
        renamed: whether the export has renamed equal ids.
    """
    missing: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    extra: list[Left] = []
    for one in left:
        if one.kind == "missing":
            missing[one.name][one.source_sha256] += 1
        else:
            extra.append(one)
    unpaired = []
    # Those that say which bytes they are choose first.
    for one in sorted(extra, key=lambda one: (not one.source_sha256, one)):
        was = missing[base_of(one, renamed)] if renamed else collections.Counter()
        sha256 = one.source_sha256 or min(+was, default="")
        if was[sha256] > 0:
            was[sha256] -= 1
        else:
            unpaired.append(one.name)
    names = sorted(name for name, was in missing.items() for _ in (+was).elements())
    return Tally(len(names), len(unpaired), tuple(names[:_FEW]), tuple(unpaired[:_FEW]))


def base_of(one: Left, renamed: bool) -> str:
    """Returns the id that an id may have been made of: `cat` for an extra `cat-1`."""
    found = _NUMBERED.fullmatch(one.name) if renamed and one.kind == "extra" else None
    return found[1] if found else one.name
