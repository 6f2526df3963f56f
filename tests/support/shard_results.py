"""What writing a shard gives, made up: numbers that differ from shard to shard."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from beam_export.samples import Failure
from beam_export.shards.writer import ShardResult


def shard_result(
    number: int = 0,
    *,
    copied: int = 5,
    encoded: int = 0,
    failures: Iterable[Failure] = (),
    **more: Any,
) -> ShardResult:
    """Returns the result of a shard of `copied` and `encoded` images."""
    return ShardResult(
        number=number,
        samples=copied + encoded,
        copied=copied,
        encoded=encoded,
        bytes=1000 + number,
        parquet_bytes=100 + number,
        tar_sha256=f"{number:064x}",
        parquet_sha256=f"{number + 1:064x}",
        plan=f"{number + 2:064x}",
        failures=tuple(failures),
        **more,
    )
