"""Recognises exports of ours, finished or not, by what their files say of themselves."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_export.naming import CARD_MARK, parse
from beam_export.samples import Failure
from beam_export.sources.entries import Exported, Source
from beam_export.storage.open_files import open_with_retries
from beam_export.storage.retry import is_permanent
from beam_export.storage.uris import unpin
from beam_export.tar_blocks import BLOCK, END_SIZE, is_plain_header

__all__ = ["OwnExports"]

#: Of the key-values of each Parquet file of ours that describes a shard.
_VERSION, _TAR_BYTES = b"beam_export.version", b"beam_export.tar_bytes"
#: Columns that the tables in `_meta` have, and hardly others: of shards, failures, indexes.
_OF_TABLES = (
    frozenset({"tar_sha256", "parquet_sha256", "plan"}),
    frozenset({"image_id", "original_path", "stage", "error", "message"}),
    frozenset({"tar_sha256", "tar_md5", "dali_file", "energon_file"}),
)
#: What `run.json` has had in every version.
_OF_RUNS = frozenset({"host", "images_per_second", "machine", "python", "seconds", "started"})
#: Bytes of a manifest, of a card and of another file that are read.
_MOST_JSON, _MOST_CARD, _MOST = 64 << 20, 1 << 20, 4096
#: Parquet files of one kind of name that are opened before the others are taken for alike.
_ASKED = 3
_DIGITS = re.compile(r"[0-9]+")


class OwnExports:
    """Recognises the files of exports of ours; opens each file that shows it once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], bool] = {}
        self._sizes: dict[tuple[str, ...], frozenset[int]] = {}
        # (directory, hash in the names of files) of exports.
        self._found: set[tuple[str, str]] = set()
        self._homes: set[str] = set()

    def knows(self, file: Exported) -> bool:
        """Returns whether a file is one of an export, as far as is known.

        What shows that an unfinished export is ours lies in `_meta` and `_tmp`, which a listing
        gives before the shards.

        Raises:
            OSError: if what shows it cannot be read at present.
        """
        if file.marked or self.has(file.proofs, file.tar_bytes):
            self._found.add((file.home, file.hash))
            self._homes.add(file.home)
            return True
        if file.beside and self.has(file.beside):
            self._homes.add(file.home)
            if isinstance(file.item, Source) and _is_written_like_ours(file.item):
                return True
            if not file.hash:
                return False
        if not isinstance(file.item, (Source, Failure)):
            return file.home in self._homes
        if any(unpin(uri)[0].endswith(".parquet") for uri in file.proofs):
            # They say that it is another's.
            return False
        return not self._found.isdisjoint({(file.home, file.hash), (file.home, "")})

    def has(self, proofs: tuple[str, ...], tar_bytes: int = 0) -> bool:
        """Returns whether one of some files says that this tool wrote it.

        Args:
            proofs: their URIs.
            tar_bytes: the size that it must state of its tar; 0 if any will do.

        Raises:
            OSError: if one cannot be read at present.
        """
        if tar_bytes:
            if proofs not in self._sizes:
                self._sizes[proofs] = frozenset(_sizes_of(proofs))
            return tar_bytes in self._sizes[proofs]
        if proofs not in self._known:
            self._known[proofs] = any(map(_is_own, proofs))
        return self._known[proofs]

    def written(self, uris: Iterable[str]) -> frozenset[str]:
        """Returns those of some Parquet files that this tool wrote; of names alike, asks a few.

        Raises:
            OSError: if one cannot be read at present.
        """
        groups = (group for group in _alike(uris) if self.has(tuple(group[:_ASKED])))
        return frozenset(itertools.chain.from_iterable(groups))

    def is_at_home(self, file: Exported) -> bool:
        """Returns whether a file lies in the directory of an export, and is of it, as far as known.

        Raises:
            OSError: if it has to say so itself, and cannot be read at present.
        """
        return file.home in self._homes and (not file.content or self.has((file.content,)))


