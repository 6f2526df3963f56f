"""Publishes one shard: its files take their names when all are whole, the tar first.

A shard whose Parquet stands is finished, its indexes too. So the Parquet of an earlier attempt goes
before another tar comes, and the new Parquet comes last. A shard of which no image is left has no
files, and its result says so: the run fails when all failures are known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable

import pyarrow as pa

from beam_export.naming import ShardNames
from beam_export.samples import Failure
from beam_export.shards.directory import Snapshot
from beam_export.shards.indexes.shard import ShardIndexer
from beam_export.shards.output import Output
from beam_export.shards.writer import ReadySample, ShardResult, write_shard

__all__ = ["publish_shard"]


class _NoImageLeftError(Exception):
    """Every sample of a shard has failed, so that its files are not to take their names."""

    def __init__(self, result: ShardResult) -> None:
        super().__init__()
        self.result = result


def publish_shard(
    samples: Iterable[ReadySample | Failure],
    output: Output,
    *,
    number: int,
    names: ShardNames,
    columns: pa.Schema,
    plan: str,
    indexes: Collection[str] = (),
    json_member: str = "",
) -> ShardResult:
    """Writes a shard's tar, its indexes and its Parquet into the output directory.

    Of a shard whose samples all fail nothing is written, and what stands there stays: its result
    has no samples then.

    Args:
        samples: the shard's samples in order, and the failures among them.
        output: the output directory.
        number: the shard's number.
        names: names of the export's files.
        columns: metadata columns of the dataset.
        plan: hex digest of what the shard is to hold.
        indexes: kinds of those that the dataset has.
        json_member: extension of the members that were made of columns; empty if none were.

    Raises:
        InputError: if a value does not fit its column.
        RunError: if the files cannot be published.
    """
    # Before a sample is read: what another run puts there meanwhile is not to be replaced.
    snapshots = output.snapshot(names.parquet(number)), output.snapshot(names.tar(number))
    indexer = ShardIndexer(indexes) if indexes else None
    try:
        # Left last, the Parquet takes its name last: a shard whose Parquet is there is finished.
        with output.writing(names.parquet(number), snapshots[0]) as parquet:
            with output.writing(names.tar(number), snapshots[1]) as tar:
                result = write_shard(
                    samples,
                    tar,
                    parquet,
                    number=number,
                    names=names,
                    columns=columns,
                    plan=plan,
                    indexer=indexer,
                    json_member=json_member,
                )
                if result.samples == 0:
                    raise _NoImageLeftError(result)
                _unpublish_old(output=output, names=names, result=result, snapshot=snapshots[0])
                # Until the Parquet is there, nothing else shows whose the tar is.
                output.record_tar(names.tar(number), result.tar_sha256)
            if indexer is not None:
                for name, content in indexer.files(names, number).items():
                    output.put(name, content)
    except _NoImageLeftError as error:
        return error.result._replace(bytes=0, parquet_bytes=0)
    output.forget_tar(result.tar_sha256)
    return result


def _unpublish_old(
    output: Output, names: ShardNames, result: ShardResult, snapshot: Snapshot
) -> None:
    """Removes the Parquet that marks a shard as finished, just before another takes its place.

    A tar beside the Parquet of another would pass for finished if the run ended between the two.
    Where another attempt has put the same there meanwhile, like is replaced by like, and the
    manifest that may stand by then stays.
    """
    name = names.parquet(result.number)
    info = output.info(name)
    if info is not None and info.size == result.parquet_bytes:
        with output.read(name) as source:
            if hashlib.sha256(source.read()).hexdigest() == result.parquet_sha256:
                return
    if info is not None:
        # Without its Parquet nothing else shows whose the old tar is.
        output.record_tar(names.tar(result.number))
    # First: with a manifest, an export that lacks this shard would pass for complete.
    output.remove(names.manifest)
    output.remove(name, snapshot)
