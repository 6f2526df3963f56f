"""Publishes one shard: its files take their names when all are whole, the tar first.

A shard whose Parquet stands is finished, its indexes too. So the Parquet of an earlier attempt goes
before another tar comes, and the new Parquet comes last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable

import pyarrow as pa

from beam_export.errors import RunError
from beam_export.naming import ShardNames
from beam_export.samples import SOURCE_CHANGED, Failure
from beam_export.shards.directory import Snapshot
from beam_export.shards.indexes.shard import ShardIndexer
from beam_export.shards.meta_files import list_failures
from beam_export.shards.output import Output
from beam_export.shards.reasons import describe_failures, remedy_of
from beam_export.shards.writer import ReadySample, ShardResult, write_shard

__all__ = ["publish_shard"]


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
    alone: bool = False,
) -> ShardResult:
    """Writes a shard's tar, its indexes and its Parquet into the output directory.

    Args:
        samples: the shard's samples in order, and the failures among them.
        output: the output directory.
        number: the shard's number.
        names: names of the export's files.
        columns: metadata columns of the dataset.
        plan: hex digest of what the shard is to hold.
        indexes: kinds of those that the dataset has.
        json_member: extension of the members that were made of columns; empty if none were.
        alone: whether there is no other shard.

    Raises:
        InputError: if a value does not fit its column.
        RunError: if every sample failed, or the files cannot be published.
    """
    # Before a sample is read: what another run puts there meanwhile is not to be replaced.
    snapshots = output.snapshot(names.parquet(number)), output.snapshot(names.tar(number))
    indexer = ShardIndexer(indexes) if indexes else None
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
                raise RunError(
                    _none_left(result, list_failures(result.failures, output, names.hash))
                    if alone
                    else _all_failed(result)
                )
            _unpublish_old(output=output, names=names, result=result, snapshot=snapshots[0])
            # Until the Parquet is there, nothing else shows whose the tar is.
            output.record_tar(names.tar(number), result.tar_sha256)
        if indexer is not None:
            for name, content in indexer.files(names, number).items():
                output.put(name, content)
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


def _none_left(result: ShardResult, where: str | None) -> str:
    """Returns the sentence about a dataset of which no image is left.

    Args:
        result: of its only shard.
        where: path of the list of the failures, if there is one.
    """
    remedy = remedy_of(result.failures) or "mend them, or give another input"
    listed = f"; all are listed in {where}" if where else ""
    count = len(result.failures)
    all_ = "the only image" if count == 1 else f"all {count:,} images"
    return f"{all_} failed: {describe_failures(result.failures)}{listed}: {remedy}."


def _all_failed(result: ShardResult) -> str:
    """Returns the sentence about a shard of several of which no image is left."""
    first = result.failures[0]
    remedy = "give --probe=full, which leaves such images out before shards are planned"
    if (better := remedy_of(result.failures)) is not None:
        remedy = better if first.error == SOURCE_CHANGED else f"{better}, or {remedy}"
    return (
        f"all {len(result.failures)} images of shard {result.number} failed, the first, "
        f"{first.original_path or first.image_id}, with: {first.message}; an empty shard is never "
        f"written: {remedy}."
    )
