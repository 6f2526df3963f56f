"""Shards that stand in the output already: kept if they are what would be written again."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Iterable

import pyarrow as pa
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from beam_export.blocks import PackedRef, unpack_ref
from beam_export.naming import ShardNames
from beam_export.parquet import read_facts, read_rows
from beam_export.shard import ShardResult, failures_from_json
from beam_export.sinks import Output

__all__ = ["find_finished"]


def find_finished(
    output: Output, names: ShardNames, number: int, plan: str, refs: Iterable[PackedRef]
) -> ShardResult | None:
    """Returns the result of a shard that an earlier attempt, of this run or another, has finished.

    Args:
        output: where to look.
        names: names of the export's files.
        number: the shard's number.
        plan: digest of what the shard is to hold; a shard of another plan is not kept.
        refs: the shard's samples; a shard is not kept if the file of one is newer.
    """
    name = names.parquet(number)
    if not (output.exists(name) and output.exists(names.tar(number))):
        return None
    with output.read(name) as source:
        data = source.read()
    facts = read_facts(pa.BufferReader(data))
    if facts.get("beam_export.plan") != plan:
        return None
    if output.size(names.tar(number)) != int(facts["beam_export.tar_bytes"]):
        return None
    if _changed_since(FileSystems.last_updated(output.path(name)), refs):
        return None
    encodings = collections.Counter(row.encoding for row in read_rows(pa.BufferReader(data)))
    return ShardResult(
        number=number,
        samples=sum(encodings.values()),
        copied=encodings["copied"],
        encoded=encodings["encoded"],
        bytes=int(facts["beam_export.tar_bytes"]),
        parquet_bytes=len(data),
        tar_sha256=facts["beam_export.tar_sha256"],
        parquet_sha256=hashlib.sha256(data).hexdigest(),
        plan=plan,
        failures=failures_from_json(facts["beam_export.failures"]),
        kept=True,
    )


def _changed_since(moment: float, refs: Iterable[PackedRef]) -> bool:
    """Tells whether a file of the samples is newer: its size, in the plan, may be the same.

    What a pipeline has spilled is of this run, so a shard of another run is never taken for it.
    """
    looked_at: set[str] = set()
    for packed in refs:
        ref = unpack_ref(packed)
        for member in (ref.image, *ref.fields):
            if member.uri not in looked_at:
                looked_at.add(member.uri)
                if _last_updated(member.uri) > moment:
                    return True
    return False


def _last_updated(uri: str) -> float:
    try:
        return float(FileSystems.last_updated(uri))
    except (OSError, BeamIOError):
        # Gone, or hidden: writing the shard again tells what has become of it.
        return float("inf")
