"""Refuses or removes what earlier exports left in the output directory, before a new one writes."""

from __future__ import annotations

import collections
import concurrent.futures
import re
from collections.abc import Collection, Iterable

from beam_export.errors import InputError
from beam_export.index_kinds import DALI, ENERGON, KINDS, WIDS
from beam_export.naming import ParsedName, ShardNames, other_hash, parse
from beam_export.shards.card import is_card
from beam_export.shards.index_files import find_kinds, refuse_strangers
from beam_export.shards.index_owners import IndexOwners
from beam_export.shards.indexes.counts import NSHARDS
from beam_export.shards.indexes.dataset import fixed_names
from beam_export.shards.indexes.energon import FOLDER
from beam_export.shards.manifest import SealError, unseal
from beam_export.shards.output import Output
from beam_export.shards.ownership import FileInfo
from beam_export.shards.report_file import REPORT, find_report
from beam_export.storage.base import CONCURRENT_REQUESTS

__all__ = ["CARD", "find_card", "refuse_existing", "remove_or_refuse", "stale_header"]

#: The dataset card.
CARD = "README.md"
#: The header of a README, which a hub and `datasets` read, and what names an export's files there.
_HEADER = re.compile(
    rb"(?:\xef\xbb\xbf)?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE
)
#: Order of removal: the manifest first, so that a half removed dataset is never taken for a
#: complete one, and tars last.
_REMOVAL = (
    *("manifest", "run", "shards", "failures", "indexes"),
    *(WIDS, DALI, ENERGON, "parquet", "tar"),
)
#: What every export has; the rest are indexes.
_DATA = frozenset(_REMOVAL) - {"indexes", WIDS, DALI, ENERGON}


def refuse_existing(output: Output) -> None:
    """Refuses an output that holds a dataset of this tool (`--resume=false`).

    Raises:
        InputError: if one does.
    """
    found = output.list_files()
    ours = _find_ours(output, found)
    standing = [name for name in found if name in ours and name not in _lone_failure_lists(found)]
    if standing:
        raise InputError(
            f"--resume=false was given and --output_dir={output.directory} holds "
            f"{_summary(standing)} of an earlier run: give another directory, or --clean to remove "
            "them."
        )


def remove_or_refuse(
    output: Output, hash_: str, shards: int, *, clean: bool, indexes: Collection[str] = ()
) -> None:
    """Removes what earlier exports left, or refuses the output if that is not to be removed.

    Nothing is removed before everything is checked.

    Args:
        output: the output directory.
        hash_: of the dataset to be written.
        shards: how many it has.
        clean: whether files of earlier runs are removed, those of that hash too.
        indexes: kinds of indexes that it is to have.

    Raises:
        InputError: if there is another dataset that is not to be removed, or a file that this
            tool has not made where one is to be written.
    """
    standing = output.list_files()
    ours = _find_ours(output, standing)
    names = ShardNames(hash_)
    kinds = find_kinds(output, names, indexes)
    # An index for wids may have been edited, and is kept then.
    written = {*_DATA, *(["indexes", *kinds] if kinds else [])} - {WIDS}
    mine = {name: file for name, file in standing.items() if _parsed(name).kind in written}
    _refuse_foreign(output=output, hash_=hash_, shards=shards, standing=mine, ours=ours)
    others = [name for name in standing if _parsed(name).hash != hash_]
    # Somebody's own indexes of an export harm nobody.
    others = [name for name in others if name in ours or _parsed(name).kind in _DATA]
    alone = [name for name in _lone_failure_lists(others) if name in ours]
    if beside := [name for name in others if name not in alone and not (clean and name in ours)]:
        raise InputError(_refusal(output=output, hash_=hash_, names=beside, ours=ours))
    refuse_strangers(output, kinds)
    if not clean:
        for name in alone:
            output.remove(name)
        return
    # Younger files are this run's own, from an earlier attempt at this step.
    gone = [name for name in ours if standing[name].updated <= output.since]
    # Checked while `run.json` of the run that wrote it is still there.
    pages = [CARD] if gone and find_card(output) == "ours" else []
    if gone and find_report(output) == "ours":
        # Of an export that is gone.
        pages.append(REPORT)
    fixed = _fixed_of_ours(output)
    for name in [*sorted(gone, key=_removal_rank), *fixed, *pages]:
        output.remove(name)
    if any(name.startswith(f"{FOLDER}/") for name in fixed):
        output.remove_if_empty(FOLDER)


