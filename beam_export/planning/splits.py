"""Splits of samples (`--split`): which there are, which a sample is in, and the column `split`."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.types as pat

from beam_export.errors import InputError
from beam_export.metadata.arrow_types import is_text
from beam_export.metadata.features import features_of, with_features
from beam_export.metadata.filter import describe_columns
from beam_export.metadata.schema import output_name
from beam_export.metadata.split_rule import SplitRule, first_folder, refuse_equal_keys
from beam_export.planning.blocks import PackedRef, metadata_of, unpack_ref
from beam_export.shards.parquet import stored_values
from beam_export.text import printable, stored

__all__ = [
    "SPLIT",
    "SplitNames",
    "SplitOf",
    "Splits",
    "check_split_column",
    "names_of",
    "parts_by_split",
    "refuse_two_columns",
    "split_of",
    "split_starts",
    "with_split",
    "with_split_column",
]

#: The column that is made.
SPLIT = "split"
#: More are no splits: each is a shard at least, and stands in manifest and card.
_MOST = 1_000

#: Returns the number of a sample's split.
SplitOf = Callable[[PackedRef], int]


class Splits(NamedTuple):
    """The splits of an export: the rule, and their names in the order of their shards."""

    rule: SplitRule
    names: tuple[str, ...]

    def pack(self) -> bytes:
        """Returns them as one value, for a side input; see `split_of`."""
        return pickle.dumps(self, protocol=5)


@functools.lru_cache(maxsize=2)
def split_of(packed: bytes) -> SplitOf:
    """Returns the function that gives the number of a sample's split; kept like a plan."""
    splits: Splits = pickle.loads(packed)
    rule = splits.rule
    if rule.fractions:
        return lambda ref: rule.number_of(ref.id)
    numbers = {name: number for number, name in enumerate(splits.names)}
    return lambda ref: numbers[_name_of(rule, ref) or ""]


def names_of(packed: bytes | None) -> tuple[str, ...]:
    """Returns the names of packed `Splits`, in the order of their shards; none of None."""
    if packed is None:
        return ()
    splits: Splits = pickle.loads(packed)
    return splits.names


def _name_of(rule: SplitRule, ref: PackedRef) -> str | None:
    """Returns the split that a column or a folder names; None if neither does."""
    if rule.column is None:
        folder = first_folder(ref.id)
        return None if folder is None else stored(folder)
    (value,) = stored_values([metadata_of(ref)], rule.column)
    if not isinstance(value, str) or not value.strip():
        return None
    # As the Parquet has it.
    return stored(value)


