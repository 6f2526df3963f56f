"""Writes the indexes of shards into the output, and finds those that stand there already."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from beam_export.errors import InputError, RunError
from beam_export.index_kinds import COUNTS, DALI, ENERGON, WIDS
from beam_export.naming import ShardNames, parse
from beam_export.shards.index_owners import IndexOwners
from beam_export.shards.indexes.dataset import fixed_names, is_setting
from beam_export.shards.indexes.energon import FOLDER
from beam_export.shards.indexes.shard import DamagedTarError, IndexFile, ShardIndexes, index_tar
from beam_export.shards.indexes.table import read_indexes
from beam_export.shards.output import Output
from beam_export.shards.parquet import PARQUET_ERRORS

__all__ = ["find_kinds", "index_finished_shard", "known_indexes", "refuse_strangers"]


def known_indexes(
    output: Output, names: ShardNames
) -> tuple[tuple[str, ...], dict[int, tuple[str, ShardIndexes]]]:
    """Returns what the table of indexes says (`read_indexes`); nothing without one, or a whole one.

    A wrong entry only has a tar read again: what it says is held against the files.
    """
    try:
        with output.read(names.indexes) as source:
            return read_indexes(source.read())
    except FileNotFoundError:
        return (), {}
    except (*PARQUET_ERRORS, TypeError):
        return (), {}


def find_kinds(output: Output, names: ShardNames, asked: Collection[str]) -> tuple[str, ...]:
    """Returns the kinds of indexes that a run keeps up: those that are asked for, or there already.

    An index that a later run left as it is would be wrong as soon as that writes a shard anew.

    Args:
        output: the output directory.
        names: of the dataset's files.
        asked: kinds of `--index`.
    """
    standing = output.list_files()
    found = {*asked, *known_indexes(output, names)[0]}
    if names.manifest not in standing:
        # A run that was cut short has left them, and no list of them.
        owners = output.ownership(names.hash, standing)
        for kind in (DALI, ENERGON, WIDS):
            of_kind = (name for name in standing if (names.hash, kind) == _kind_of(name))
            first = next(of_kind, None)
            if first is not None and owners.owns(first):
                found.add(kind)
    return tuple(sorted(found))


def _kind_of(name: str) -> tuple[str, str]:
    parsed = parse(name)
    return ("", "") if parsed is None else (parsed.hash, parsed.kind)


def refuse_strangers(output: Output, kinds: Collection[str]) -> None:
    """Refuses an output that holds files of others under fixed names of indexes.

    Those that people set by hand are kept instead (`is_setting`).

    Raises:
        InputError: if it does.
    """
    owners = IndexOwners(output)
    if ENERGON in kinds and output.kind(FOLDER) not in ("", "directory"):
        raise InputError(_refusal(output, FOLDER))
    for name in fixed_names(kinds):
        kept = is_setting(name) and output.kind(name) == "file"
        if not kept and not owners.owns(name):
            raise InputError(_refusal(output, name))


def _refusal(output: Output, name: str) -> str:
    return (
        f"--output_dir={output.directory} holds {name}, where --index is to write: a "
        f"{output.kind(name)} that is not this tool's: move it away, or give another directory."
    )


def index_finished_shard(
    output: Output,
    names: ShardNames,
    number: int,
    *,
    tar_sha256: str,
    kinds: tuple[str, ...],
    known: tuple[str, ShardIndexes] | None,
) -> tuple[ShardIndexes, int]:
    """Returns what is known of a finished shard for indexes, and how many files were written.

    Args:
        output: the output directory.
        names: of the dataset's files.
        number: of the shard.
        tar_sha256: hex, of its tar.
        kinds: of the indexes that the dataset is to have.
        known: its entry in the table of indexes; what that lacks is made of the tar.

    Raises:
        RunError: if the tar is damaged.
    """
    if known is not None and known[0] == tar_sha256 and _covers(known[1], kinds):
        indexes = known[1]._replace(kinds=kinds)
        files = ((names.dali_index, indexes.dali), (names.energon_index, indexes.energon))
        if all(file is None or _stands(output, name(number), file) for name, file in files):
            return indexes, 0
    try:
        with output.read(names.tar(number)) as tar:
            through = not output.is_local
            indexer = index_tar(tar, kinds, sha256=tar_sha256, through=through)
    except DamagedTarError as error:
        raise RunError(
            f"{output.path(names.tar(number))} cannot be indexed, since {error}: delete it and its "
            "Parquet, and run the same export again."
        ) from error
    made = indexer.files(names, number)
    written = sum(output.put(name, content) for name, content in made.items())
    return indexer.known(names, number), written


def _covers(indexes: ShardIndexes, kinds: Collection[str]) -> bool:
    """Returns whether a table's entry has all that the kinds need."""
    needed = {DALI: indexes.dali, ENERGON: indexes.energon, WIDS: indexes.tar_md5, COUNTS: True}
    return all(needed[kind] is not None for kind in kinds)


def _stands(output: Output, name: str, file: IndexFile) -> bool:
    info = output.info(name)
    if info is None or info.size != file.bytes or output.kind(name) != "file":
        return False
    with output.read(name) as source:
        return hashlib.sha256(source.read()).hexdigest() == file.sha256
