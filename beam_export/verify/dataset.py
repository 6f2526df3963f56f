"""Checks the files that exist once per dataset: manifest, run.json, tables, and stray files."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Callable, Collection, Iterator
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from beam_export.index_kinds import DALI, ENERGON, KINDS, WIDS
from beam_export.naming import ShardNames, parse
from beam_export.shards.ended_runs import AFTER_FAILURES, failures_of_ended_run
from beam_export.shards.indexes.dataset import fixed_names
from beam_export.shards.indexes.energon import FOLDER
from beam_export.shards.indexes.table import INDEXES
from beam_export.shards.leftovers import CARD, stale_header
from beam_export.shards.manifest import FORMAT, SealError, unseal
from beam_export.shards.parquet import FAILURES, PARQUET_ERRORS, SHARDS, read_facts
from beam_export.shards.report_file import REPORT
from beam_export.verify.findings import (
    MISSING,
    NOT_WRITTEN,
    REMAKE,
    RESTORE,
    Fault,
    Faults,
    reason,
)
from beam_export.verify.indexes import (
    REINDEX_MISSING,
    Once,
    OpenedIndexes,
    check_once,
    open_indexes,
)
from beam_export.verify.shard_parquet import read_table

__all__ = ["Opened", "find_hash", "open_for_checks", "read_file"]

#: Most bytes read of a file that is small for any dataset, and of any other file.
_SMALL, _MOST = 64 << 20, 2 << 30
_PART = 1 << 20

#: What a manifest must have, and of which type.
_FIELDS = {
    "hash": str,
    "options": dict,
    "software": dict,
    "steps": list,
    "schema": list,
    "totals": dict,
    "tables": list,
}
#: What else must hold of those whose content is used.
_INSIDE: dict[str, Callable[[Any], bool]] = {
    "steps": lambda steps: all(type(one) is dict for one in steps),
    "schema": lambda schema: all(type(one) is dict for one in schema),
    # `type` and not `isinstance`: JSON's true is an int to Python, and no count.
    "totals": lambda totals: all(type(one) is int for one in totals.values()),
}
_DATA = (".tar", ".parquet")
_STRAY = "remove it, or move it out of the export"


class Opened(NamedTuple):
    """An export of ours before any of its shards is read.

    Attributes:
        names: names of its files.
        manifest: its manifest, without its digest; None if it is missing or damaged.
        shards: rows of the table of shards, by number; None if it is missing or damaged.
        failures: rows of the table of failures.
        numbers: shards whose two files are there.
        whole: whether no shard is missing.
        faults: what is wrong so far.
        notes: what is odd and no fault.
        run: the run's own facts (`run.json`); None if they are missing or damaged.
        indexes: the table of the shards' indexes; None if there is none, or a damaged one.
    """

    names: ShardNames
    manifest: dict[str, Any] | None
    shards: dict[int, dict[str, Any]] | None
    failures: list[dict[str, Any]]
    numbers: list[int]
    whole: bool
    faults: list[Fault]
    notes: list[str]
    run: dict[str, Any] | None = None
    indexes: OpenedIndexes | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The options that the manifest states; empty without a manifest."""
        return self.manifest["options"] if self.manifest is not None else {}

    @property
    def lost_failures(self) -> bool:
        """Whether the table of failures should be there, and is not."""
        name = self.names.failures
        return any(fault.file == name and fault.problem == MISSING for fault in self.faults)

    @property
    def renamed(self) -> bool:
        """Whether the export has renamed duplicate ids."""
        return bool(self.options.get("duplicates") == "rename")

    @property
    def name_count(self) -> int:
        """About how many names there are: an id and a key per sample, and one of the input."""
        rows = (self.shards or {}).values()
        samples = sum(row["samples"] for row in rows if isinstance(row["samples"], int))
        return 3 * max(0, samples)


