"""Finds the members of an uncompressed tar the cheapest safe way.

The Parquet of an export of ours, or an index by DALI, lists the members, so that the headers need
not be read one by one. Neither is trusted where a few reads can check it: if it does not fit, the
headers are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from beam_export.naming import ShardNames, parse
from beam_export.samples import Failure
from beam_export.sources.entries import BrokenSourceError, Entry, Source, broken_source
from beam_export.sources.tar.exports import OWN, ExportTable, read_export_table
from beam_export.sources.tar.walk import TarFault, TarItem, TarMember, TarNote, walk_members
from beam_export.sources.tar.webdataset import split_member
from beam_export.storage.local_file import check_unchanged
from beam_export.storage.open_files import open_with_retries
from beam_export.storage.retry import is_permanent
from beam_export.tar_blocks import BLOCK, whole_blocks

__all__ = [
    "TarIndexError",
    "dali_members",
    "find_members",
    "missing_shards",
    "own_members",
    "read_companion",
]

#: Larger indexes are refused: they are held as a whole. This is some 10^6 samples.
_MAX_INDEX = 1 << 28
_FIRST_LINE = re.compile(rb"v1\.([12]) ([0-9]{1,12})")
#: Of an offset or a size: 2^63 has 19 digits.
_NUMBER = re.compile(r"[0-9]{1,19}")


def find_members(tar: BinaryIO, source: Source, table: ExportTable | None) -> Iterable[TarItem]:
    """Returns the members of an uncompressed tar: by its Parquet, its index, or its headers.

    Args:
        tar: can seek.
        source: the tar as it was listed.
        table: content of the Parquet beside it, if it is of an export.

    Raises:
        OSError: if the tar cannot be read at present.
    """
    # The Parquet first: it has been read already, and an index would be one read more.
    if table is not None and (found := own_members(tar, source.size, table)) is not None:
        return found
    if source.dali_index and (listed := _indexed(tar, source, source.dali_index.uri)):
        return listed
    return walk_members(tar, source.size)


def read_companion(source: Source) -> ExportTable | None:
    """Returns the content of the Parquet beside a tar; None if there is none, or of no export.

    Raises:
        BrokenSourceError: if it is damaged.
        OSError: if it cannot be read at present, or was replaced.
    """
    if source.parquet is None:
        return None
    data = _read_file(source.parquet.uri)
    try:
        return read_export_table(data, source.size)
    except ValueError as error:
        raise BrokenSourceError(str(error)) from error


def missing_shards(source: Source) -> Iterator[Failure]:
    """Yields a failure for each shard that the manifest of an export counts and that is not there.

    Args:
        source: a manifest; its companions are the shards that are there.

    Raises:
        BrokenSourceError: if it is damaged.
        OSError: if it cannot be read at present, or was replaced.
    """
    try:
        manifest = json.loads(_read_file(source.uri))
        shards = int(manifest["totals"]["shards"])
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenSourceError("the manifest of an export is damaged") from error
    found = parse(source.name)
    names = ShardNames(found.hash if found else "")
    there = {Entry(*one).name for one in source.companions}
    folder = source.path[: -len(source.name)]
    for number in range(shards):
        name = names.tar(number)
        # One of the two without the other is a failure of the listing already (`siblings`).
        if there.isdisjoint((name, names.parquet(number))):
            reason = "the manifest names this shard of an export, and it is not there"
            yield broken_source(name, folder + name, reason)


def _read_file(uri: str) -> bytes:
    with open_with_retries(uri) as file:
        data = file.read()
        check_unchanged(file)
    return data


def own_members(tar: BinaryIO, size: int, table: ExportTable) -> Iterator[TarItem] | None:
    """Returns the members of a tar of ours by its Parquet, or None if that does not fit the tar.

    Headers are read only where more than an image's own header lies between two images, and of the
    first and the last image. The Parquet is trusted only if it states the tar's size.

    Args:
        tar: can seek.
        size: bytes of the tar.
        table: content of its Parquet.

    Raises:
        OSError: if the tar cannot be read at present.
    """
    rows = sorted(table.rows, key=lambda row: row.offset)
    images = [TarMember(row.member, row.offset, row.size) for row in rows]
    if table.kind != OWN or table.tar_bytes != size or not images:
        return None
    end = 0
    for image in images:
        # All offsets are held against each other before the tar is read at all.
        if image.offset % BLOCK or image.size < 0 or image.offset < end + BLOCK:
            return None
        end = whole_blocks(image.offset + image.size)
    if end > size:
        return None
    for image in (images[0], images[-1]):
        if next(walk_members(tar, size, start=image.offset - BLOCK), None) != image:
            return None
    return _between(tar, size, images)


def _between(tar: BinaryIO, size: int, images: list[TarMember]) -> Iterator[TarItem]:
    end = 0
    for image in images:
        # More than the image's own header: sidecars, which only headers name.
        if image.offset - end != BLOCK:
            for item in walk_members(tar, size, start=end):
                if isinstance(item, TarFault):
                    yield item
                    return
                if isinstance(item, TarMember) and item.offset >= image.offset:
                    break
                yield item
        yield image
        end = whole_blocks(image.offset + image.size)
    yield from walk_members(tar, size, start=end)


def _indexed(tar: BinaryIO, source: Source, uri: str) -> Sequence[TarMember]:
    """Returns the members that an index beside a tar lists; none if it is not usable.

    An index of another tar or of an old version, or one that is unreadable or was replaced, is
    passed over: the headers of the tar say the same, and take more time.
    """
    try:
        with open_with_retries(uri) as index:
            listed = dali_members(index, tar, source.size)
            check_unchanged(index)
    except TarIndexError:
        return []
    except OSError as error:
        if not is_permanent(error):
            raise
        return []
    return listed


class TarIndexError(Exception):
    """An index cannot be used; the text says why, in one clause."""


class _Gap(NamedTuple):
    """The bytes between the end of one member's data and the data of the next."""

    start: int
    member: TarMember

    @property
    def size(self) -> int:
        """Bytes, the member's own header among them."""
        return self.member.offset - self.start