class SplitNames:
    """The splits that a column or folders name; merged in any order."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._seen = False
        # Of the samples without one, the first by id, so that each run names the same.
        self._without: tuple[str, str] | None = None

    def add(self, refs: Iterable[PackedRef], rule: SplitRule) -> None:
        """Adds the splits of samples.

        Raises:
            InputError: if there are too many.
        """
        for ref in refs:
            self._seen = True
            name = _name_of(rule, ref)
            if name is None:
                self._lack((ref.id, unpack_ref(ref).path))
            else:
                self._names.add(name)
        self._check()

    def merge(self, other: SplitNames) -> None:
        """Adds all that `other` has."""
        self._names |= other._names
        self._seen = self._seen or other._seen
        if other._without is not None:
            self._lack(other._without)
        self._check()

    def _lack(self, sample: tuple[str, str]) -> None:
        self._without = min(sample, self._without or sample)

    def _check(self) -> None:
        if len(self._names) > _MOST:
            raise InputError(
                f"--split makes more than {_MOST:,} splits, {min(self._names)!r} say: give a "
                "column or folders that name a few, or fractions."
            )

    def finish(self, rule: SplitRule, columns: pa.Schema) -> Splits:
        """Returns the splits, sorted by their names.

        Args:
            rule: as it was added by.
            columns: metadata columns of the samples.

        Raises:
            InputError: if there is no such column of text, or a sample is in no split.
        """
        if self._seen and rule.column is not None:
            check_split_column(rule.column, {field.name: field.type for field in columns})
        if self._without is not None:
            raise InputError(_without(rule, *self._without))
        names = tuple(sorted(self._names))
        refuse_equal_keys(names)
        return Splits(rule, names)


def _without(rule: SplitRule, ident: str, path: str) -> str:
    sample = f"sample {ident!r} ({printable(path)})"
    if rule.column is None:
        return (
            f"--split=folder, and {sample} lies in no folder below the input: give the directory "
            "above, or fractions such as train=0.98,val=0.02."
        )
    return (
        f"--split={rule.column}, and {sample} has no text in that column: give it some, leave such "
        "samples out by --filter, or give fractions such as train=0.98,val=0.02."
    )


def check_split_column(column: str, types: Mapping[str, pa.DataType | None]) -> None:
    """Checks that there is a column, and that it is of text.

    Args:
        column: as `--split` names it.
        types: of all metadata columns by their stored names; None where one is not known yet.

    Raises:
        InputError: if not.
    """
    stored = column if column in types else output_name(column)
    if stored not in types:
        shown = describe_columns(types)
        there = f"the metadata columns are {shown}" if shown else "no metadata columns are there"
        raise InputError(
            f"--split={column}: there is no such column, {there}; give {'one, ' * bool(shown)}"
            "fractions such as train=0.98,val=0.02, or folder."
        )
    kind = types[stored]
    if kind is not None and pat.is_dictionary(kind):
        kind = kind.value_type
    # Of nulls alone: that a sample has none is said with its name.
    if kind is not None and not is_text(kind) and not pat.is_null(kind):
        way = f"give a column of text, or make text of it by --text_columns={column}"
        if column == "cls" and "label" in types:
            # The number of a class, which --labels may have made: no flag makes text of that.
            way = "give --split=label, the names of the classes"
        raise InputError(f"--split={column} is of type {kind}: {way}.")


def parts_by_split(ordered: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, list[Any]]]:
    """Yields (split, its samples in order) of samples whose last item is the number of their split.

    >>> list(parts_by_split([(b"a", 1), (b"b", 0), (b"c", 1)]))
    [(0, [(b'b',)]), (1, [(b'a',), (b'c',)])]
    """
    parts: dict[int, list[Any]] = {}
    for *sample, split in ordered:
        parts.setdefault(split, []).append(tuple(sample))
    yield from sorted(parts.items())


def split_starts(counts: Iterable[tuple[int, Mapping[int, int]]]) -> dict[int, dict[int, int]]:
    """Returns, by bucket and split, the rank within the split of its first sample there.

    >>> split_starts([(2, {0: 1, 1: 1}), (0, {0: 5})])
    {0: {0: 0}, 2: {0: 5, 1: 0}}

    Args:
        counts: (bucket, {split: samples of it}), in any order.
    """
    starts: dict[int, dict[int, int]] = {}
    reached: dict[int, int] = {}
    for bucket, held in sorted(counts):
        starts[bucket] = {split: reached.get(split, 0) for split in held}
        for split, count in held.items():
            reached[split] = reached.get(split, 0) + count
    return starts


def with_split(metadata: Mapping[str, Any], split: str) -> dict[str, Any]:
    """Returns a sample's metadata with its split, beside which an input's column has another name.

    >>> with_split({"split": "test", "n": 1}, "train")
    {'input_split': 'test', 'n': 1, 'split': 'train'}
    """
    return {**{_stored(name): value for name, value in metadata.items()}, SPLIT: split}


def _stored(name: str) -> str:
    return f"input_{SPLIT}" if name == SPLIT else name


def refuse_two_columns(names: Iterable[str]) -> None:
    """Raises InputError if two columns would have one name beside the one that is made."""
    if {SPLIT, _stored(SPLIT)} <= set(names):
        raise InputError(
            f"--split makes the column {SPLIT!r}, and the input has both {SPLIT!r} and "
            f"{_stored(SPLIT)!r}: leave one out by --drop_columns={_stored(SPLIT)}."
        )


def with_split_column(columns: pa.Schema, declared: bool) -> pa.Schema:
    """Returns the metadata columns with `split`, and an input's column of that name renamed.

    Args:
        columns: as they were found or declared.
        declared: whether a user has declared them, in an order that stays.

    Raises:
        InputError: if two columns would have one name.
    """
    refuse_two_columns(columns.names)
    fields = [field.with_name(_stored(field.name)) for field in columns]
    fields.append(pa.field(SPLIT, pa.string()))
    if not declared:
        fields.sort(key=lambda field: field.name)
    described = {_stored(name): said for name, said in features_of(columns).items()}
    # What else the schema says stays.
    return with_features(pa.schema(fields, columns.metadata), described)
