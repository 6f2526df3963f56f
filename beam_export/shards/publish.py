"""Publishes one shard: both files take their names when both are whole, the tar first.

A shard whose Parquet stands is finished. So the Parquet of an earlier attempt goes before another
tar comes, and the new Parquet comes last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pyarrow as pa

from beam_export.errors import RunError
from beam_export.naming import ShardNames
from beam_export.samples import SOURCE_CHANGED, Failure
from beam_export.shards.output import Output, Snapshot
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
) -> ShardResult:
    """Writes a shard's tar and Parquet into the output directory.

    Args:
        samples: the shard's samples in order, and the failures among them.
        output: the output directory.
        number: the shard's number.
        names: names of the export's files.
        columns: metadata columns of the dataset.
        plan: hex digest of what the shard is to hold.

    Raises:
        InputError: if a value does not fit its column.
        RunError: if every sample failed, or the files cannot be published.
    """
    # Before a sample is read: what another run puts there meanwhile is not to be replaced.
    snapshots = output.snapshot(names.parquet(number)), output.snapshot(names.tar(number))
    with (
        output.writing(names.parquet(number), snapshots[0]) as parquet,
        # Left first, the tar takes its name first: a shard whose Parquet is there is finished.
        output.writing(names.tar(number), snapshots[1]) as tar,
    ):
        result = write_shard(
            samples, tar, parquet, number=number, names=names, columns=columns, plan=plan
        )
        if result.samples == 0:
            raise RunError(_all_failed(result))
        _unpublish_old(output=output, names=names, result=result, snapshot=snapshots[0])
        # Until the Parquet is there, nothing else shows whose the tar is.
        output.record_tar(names.tar(number), result.tar_sha256)
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


def _all_failed(result: ShardResult) -> str:
    first = result.failures[0]
    remedy = "give --probe=full, which leaves such images out before shards are planned"
    if all(failure.error == SOURCE_CHANGED for failure in result.failures):
        remedy = "run again, when nobody writes to the sources"
    return (
        f"all {len(result.failures)} images of shard {result.number} failed, the first, "
        f"{first.original_path or first.image_id}, with: {first.message}; an empty shard is never "
        f"written: {remedy}."
    )