def find_hash(files: Collection[str], read: Callable[[str], bytes]) -> str | None:
    """Returns the hash of the export of ours that a directory holds, None if it holds none.

    Args:
        files: names in the directory and in its `_meta`.
        read: returns the bytes of a file.
    """
    parsed = [(one, name) for name in files if (one := parse(name)) is not None]
    # Somebody may have made indexes of any shards.
    parsed = [(one, name) for one, name in parsed if one.kind not in (DALI, ENERGON, WIDS)]
    ours = {one.hash for one, _ in parsed if one.kind not in ("tar", "parquet")}
    counts = collections.Counter(one.hash for one, _ in parsed if not ours or one.hash in ours)
    for found, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        # Curator's shards have names like ours, and nothing else of ours.
        tables = sorted(name for one, name in parsed if one[:2] == (found, "parquet"))
        # A few, so that one that is damaged does not hide the export.
        if found in ours or any(_is_ours(read(name)) for name in tables[:3]):
            return found
    return None


def read_file(source: BinaryIO, name: str, stated: int | None = None) -> bytes:
    """Returns the bytes of a file, up to a limit that bounds memory.

    A file larger than any such file of ours is damaged, and cut off it still is.

    Args:
        source: the file, at its beginning.
        name: of the file.
        stated: bytes that it should have, if that is known.
    """
    one = parse(name)
    if name == CARD or (one is not None and one.kind in ("manifest", "run")):
        most = _SMALL
    else:
        # One byte more than there should be shows that it has more.
        most = _MOST if stated is None else min(_MOST, max(_SMALL, stated + 1))
    parts = []
    # Reading in one piece would allocate all that was asked for, however small the file is.
    while most and (part := source.read(min(most, _PART))):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def _is_ours(data: bytes) -> bool:
    try:
        return bool(read_facts(pa.BufferReader(data)))
    except PARQUET_ERRORS:
        return False


def open_for_checks(hash_: str, files: Collection[str], read: Callable[[str], bytes]) -> Opened:
    """Reads and checks everything but the shards.

    Args:
        hash_: as `find_hash` found it.
        files: names in the directory and in its `_meta`.
        read: returns the bytes of a file.

    Raises:
        OSError: if a file cannot be read at present.
    """
    opening = _Opening(ShardNames(hash_), files, read)
    manifest = opening.manifest()
    shards, failures = opening.tables(manifest)
    indexes = opening.indexes(manifest)
    run = opening.run()
    numbers, whole = opening.numbers(manifest, shards)
    indexed = opening.check_indexes(manifest, shards, indexes)
    notes = [*opening.strays(), *opening.card(run), *indexed]
    return Opened(
        names=opening.names,
        manifest=manifest,
        shards=shards,
        failures=failures,
        numbers=numbers,
        whole=whole,
        faults=opening.faults.all(),
        notes=notes,
        run=run,
        indexes=indexes,
    )


