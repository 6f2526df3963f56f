"""Checks the indexes for loaders: those of a shard against its tar, the others against the tables.

All are made again of what the shards hold, so that no byte of them is left unchecked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from beam_export.naming import ShardNames
from beam_export.shards.index_owners import stale_index
from beam_export.shards.indexes.dataset import dataset_files, is_setting
from beam_export.shards.indexes.shard import ShardIndexer, ShardIndexes
from beam_export.shards.indexes.table import IndexedShard, read_indexes
from beam_export.shards.manifest import SplitShards
from beam_export.shards.parquet import PARQUET_ERRORS
from beam_export.verify.findings import NOT_WRITTEN, Faults
from beam_export.verify.shard_tar import StrictSample

__all__ = [
    "REINDEX_MISSING",
    "IndexCheck",
    "IndexTask",
    "Once",
    "OpenedIndexes",
    "check_once",
    "open_indexes",
]

#: What to do about an index.
REINDEX = "remove it, and run beam-export index OUT"
#: What to do about one that is not there.
REINDEX_MISSING = "restore it from a copy, or run beam-export index OUT"
#: What a table with nulls in it raises.
_DAMAGED = (*PARQUET_ERRORS, TypeError, AttributeError)


class OpenedIndexes(NamedTuple):
    """The table of the shards' indexes.

    Attributes:
        kinds: of indexes that the dataset has.
        shards: (SHA-256 of the tar, what is known) by number.
    """

    kinds: tuple[str, ...]
    shards: Mapping[int, tuple[str, ShardIndexes]]


class IndexTask(NamedTuple):
    """What is checked of the indexes of one shard.

    Attributes:
        kinds: of indexes that the dataset has.
        listed: its entry in the table of them; None if there is none.
        files: the shard's own files, by name; None for one that is not there.
    """

    kinds: tuple[str, ...]
    listed: tuple[str, ShardIndexes] | None
    files: Mapping[str, bytes | None]


def open_indexes(data: bytes, file: str, faults: Faults) -> OpenedIndexes | None:
    """Returns the table of the shards' indexes; None, with a fault, if it is damaged."""
    try:
        return OpenedIndexes(*read_indexes(data))
    except _DAMAGED:
        faults.add(file, "its rows are not those of such a table", remedy=REINDEX)
        return None


class IndexCheck:
    """Checks the indexes of one shard while its tar is read."""

    def __init__(self, names: ShardNames, number: int, task: IndexTask) -> None:
        self._names, self._number, self._task = names, number, task
        self._indexer = ShardIndexer(task.kinds)
        #: Gets all bytes of the tar, if there is an index for wids.
        self.md5 = self._indexer.md5

    def add(self, sample: StrictSample) -> None:
        """Takes a sample of the tar."""
        for member in sample.members:
            ext = member.name[len(sample.key) + 1 :]
            self._indexer.add(sample.key, ext, offset=member.offset, size=member.size)

    def finish(self, faults: Faults, *, tar_sha256: str) -> None:
        """Adds the faults, once all of the tar is read."""
        for name, data in self._task.files.items():
            if data is None:
                faults.add_missing(name, REINDEX_MISSING)
        # An index of a damaged tar cannot be told from a wrong one.
        if faults.of(self._names.tar(self._number)):
            return
        for name, content in self._indexer.files(self._names, self._number).items():
            if self._task.files.get(name) not in (None, content):
                faults.add(name, "it does not say where the members of its tar are", remedy=REINDEX)
        known = (tar_sha256, self._indexer.known(self._names, self._number))
        if self._task.listed != known:
            faults.add(
                self._names.indexes,
                f"its row of shard {self._number} is missing, or not of what the shard holds",
                remedy=REINDEX,
            )


class Once(NamedTuple):
    """What the indexes that a dataset has once are checked against.

    Attributes:
        names: of the dataset's files.
        manifest: its manifest.
        shards: rows of the table of shards, by number; None if it is missing or damaged.
        indexes: the table of the shards' indexes; None if there is none, or a damaged one.
        files: names in the directory, its `_meta` and `.nv-meta`.
    """

    names: ShardNames
    manifest: Mapping[str, Any]
    shards: Mapping[int, Mapping[str, Any]] | None
    indexes: OpenedIndexes | None
    files: Collection[str]


def check_once(once: Once, read: Callable[[str], bytes], faults: Faults) -> Iterator[str]:
    """Adds the faults of the indexes that a dataset has once; yields notes on those of others.

    Args:
        once: what they are checked against.
        read: returns the bytes of a file.
        faults: gets what is found.
    """
    listed = _listed(once.manifest)
    if listed is None:
        faults.add(once.names.manifest, "its indexes are not listed by name and sha256")
        return
    for name, sha256 in listed.items():
        if name not in once.files:
            faults.add_missing(name, REINDEX_MISSING)
        elif hashlib.sha256(content := read(name)).hexdigest() == sha256:
            continue
        elif is_setting(name):
            stale = stale_index(content, once.names.hash)
            yield f"{name}: {NOT_WRITTEN}{stale and f': {stale}'}"
        else:
            faults.add(name, "its sha256 is not the one that the manifest gives", remedy=REINDEX)
    made = _made(once, faults)
    if made is not None and made != listed:
        wrong = sorted({name for name, _ in made.items() ^ listed.items()})
        faults.add(
            once.names.manifest,
            f"what it lists is not the index of what the shards hold: {', '.join(wrong)}",
        )


def _listed(manifest: Mapping[str, Any]) -> dict[str, str] | None:
    found = manifest.get("indexes", [])
    try:
        listed = {one["name"]: one["sha256"] for one in found}
    except (TypeError, KeyError):
        return None
    return listed if all(type(word) is str for pair in listed.items() for word in pair) else None


def _made(once: Once, faults: Faults) -> dict[str, str] | None:
    """Returns the SHA-256 by name of the indexes as the tables would have them; None if unknown."""
    if once.shards is None:
        return None
    if once.indexes is None:
        return {}
    if set(once.indexes.shards) != set(once.shards):
        faults.add(once.names.indexes, "its shards are not those of the export", remedy=REINDEX)
        return None
    try:
        splits = [SplitShards(**one) for one in once.manifest.get("splits", ())]
        parts = {one.key: one.numbers for one in splits if one.shards}
        files = dataset_files(once.names, _indexed(once.shards, once.indexes), parts)
    except (TypeError, KeyError, IndexError):
        # What is wrong with those tables is found where they are checked.
        return None
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def _indexed(
    shards: Mapping[int, Mapping[str, Any]], indexes: OpenedIndexes
) -> Sequence[IndexedShard]:
    return [
        IndexedShard(
            number=number,
            samples=shards[number]["samples"],
            bytes=shards[number]["bytes"],
            tar_sha256=shards[number]["tar_sha256"],
            indexes=indexes.shards[number][1],
        )
        for number in sorted(shards)
    ]
