"""Settles names bucket by bucket: what must be one in the dataset, and what became of the input."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput

from beam_export.checks.faults import Fault
from beam_export.checks.names import (
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

__all__ = ["UNREADABLE", "SettleNames", "Settled", "by_bucket", "one_claim", "reason"]

#: What to do about a file that is there and cannot be read.
UNREADABLE = "see whether the disk or the permissions are at fault, and verify again"


def reason(error: Exception) -> str:
    """Returns why a file cannot be read, in a few words."""
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or str(error).splitlines()[0]


class Settled(NamedTuple):
    """Names that are not one, and how much has no counterpart."""

    faults: PCollection[Fault]
    tallies: PCollection[Tally]


@dataclasses.dataclass
class SettleNames(beam.PTransform):
    """Finds equal names, and what has no counterpart in the input, bucket by bucket.

    Attributes:
        against: whether the claims of the input are there.
        renamed: whether the export has renamed equal ids.
        names: how many claims there are, about.
    """

    against: bool
    renamed: bool
    names: int

    def expand(self, claims: PCollection[tuple[int, bytes]]) -> Settled:
        settled = (
            claims
            | "ClaimsByBucket" >> beam.GroupByKey()
            | "SettleBucket"
            >> beam.ParDo(_SettleBucket(self.against, self.renamed, self.names)).with_outputs(
                "left", main="faults"
            )
        )
        tallies = (
            settled.left
            | "LeftByBucket" >> beam.GroupByKey()
            | "TallyBucket" >> beam.Map(_tally_bucket, self.renamed).with_output_types(Tally)
        )
        return Settled(settled.faults, tallies)


class _SettleBucket(beam.DoFn):
    def __init__(self, against: bool, renamed: bool, names: int) -> None:
        self._against, self._renamed, self._names = against, renamed, names

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        claims = (Claim(*item) for packed in group[1] for item in unpack(packed))
        faults, left = settle(claims, self._against)
        yield from faults
        by_bucket: dict[int, list[Left]] = {}
        for one in left:
            bucket = bucket_of(base_of(one, self._renamed), self._names)
            by_bucket.setdefault(bucket, []).append(one)
        for bucket, items in by_bucket.items():
            yield TaggedOutput("left", (bucket, pack(items)))


def _tally_bucket(group: tuple[int, Iterable[bytes]], renamed: bool) -> Tally:
    return tally((Left(*item) for packed in group[1] for item in unpack(packed)), renamed)


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
