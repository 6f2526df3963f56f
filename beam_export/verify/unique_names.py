"""Checks that ids and keys are unique in the dataset, and that every input sample is accounted for.

No worker holds all names: they are grouped into buckets by a hash, and each bucket is checked by
itself.
"""

from __future__ import annotations

import collections
import itertools
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from beam_export.errors import RunError
from beam_export.packing import pack
from beam_export.samples import SOURCE_CHANGED, Failure
from beam_export.text import printable
from beam_export.verify.against_input import PlacedKey, Rules, SampleDigests, differences
from beam_export.verify.dataset import Opened
from beam_export.verify.findings import Fault

__all__ = [
    "BucketFindings",
    "NameUse",
    "Unmatched",
    "UnmatchedCounts",
    "check_bucket",
    "count_unmatched",
    "failed_input",
    "listed_failures",
    "name_bucket",
    "original_id",
    "pack_unmatched",
    "pack_uses",
]

#: Names per bucket, about; some 100 bytes each, and 500 with `--against`.
_PER_BUCKET = 100_000
_REMEDY = "see which of the two is right, and export again if it is the input"
#: Names that are shown of all that have no counterpart.
_SHOWN = 5
_NUMBERED = re.compile(r"(.+)-[0-9]+", re.DOTALL)


class NameUse(NamedTuple):
    """One use of a name in the dataset or in its input.

    Attributes:
        kind: `id` of a row, `key` of a sample in a tar, `failed` for the id of a failure that a
            shard lists, `listed` for a row of the failures table, `input` for a sample of the
            input.
        name: the id or the key.
        file: where it is used; empty for the input.
        source_sha256: hex, of the source image; empty if it is not known.
        digests: of all else that a row and its sample must have alike; None if they are not known.
    """

    kind: str
    name: str
    file: str
    source_sha256: str = ""
    digests: SampleDigests | None = None


class Unmatched(NamedTuple):
    """An id without a counterpart: an input sample `missing` in the export, or `extra` in it."""

    kind: str
    name: str
    source_sha256: str
    file: str = ""
    digests: SampleDigests | None = None


class BucketFindings(NamedTuple):
    """The findings about the names of one bucket.

    Attributes:
        faults: what is wrong.
        unmatched: ids that lack a counterpart.
        keys: order keys of the input samples that have one, with the places of their rows.
    """

    faults: list[Fault]
    unmatched: list[Unmatched]
    keys: list[PlacedKey]


