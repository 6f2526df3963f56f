"""Makes the indexes that a dataset has once, of what is known of its shards."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from beam_export.index_kinds import COUNTS, ENERGON, WIDS
from beam_export.naming import ShardNames, parse
from beam_export.shards.indexes import energon
from beam_export.shards.indexes.counts import NSHARDS, SIZES, nshards_txt, sizes_json
from beam_export.shards.indexes.table import IndexedShard
from beam_export.shards.indexes.wids import WidsShard, wids_index

__all__ = ["dataset_files", "fixed_names", "is_setting"]

#: Names that every dataset has alike; all others bear its hash.
_FIXED: Mapping[str, Collection[str]] = {
    COUNTS: (SIZES, NSHARDS),
    ENERGON: (energon.INFO, energon.SPLIT, energon.DATASET),
}
#: What people set by hand.
_SETTINGS = frozenset({energon.SPLIT, energon.DATASET})


def fixed_names(kinds: Collection[str]) -> list[str]:
    """Returns the names of the files of some kinds that every dataset has alike.

    >>> fixed_names(["counts", "dali"])
    ['sizes.json', 'nshards.txt']
    """
    return [name for kind, names in _FIXED.items() if kind in kinds for name in names]


def is_setting(name: str) -> bool:
    """Returns whether people set the content of an index by hand, so that an edited one is theirs.

    >>> is_setting(".nv-meta/dataset.yaml"), is_setting("sizes.json")
    (True, False)
    """
    parsed = parse(name)
    return name in _SETTINGS or (parsed is not None and parsed.kind == WIDS)


def dataset_files(
    names: ShardNames,
    shards: Sequence[IndexedShard],
    splits: Mapping[str, range] | None = None,
) -> dict[str, bytes]:
    """Returns the files that a dataset has once, by name.

    Args:
        names: of the dataset's files.
        shards: all there are, by number.
        splits: numbers of the shards of each split that has some, by its key.
    """
    parts = splits or {}
    kinds = shards[0].indexes.kinds if shards else ()
    found: dict[str, bytes] = {}
    samples = {names.tar(shard.number): shard.samples for shard in shards}
    if COUNTS in kinds:
        found |= {SIZES: sizes_json(samples), NSHARDS: nshards_txt(len(shards))}
    if WIDS in kinds:
        found |= _wids(names, shards, parts or {"": range(len(shards))})
    if ENERGON in kinds:
        tars = {key: list(map(names.tar, numbers)) for key, numbers in parts.items()}
        found |= {
            energon.INFO: energon.info_json(samples),
            energon.SPLIT: energon.split_yaml(tars, list(samples)),
            energon.DATASET: _meaning(shards),
        }
    return found


def _wids(
    names: ShardNames, shards: Sequence[IndexedShard], parts: Mapping[str, range]
) -> dict[str, bytes]:
    listed = [
        WidsShard(
            url=names.tar(shard.number),
            md5sum=shard.indexes.tar_md5 or "",
            nsamples=shard.samples,
            filesize=shard.bytes,
        )
        for shard in shards
    ]
    files = {names.wids_index(key): numbers for key, numbers in parts.items()}
    return {
        file: wids_index(file, (listed[number] for number in numbers))
        for file, numbers in files.items()
    }


def _meaning(shards: Sequence[IndexedShard]) -> bytes:
    images = {ext for shard in shards for ext in shard.indexes.images}
    fields = set.intersection(*(set(shard.indexes.fields) for shard in shards))
    return energon.dataset_yaml(images, fields)
