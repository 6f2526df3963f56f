"""Joins samples by id with rows of a table, ids to keep and ids to leave out.

All are dealt into buckets by a hash of the id, each small enough for one worker's memory however
large the whole is. In a bucket it is a plain look-up; what a bucket counts, adds up in any order.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import heapq
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from beam_export.errors import InputError
from beam_export.planning.blocks import PackedRef, unpack_ref, with_change
from beam_export.sources.entries import IMAGE_SUFFIXES
from beam_export.sources.tables.lookup import Row

__all__ = [
    "EXAMPLES",
    "Tally",
    "bucket_count",
    "bucket_of",
    "check_tally",
    "join_bucket",
]

#: Names that are shown of what matches nothing: the first in order.
EXAMPLES = 10
#: Samples, or rows, that a bucket holds about.
_BUCKET = 10_000


def bucket_count(counts: Iterable[int]) -> int:
    """Returns the number of buckets, so that the largest input has some 10,000 rows per bucket.

    >>> bucket_count([25_000, 3]), bucket_count([])
    (3, 1)
    """
    return max(1, -(-max(counts, default=0) // _BUCKET))


def bucket_of(ident: str, buckets: int) -> int:
    """Returns the bucket of an id or key; those that may match are in the same one.

    >>> bucket_of("cat.jpg", 1000) == bucket_of("cat", 1000)
    True
    """
    name = (_without_suffix(ident) or ident).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") % buckets


def _without_suffix(key: str) -> str | None:
    """Returns a key without its image suffix, None if it has none."""
    stem, dot, suffix = key.rpartition(".")
    return stem if dot and stem and suffix.lower() in IMAGE_SUFFIXES else None


class _Keys:
    """Keys, looked up by id: the same text first, else that text with an image suffix."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.all = frozenset(keys)
        self._with_suffix: dict[str, list[str]] = {}
        for key in self.all:
            stem = _without_suffix(key)
            if stem is not None:
                self._with_suffix.setdefault(stem, []).append(key)

    def of(self, ident: str) -> Sequence[str]:
        return [ident] if ident in self.all else self._with_suffix.get(ident, ())


@dataclasses.dataclass
class Tally:
    """Counts by name, and by name the first few of what was counted; joined in any order."""

    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    examples: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def add(self, name: str, count: int) -> None:
        """Adds to a count."""
        self.counts[name] = self.counts.get(name, 0) + count

    def note(self, name: str, found: Iterable[str]) -> None:
        """Adds to a count as many as there are, and keeps the first few in order."""
        found = list(found)
        self.add(name, len(found))
        # The smallest and not the first that came: the same in whatever order buckets are merged.
        kept = heapq.nsmallest(EXAMPLES, {*found, *self.examples.get(name, ())})
        if kept:
            self.examples[name] = kept

    def merge(self, other: Tally) -> None:
        """Adds all that `other` has, and leaves `other` as it is."""
        for name, count in other.counts.items():
            self.add(name, count)
        for name, found in other.examples.items():
            kept = heapq.nsmallest(EXAMPLES, {*found, *self.examples.get(name, ())})
            self.examples[name] = kept

    def __getitem__(self, name: str) -> int:
        return self.counts.get(name, 0)

    @property
    def dropped(self) -> int:
        """How many samples were left out."""
        return sum(self[name] for name in ("ids_dropped", "exclude_ids_dropped", "filter_dropped"))

    def shown(self, name: str) -> list[str]:
        """Returns the first few of what was counted."""
        return self.examples.get(name, [])


def join_bucket(
    refs: Iterable[PackedRef],
    *,
    rows: Iterable[Row] | None = None,
    ids: Iterable[Row] | None = None,
    exclude_ids: Iterable[Row] | None = None,
) -> tuple[list[PackedRef], Tally]:
    """Returns the samples of a bucket that are kept, with the columns of their rows, and counts.

    Args:
        refs: the bucket's samples.
        rows: the bucket's rows of the table; None if there is no table.
        ids: what is kept; None for all.
        exclude_ids: what is left out.
    """
    tally = Tally()
    refs = list(refs)
    tally.add("samples", len(refs))
    kept = refs
    if ids is not None:
        wanted = _matched(refs, ids, name="ids", tally=tally)
        kept = [ref for ref in kept if ref.id in wanted]
        tally.add("ids_dropped", len(refs) - len(kept))
    if exclude_ids is not None:
        # Against all samples and not those kept so far: an id that --ids has left out exists, and
        # is not to be counted as one that no sample has.
        unwanted = _matched(refs, exclude_ids, name="exclude_ids", tally=tally)
        before = len(kept)
        kept = [ref for ref in kept if ref.id not in unwanted]
        tally.add("exclude_ids_dropped", before - len(kept))
    if rows is not None:
        kept = _joined(refs, kept, rows=list(rows), tally=tally)
    return kept, tally


