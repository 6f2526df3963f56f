"""From the members of a tar to refs, joined with what an earlier export's Parquet says of them."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from beam_export.errors import SampleError
from beam_export.samples import Failure, Member, SampleRef, failure_of
from beam_export.sources.entries import IMAGE_SUFFIXES, Skipped, split
from beam_export.sources.json_metadata import MAX_JSON, with_metadata
from beam_export.sources.tar.exports import CURATOR, IMG2DATASET, OWN, Beside, EarlierRow
from beam_export.sources.tar.headers import BLOCK
from beam_export.sources.tar.walk import (
    StreamedMember,
    TarFault,
    TarMember,
    TarNote,
    TarOther,
    walk,
)
from beam_export.sources.tar.webdataset import TarSample, broken_tar, group, split_member
from beam_export.text import printable

__all__ = ["Item", "Outcome", "Spill", "own_members", "tar_refs"]

Item = TarMember | TarOther | TarNote | TarFault
#: Refs have no order key yet: they come in the order that they have in the tar.
Outcome = SampleRef | Failure | Skipped


def tar_refs(
    items: Iterable[Item],
    uri: str,
    read: Callable[[Member], bytes] | None = None,
    beside: Beside | None = None,
    data_uri: str = "",
) -> Iterator[Outcome]:
    """Yields the samples of a tar in order, and what becomes of all else in it.

    Args:
        items: all members of the tar.
        uri: of the tar.
        read: returns a small member's bytes, or raises a SampleError; None leaves the JSON of
            the samples to be read later.
        beside: what the Parquet beside the tar says. A row without its image is a failure, and so
            is an image without a row.
        data_uri: where the members' data lie, if that is not the tar.
    """
    alone = beside is not None and beside.kind == CURATOR
    samples = _single(items, uri, data_uri) if alone else group(items, uri, data_uri)
    rows = None if beside is None else _Rows(beside, uri)
    for found in samples:
        if isinstance(found, TarSample):
            yield _outcome(found, uri, read, rows)
        elif not isinstance(found, TarNote):
            if rows is not None and isinstance(found, Failure):
                rows.forget(found)
            yield found
    if rows is not None:
        yield from rows.left_over()


def _outcome(
    sample: TarSample, uri: str, read: Callable[[Member], bytes] | None, rows: _Rows | None
) -> SampleRef | Failure:
    ref = SampleRef(
        order=b"",
        id=printable(sample.key),
        path=printable(f"{uri}#{sample.name}"),
        image=sample.image,
        fields=sample.fields,
        metadata={},
        size=sample.image.size,
    )
    try:
        if rows is not None:
            ref = rows.join(ref, sample)
        return ref if read is None else with_metadata(ref, read)
    except SampleError as error:
        return failure_of(ref, error)


class _Rows:
    """The rows of a tar's Parquet that have not met their image yet."""

    def __init__(self, beside: Beside, uri: str) -> None:
        self._kind, self._uri = beside.kind, uri
        self._typed = tuple(beside.columns.names)
        self._rows: dict[str, collections.deque[EarlierRow]] = {}
        for row in beside.rows:
            self._rows.setdefault(row.member, collections.deque()).append(row)
        self._lost: set[str] = set()

    def join(self, ref: SampleRef, sample: TarSample) -> SampleRef:
        """Returns the ref with what its row says.

        Raises:
            SampleError: if there is no row.
        """
        name = sample.key if self._kind == IMG2DATASET else sample.name
        rows = self._rows.get(name)
        if not rows:
            reason = f"the Parquet beside the tar, of {self._kind}, has no row for it"
            raise SampleError("list", "NoRow", reason)
        row = rows.popleft()
        return ref._replace(
            id=printable(row.id) if row.id else ref.id,
            path=printable(row.path) if row.path or self._kind == OWN else ref.path,
            metadata=row.metadata,
            typed=self._typed,
            earlier=row.earlier,
        )

    def forget(self, failure: Failure) -> None:
        """Takes note of a failure, so that its row is not a second one."""
        self._lost.add(failure.image_id)

    def left_over(self) -> Iterator[Failure]:
        """Yields a failure for each row that has met no image."""
        for rows in self._rows.values():
            for row in rows:
                name = row.member if self._kind != OWN else row.id
                key = (split_member(row.member) or (row.member, ""))[0]
                if not self._lost.isdisjoint(map(printable, (key, row.id, row.member))):
                    continue
                error, message = row.failed or (
                    "NoMember",
                    f"the Parquet beside the tar, of {self._kind}, has a row for it, and the tar "
                    "has no such member",
                )
                path = row.path or f"{self._uri}#{row.member}"
                ident = printable(row.id or name)
                yield Failure(ident, printable(path), "list", error, printable(message))


