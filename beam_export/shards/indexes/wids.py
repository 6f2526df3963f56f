"""The index of a dataset for wids: `images-{hash}-wids.json`, or one for each split.

JSON as `widsindex create` writes it (wids 0.2.111, `wids_index.py`): indented by two spaces, keys
in that tool's order, no newline at the end. Addresses are names alone, which wids resolves against
the directory of the index.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from beam_export.naming import ShardNames, parse

__all__ = ["WidsShard", "is_wids_index", "wids_index"]

_KIND, _VERSION = "wids-shard-index-v1", 1
_FIELDS = ("__kind__", "wids_version", "shardlist", "name")
_SUFFIX = "-wids.json"


class WidsShard(NamedTuple):
    """A shard as wids lists it; the fields are those of the format, in its order."""

    url: str
    md5sum: str
    nsamples: int
    filesize: int


def wids_index(file: str, shards: Iterable[WidsShard]) -> bytes:
    """Returns the index of some shards; `file` is its own name, which names the dataset too."""
    values = (_KIND, _VERSION, [shard._asdict() for shard in shards], file.removesuffix(_SUFFIX))
    return json.dumps(dict(zip(_FIELDS, values, strict=True)), indent=2).encode("ascii")


def is_wids_index(data: bytes, names: ShardNames) -> bool:
    """Returns whether a file is, in form, an index of shards of that export that nobody has edited.

    `widsindex update` adds fields of its own.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return False
    if not isinstance(content, dict) or tuple(content) != _FIELDS:
        return False
    shards = content["shardlist"]
    return (
        content["__kind__"] == _KIND
        and isinstance(shards, list)
        and all(_is_shard(one, names) for one in shards)
    )


def _is_shard(one: Any, names: ShardNames) -> bool:
    if not isinstance(one, dict) or tuple(one) != WidsShard._fields:
        return False
    found = parse(str(one["url"]))
    return found is not None and found.kind == "tar" and found.hash == names.hash
