"""Opens an export that is complete: its manifest and its table of shards, before any shard is read.

Two small files are read, however many shards there are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from beam_export.errors import InputError, RunError
from beam_export.naming import ShardNames, parse
from beam_export.shards.directory import Directory
from beam_export.shards.ended_runs import AFTER_FAILURES, failures_of_ended_run
from beam_export.shards.manifest import FORMAT, SealError, unseal
from beam_export.shards.parquet import PARQUET_ERRORS, whole_table
from beam_export.storage.registry import check_reachable
from beam_export.storage.retry import with_retries

__all__ = ["Catalog", "damaged", "open_catalog", "reading"]

_COUNTS = ("samples", "bytes", "parquet_bytes")


@dataclasses.dataclass(frozen=True, eq=False)
class Catalog:
    """What an export says of itself before any shard is read.

    Attributes:
        place: its directory.
        names: of its files.
        manifest: its content, without the digest of itself.
        firsts: rank of the first sample of each shard, and behind them the number of samples.
        tar_bytes, parquet_bytes: sizes of the files of each shard.
    """

    place: Directory
    names: ShardNames
    manifest: dict[str, Any]
    firsts: np.ndarray
    tar_bytes: np.ndarray
    parquet_bytes: np.ndarray

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.firsts[-1])

    @property
    def shards(self) -> int:
        """Number of shards."""
        return len(self.tar_bytes)

    def shard_of(self, number: int) -> int:
        """Returns the shard that holds a sample."""
        return int(np.searchsorted(self.firsts, number, side="right")) - 1

    def sidecar(self, name: str) -> bytes:
        """Returns the content of a file that exists once.

        Raises:
            RunError: if it cannot be read.
        """
        with reading(self.place, name):
            return _content(self.place, name)


def open_catalog(directory: str) -> Catalog:
    """Returns what the export in a directory says of itself.

    Raises:
        InputError: if there is none, several, or one that is not finished.
        RunError: if it is damaged.
    """
    check_reachable("OUT", directory)
    place = Directory(directory)
    names = ShardNames(_hash_in(place))
    manifest = _manifest(place, names)
    table = _shards(place, names, manifest)
    counts = {name: table[name].to_numpy().astype(np.int64) for name in _COUNTS}
    ends = np.cumsum(counts["samples"])
    catalog = Catalog(
        place=place,
        names=names,
        manifest=manifest,
        firsts=np.concatenate([np.zeros(1, np.int64), ends]),
        tar_bytes=counts["bytes"],
        parquet_bytes=counts["parquet_bytes"],
    )
    if catalog.samples != manifest["totals"]["written"]:
        raise damaged(place, names.shards, "it does not add up to the manifest's samples")
    return catalog


def damaged(place: Directory, name: str, what: str) -> RunError:
    """Returns the error of a file that is not what was written."""
    return RunError(
        f"OUT={place.directory}: {name} is damaged ({what}): see what else is, by beam-export "
        f"verify {place.directory}, and restore it or export again."
    )


@contextlib.contextmanager
def reading(place: Directory, name: str) -> Iterator[None]:
    """Turns errors of a storage into one sentence that names the file.

    Raises:
        RunError: if a file of the export is missing, or cannot be read.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise damaged(place, name, "it is missing") from error
    except OSError as error:
        raise RunError(
            f"OUT={place.directory}: {name} cannot be read ({_reason(error)}): run again when it "
            "can."
        ) from error


def _hash_in(place: Directory) -> str:
    """Returns the hash of the complete export in a directory.

    Looked for in `_meta` first, which is small: listing all shards on an object store takes long.
    """
    try:
        found = _hashes(place, place.list_files(["_meta/"]))
        if len(found) != 1:
            found = _hashes(place, place.list_files())
    except OSError as error:
        raise InputError(
            f"OUT={place.directory} cannot be read ({_reason(error)}): give the directory of an "
            "export."
        ) from error
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"OUT={place.directory} holds several exports ({', '.join(found)}): give each a "
            "directory of its own."
        )
    raise _nothing_complete(place)


def _hashes(place: Directory, files: Iterable[str]) -> list[str]:
    """Returns the hashes of those files whose export has a manifest."""
    parsed = filter(None, map(parse, files))
    found = sorted({one.hash for one in parsed})
    return [one for one in found if place.exists(ShardNames(one).manifest)]


def _nothing_complete(place: Directory) -> InputError:
    files = list(place.list_files())
    if ended := failures_of_ended_run(files):
        return InputError(
            f"OUT={place.directory} holds no whole export, since its run ended by its failures, "
            f"which are listed in {place.path(ended)}: {AFTER_FAILURES}."
        )
    # Tables of `_meta` are no shards.
    shards = [name for name in files if name.endswith((".tar", ".parquet")) and "/" not in name]
    if not shards:
        return InputError(
            f"OUT={place.directory} holds no export of this tool: give the directory that has "
            "images-{hash}-manifest.json."
        )
    return InputError(
        f"OUT={place.directory} holds shards ({shards[0]}) and no manifest, as an export has that "
        "is not finished, or the shards of another tool: run the export to its end, which keeps "
        "the shards that are there."
    )


def _manifest(place: Directory, names: ShardNames) -> dict[str, Any]:
    with reading(place, names.manifest):
        data = _content(place, names.manifest)
    try:
        content = unseal(data)
    except SealError as error:
        raise damaged(place, names.manifest, str(error)) from error
    if content.get("format") != FORMAT:
        raise InputError(
            f"OUT={place.directory} is an export of format {content.get('format')!r}, and this "
            f"version reads {FORMAT}: read it with the version that wrote it, or a later one."
        )
    return content


def _shards(place: Directory, names: ShardNames, manifest: dict[str, Any]) -> pa.Table:
    with reading(place, names.shards):
        data = _content(place, names.shards)
    stated = {one["name"]: one["sha256"] for one in manifest["tables"]}
    if stated.get(names.shards) != hashlib.sha256(data).hexdigest():
        raise damaged(place, names.shards, "its sha256 is not the one that the manifest gives")
    try:
        return whole_table(pa.BufferReader(data), ["shard", *_COUNTS])
    except PARQUET_ERRORS as error:
        raise damaged(place, names.shards, str(error).partition("\n")[0]) from error


def _content(place: Directory, name: str) -> bytes:
    def read() -> bytes:
        with place.read(name) as source:
            return source.read()

    return with_retries(read)


def _reason(error: OSError) -> str:
    text = os.strerror(error.errno) if error.errno else str(error).partition("\n")[0]
    return text or type(error).__name__
