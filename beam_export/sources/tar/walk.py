"""Finds the members of a foreign tar: one walk over its headers, in any common dialect.

Nothing that is unreadable is skipped in silence: a walk ends at the end of the file or with a
`TarFault`, and members without data of their own (links, sparse files) are a `TarOther`. Zero
blocks end an archive but not the walk, because joined archives lie one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from beam_export.sources.tar.headers import Header, HeaderError, parse_header, parse_pax
from beam_export.sources.tar.stream import BrokenTarError, SeekableTar, StreamedTar, TarBytes
from beam_export.tar_blocks import BLOCK

__all__ = [
    "StreamedMember",
    "TarFault",
    "TarItem",
    "TarMember",
    "TarNote",
    "TarOther",
    "stream_members",
    "walk_members",
]

#: Longest name or pax records of a member: both are held.
_MAX_RECORDS = 1 << 20
#: Digits of a size in pax records: 2^63 has 19.
_MAX_DIGITS = 19

_REGULAR = frozenset({b"0", b"\0", b"7"})
_EXTENSIONS = frozenset({b"x", b"X", b"g", b"L", b"K"})
#: Kinds that no data follow, whatever their size says (as Python's tarfile reads them).
_DATALESS = {
    b"1": "hard link",
    b"2": "symbolic link",
    b"3": "character device",
    b"4": "block device",
    b"5": "directory",
    b"6": "FIFO",
}
#: What GNU tar writes beside files, with data of its own.
_NO_FILES = {b"D": "directory", b"V": "volume label"}


class TarMember(NamedTuple):
    """A regular member: its name (UTF-8, other bytes as surrogates) and where its data lie."""

    name: str
    offset: int
    size: int


class TarOther(NamedTuple):
    """A member without readable data.

    Attributes:
        name: as of a `TarMember`.
        offset: of its header.
        kind: what it is, in a few words: `hard link`, `directory`, `sparse file`, ...
        error: `NotAFile` if it never had data of its own; if it had, and they are lost,
            `SparseFile`, `Truncated`, `TooLarge` or `UnknownType`.
    """

    name: str
    offset: int
    kind: str
    error: str


class TarNote(NamedTuple):
    """An oddity of a tar that loses no data."""

    offset: int
    reason: str


class TarFault(NamedTuple):
    """The reason why a walk ended before the end of the file; the rest from `offset` is unknown."""

    offset: int
    reason: str


#: What a walk finds.
TarItem = TarMember | TarOther | TarNote | TarFault


class StreamedMember(NamedTuple):
    """A regular member with its data; its offset is one in the uncompressed tar."""

    member: TarMember
    data: bytes


def walk_members(fh: BinaryIO, size: int | None = None, *, start: int = 0) -> Iterator[TarItem]:
    """Yields the members of an uncompressed tar in order; reads headers and seeks over data.

    A `TarMember` has all its data in the file. Nothing comes after a `TarFault`.

    Args:
        fh: the tar, which can seek; a short read of a raw file is read on.
        size: bytes of the file; found by seeking if None.
        start: offset of the header to begin with.

    Raises:
        OSError: if the file cannot be read at present.
    """
    try:
        source = SeekableTar(fh, size, start)
        for item in _Headers(source).items():
            if not isinstance(item, _Entry):
                yield item
            elif source.skip(item.size) < item.size:
                yield _truncated(item)
                raise _ends_within(item)
            elif item.error:
                yield TarOther(item.name, item.offset, item.kind, item.error)
            else:
                yield TarMember(item.name, source.offset - item.size, item.size)
    except BrokenTarError as broken:
        yield TarFault(broken.offset, broken.reason)


def stream_members(
    fh: BinaryIO, max_bytes: int
) -> Iterator[StreamedMember | TarOther | TarNote | TarFault]:
    """Yields the members of a compressed tar with their data, in order; reads it once.

    The compression (gzip, bzip2, xz, zstd or none) is found by the first bytes. A member of more
    than `max_bytes` is skipped, as a `TarOther`, without being held. Nothing comes after a
    `TarFault`.

    Raises:
        OSError: if the file cannot be read at present.
    """
    try:
        source = StreamedTar(fh)
        for item in _Headers(source).items():
            if isinstance(item, _Entry):
                yield from _read_entry(source, item, max_bytes)
            else:
                yield item
    except BrokenTarError as broken:
        yield TarFault(broken.offset, broken.reason)


class _Entry(NamedTuple):
    """A member whose data begin at the source's offset; `offset` is of its header.

    `kind` and `error` are as of a `TarOther`, empty for a regular member.
    """

    name: str
    offset: int
    size: int
    kind: str = ""
    error: str = ""


def _read_entry(
    source: TarBytes, entry: _Entry, max_bytes: int
) -> Iterator[StreamedMember | TarOther]:
    if not entry.error and entry.size > max_bytes:
        kind = f"file of {entry.size} bytes, more than {max_bytes}"
        entry = entry._replace(kind=kind, error="TooLarge")
    start = source.offset
    try:
        data = b"" if entry.error else source.read(entry.size)
        if (source.skip(entry.size) if entry.error else len(data)) < entry.size:
            raise _ends_within(entry)
    except BrokenTarError:
        yield _truncated(entry)
        raise
    if entry.error:
        yield TarOther(entry.name, entry.offset, entry.kind, entry.error)
    else:
        yield StreamedMember(TarMember(entry.name, start, entry.size), data)


def _truncated(entry: _Entry) -> TarOther:
    return TarOther(entry.name, entry.offset, "truncated file", "Truncated")


def _ends_within(entry: _Entry) -> BrokenTarError:
    return BrokenTarError(entry.offset, "the file ends within the data of a member")


class _Headers:
    """Reads headers one after the other, with the extended ones that hold for the next."""

    def __init__(self, source: TarBytes) -> None:
        self._source = source
        self._shared: dict[bytes, bytes] = {}
        self._forget()

    def _forget(self) -> None:
        self._own: dict[bytes, bytes] = {}
        self._long_name = b""
        self._pending = False

    def items(self) -> Iterator[_Entry | TarOther | TarNote]:
        """Yields members by their headers; the caller reads or skips the data of an `_Entry`.

        Raises:
            BrokenTarError: if something is neither a header nor the end.
        """
        source = self._source
        block = source.read(BLOCK)
        if not block and source.offset == 0:
            raise BrokenTarError(0, "the file is empty, without even the end of an archive")
        while block:
            # A header begins with a name: only a block that may be zeros is looked at in full.
            if not block[0] and not block.strip(b"\0"):
                self._finish()
                # Global records end with their archive, and do not hold in one joined to it.
                self._shared = {}
                block = self._skip_zeros()
                if not block:
                    return
                where = source.offset - len(block)
                yield TarNote(where, "an archive ends before this, and the file goes on")
            found = self._take(block)
            if found is not None:
                yield found
            # The caller has read or skipped the data. A last member may lack its padding.
            if padding := -source.offset % BLOCK:
                source.skip(padding)
            block = source.read(BLOCK)
        self._finish()
        yield TarNote(source.offset, "the file ends without the zero blocks of an archive's end")

    def _finish(self) -> None:
        if self._pending:
            reason = "an extended header is not followed by its member"
            raise BrokenTarError(self._source.offset, reason)

    def _skip_zeros(self) -> bytes:
        """Returns the first block that is not zero, or nothing at the end of the file."""
        while block := self._source.read(BLOCK):
            if block.strip(b"\0"):
                break
        return block

    def _take(self, block: bytes) -> _Entry | TarOther | None:
        """Returns the member whose header that is, or None for an extended header."""
        offset = self._source.offset - len(block)
        if len(block) < BLOCK:
            raise BrokenTarError(offset, "the file ends within a header")
        try:
            header = parse_header(block)
            if header.kind in _EXTENSIONS:
                self._extend(header, offset)
                return None
            if not self._pending and not self._shared and header.kind == b"0":
                # Nearly all members: no extended header holds for them.
                return _Entry(header.name.decode("utf-8", "surrogateescape"), offset, header.size)
            found = self._member(header, offset)
        except HeaderError as error:
            raise BrokenTarError(offset, str(error)) from error
        self._forget()
        return found

    def _extend(self, header: Header, offset: int) -> None:
        if header.size > _MAX_RECORDS:
            raise BrokenTarError(offset, f"an extended header has {header.size} bytes")
        data = self._source.read(header.size)
        if len(data) < header.size:
            raise BrokenTarError(offset, "the file ends within an extended header")
        if header.kind == b"g":
            self._shared.update(parse_pax(data))
            return
        if header.kind == b"L":
            self._long_name = data.partition(b"\0")[0]
        # `K` is the long target of a link: links have no data of their own, so it is not kept.
        elif header.kind != b"K":
            self._own.update(parse_pax(data))
        self._pending = True

    def _member(self, header: Header, offset: int) -> _Entry | TarOther:
        records = {**self._shared, **self._own}
        sparse_name = records.get(b"GNU.sparse.name")
        # Records first: the header's own name may be cut, and that of a sparse file is made up.
        raw = sparse_name or records.get(b"path") or self._long_name or header.name
        name = raw.decode("utf-8", "surrogateescape")
        kind = header.kind
        if kind in _DATALESS or (kind == b"\0" and raw.endswith(b"/")):
            # In v7 a directory is an empty file whose name ends with a slash.
            return TarOther(name, offset, _DATALESS.get(kind, "directory"), "NotAFile")
        size = _size_in(records, header.size)
        if kind == b"S" or sparse_name is not None:
            self._skip_sparse_map(kind == b"S" and header.more)
            return _Entry(name, offset, size, "sparse file", "SparseFile")
        if kind in _NO_FILES:
            return _Entry(name, offset, size, _NO_FILES[kind], "NotAFile")
        if kind not in _REGULAR:
            what = f"member of the unknown type {ascii(kind)[1:]}"
            return _Entry(name, offset, size, what, "UnknownType")
        return _Entry(name, offset, size)

    def _skip_sparse_map(self, more: bool) -> None:
        """Skips the blocks in which an old GNU sparse map goes on."""
        while more:
            block = self._source.read(BLOCK)
            if len(block) < BLOCK:
                raise BrokenTarError(self._source.offset, "the file ends within a sparse map")
            more = block[504] != 0


def _size_in(records: dict[bytes, bytes], otherwise: int) -> int:
    digits = records.get(b"size")
    if not digits:
        return otherwise
    if not digits.isdigit() or len(digits) > _MAX_DIGITS:
        raise HeaderError("the size of a member is not a number")
    return int(digits)