class _Opening:
    def __init__(
        self, names: ShardNames, files: Collection[str], read: Callable[[str], bytes]
    ) -> None:
        self.names, self._files, self._read = names, frozenset(files), read
        self.faults = Faults(RESTORE)
        self._remake = REMAKE
        if ended := failures_of_ended_run(one for one in files if self._is_ours(one)):
            self._remake = f"the run ended by the failures that {ended} lists: {AFTER_FAILURES}"

    def _is_ours(self, name: str) -> bool:
        one = parse(name)
        return one is not None and one.hash == self.names.hash

    def _sealed(self, name: str) -> dict[str, Any] | None:
        if name not in self._files:
            self.faults.add_missing(name, self._remake)
            return None
        try:
            return unseal(self._read(name))
        except SealError as error:
            self.faults.add(name, str(error))
            return None

    def manifest(self) -> dict[str, Any] | None:
        """Returns the manifest; None, with a fault, if it is not this export's."""
        name = self.names.manifest
        content = self._sealed(name)
        if content is None:
            return None
        if content.get("format") != FORMAT:
            self.faults.add(name, f"its format is {content.get('format')!r}, not {FORMAT}")
            return None
        wrong = [field for field, kind in _FIELDS.items() if type(content.get(field)) is not kind]
        wrong = wrong or [name for name, fits in _INSIDE.items() if not fits(content[name])]
        if wrong:
            self.faults.add(name, f"it lacks, or has of another type: {', '.join(wrong)}")
            return None
        if content["hash"] != self.names.hash:
            self.faults.add(name, f"it is of the export {content['hash']}, and was renamed")
            return None
        return content

    def run(self) -> dict[str, Any] | None:
        """Returns the run's own facts; None, with a fault, if they are damaged."""
        return self._sealed(self.names.run)

    def tables(
        self, manifest: dict[str, Any] | None
    ) -> tuple[dict[int, dict[str, Any]] | None, list[dict[str, Any]]]:
        """Returns the tables of shards and of failures."""
        stated = _stated(manifest)
        if manifest is not None:
            known = {self.names.shards, self.names.failures, self.names.indexes}
            for name in set(stated) - known:
                self.faults.add(self.names.manifest, f"it names the unknown table {name}")
            if self.names.shards not in stated:
                self.faults.add(self.names.manifest, "it does not name the table of shards")
        rows = self._table(self.names.shards, SHARDS, stated)
        # It is written only if a sample failed: whether it should be there, the manifest says.
        listed = self.names.failures in stated or self.names.failures in self._files
        failures = self._table(self.names.failures, FAILURES, stated) if listed else []
        return self._by_number(rows), failures or []

    def indexes(self, manifest: dict[str, Any] | None) -> OpenedIndexes | None:
        """Returns the table of the shards' indexes, if there is one."""
        name, stated = self.names.indexes, _stated(manifest)
        if name not in stated and (manifest is not None or name not in self._files):
            # One that the manifest does not name is of a run that was cut short.
            return None
        rows = self._table(name, INDEXES, stated)
        return None if rows is None else open_indexes(self._read(name), name, self.faults)

    def check_indexes(
        self,
        manifest: dict[str, Any] | None,
        shards: dict[int, dict[str, Any]] | None,
        indexes: OpenedIndexes | None,
    ) -> Iterator[str]:
        """Checks the indexes that the dataset has once; yields notes."""
        if manifest is not None:
            once = Once(self.names, manifest, shards, indexes, self._files)
            yield from check_once(once, self._read, self.faults)

    def _table(
        self, name: str, schema: pa.Schema, stated: dict[str, Any]
    ) -> list[dict[str, Any]] | None:
        if name not in self._files:
            self.faults.add_missing(name, REINDEX_MISSING if schema is INDEXES else self._remake)
            return None
        data = self._read(name)
        if stated and stated.get(name) != hashlib.sha256(data).hexdigest():
            self.faults.add(name, "its sha256 is not the one that the manifest gives")
        # Read even so: what is wrong inside says more than a digest.
        rows = read_table(data=data, file=name, schema=schema, faults=self.faults)
        if rows is not None and schema is FAILURES and rows != sorted(rows, key=_in_row_order):
            self.faults.add(name, "its rows are not sorted")
        return rows

    def _by_number(self, rows: list[dict[str, Any]] | None) -> dict[int, dict[str, Any]] | None:
        if rows is None:
            return None
        if [row["shard"] for row in rows] != list(range(len(rows))):
            self.faults.add(self.names.shards, "its shards are not numbered 0, 1, 2, ...")
        return {row["shard"]: row for row in rows if isinstance(row["shard"], int)}

    def numbers(
        self, manifest: dict[str, Any] | None, shards: dict[int, dict[str, Any]] | None
    ) -> tuple[list[int], bool]:
        """Returns the shards whose files are both there, and whether these are all."""
        found: dict[str, set[int]] = {kind: set() for kind in ("tar", "parquet", DALI, ENERGON)}
        for name in self._files:
            one = parse(name)
            if one is not None and one.hash == self.names.hash and one.kind in found:
                found[one.kind].add(one.number or 0)
        wanted = set(range(len(shards))) if shards is not None else None
        if wanted is None and manifest is not None:
            count = manifest["totals"].get("shards")
            # Bounded: a damaged count must not make a set that fills the memory.
            wanted = set(range(count)) if type(count) is int and 0 <= count < 10**7 else None
        if wanted is None:
            # How many there were is unknown, but at least as many as the highest number says.
            wanted = set(range(1 + max(found["tar"] | found["parquet"], default=-1)))
        for number in sorted(wanted):
            for kind, name in self._pair(number):
                if number not in found[kind]:
                    self.faults.add_missing(name, self._remake)
        for number in sorted(set().union(*found.values()) - wanted):
            for kind, name in (*self._pair(number), *self._indexes_of(number)):
                if number in found[kind]:
                    self.faults.add(name, "the export has no shard of this number", remedy=_STRAY)
        both = found["tar"] & found["parquet"] & wanted
        return sorted(both), both == wanted

    def _pair(self, number: int) -> tuple[tuple[str, str], tuple[str, str]]:
        return ("tar", self.names.tar(number)), ("parquet", self.names.parquet(number))

    def _indexes_of(self, number: int) -> tuple[tuple[str, str], tuple[str, str]]:
        return (DALI, self.names.dali_index(number)), (ENERGON, self.names.energon_index(number))

    def strays(self) -> Iterator[str]:
        """Adds faults for files that are not the export's; yields notes on harmless ones."""
        for name in sorted(self._files):
            one = parse(name)
            if one is not None:
                if one.hash != self.names.hash:
                    self.faults.add(
                        name, "it is of another export than this directory's", remedy=_STRAY
                    )
                continue
            if _is_beside(name):
                continue
            base = name.rpartition("/")[2]
            # Loaders that are given the directory would read such files as data.
            looks_ours = base.startswith("images-") or base.lower().endswith(_DATA)
            if looks_ours or name.startswith("_meta/"):
                self.faults.add(name, "no file of an export has this name", remedy=_STRAY)
            elif name.startswith("_tmp/"):
                yield f"{name}: left by a run that died or is under way"
            else:
                yield f"{name}: not of the export, and not looked at"

    def card(self, run: dict[str, Any] | None) -> Iterator[str]:
        """Yields a note on a README that is missing, of another export, or not what was written."""
        if CARD not in self._files:
            if self.names.manifest in self._files:
                yield f"{CARD}: {MISSING}, and load_dataset(OUT) goes by it: {REMAKE}"
            return
        try:
            content = self._read(CARD)
            said = stale_header(content, self.names.hash)
        except OSError as error:
            # It may be anything of somebody else's, and no part of the export.
            yield f"{CARD}: it cannot be read ({reason(error)}), and was not looked at"
            return
        wrote = (run or {}).get("card_sha256")
        if not said and wrote not in (None, hashlib.sha256(content).hexdigest()):
            said = NOT_WRITTEN
        if said:
            yield f"{CARD}: {said}"


def _is_beside(name: str) -> bool:
    known = (*fixed_names(KINDS), CARD, REPORT)
    return name in known or name.startswith(f"{FOLDER}/")


def _stated(manifest: dict[str, Any] | None) -> dict[str, Any]:
    """Returns the SHA-256 of the tables by name, as the manifest states them."""
    tables = manifest["tables"] if manifest is not None else []
    return {str(one.get("name")): one.get("sha256") for one in tables if isinstance(one, dict)}


def _in_row_order(row: dict[str, Any]) -> tuple[str, ...]:
    # As text: a damaged table may hold nulls, which cannot be compared.
    return tuple(str(row[name]) for name in FAILURES.names)