class UnmatchedCounts(NamedTuple):
    """Numbers of ids of one bucket that have no counterpart, and examples.

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


def name_bucket(name: str, name_count: int) -> int:
    """Returns the bucket of a name, for about 100,000 of `name_count` names per bucket.

    >>> name_bucket("cat", 99_999), name_bucket("cat", 1_000_000)
    (0, 3)
    """
    # Not `hash`, which differs from process to process.
    return zlib.crc32(name.encode("utf-8", "surrogatepass")) % (1 + name_count // _PER_BUCKET)


def pack_uses(uses: Iterable[NameUse], name_count: int) -> Iterator[tuple[int, bytes]]:
    """Yields (bucket, packed list of its uses).

    Args:
        uses: uses of names, in any order.
        name_count: about how many uses there are in the whole dataset and its input.
    """
    buckets: dict[int, list[NameUse]] = collections.defaultdict(list)
    for use in uses:
        buckets[name_bucket(use.name, name_count)].append(use)
    for bucket, items in buckets.items():
        yield bucket, pack(items)


def pack_unmatched(
    unmatched: Iterable[Unmatched], name_count: int, *, renamed: bool
) -> Iterator[tuple[int, bytes]]:
    """Yields (bucket, packed list of unmatched ids), by the ids that they may have been made of.

    Args:
        unmatched: ids without a counterpart in their own bucket.
        name_count: as of `pack_uses`.
        renamed: whether the export has renamed duplicate ids.
    """
    buckets: dict[int, list[Unmatched]] = collections.defaultdict(list)
    for one in unmatched:
        buckets[name_bucket(original_id(one, renamed), name_count)].append(one)
    for bucket, items in buckets.items():
        yield bucket, pack(items)


def listed_failures(opened: Opened) -> list[NameUse]:
    """Returns the names in the table of failures."""
    return [
        NameUse("listed", row["image_id"] or "", opened.names.failures) for row in opened.failures
    ]


def failed_input(failure: Failure) -> NameUse:
    """Returns the name of an input sample that cannot be read, whose bytes are unknown.

    Raises:
        RunError: if it is being changed, so that nothing can be said of it.
    """
    if failure.error == SOURCE_CHANGED:
        raise RunError(
            f"--against: {failure.original_path} has changed while it was read: wait until nobody "
            "writes to the input, and verify again."
        )
    return NameUse("input", failure.image_id, "")


def check_bucket(uses: Iterable[NameUse], rules: Rules | None) -> BucketFindings:
    """Returns the findings about the names of one bucket.

    Args:
        uses: all that fall into the bucket, in any order.
        rules: how rows are compared with the input, whose names are among the uses; None without
            `--against`.
    """
    by_name: dict[tuple[bool, str], list[NameUse]] = collections.defaultdict(list)
    for use in uses:
        # Apart: an id may well be the key of another sample under `--member_names=sequential`.
        by_name[use.kind == "key", use.name].append(use)
    found = BucketFindings([], [], [])
    for (is_key, name), group in by_name.items():
        found.faults.extend(_duplicates("key" if is_key else "id", name, group))
        if rules is not None and not is_key:
            _Matcher(rules, found).match(name, group)
    return found


def _duplicates(what: str, name: str, group: list[NameUse]) -> Iterator[Fault]:
    # Not `listed`: what a shard lists as failed stands in the table of failures too.
    files = sorted(use.file for use in group if use.kind in ("id", "key", "failed"))
    # Within one tar the walk over it has reported them already.
    for first, second in itertools.pairwise(files):
        where = f"in {first} too" if first != second else "twice in it"
        yield Fault(
            file=second,
            member=name,
            problem=f"its {what} stands {where}, and must be one in the whole dataset",
            remedy="export the input again into an empty directory; give --duplicates if ids "
            "are equal",
        )


class _Matcher:
    """Pairs samples of the input with what became of them."""

    def __init__(self, rules: Rules, found: BucketFindings) -> None:
        self._rules, self._found = rules, found

    def match(self, name: str, group: list[NameUse]) -> None:
        """Pairs all that have one id."""
        given: dict[str, list[NameUse | Unmatched]] = collections.defaultdict(list)
        for one in group:
            if one.kind == "input":
                given[one.source_sha256].append(one)
        failed = sum(one.kind == "listed" for one in group)
        others = []
        for row in sorted((one for one in group if one.kind == "id"), key=_place_of):
            if not self.pair(row, given[row.source_sha256], alone=not failed):
                others.append(row)
        for row in others:
            some = sorted(sha256 for sha256, uses in given.items() if uses)
            if not some:
                self._leave("extra", row)
                continue
            given[some[0]].pop()
            # An array has no bytes as it came, and what cannot be read now has none to compare.
            if row.source_sha256 and some[0]:
                self._found.faults.append(_changed(row))
        rest = [use for uses in given.values() for use in uses]
        if len(rest) == failed:
            return
        # A failure has no bytes to be matched by: `count_unmatched` matches others before it.
        for use in rest:
            self._leave("missing", use)
        for _ in range(failed):
            self._found.unmatched.append(Unmatched("extra", name, ""))

    def _leave(self, kind: str, one: NameUse | Unmatched) -> None:
        self._found.unmatched.append(
            Unmatched(
                kind=kind,
                name=one.name,
                source_sha256=one.source_sha256,
                file=one.file,
                digests=one.digests,
            )
        )

    def pair(
        self, row: NameUse | Unmatched, given: list[NameUse | Unmatched], *, alone: bool = True
    ) -> bool:
        """Removes the sample that a row was made of from those that have its bytes.

        Args:
            row: the row.
            given: samples of the input that it may have been made of.
            alone: whether it can be no other than those.

        Returns:
            Whether there was one.
        """
        if not given:
            return False
        given.sort(key=_order_of)
        problems = {at: list(self._problems(row, one)) for at, one in enumerate(given)}
        # Equal ids with equal bytes: the one with the fewest differences, so that none are made up.
        best = min(problems, key=lambda at: (len(problems[at]), at))
        if row.digests is not None:
            for problem, of_tar in problems[best]:
                file = _tar_of(row.file) if of_tar else row.file
                self._found.faults.append(
                    Fault(file=file, member=printable(row.name), problem=problem, remedy=_REMEDY)
                )
            digests = given[best].digests
            # Where it may be of several samples, its place proves nothing about the order.
            if digests is not None and digests.order and alone and len(given) == 1:
                placed = PlacedKey(row.digests.shard, row.digests.row, digests.order, row.name)
                self._found.keys.append(placed)
        del given[best]
        return True

    def _problems(
        self, row: NameUse | Unmatched, given: NameUse | Unmatched
    ) -> Iterator[tuple[str, bool]]:
        if row.digests is not None and given.digests is not None:
            yield from differences(row.digests, given.digests, self._rules)


def _place_of(row: NameUse | Unmatched) -> tuple[int, int]:
    return (row.digests.shard, row.digests.row) if row.digests is not None else (0, 0)


def _order_of(given: NameUse | Unmatched) -> str:
    return given.digests.order if given.digests is not None else ""


def _tar_of(parquet: str) -> str:
    return f"{parquet.removesuffix('.parquet')}.tar"


def _changed(row: NameUse) -> Fault:
    return Fault(
        file=row.file,
        member=row.name,
        problem="the input's image is not the one that was exported (source_sha256)",
        remedy=_REMEDY,
    )


def count_unmatched(
    unmatched: Iterable[Unmatched], renamed: bool, rules: Rules
) -> tuple[UnmatchedCounts, BucketFindings]:
    """Counts what has no counterpart, once renamed ids are paired with what they were.

    Args:
        unmatched: what `pack_unmatched` has brought together.
        renamed: whether the export has renamed duplicate ids.
        rules: as of `check_bucket`.

    Returns:
        The counts, and the findings about those that were paired.
    """
    missing: dict[str, dict[str, list[NameUse | Unmatched]]] = {}
    extra: list[Unmatched] = []
    for one in unmatched:
        if one.kind == "missing":
            missing.setdefault(one.name, {}).setdefault(one.source_sha256, []).append(one)
        else:
            extra.append(one)
    found = BucketFindings([], [], [])
    matcher = _Matcher(rules, found)
    unpaired = []
    # Rows whose source bytes are known are matched first.
    for one in sorted(extra, key=lambda one: (not one.source_sha256, _place_of(one), one.name)):
        was = missing.get(original_id(one, renamed), {})
        sha256 = one.source_sha256 or min((key for key in was if was[key]), default="")
        if not matcher.pair(one, was.get(sha256, [])):
            unpaired.append(one.name)
    rest = [one for was in missing.values() for uses in was.values() for one in uses]
    names = sorted(one.name for one in rest)
    first = min((key for key in map(_order_of, rest) if key), default="")
    return UnmatchedCounts(
        missing=len(names),
        extra=len(unpaired),
        some_missing=tuple(names[:_SHOWN]),
        some_extra=tuple(unpaired[:_SHOWN]),
        first_missing=first,
    ), found


def original_id(one: Unmatched, renamed: bool) -> str:
    """Returns the id that an id may have been made of by `--duplicates=rename`.

    >>> original_id(Unmatched("extra", "cat-1", ""), renamed=True)
    'cat'
    """
    found = _NUMBERED.fullmatch(one.name) if renamed and one.kind == "extra" else None
    return found[1] if found else one.name
