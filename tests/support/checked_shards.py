"""Shards as `verify` has checked them, made without any file."""

from __future__ import annotations

from typing import Any

from beam_export.verify.shard import CheckedShard


def checked_shard(number: int, **given: Any) -> CheckedShard:
    """Returns a shard of three samples without a fault."""
    columns = {"samples": 3, "copied": 1, "encoded": 2, "bytes": 100, "parquet_bytes": 10}
    values: dict[str, Any] = {"columns": columns, "failures": (), "schema": "s", "described": ()}
    values |= {"first": "a", "last": "c", "faults": [], "name_uses": []}
    return CheckedShard(number=number, **{**values, **given})
