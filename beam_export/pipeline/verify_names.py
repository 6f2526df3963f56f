"""Checks names bucket by bucket: unique in the dataset, and matched with the input's samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput

from beam_export.naming import ShardNames
from beam_export.packing import unpack
from beam_export.verify.against_input import KeySpan, Rules, check_order_in_shard, pack_placed_keys
from beam_export.verify.findings import Fault
from beam_export.verify.unique_names import (
    UnmatchedCounts,
    check_bucket,
    count_unmatched,
    pack_unmatched,
)

__all__ = ["CheckNames", "CheckedNames"]


class CheckedNames(NamedTuple):
    """The outputs of `CheckNames`; the last two are empty without `--against`.

    Attributes:
        faults: duplicate names, and rows that are not what their input sample makes of them.
        unmatched: how many ids have no counterpart, per bucket.
        spans: smallest and largest order key, per shard.
    """

    faults: PCollection[Fault]
    unmatched: PCollection[UnmatchedCounts]
    spans: PCollection[KeySpan]


@dataclasses.dataclass
class CheckNames(beam.PTransform):
    """Finds duplicate names, and ids without a counterpart in the input, bucket by bucket.

    Attributes:
        rules: how rows are compared with the input; None without `--against`.
        files: names of the export's files; None without `--against`.
        renamed: whether the export has renamed duplicate ids.
        name_count: about how many names there are.
    """

    rules: Rules | None
    files: ShardNames | None
    renamed: bool
    name_count: int

    def expand(self, uses: PCollection[tuple[int, bytes]]) -> CheckedNames:
        matched = (
            uses  # (bucket, packed NameUses)
            | "NamesByBucket" >> beam.GroupByKey()  # (bucket, [packed NameUses, ...])
            | "CheckBucket"
            >> beam.ParDo(_CheckBucket(self.rules, self.renamed, self.name_count)).with_outputs(
                "unmatched",  # (bucket, packed Unmatched)
                "keys",  # (shard, packed PlacedKeys)
                main="faults",  # Fault
            )
        )
        if self.rules is None:
            nothing = uses.pipeline | "NoInput" >> beam.Create([], reshuffle=False)
            return CheckedNames(matched.faults, nothing, nothing)
        counted = (
            matched.unmatched
            | "UnmatchedByBucket" >> beam.GroupByKey()  # (bucket, [packed Unmatched, ...])
            | "CountBucket"
            >> beam.FlatMap(_count_bucket, self.renamed, self.rules).with_outputs(
                "faults",  # Fault
                "keys",  # (shard, packed PlacedKeys)
                main="counts",  # UnmatchedCounts
            )
        )
        ordered = (
            (matched.keys, counted.keys)
            | "Keys" >> beam.Flatten()
            | "KeysByShard" >> beam.GroupByKey()  # (shard, [packed PlacedKeys, ...])
            | "CheckOrder"
            >> beam.FlatMap(_check_order, self.files).with_outputs(
                "faults",  # Fault
                main="spans",  # KeySpan
            )
        )
        faults = (matched.faults, counted.faults, ordered.faults) | "Faults" >> beam.Flatten()
        return CheckedNames(faults, counted.counts, ordered.spans)


class _CheckBucket(beam.DoFn):
    """Yields the faults of one bucket; unmatched ids and order keys go by themselves."""

    def __init__(self, rules: Rules | None, renamed: bool, name_count: int) -> None:
        self._rules, self._renamed, self._name_count = rules, renamed, name_count

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        found = check_bucket((use for packed in group[1] for use in unpack(packed)), self._rules)
        yield from found.faults
        for keys in pack_placed_keys(found.keys, self._rules):
            yield TaggedOutput("keys", keys)
        for rest in pack_unmatched(found.unmatched, self._name_count, renamed=self._renamed):
            yield TaggedOutput("unmatched", rest)


def _count_bucket(group: tuple[int, Iterable[bytes]], renamed: bool, rules: Rules) -> Iterator[Any]:
    unmatched = (one for packed in group[1] for one in unpack(packed))
    counts, found = count_unmatched(unmatched, renamed, rules)
    yield counts
    for fault in found.faults:
        yield TaggedOutput("faults", fault)
    for keys in pack_placed_keys(found.keys, rules):
        yield TaggedOutput("keys", keys)


def _check_order(group: tuple[int, Iterable[bytes]], files: ShardNames | None) -> Iterator[Any]:
    assert files is not None
    span, faults = check_order_in_shard(
        (key for packed in group[1] for key in unpack(packed)), files
    )
    yield span
    for fault in faults:
        yield TaggedOutput("faults", fault)