def _fixed_of_ours(output: Output) -> list[str]:
    """Returns the indexes under fixed names that earlier runs of this tool have left."""
    owners = IndexOwners(output)
    found = []
    for name in fixed_names(KINDS):
        info = output.info(name) if output.kind(name) == "file" else None
        if info is not None and info.updated <= output.since and owners.owns(name):
            found.append(name)
    # The number of shards is known to be ours by their sizes.
    return sorted(found, key=lambda name: name != NSHARDS)


def _find_ours(output: Output, standing: dict[str, FileInfo]) -> set[str]:
    """Returns the names of the files that this tool has made."""
    hashes = {_parsed(name).hash for name in standing}
    owners = {one: output.ownership(one, standing) for one in hashes}
    with concurrent.futures.ThreadPoolExecutor(
        1 if output.is_local else CONCURRENT_REQUESTS
    ) as lanes:
        owned = list(lanes.map(lambda name: owners[_parsed(name).hash].owns(name), standing))
    return {name for name, is_ours in zip(standing, owned, strict=True) if is_ours}


def _refuse_foreign(
    output: Output, hash_: str, shards: int, standing: dict[str, FileInfo], ours: Collection[str]
) -> None:
    """Refuses the output if a file of others has a name that is to be written."""
    for name, file in standing.items():
        parsed = _parsed(name)
        if parsed.hash == hash_ and (parsed.number or 0) < shards and name not in ours:
            raise InputError(
                f"--output_dir={output.directory} holds {name}, where this export is to be "
                f"written: a {file.kind} that is not this tool's"
                + (", or is damaged" if file.kind == "file" else "")
                + ": move it away, or give another directory."
            )


def _refusal(output: Output, hash_: str, names: Collection[str], ours: Collection[str]) -> str:
    found = f"--output_dir={output.directory} holds {_summary(names)} of another dataset"
    if not all(name in ours for name in names):
        return (
            f"{found}, which this tool has not made: --clean leaves them, so give another "
            "directory."
        )
    return (
        f"{found} (this one is {hash_}, as its input or options are others): give another "
        "directory, or --clean to remove what earlier runs have left."
    )


def _lone_failure_lists(names: Collection[str]) -> list[str]:
    """Returns the tables of failures that stand alone: of runs in which all samples failed."""
    counts = collections.Counter(_parsed(name).hash for name in names)
    lists = {ShardNames(hash_).failures for hash_, count in counts.items() if count == 1}
    return [name for name in names if name in lists]


def _summary(names: Collection[str]) -> str:
    ordered = sorted(names, key=lambda name: (name.startswith("_meta/"), name))
    if len(ordered) == 1:
        return f"1 file ({ordered[0]})"
    return f"{len(ordered)} files ({ordered[0]} ... {ordered[-1]})"


def _parsed(name: str) -> ParsedName:
    parsed = parse(name)
    assert parsed is not None, name
    return parsed


def _removal_rank(name: str) -> tuple[int, str]:
    return _REMOVAL.index(_parsed(name).kind), name


def find_card(output: Output) -> str:
    """Returns `ours` if the output's README.md is a card of this tool, `kept` if not, `""` if none.

    A card that was edited since is kept too, and so is what is no file.
    """
    kind = output.kind(CARD)
    if kind != "file":
        return kind and "kept"
    with output.read(CARD) as source:
        content = source.read()
    return "ours" if is_card(content, _card_digests(output)) else "kept"


def _card_digests(output: Output) -> Iterable[str]:
    """Yields the SHA-256, in hex, of the cards that earlier runs have written."""
    for name, file in output.list_files().items():
        if _parsed(name).kind != "run" or file.kind != "file":
            continue
        with output.read(name) as source:
            data = source.read()
        try:
            digest = unseal(data).get("card_sha256")
        except SealError:
            continue
        if digest:
            yield str(digest)


def stale_header(readme: bytes, hash_: str) -> str:
    """Returns what is wrong with a README that was kept, and what to do; nothing if nothing is.

    An edited card is kept, and may be of an export that is gone: loaders go by its header even so.

    Args:
        readme: its content.
        hash_: of the export that stands beside it.
    """
    header = _HEADER.match(readme)
    other = other_hash(header[1], hash_) if header else ""
    if not other:
        return ""
    return (
        f"its header names files of another export ({other}), which load_dataset(OUT) looks for "
        "and does not find: move it away, run the export again, and copy your text into the card "
        "that this writes"
    )
