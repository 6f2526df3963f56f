"""Decides whether a file in the output directory was made by this tool, by its content.

Other tools name their shards alike (NeMo Curator's are `images-{hash}-000000.tar` too). A file that
bears the mark of a run is ours, where a storage keeps marks. Elsewhere a manifest, `run.json`, the
tables, indexes and the shards' Parquet files are known by what is in them. A tar has the bytes that
any writer of tars may write: it is ours beside a Parquet of ours, by the manifest or the table of
shards, or by the record that a run keeps of it until its Parquet is there (`Output.record_tar`).
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any, BinaryIO, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from beam_export.naming import ParsedName, ShardNames, parse
from beam_export.shards.indexes.dali import is_dali_index
from beam_export.shards.indexes.energon import is_energon_index
from beam_export.shards.indexes.table import INDEXES
from beam_export.shards.indexes.wids import is_wids_index
from beam_export.shards.manifest import SealError, unseal
from beam_export.shards.parquet import FAILURES, PARQUET_ERRORS, SHARDS, read_facts, whole_table

__all__ = ["FileInfo", "Ownership", "RecordedFiles", "sha256_of"]

#: How our manifests begin, and Parquet files: of damaged ones this much may be left.
_MANIFEST = r'\{\n  "format": [0-9]+,\n  "hash": "%s",\n'
_PARQUET = b"PAR1"
#: What `run.json` has had in every version.
_RUN_FIELDS = ("host", "images_per_second", "machine", "python", "seconds", "started")
_TABLES = {"shards": SHARDS, "failures": FAILURES, "indexes": INDEXES}
#: Whether the content of a file is, in form, an index of a shard.
_IS_INDEX = {"dali": is_dali_index, "energon": is_energon_index}
#: So many of them have to be left: damage may have hit others.
_MOST_FIELDS = 4
_PIECE = 1 << 20


class FileInfo(NamedTuple):
    """A file in the output directory, or what else has its name.

    Attributes:
        size: in bytes.
        updated: when it took its name, in seconds since the epoch.
        kind: `file`, or what else it is (`local_file.file_kind`).
        owner: the mark of the run that wrote it, where marks are kept.
    """

    size: int
    updated: float
    kind: str = "file"
    owner: str = ""


class RecordedFiles(Protocol):
    """The directory of the files."""

    def read(self, name: str) -> BinaryIO:
        """Opens a file for reading."""

    def recorded_tars(self) -> Collection[tuple[str, str]]:
        """Returns (name, SHA-256 in hex) of the tars that runs have kept a record of."""


class Ownership:
    """Decides for the files of one hash whether this tool has made them."""

    def __init__(self, hash_: str, standing: Mapping[str, FileInfo], place: RecordedFiles) -> None:
        """Reads nothing yet; files are read when they are asked for.

        Args:
            hash_: in the names of the files.
            standing: what the output holds, by name.
            place: the output.
        """
        self._names, self._standing, self._place = ShardNames(hash_), standing, place
        self._known: dict[str, bool] = {}

    def owns(self, name: str) -> bool:
        """Returns whether this tool has made a file; never true of what is no plain file.

        Raises:
            OSError: if it cannot be read at present.
        """
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> bool:
        file, parsed = self._standing[name], parse(name)
        if file.kind != "file" or parsed is None:
            return False
        # A run's mark, where a storage keeps marks: no content need be read.
        if file.owner:
            return True
        try:
            return self._has_our_content(name, parsed)
        except FileNotFoundError:  # removed meanwhile, so not in the way
            return True

    def _has_our_content(self, name: str, parsed: ParsedName) -> bool:
        match parsed.kind:
            case "manifest":
                pattern = (_MANIFEST % self._names.hash).encode()
                return re.match(pattern, self._read(name)) is not None
            case "run":
                return _is_run(self._read(name))
            case "shards" | "failures" | "indexes":
                return self._is_table(name, _TABLES[parsed.kind])
            case "wids":
                return is_wids_index(self._read(name), self._names)
            case "dali" | "energon":
                return name in self._indexes or _IS_INDEX[parsed.kind](self._read(name))
        number = parsed.number or 0
        # Before its content: a damaged Parquet shows nothing itself, and is ours if it is listed.
        if self._is_listed(number):
            return True
        if parsed.kind == "parquet":
            return _is_of_shard(self._read(name), self._names.tar(number))
        table = self._names.parquet(number)
        return (table in self._standing and self.owns(table)) or self._is_recorded(name)

    def _is_listed(self, number: int) -> bool:
        """Returns whether the manifest or the table of shards lists a shard."""
        return number < self._counted or number in self._listed

    @functools.cached_property
    def _indexes(self) -> frozenset[str]:
        """Names of the shards' indexes in the table of them."""
        rows = self._rows(self._names.indexes, [f"{loader}_file" for loader in _IS_INDEX])
        return frozenset(file for row in rows for file in row.values() if file)

    @functools.cached_property
    def _counted(self) -> int:
        """Shards by the manifest; 0 if it is damaged."""
        shards = self._manifest.get("totals", {}).get("shards", 0)
        return shards if isinstance(shards, int) else 0

    @functools.cached_property
    def _manifest(self) -> dict[str, Any]:
        name = self._names.manifest
        if not self._is_file(name):
            return {}
        try:
            content = unseal(self._read(name))
        except SealError:
            return {}
        return content if content.get("hash") == self._names.hash else {}

    @functools.cached_property
    def _listed(self) -> frozenset[int]:
        """Numbers of the shards in the table of shards."""
        found = (row.values() for row in self._rows(self._names.shards, ["shard", "tar_file"]))
        return frozenset(
            number
            for number, tar in found
            if isinstance(number, int) and tar == self._names.tar(number)
        )

    def _rows(self, name: str, columns: list[str]) -> list[dict[str, Any]]:
        """Returns some columns of a table of the export; no row if it is not there, or damaged."""
        if not self._is_file(name):
            return []
        try:
            table = whole_table(pa.BufferReader(self._read(name))).select(columns)
            rows: list[dict[str, Any]] = table.to_pylist()
        except PARQUET_ERRORS:
            return []
        return rows

    def _is_table(self, name: str, wanted: pa.Schema) -> bool:
        data = self._read(name)
        try:
            return bool(pq.read_schema(pa.BufferReader(data)).names == wanted.names)
        except PARQUET_ERRORS:
            # All Parquet files begin so: whose the damaged one is, other files have to show.
            return data.startswith(_PARQUET) and self._has_anchor()

    def _has_anchor(self) -> bool:
        """Returns whether other files show that a damaged table is ours."""
        tables = [name for name in self._standing if self._is_shard_table(name)]
        return bool(self._manifest) or any(map(self.owns, tables))

    def _is_shard_table(self, name: str) -> bool:
        parsed = parse(name)
        return parsed is not None and parsed[:2] == (self._names.hash, "parquet")

    def _is_recorded(self, name: str) -> bool:
        recorded = {sha256 for one, sha256 in self._place.recorded_tars() if one == name}
        if not recorded:
            return False
        with self._place.read(name) as source:
            return sha256_of(source) in recorded

    def _is_file(self, name: str) -> bool:
        return name in self._standing and self._standing[name].kind == "file"

    def _read(self, name: str) -> bytes:
        with self._place.read(name) as source:
            return source.read()


def sha256_of(source: BinaryIO) -> str:
    """Returns the SHA-256 in hex of what is left of a file."""
    digest = hashlib.sha256()
    while piece := source.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


def _is_run(data: bytes) -> bool:
    """Returns whether a file is a `run.json`, damaged or not: it has most of the fields."""
    named = sum(f'\n  "{field}": '.encode() in data for field in _RUN_FIELDS)
    return data.startswith(b"{\n") and named >= _MOST_FIELDS


def _is_of_shard(data: bytes, tar_file: str) -> bool:
    """Returns whether a Parquet file is of this tool and describes that tar."""
    try:
        if "beam_export.plan" not in read_facts(pa.BufferReader(data)):
            return False
        # One that was renamed describes another tar, and says nothing about this one.
        batches = pq.ParquetFile(pa.BufferReader(data)).iter_batches(
            1, columns=["tar_file"], use_threads=False
        )
        return bool(next(batches).column(0)[0].as_py() == tar_file)
    except (*PARQUET_ERRORS, StopIteration):
        return False
