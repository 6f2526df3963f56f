"""Checks that ids and keys are unique in the dataset, and that every input sample is accounted for.

No worker holds all names: they are grouped into buckets by a hash, and each bucket is checked by
itself.
"""

from __future__ import annotations

import collections
import itertools
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from beam_export.text import printable
from beam_export.verify.against_input import Proof, Rank, Rules, differences
from beam_export.verify.findings import Fault

__all__ = [
    "Claim",
    "Left",
    "Settled",
    "Tally",
    "base_of",
    "bucket_of",
    "pack",
    "settle",
    "tally",
    "unpack",
]

#: Names a bucket, about; some 100 bytes each, and 500 where there is an input.
_PER_BUCKET = 100_000
_OTHERWISE = "see which of the two is right, and export again if it is the input"
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
        proof: what else the two of them must have alike; None if it is not known.
    """

    kind: str
    name: str
    file: str
    source_sha256: str = ""
    proof: Proof | None = None


class Left(NamedTuple):
    """An id that has no counterpart: `missing` in the export, or `extra` in it."""

    kind: str
    name: str
    source_sha256: str
    file: str = ""
    proof: Proof | None = None


class Settled(NamedTuple):
    """What was found of one bucket.

    Attributes:
        faults: what is wrong.
        left: ids that lack a counterpart.
        ranks: where those that have one stand.
    """

    faults: list[Fault]
    left: list[Left]
    ranks: list[Rank]


class Tally(NamedTuple):
    """How many ids of one bucket have no counterpart, and a few of them.

    Attributes:
        missing, extra: how many.
        some_missing, some_extra: a few.
        first_missing: the smallest order key of those that are missing; empty if none is known.
    """

    missing: int = 0
    extra: int = 0
    some_missing: tuple[str, ...] = ()
    some_extra: tuple[str, ...] = ()
    first_missing: str = ""


def bucket_of(name: str, names: int) -> int:
    """Returns the bucket of a name, given how many names there are in all, about."""
    return zlib.crc32(name.encode("utf-8", "surrogatepass")) % (1 + names // _PER_BUCKET)


def pack(items: Iterable[Claim] | Iterable[Left]) -> bytes:
    """Returns claims, or ids that were left, as bytes."""
    return zlib.compress(json.dumps(list(items)).encode(), 1)


def unpack(packed: bytes) -> Iterator[list[Any]]:
    """Yields the fields of each claim, or of each id that was left, that was packed."""
    for *fields, proof in json.loads(zlib.decompress(packed)):
        yield [*fields, None if proof is None else Proof(*proof)]


def settle(claims: Iterable[Claim], rules: Rules | None) -> Settled:
    """Returns what is to be said of the names of one bucket.

    Args:
        claims: all that fall into the bucket, in any order.
        rules: how what is in the export is held against the input, whose claims are among them;
            None if there is no input.
    """
    by_name: dict[tuple[bool, str], list[Claim]] = collections.defaultdict(list)
    for claim in claims:
        by_name[claim.kind == "key", claim.name].append(claim)
    found = Settled([], [], [])
    for (is_key, name), group in by_name.items():
        found.faults.extend(_doubles("key" if is_key else "id", name, group))
        if rules is not None and not is_key:
            _Match(rules, found).match(name, group)
    return found


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


class _Match:
    """Pairs samples of the input with what became of them."""

    def __init__(self, rules: Rules, found: Settled) -> None:
        self._rules, self._found = rules, found

    def match(self, name: str, group: list[Claim]) -> None:
        """Pairs all that have one id."""
        given: dict[str, list[Claim | Left]] = collections.defaultdict(list)
        for one in group:
            if one.kind == "input":
                given[one.source_sha256].append(one)
        failed = sum(one.kind == "listed" for one in group)
        others = []
        for row in sorted((one for one in group if one.kind == "id"), key=_place):
            if not self.pair(row, given[row.source_sha256], alone=not failed):
                others.append(row)
        for row in others:
            some = sorted(sha256 for sha256, claims in given.items() if claims)
            if not some:
                self._leave("extra", row)
                continue
            given[some[0]].pop()
            # An array has no bytes as it came, and what cannot be read now has none to compare.
            if row.source_sha256 and some[0]:
                self._found.faults.append(_changed(row))
        rest = [claim for claims in given.values() for claim in claims]
        if len(rest) == failed:
            return
        # What failed has no bytes to tell it by: `tally` gives others the choice before it.
        for claim in rest:
            self._leave("missing", claim)
        for _ in range(failed):
            self._found.left.append(Left("extra", name, ""))

    def _leave(self, kind: str, one: Claim | Left) -> None:
        self._found.left.append(Left(kind, one.name, one.source_sha256, one.file, one.proof))

    def pair(self, row: Claim | Left, given: list[Claim | Left], *, alone: bool = True) -> bool:
        """Takes the sample that a row was made of out of those that have its bytes.

        Args:
            row: the row.
            given: samples of the input that it may have been made of.
            alone: whether it can be no other than those.

        Returns:
            Whether there was one.
        """
        if not given:
            return False
        given.sort(key=_key)
        problems = {at: list(self._problems(row, one)) for at, one in enumerate(given)}
        best = min(problems, key=lambda at: (len(problems[at]), at))
        if row.proof is not None:
            for problem, of_tar in problems[best]:
                file = _tar_of(row.file) if of_tar else row.file
                self._found.faults.append(Fault(file, printable(row.name), problem, _OTHERWISE))
            proof = given[best].proof
            if proof is not None and proof.order and alone and len(given) == 1:
                rank = Rank(row.proof.shard, row.proof.row, proof.order, row.name)
                self._found.ranks.append(rank)
        del given[best]
        return True

    def _problems(self, row: Claim | Left, given: Claim | Left) -> Iterator[tuple[str, bool]]:
        if row.proof is not None and given.proof is not None:
            yield from differences(row.proof, given.proof, self._rules)


def _place(row: Claim | Left) -> tuple[int, int]:
    return (row.proof.shard, row.proof.row) if row.proof is not None else (0, 0)


def _key(given: Claim | Left) -> str:
    return given.proof.order if given.proof is not None else ""


def _tar_of(parquet: str) -> str:
    return f"{parquet.removesuffix('.parquet')}.tar"


def _changed(row: Claim) -> Fault:
    return Fault(
        row.file,
        row.name,
        "the input's image is not the one that was exported (source_sha256)",
        _OTHERWISE,
    )


def tally(left: Iterable[Left], renamed: bool, rules: Rules) -> tuple[Tally, Settled]:
    """Counts what has no counterpart, once renamed ids are paired with what they were.

    Args:
        left: what was left of the buckets; `base_of` has brought together what belongs together.
        renamed: whether the export has renamed equal ids.
        rules: as of `settle`.

    Returns:
        The counts; and what is to be said of those that were paired.
    """
    missing: dict[str, dict[str, list[Claim | Left]]] = {}
    extra: list[Left] = []
    for one in left:
        if one.kind == "missing":
            missing.setdefault(one.name, {}).setdefault(one.source_sha256, []).append(one)
        else:
            extra.append(one)
    found = Settled([], [], [])
    matching = _Match(rules, found)
    unpaired = []
    # Those that say which bytes they are choose first.
    for one in sorted(extra, key=lambda one: (not one.source_sha256, _place(one), one.name)):
        was = missing.get(base_of(one, renamed), {})
        sha256 = one.source_sha256 or min((key for key in was if was[key]), default="")
        if not matching.pair(one, was.get(sha256, [])):
            unpaired.append(one.name)
    rest = [one for was in missing.values() for claims in was.values() for one in claims]
    names = sorted(one.name for one in rest)
    first = min((key for key in map(_key, rest) if key), default="")
    return Tally(
        len(names), len(unpaired), tuple(names[:_FEW]), tuple(unpaired[:_FEW]), first
    ), found


def base_of(one: Left, renamed: bool) -> str:
    """Returns the id that an id may have been made of: `cat` for an extra `cat-1`."""
    found = _NUMBERED.fullmatch(one.name) if renamed and one.kind == "extra" else None
    return found[1] if found else one.name
