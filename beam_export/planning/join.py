"""Joins samples by id with rows of a table, ids to keep and ids to leave out.

All are dealt into buckets by a hash of the id, each small enough for one worker's memory however
large the whole is. In a bucket it is a plain look-up; what a bucket counts, adds up in any order.
"""

from __future__ import annotations

import collections
import dataclasses
import heapq
import pickle
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from beam_export.errors import InputError
from beam_export.planning.blocks import PackedRef, unpack_ref, with_change
from beam_export.planning.join_keys import Keys, Named
from beam_export.sources.patterns import names_in
from beam_export.sources.tables.lookup import LookupRow

__all__ = [
    "ELSEWHERE",
    "EXAMPLES",
    "JOINED",
    "NO_UTF8",
    "Tally",
    "check_tally",
    "columns_counted",
    "columns_named",
    "join_bucket",
    "of_table",
]

#: Names that are shown of what matches nothing: the first in order.
EXAMPLES = 10
#: Columns of the samples that have a row of a table, and of those that have none.
JOINED, ELSEWHERE = "columns joined", "columns elsewhere"
#: Said of ids with U+FFFD in them, which match nothing.
NO_UTF8 = "it is not UTF-8: save it so, or say how it is encoded by --table_encoding"
_NONE_RENAMED: Mapping[bytes, str] = types.MappingProxyType({})


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
        self.show(name, found)

    def show(self, name: str, found: Iterable[str]) -> None:
        """Keeps the first few examples in order, and counts nothing."""
        # The smallest and not the first that came: the same in whatever order buckets are merged.
        kept = heapq.nsmallest(EXAMPLES, {*found, *self.examples.get(name, ())})
        if kept:
            self.examples[name] = kept

    def merge(self, other: Tally) -> None:
        """Adds all that `other` has, and leaves `other` as it is."""
        for name, count in other.counts.items():
            self.add(name, count)
        for name, found in other.examples.items():
            self.show(name, found)

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
    tables: Sequence[Iterable[LookupRow]] = (),
    ids: Iterable[LookupRow] | None = None,
    exclude_ids: Iterable[LookupRow] | None = None,
    renamed: Mapping[bytes, str] = _NONE_RENAMED,
) -> tuple[list[PackedRef], Tally]:
    """Returns the samples of a bucket that are kept, with the columns of their rows, and counts.

    Args:
        refs: the bucket's samples.
        tables: the bucket's rows of each table, which are joined in turn.
        ids: what is kept; None for all.
        exclude_ids: what is left out.
        renamed: by order key, the names that `--duplicates=rename` gives; they match before ids.
    """
    tally = Tally()
    samples = [Named(ref, (*filter(None, [renamed.get(ref.order)]), ref.id)) for ref in refs]
    tally.add("samples", len(samples))
    kept = samples
    if ids is not None:
        wanted = _matched(samples, ids, name="ids", tally=tally)
        kept = [one for one in kept if one.ref.order in wanted]
        tally.add("ids_dropped", len(samples) - len(kept))
    if exclude_ids is not None:
        # Against all samples and not those kept so far: an id that --ids has left out exists, and
        # is not to be counted as one that no sample has.
        unwanted = _matched(samples, exclude_ids, name="exclude_ids", tally=tally)
        before = len(kept)
        kept = [one for one in kept if one.ref.order not in unwanted]
        tally.add("exclude_ids_dropped", before - len(kept))
    for number, rows in enumerate(tables):
        kept = _joined(samples, kept, rows=list(rows), counts=_Counts(tally, number))
    return [one.ref for one in kept], tally


class _Counts(NamedTuple):
    """Where what is counted of one table goes."""

    tally: Tally
    number: int

    def add(self, name: str, count: int) -> None:
        self.tally.add(of_table(name, self.number), count)

    def note(self, name: str, found: Iterable[str]) -> None:
        self.tally.note(of_table(name, self.number), found)

    def add_columns(self, name: str, columns: Iterable[str]) -> None:
        for column in columns:
            self.tally.add(column_of(column, name, self.number), 1)


def of_table(name: str, number: int) -> str:
    """Returns the name of a count of one of the tables, by its number from 0.

    >>> of_table("rows", 0), of_table("rows", 1)
    ('rows', 'rows of table 2')
    """
    return f"{name} of table {number + 1}" if number else name


def columns_counted(tally: Tally, name: str, number: int) -> set[str]:
    """Returns the columns of which `column_of` gives a count that is there."""
    begin = column_of("", name, number)
    return {one.removeprefix(begin) for one in tally.counts if one.startswith(begin)}


def column_of(column: str, name: str, number: int) -> str:
    """Returns the name of a count of one column, where one of the tables is joined.

    Args:
        column: whose samples are counted.
        name: `JOINED` of those that have it from the table, `ELSEWHERE` of those without a row.
        number: of the table, from 0.
    """
    return f"{of_table(name, number)}: {column}"


def columns_named(given: str) -> str:
    """Returns the name of the count of parts of the input with columns of a name that was given."""
    return f"parts with columns {given}"


