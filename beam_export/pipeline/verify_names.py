"""Settles names bucket by bucket: what must be one in the dataset, and what became of the input."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput

from beam_export.naming import ShardNames
from beam_export.verify.against_input import Rank, Rules, Span, hold_shard
from beam_export.verify.findings import Fault
from beam_export.verify.unique_names import (
    Claim,
    Left,
    Tally,
    base_of,
    bucket_of,
    pack,
    settle,
    tally,
    unpack,
)

__all__ = ["SettleNames", "Settled", "by_bucket", "one_claim"]


class Settled(NamedTuple):
    """Names that are not one, how much has no counterpart, and each shard's order keys."""

    faults: PCollection[Fault]
    tallies: PCollection[Tally]
    spans: PCollection[Span]


@dataclasses.dataclass
class SettleNames(beam.PTransform):
    """Finds equal names, and what has no counterpart in the input, bucket by bucket.

    Attributes:
        rules: how the export is held against the input; None if its claims are not there.
        files: names of the export's files; None if there is no input.
        renamed: whether the export has renamed equal ids.
        names: how many claims there are, about.
    """

    rules: Rules | None
    files: ShardNames | None
    renamed: bool
    names: int

    def expand(self, claims: PCollection[tuple[int, bytes]]) -> Settled:
        settled = (
            claims
            | "ClaimsByBucket" >> beam.GroupByKey()
            | "SettleBucket"
            >> beam.ParDo(_SettleBucket(self.rules, self.renamed, self.names)).with_outputs(
                "left", "ranks", main="faults"
            )
        )
        if self.rules is None:
            nothing = claims.pipeline | "NoInput" >> beam.Create([], reshuffle=False)
            return Settled(settled.faults, nothing, nothing)
        tallied = (
            settled.left
            | "LeftByBucket" >> beam.GroupByKey()
            | "TallyBucket"
            >> beam.FlatMap(_tally_bucket, self.renamed, self.rules).with_outputs(
                "faults", "ranks", main="tallies"
            )
        )
        ranked = (
            (settled.ranks, tallied.ranks)
            | "Ranks" >> beam.Flatten()
            | "RanksByShard" >> beam.GroupByKey()
            | "HoldOrder"
            >> beam.FlatMap(_hold_order, self.files).with_outputs("faults", main="spans")
        )
        faults = (settled.faults, tallied.faults, ranked.faults) | "Faults" >> beam.Flatten()
        return Settled(faults, tallied.tallies, ranked.spans)


class _SettleBucket(beam.DoFn):
    def __init__(self, rules: Rules | None, renamed: bool, names: int) -> None:
        self._rules, self._renamed, self._names = rules, renamed, names

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        claims = (Claim(*item) for packed in group[1] for item in unpack(packed))
        found = settle(claims, self._rules)
        yield from found.faults
        yield from _by_shard(found.ranks, self._rules)
        by_bucket: dict[int, list[Left]] = {}
        for one in found.left:
            bucket = bucket_of(base_of(one, self._renamed), self._names)
            by_bucket.setdefault(bucket, []).append(one)
        for bucket, items in by_bucket.items():
            yield TaggedOutput("left", (bucket, pack(items)))


def _tally_bucket(group: tuple[int, Iterable[bytes]], renamed: bool, rules: Rules) -> Iterator[Any]:
    left = (Left(*item) for packed in group[1] for item in unpack(packed))
    counts, found = tally(left, renamed, rules)
    yield counts
    for fault in found.faults:
        yield TaggedOutput("faults", fault)
    yield from _by_shard(found.ranks, rules)


def _by_shard(ranks: Iterable[Rank], rules: Rules | None) -> Iterator[TaggedOutput]:
    """Yields (shard, its ranks packed), if the order is to be held."""
    if rules is None or not rules.ordered:
        return
    shards: dict[int, list[Rank]] = {}
    for rank in ranks:
        shards.setdefault(rank.shard, []).append(rank)
    for shard, items in shards.items():
        yield TaggedOutput("ranks", (shard, zlib.compress(json.dumps(items).encode(), 1)))


def _hold_order(group: tuple[int, Iterable[bytes]], files: ShardNames | None) -> Iterator[Any]:
    assert files is not None
    items = (item for packed in group[1] for item in json.loads(zlib.decompress(packed)))
    span, faults = hold_shard((Rank(*item) for item in items), files)
    yield span
    for fault in faults:
        yield TaggedOutput("faults", fault)


def by_bucket(claims: Iterable[Claim], names: int) -> Iterator[tuple[int, bytes]]:
    """Yields claims packed by bucket, given how many there are in all, about."""
    buckets: dict[int, list[Claim]] = {}
    for claim in claims:
        buckets.setdefault(bucket_of(claim.name, names), []).append(claim)
    for bucket, items in buckets.items():
        yield bucket, pack(items)


def one_claim(claim: Claim, names: int) -> tuple[int, bytes]:
    """Returns one claim as `by_bucket` does."""
    return bucket_of(claim.name, names), pack([claim])