def dali_members(index: BinaryIO, tar: BinaryIO, size: int) -> list[TarMember]:
    """Returns the members that an index by DALI's `wds2idx` lists, in order.

    The format is that of DALI 2.4.0 (`tools/wds2idx.py`): a line `v1.2 SAMPLES`, then a line per
    sample with `EXT OFFSET SIZE NAME` for each of its members. All offsets are held against each
    other and against the tar's size. Headers are read of the first and the last member, and once
    for each distance between members, so that no member is missed; the offsets that `wds2idx`
    gives for long names of GNU tar are wrong, which shows in their distances.

    Args:
        index: the `.idx` file.
        tar: the uncompressed tar, which can seek.
        size: bytes of the tar.

    Raises:
        TarIndexError: if the index is not one, is not of this tar, or is of version 1.1, which has
            no names.
        OSError: if a file cannot be read at present.
    """
    # The byte more shows that an index is too large, without reading all of it.
    members = _parse(index.read(_MAX_INDEX + 1))
    gaps = _gaps(members, size)
    checked: set[int] = set()
    for gap in gaps:
        ends = gap is gaps[0] or gap is gaps[-1]
        if ends or gap.size not in checked:
            if next(walk_members(tar, size, start=gap.start), None) != gap.member:
                raise TarIndexError(f"the tar has no such member at {gap.member.offset}")
            checked.add(gap.size)
    end = whole_blocks(members[-1].offset + members[-1].size)
    if any(not isinstance(item, TarNote) for item in walk_members(tar, size, start=end)):
        raise TarIndexError("the tar goes on after the last member of the index")
    return members


def _parse(data: bytes) -> list[TarMember]:
    if len(data) > _MAX_INDEX:
        raise TarIndexError(f"it has more than {_MAX_INDEX} bytes")
    first, _, rest = data.partition(b"\n")
    found = _FIRST_LINE.fullmatch(first)
    if found is None:
        raise TarIndexError("it does not begin with the version of an index of DALI")
    if found[1] == b"1":
        raise TarIndexError("an index of version 1.1 has no names of members")
    # Not `splitlines`, which ends lines at characters that names may hold.
    lines = rest.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n")
    if len(lines) != int(found[2]):
        raise TarIndexError(f"it lists {len(lines)} samples and says {int(found[2])}")
    return [member for line in lines for member in _parse_line(line)]


def _parse_line(line: str) -> list[TarMember]:
    words = line.split(" ")
    if len(words) % 4:
        raise TarIndexError("a line of it is not made of extension, offset, size and name")
    return [_parse_member(*words[at : at + 4]) for at in range(0, len(words), 4)]


def _parse_member(ext: str, offset: str, size: str, name: str) -> TarMember:
    if not _NUMBER.fullmatch(offset) or not _NUMBER.fullmatch(size):
        raise TarIndexError("an offset or a size in it is not a number")
    split = split_member(name)
    # `tar --list`, which wds2idx reads, writes odd bytes of names as `\303`.
    if split is None or split[1] != ext or "\\" in name:
        raise TarIndexError("a name in it does not have its extension, or is not a plain one")
    return TarMember(name, int(offset), int(size))


def _gaps(members: list[TarMember], size: int) -> list[_Gap]:
    """Returns the gap before each member.

    Raises:
        TarIndexError: if the members do not lie one after the other in whole blocks of the file.
    """
    gaps = []
    end = 0
    for member in members:
        if member.offset % BLOCK or member.offset < end + BLOCK:
            raise TarIndexError(f"the offset {member.offset} in it is wrong")
        gaps.append(_Gap(end, member))
        end = whole_blocks(member.offset + member.size)
    if members[-1].offset + members[-1].size > size:
        raise TarIndexError(f"it goes beyond the {size} bytes of the tar")
    return gaps