def _matched(
    samples: Sequence[Named], given: Iterable[LookupRow], name: str, tally: Tally
) -> frozenset[bytes]:
    """Returns the order keys of samples that a list names; notes of the list what names none."""

    keys = Keys((row.key for row in given), samples)
    used: set[str] = set()
    matched: set[bytes] = set()
    for one in samples:
        # All of its names: the id before renaming names every sample that had it.
        if found := keys.of_all_names(one):
            used.update(found)
            matched.add(one.ref.order)
    tally.add(name, len(keys.all))
    tally.note(f"{name}_unmatched", keys.all - used)
    return frozenset(matched)


def _joined(
    samples: Sequence[Named], kept: Sequence[Named], rows: Sequence[LookupRow], counts: _Counts
) -> list[Named]:
    by_key = {row.key: row for row in rows}
    _note_equal(rows, counts)
    keys = Keys(by_key, samples)
    used = {key for one in samples for key in keys.of(one)}
    counts.add("rows", len(rows))
    counts.note("rows_unmatched", keys.all - used)
    joined: list[Named] = []
    alone: list[str] = []
    columns: set[str] = set()
    elsewhere: set[str] = set()
    for one in kept:
        found = keys.of(one)
        # Not raised here: a bucket knows its own samples alone, `check_tally` those of all.
        if len(found) > 1:
            names = " and ".join(map(repr, sorted(found)))
            counts.note("ambiguous", [f"{names} for {one.names[-1]!r}"])
        if found:
            row = by_key[min(found)]
            joined.append(one._replace(ref=_with_row(one.ref, row, counts, columns=columns)))
        else:
            alone.append(one.names[0])
            elsewhere.update(unpack_ref(one.ref).metadata)
            joined.append(one)
    counts.add_columns(JOINED, columns)
    counts.add_columns(ELSEWHERE, elsewhere)
    counts.add("samples_matched", len(kept) - len(alone))
    counts.note("samples_unmatched", alone)
    return joined


def _note_equal(rows: Iterable[LookupRow], counts: _Counts) -> None:
    times = collections.Counter(row.key for row in rows)
    counts.note("equal_keys", (key for key, count in times.items() if count > 1))


def _with_row(
    packed: PackedRef, row: LookupRow, counts: _Counts, *, columns: set[str]
) -> PackedRef:
    ref = unpack_ref(packed)
    values: dict[str, Any] = pickle.loads(row.values)
    if not values.keys().isdisjoint(ref.metadata):
        # Counted and refused by `check_tally`, so what is returned here goes nowhere.
        counts.note("shared", values.keys() & ref.metadata.keys())
        return packed
    columns.update(values)
    more = ref._replace(metadata={**ref.metadata, **values}, typed=(*ref.typed, *row.typed))
    if row.table and values:
        more = more._replace(joined=(*ref.joined, (row.table, tuple(values))))
    return with_change(packed, more)


def check_tally(tally: Tally, given: Mapping[str, str]) -> Tally:
    """Returns the tally of all buckets.

    Args:
        tally: of all buckets.
        given: `metadata`, `ids` and `exclude_ids` as they were given, those that were.

    Raises:
        InputError: if keys are equal, columns have one name, or nothing matches.
    """
    for number, table in enumerate(names_in(given.get("metadata", ""))):
        # First, as `rows` counts rows and `rows_unmatched` keys: alike only if no keys are equal.
        _check_join(tally, table, number)
        _check_match(tally, "metadata", given=table, name=of_table("rows", number))
    for flag in ("ids", "exclude_ids"):
        if flag in given:
            _check_match(tally, flag, given=given[flag], name=flag)
    return tally


def _check_match(tally: Tally, flag: str, given: str, name: str) -> None:
    unmatched = (
        name.replace("rows", "rows_unmatched") if flag == "metadata" else f"{name}_unmatched"
    )
    if tally[unmatched] != tally[name]:
        return
    alone = name.replace("rows", "samples_unmatched") if flag == "metadata" else ""
    examples = _quoted(tally.shown(unmatched)[:3]) or "nothing at all"
    others = _quoted(tally.shown(alone)[:3])
    beside = f", and the samples' ids are like {others}" if others else ""
    raise InputError(
        f"--{flag}={given} matches no sample: it holds {examples}{beside}; "
        f"{_undecoded(tally, name)}give "
        f"{'another --metadata_key' if flag == 'metadata' else 'the ids of samples'}, or "
        f"leave --{flag} out."
    )


def _undecoded(tally: Tally, name: str) -> str:
    """Returns what to do if ids that match nothing are not UTF-8."""
    if not any("\ufffd" in one for one in tally.shown(f"{name}_unmatched")):
        return ""
    return f"{NO_UTF8}; or else "


def _check_join(tally: Tally, table: str, number: int) -> None:
    equal, ambiguous, shared = (of_table(n, number) for n in ("equal_keys", "ambiguous", "shared"))
    if tally[equal]:
        raise InputError(
            f"--metadata={table} has more than one row for {_some(tally, equal)}: "
            "keep one row for each id."
        )
    if tally[ambiguous]:
        raise InputError(
            f"--metadata={table} has more than one row that fits: {_some(tally, ambiguous, str)}"
            ": keep one row for each id."
        )
    if tally[shared]:
        names = _quoted(tally.shown(shared))
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
