"""What earlier runs of this tool have left in the output: named, refused, or removed."""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterable

import pyarrow as pa

from beam_export.card import MARK
from beam_export.errors import InputError
from beam_export.naming import ShardNames, parse
from beam_export.parquet import read_facts
from beam_export.sinks import Output, Standing

__all__ = ["refuse_existing", "settle_leftovers"]

_CARD = "README.md"
#: A manifest goes first, so that what is half removed never looks complete, and a tar last.
_REMOVAL = ("manifest", "run", "shards", "failures", "parquet", "tar")


def refuse_existing(output: Output) -> None:
    """Makes sure that no dataset of this tool stands in the output: `--resume=false`.

    Raises:
        InputError: if one does.
    """
    found = output.standing()
    standing = [name for name in found if name not in _lists_alone(found)]
    if standing:
        raise InputError(
            f"--resume=false was given and --output_dir={output.directory} holds "
            f"{_told(standing)} of an earlier run: give another directory, or --clean to remove "
            "them."
        )


def settle_leftovers(output: Output, hash_: str, *, clean: bool) -> None:
    """Makes sure that nothing of another dataset stands beside the one that is to be written.

    Args:
        output: where to look.
        hash_: of the dataset to be written.
        clean: whether what earlier runs have left is removed, of that hash too.

    Raises:
        InputError: if there is another dataset that is not to be removed, or not of this tool.
    """
    standing = output.standing()
    if clean:
        standing = _remove_ours(output, standing)
    others = [name for name in standing if _hash_of(name) != hash_]
    for name in _lists_alone(others):
        output.remove(name)
        others.remove(name)
    if not others:
        return
    told = f"--output_dir={output.directory} holds {_told(others)} of another dataset"
    if clean:
        raise InputError(
            f"{told}, which this tool has not made: --clean leaves them, so give another directory."
        )
    raise InputError(
        f"{told} (this one is {hash_}, as its input or options are others): give another "
        "directory, or --clean to remove what earlier runs have left."
    )


def _lists_alone(names: Collection[str]) -> list[str]:
    """Returns the lists of failures of runs that had nothing but failures: of no dataset."""
    counts = collections.Counter(map(_hash_of, names))
    lists = {ShardNames(hash_).failures for hash_, count in counts.items() if count == 1}
    return [name for name in names if name in lists]


def _told(names: Collection[str]) -> str:
    ordered = sorted(names, key=lambda name: (name.startswith("_meta/"), name))
    if len(ordered) == 1:
        return f"1 file ({ordered[0]})"
    return f"{len(ordered)} files ({ordered[0]} ... {ordered[-1]})"


def _hash_of(name: str) -> str:
    parsed = parse(name)
    assert parsed is not None, name
    return parsed.hash


def _remove_ours(output: Output, standing: dict[str, Standing]) -> dict[str, Standing]:
    """Removes what is older than this run and of this tool; returns what is left."""
    hashes = {_hash_of(name) for name in standing}
    ours = {one for one in hashes if _is_ours(output, ShardNames(one), standing)}
    # What is younger was written by this run, should this step be tried twice.
    gone = [
        name
        for name, file in standing.items()
        if _hash_of(name) in ours and file.updated <= output.since
    ]
    for name in sorted(gone, key=_removal_rank):
        output.remove(name)
    if gone and _is_our_card(output):
        output.remove(_CARD)
    return {name: file for name, file in standing.items() if name not in set(gone)}


def _removal_rank(name: str) -> tuple[int, str]:
    parsed = parse(name)
    assert parsed is not None, name
    return _REMOVAL.index(parsed.kind), name


def _is_ours(output: Output, names: ShardNames, standing: Iterable[str]) -> bool:
    """Tells whether files of a hash are this tool's: others name their shards alike.

    Ours have a manifest, tables, or Parquet files that tell their plan; a run that was killed
    early may have left tars alone, beside which others would have put Parquet files.
    """
    of_hash = [name for name in standing if _hash_of(name) == names.hash]
    if names.manifest in of_hash or any(name.startswith("_meta/") for name in of_hash):
        return True
    tables = [name for name in of_hash if name.endswith(".parquet")]
    return not tables or any(_tells_plan(output, name) for name in tables)


def _tells_plan(output: Output, name: str) -> bool:
    with output.read(name) as source:
        try:
            return "beam_export.plan" in read_facts(pa.BufferReader(source.read()))
        except (pa.ArrowInvalid, OSError):
            return False


def _is_our_card(output: Output) -> bool:
    if not output.exists(_CARD):
        return False
    with output.read(_CARD) as source:
        return MARK.encode() in source.read()