def _matched(
    refs: Iterable[PackedRef], given: Iterable[Row], name: str, tally: Tally
) -> frozenset[str]:
    """Returns the ids of samples that a list names; notes of the list what names none."""
    keys = _Keys(row.key for row in given)
    used: set[str] = set()
    matched: set[str] = set()
    for ref in refs:
        found = keys.of(ref.id)
        if found:
            used.update(found)
            matched.add(ref.id)
    tally.add(name, len(keys.all))
    tally.note(f"{name}_unmatched", keys.all - used)
    return frozenset(matched)


def _joined(
    refs: Sequence[PackedRef], kept: Sequence[PackedRef], rows: Sequence[Row], tally: Tally
) -> list[PackedRef]:
    by_key = {row.key: row for row in rows}
    _note_equal(rows, tally)
    keys = _Keys(by_key)
    used = {key for ref in refs for key in keys.of(ref.id)}
    tally.add("rows", len(rows))
    tally.note("rows_unmatched", keys.all - used)
    joined: list[PackedRef] = []
    alone: list[str] = []
    for ref in kept:
        found = keys.of(ref.id)
        # Not raised here: a bucket knows its own samples alone, `check_tally` those of all.
        if len(found) > 1:
            tally.note("ambiguous", [f"{' and '.join(map(repr, sorted(found)))} for {ref.id!r}"])
        if found:
            joined.append(_with_row(ref, by_key[min(found)], tally))
        else:
            alone.append(ref.id)
            joined.append(ref)
    tally.add("samples_matched", len(kept) - len(alone))
    tally.note("samples_unmatched", alone)
    return joined


def _note_equal(rows: Iterable[Row], tally: Tally) -> None:
    times = collections.Counter(row.key for row in rows)
    tally.note("equal_keys", (key for key, count in times.items() if count > 1))


def _with_row(packed: PackedRef, row: Row, tally: Tally) -> PackedRef:
    ref = unpack_ref(packed)
    values: dict[str, Any] = pickle.loads(row.values)
    if not values.keys().isdisjoint(ref.metadata):
        # Counted and refused by `check_tally`, so what is returned here goes nowhere.
        tally.note("shared", values.keys() & ref.metadata.keys())
        return packed
    more = ref._replace(metadata={**ref.metadata, **values}, typed=(*ref.typed, *row.typed))
    return with_change(packed, more)


def check_tally(tally: Tally, given: Mapping[str, str]) -> Tally:
    """Returns the tally of all buckets.

    Args:
        tally: of all buckets.
        given: `metadata`, `ids` and `exclude_ids` as they were given, those that were.

    Raises:
        InputError: if keys are equal, columns have one name, or nothing matches.
    """
    if "metadata" in given:
        # First, as `rows` counts rows and `rows_unmatched` keys: alike only if no keys are equal.
        _check_join(tally, given["metadata"])
    for flag, name in (("metadata", "rows"), ("ids", "ids"), ("exclude_ids", "exclude_ids")):
        if flag in given and tally[f"{name}_unmatched"] == tally[name]:
            examples = _quoted(tally.shown(f"{name}_unmatched")[:3]) or "nothing at all"
            others = _quoted(tally.shown("samples_unmatched")[:3])
            beside = f", and the samples' ids are like {others}" if others else ""
            raise InputError(
                f"--{flag}={given[flag]} matches no sample: it holds {examples}{beside}; give "
                f"{'another --metadata_key' if flag == 'metadata' else 'the ids of samples'}, or "
                f"leave --{flag} out."
            )
    return tally


def _check_join(tally: Tally, table: str) -> None:
    if tally["equal_keys"]:
        raise InputError(
            f"--metadata={table} has more than one row for {_some(tally, 'equal_keys')}: "
            "keep one row for each id."
        )
    if tally["ambiguous"]:
        raise InputError(
            f"--metadata={table} has more than one row that fits: {_some(tally, 'ambiguous', str)}"
            ": keep one row for each id."
        )
    if tally["shared"]:
        names = _quoted(tally.shown("shared"))
        raise InputError(
            f"--metadata={table} has columns that the samples have already, {names}: rename them "
            "in the table, or leave them out of it."
        )


def _some(tally: Tally, name: str, form: Callable[[str], str] = repr) -> str:
    shown = tally.shown(name)
    more = tally[name] - len(shown)
    return ", ".join(map(form, shown)) + (f" and {more} more" if more > 0 else "")


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
