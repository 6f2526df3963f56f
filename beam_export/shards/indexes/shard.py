"""Makes the indexes of one shard of its members, as they are written or as they stand in a tar."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Collection
from typing import BinaryIO, NamedTuple

from beam_export.index_kinds import DALI, ENERGON, WIDS
from beam_export.naming import ShardNames
from beam_export.shards.indexes import energon
from beam_export.shards.indexes.dali import DaliIndex
from beam_export.shards.tar import header
from beam_export.storage.base import read_up_to
from beam_export.tar_blocks import BLOCK, whole_blocks

__all__ = ["DamagedTarError", "IndexFile", "ShardIndexer", "ShardIndexes", "index_tar"]

#: Bytes of a tar that are read at a time.
_PIECE = 1 << 20


class IndexFile(NamedTuple):
    """A shard's file for one loader: its size in bytes, and its SHA-256 in hex."""

    bytes: int
    sha256: str


class ShardIndexes(NamedTuple):
    """What is known of a shard for indexes; small, as those of the dataset are made of all at once.

    Attributes:
        kinds: those that the dataset has (`index_kinds`).
        images: extensions of its images, sorted.
        fields: extensions that all its samples have beside the image's, sorted.
        dali, energon: the shard's files; None if there is none.
        tar_md5: hex, of the tar; None if there is no index for wids.
    """

    kinds: tuple[str, ...]
    images: tuple[str, ...]
    fields: tuple[str, ...]
    dali: IndexFile | None
    energon: IndexFile | None
    tar_md5: str | None

    @classmethod
    def of(cls, packed: tuple[object, ...]) -> ShardIndexes:
        """Returns them from the plain tuples that coders make of them."""
        kinds, images, fields, *files, md5 = packed
        dali, offsets = (None if one is None else IndexFile(*one) for one in files)  # type: ignore[misc]
        return cls(kinds, images, fields, dali, offsets, md5)  # type: ignore[arg-type]


class ShardIndexer:
    """Gathers what the indexes of one shard are made of, member by member."""

    def __init__(self, kinds: Collection[str]) -> None:
        """Begins with the first member.

        Args:
            kinds: of the indexes that the dataset has.
        """
        self._kinds = tuple(sorted(kinds))
        self._dali = DaliIndex() if DALI in kinds else None
        self._offsets = array("Q")
        self._end = 0
        self._key: str | None = None
        self._images: set[str] = set()
        # None before the first sample, which all of its own are of.
        self._fields: set[str] | None = None
        self._of_sample: set[str] = set()
        self.md5 = hashlib.md5(usedforsecurity=False) if WIDS in kinds else None

    def add(self, key: str, ext: str, *, offset: int, size: int) -> None:
        """Adds a member of the tar; those of a sample come one after the other."""
        first = key != self._key
        if first:
            self._end_sample()
            self._key = key
            self._images.add(ext)
            self._offsets.append(offset - BLOCK)
        else:
            self._of_sample.add(ext)
        if self._dali is not None:
            self._dali.add(key, ext, offset=offset, size=size, first=first)
        self._end = offset + whole_blocks(size)

    def _end_sample(self) -> None:
        if self._key is not None:
            known = self._of_sample if self._fields is None else self._fields
            self._fields = known & self._of_sample
            self._of_sample = set()

    def files(self, names: ShardNames, number: int) -> dict[str, bytes]:
        """Returns the shard's own files by name, once all members are added."""
        found = {}
        if self._dali is not None:
            found[names.dali_index(number)] = self._dali.content()
        if ENERGON in self._kinds:
            found[names.energon_index(number)] = energon.tar_index(self._offsets, self._end)
        return found

    def known(self, names: ShardNames, number: int) -> ShardIndexes:
        """Returns what is known of the shard, once all members are added."""
        self._end_sample()
        self._key = None
        described = {
            name: IndexFile(len(data), hashlib.sha256(data).hexdigest())
            for name, data in self.files(names, number).items()
        }
        return ShardIndexes(
            kinds=self._kinds,
            images=tuple(sorted(self._images)),
            fields=tuple(sorted(self._fields or ())),
            dali=described.get(names.dali_index(number)),
            energon=described.get(names.energon_index(number)),
            tar_md5=self.md5.hexdigest() if self.md5 is not None else None,
        )


class DamagedTarError(Exception):
    """A tar is not one of this tool, or is damaged; the text says how, in one clause."""


def index_tar(
    tar: BinaryIO, kinds: Collection[str], *, sha256: str, through: bool = False
) -> ShardIndexer:
    """Returns what the indexes of a finished shard are made of.

    Args:
        tar: a tar of this tool, at its beginning.
        kinds: of the indexes that the dataset has.
        sha256: hex, of the tar, to which it is held where all of it is read.
        through: whether all of it is read, as it is for wids, and not headers alone: where each
            read is a request, that takes less time.

    Raises:
        DamagedTarError: if it is not a whole tar of this tool's dialect, or not that one.
        OSError: if it cannot be read at present.
    """
    indexer = ShardIndexer(kinds)
    reader = _Through(tar, indexer.md5) if through or indexer.md5 is not None else _Headers(tar)
    start = 0
    while (block := reader.take(BLOCK)).strip(b"\0"):
        name, size = _parsed(block, start)
        folder, slash, last = name.rpartition("/")
        stem, _, ext = last.partition(".")
        indexer.add(f"{folder}{slash}{stem}", ext, offset=start + BLOCK, size=size)
        reader.skip(whole_blocks(size))
        start += BLOCK + whole_blocks(size)
    if len(block) < BLOCK:
        raise DamagedTarError("it ends without the two zero blocks of an archive's end")
    if reader.sha256() not in ("", sha256):
        raise DamagedTarError("its sha256 is not the one that was written")
    return indexer


class _Headers:
    """Reads some parts of a tar, and leaves out others."""

    def __init__(self, tar: BinaryIO) -> None:
        self._tar = tar

    def take(self, size: int) -> bytes:
        """Returns the next bytes, fewer only at the end of the file."""
        return read_up_to(self._tar, size)

    def skip(self, size: int) -> None:
        """Passes the next bytes by."""
        self._tar.seek(size, 1)

    def sha256(self) -> str:
        """Returns the SHA-256 of the whole tar, in hex; empty as it is not known."""
        return ""


class _Through(_Headers):
    """Reads all of a tar once, and computes its digests."""

    def __init__(self, tar: BinaryIO, md5: hashlib._Hash | None) -> None:
        super().__init__(tar)
        self._hashes = [hashlib.sha256(), *([md5] if md5 is not None else [])]

    def take(self, size: int) -> bytes:
        data = super().take(size)
        for one in self._hashes:
            one.update(data)
        return data

    def skip(self, size: int) -> None:
        while size and (piece := self.take(min(size, _PIECE))):
            size -= len(piece)

    def sha256(self) -> str:
        while self.take(_PIECE):
            pass
        return self._hashes[0].hexdigest()


def _parsed(block: bytes, start: int) -> tuple[str, int]:
    """Returns name and size of a member by its header, which must be the one that is written."""
    try:
        name = block[:100].rstrip(b"\0").decode("ascii")
        size = int(block[124:135], 8)
        if block == header(name, size):
            return name, size
    except ValueError:
        pass
    raise DamagedTarError(f"its header at byte {start} is not one of this tool's")