def _single(
    items: Iterable[Item], uri: str, data_uri: str
) -> Iterator[TarSample | Failure | Skipped | TarNote]:
    """Yields each image as a sample of its own: NeMo Curator names members by ids with dots too."""
    for item in items:
        if isinstance(item, TarFault):
            yield broken_tar(item, uri)
        elif isinstance(item, TarNote):
            yield item
        else:
            stem, suffix = split(item.name)
            path = printable(f"{uri}#{item.name}")
            if suffix not in IMAGE_SUFFIXES:
                yield Skipped(f".{suffix}" if isinstance(item, TarMember) else f"({item.kind})")
            elif isinstance(item, TarOther):
                reason = f"it is a {item.kind}"
                yield Failure(printable(item.name), path, "list", item.error, reason)
            else:
                image = Member(suffix, data_uri or uri, item.offset, item.size)
                yield TarSample(stem, item.name, image, ())


def own_members(tar: BinaryIO, size: int, beside: Beside) -> Iterator[Item] | None:
    """Returns the members of a tar of ours by what its Parquet says, or None if it does not fit.

    Headers are read only where more than an image's own header lies between two images, and of the
    first and the last image. The Parquet is taken at its word if it names the tar's size.

    Args:
        tar: can seek.
        size: bytes of the tar.
        beside: what the Parquet says.

    Raises:
        OSError: if the tar cannot be read at present.
    """
    rows = sorted(beside.rows, key=lambda row: row.offset)
    images = [TarMember(row.member, row.offset, row.size) for row in rows]
    if beside.kind != OWN or beside.tar_bytes != size or not images:
        return None
    end = 0
    for image in images:
        if image.offset % BLOCK or image.size < 0 or image.offset < end + BLOCK:
            return None
        end = _padded(image.offset + image.size)
    if end > size:
        return None
    for image in (images[0], images[-1]):
        if next(walk(tar, size, start=image.offset - BLOCK), None) != image:
            return None
    return _between(tar, size, images)


def _between(tar: BinaryIO, size: int, images: list[TarMember]) -> Iterator[Item]:
    end = 0
    for image in images:
        if image.offset - end != BLOCK:
            for item in walk(tar, size, start=end):
                if isinstance(item, TarFault):
                    yield item
                    return
                if isinstance(item, TarMember) and item.offset >= image.offset:
                    break
                yield item
        yield image
        end = _padded(image.offset + image.size)
    yield from walk(tar, size, start=end)


def _padded(end: int) -> int:
    return end + -end % BLOCK


class Spill:
    """Writes the members of a compressed tar to one file, and keeps the small JSON at hand."""

    def __init__(self, target: BinaryIO | None) -> None:
        """Begins an empty file; with None, members are only measured."""
        self._target = target
        self._offset = 0
        self._small: dict[int, bytes] = {}

    def members(self, items: Iterable[StreamedMember | Item]) -> Iterator[Item]:
        """Yields the members with their place in the file in place of that in the tar."""
        for item in items:
            if isinstance(item, StreamedMember):
                yield self._append(item)
            else:
                yield item

    def _append(self, item: StreamedMember) -> TarMember:
        offset, size = self._offset, len(item.data)
        if self._target is not None:
            self._target.write(item.data)
        if item.member.name.lower().endswith(".json") and size <= MAX_JSON:
            self._small[offset] = item.data
        # An empty member has a place of its own too.
        self._offset += size
        return TarMember(item.member.name, offset, size)

    def read(self, member: Member) -> bytes:
        """Returns the bytes of a small JSON."""
        return self._small[member.offset] if member.size else b""