def _is_own(uri: str) -> bool:
    """Returns whether a file was written by this tool, by its content."""
    name = unpin(uri)[0].rpartition("/")[2]
    if name.endswith(".parquet"):
        found = _parquet_facts(uri)
        return found is not None and (
            _VERSION in found[0] or any(found[1] >= columns for columns in _OF_TABLES)
        )
    if name == "README.md":
        return CARD_MARK.encode() in _start_of(uri, _MOST_CARD)
    if name.endswith(".json"):
        return _is_own_json(_start_of(uri, _MOST_JSON), name)
    start = _start_of(uri, _MOST)
    if name.startswith("claim-"):
        # It holds the name of a tar whose Parquet was to follow.
        return parse(start.decode("ascii", "replace")) is not None
    return b"beam_export" in start or b"made by beam-export" in start


def _is_written_like_ours(tar: Source) -> bool:
    """Returns whether a tar has the headers and the end of one of ours.

    Python's `tarfile` fills the last 10 KiB with zeros, and GNU tar too; most others name a user.
    """
    if tar.size < 2 * BLOCK + END_SIZE:
        return False
    try:
        with open_with_retries(tar.uri) as file:
            head = file.read(BLOCK)
            file.seek(tar.size - BLOCK - END_SIZE)
            last = file.read(BLOCK + END_SIZE)
    except OSError as error:
        _raise_if_it_may_pass(error)
        return False
    return is_plain_header(head) and last.endswith(bytes(END_SIZE)) and any(last)


def _is_own_json(content: bytes, name: str) -> bool:
    """Returns whether a file is a manifest, a `run.json`, or a list of tars of one export."""
    try:
        held = json.loads(content)
    except (ValueError, RecursionError):
        return False
    if not isinstance(held, dict):
        return False
    shards = held.get("shardlist") if "shardlist" in held else [{"url": n} for n in held]
    if isinstance(shards, list) and shards:
        urls = [str(one.get("url")) if isinstance(one, dict) else "" for one in shards]
        if all((tar := parse(url)) is not None and tar.kind == "tar" for url in urls):
            return True
    return held.keys() >= _OF_RUNS or _is_manifest(held, name)


def _is_manifest(held: dict[str, Any], name: str) -> bool:
    """Returns whether the content of a file is that of a manifest; one of our names has its hash.

    >>> _is_manifest({"hash": "ab", "totals": {}, "software": {"beam_export": "1"}}, "mine.json")
    True
    """
    found, software = parse(name), held.get("software")
    if found is not None:
        return held.get("hash") == found.hash
    wrote = isinstance(software, dict) and "beam_export" in software
    return wrote and held.keys() >= {"hash", "totals"}


def _sizes_of(uris: Iterable[str]) -> Iterator[int]:
    """Yields the sizes of the tars that Parquet files of ours describe."""
    for group in _alike(uris):
        ours = False
        for at, uri in enumerate(group):
            if at >= _ASKED and not ours:
                break
            found = _parquet_facts(uri)
            if found is not None and _VERSION in found[0]:
                ours = True
                size = found[0].get(_TAR_BYTES, b"")
                yield from [int(size)] if size.isdigit() else []


def _alike(uris: Iterable[str]) -> Iterable[list[str]]:
    """Returns files in groups, of which each has one name but for digits."""
    groups: dict[str, list[str]] = {}
    for uri in uris:
        groups.setdefault(_DIGITS.sub("#", unpin(uri)[0]), []).append(uri)
    return groups.values()


def _parquet_facts(uri: str) -> tuple[dict[bytes, bytes], frozenset[str]] | None:
    """Returns the key-values and the columns of a Parquet file; None if it cannot be read."""
    try:
        with open_with_retries(uri) as file:
            held = pq.read_metadata(file)
            return held.metadata or {}, frozenset(held.schema.names)
    except pa.ArrowException:
        return None
    except OSError as error:
        _raise_if_it_may_pass(error)
        return None


def _start_of(uri: str, most: int) -> bytes:
    """Returns the first bytes of a file; none if it cannot be read, or is gone."""
    try:
        with open_with_retries(uri) as file:
            return file.read(most)
    except OSError as error:
        _raise_if_it_may_pass(error)
        return b""


def _raise_if_it_may_pass(error: OSError) -> None:
    # Arrow raises one without a number for damage.
    if error.errno is not None and not is_permanent(error):
        raise error
