"""Makes sample refs of the members of a tar, joined with the Parquet of an earlier export."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from beam_export.errors import SampleError
from beam_export.metadata.columns import ColumnChoice
from beam_export.samples import Failure, Member, SampleRef, failure_of
from beam_export.sources.entries import IMAGE_SUFFIXES, Skipped, split
from beam_export.sources.json_metadata import MAX_JSON, with_metadata
from beam_export.sources.tar.exports import CURATOR, IMG2DATASET, OWN, EarlierRow, ExportTable
from beam_export.sources.tar.walk import (
    StreamedMember,
    TarFault,
    TarItem,
    TarMember,
    TarNote,
    TarOther,
)
from beam_export.sources.tar.webdataset import (
    WebDatasetSample,
    broken_tar,
    group_members,
    split_member,
)
from beam_export.text import printable, stored

__all__ = ["RefOutcome", "Spill", "tar_refs"]

#: Refs have no order key yet: they come in the order that they have in the tar.
RefOutcome = SampleRef | Failure | Skipped


def tar_refs(
    items: Iterable[TarItem],
    uri: str,
    read: Callable[[Member], bytes] | None = None,
    table: ExportTable | None = None,
    data_uri: str = "",
    choice: ColumnChoice = ColumnChoice(),  # noqa: B008 (a tuple)
) -> Iterator[RefOutcome]:
    """Yields a ref for each sample of a tar, in order, and a failure or a skip for all else in it.

    Args:
        items: all members of the tar.
        uri: of the tar.
        read: returns a small member's bytes, or raises a SampleError; None leaves the JSON of
            the samples to be read later.
        table: content of the Parquet beside the tar. A row without its image is a failure, and so
            is an image without a row.
        data_uri: of the file that holds the members' data, if that is not the tar.
        choice: of the columns that JSON gives.
    """
    alone = table is not None and table.kind == CURATOR
    samples = _single(items, uri, data_uri) if alone else group_members(items, uri, data_uri)
    rows = None if table is None else _Rows(table, uri)
    for found in samples:
        if isinstance(found, WebDatasetSample):
            yield _outcome(found, uri, read=read, rows=rows, choice=choice)
        elif not isinstance(found, TarNote):
            if rows is not None and isinstance(found, Failure):
                rows.forget(found)
            yield found
    if rows is not None:
        yield from rows.left_over()


def _outcome(
    sample: WebDatasetSample,
    uri: str,
    read: Callable[[Member], bytes] | None,
    rows: _Rows | None,
    choice: ColumnChoice,
) -> SampleRef | Failure:
    ref = SampleRef(
        order=b"",
        id=stored(sample.key),
        path=f"{uri}#{sample.name}",
        image=sample.image,
        fields=sample.fields,
        metadata={},
        size=sample.image.size,
    )
    try:
        if rows is not None:
            ref = rows.join(ref, sample)
        return ref if read is None else with_metadata(ref, read, choice)
    except SampleError as error:
        return failure_of(ref, error)


class _Rows:
    """The rows of a tar's Parquet that are not joined with their image yet."""

    def __init__(self, table: ExportTable, uri: str) -> None:
        self._kind, self._uri = table.kind, uri
        self._json_member = table.json_member
        self._typed = tuple(table.columns.names)
        # Names of Curator's members may come twice: their rows meet them in order.
        self._rows: dict[str, collections.deque[EarlierRow]] = {}
        for row in table.rows:
            self._rows.setdefault(row.member, collections.deque()).append(row)
        self._lost: set[str] = set()

    def join(self, ref: SampleRef, sample: WebDatasetSample) -> SampleRef:
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
        earlier = row.earlier
        if earlier is not None and self._json_member:
            earlier = earlier._replace(json_member=self._json_member)
        return ref._replace(
            id=stored(row.id) if row.id else ref.id,
            # An empty path of ours is a fact: the sample of a pipeline need not have one.
            path=row.path if row.path or self._kind == OWN else ref.path,
            metadata=row.metadata,
            typed=self._typed,
            earlier=earlier,
        )

    def forget(self, failure: Failure) -> None:
        """Notes a failure, so that its row does not become a second one."""
        self._lost.add(failure.image_id)

    def left_over(self) -> Iterator[Failure]:
        """Yields a failure for each row that no image was found for."""
        for rows in self._rows.values():
            for row in rows:
                name = row.member if self._kind != OWN else row.id
                # A failure is called by its key, or by its member where each image is a sample.
                key = (split_member(row.member) or (row.member, ""))[0]
                if not self._lost.isdisjoint(map(stored, (key, row.id, row.member))):
                    continue
                error, message = row.failed or (
                    "NoMember",
                    f"the Parquet beside the tar, of {self._kind}, has a row for it, and the tar "
                    "has no such member",
                )
                path = row.path or f"{self._uri}#{row.member}"
                ident = stored(row.id or name)
                yield Failure(
                    image_id=ident,
                    original_path=stored(path),
                    stage="list",
                    error=error,
                    message=printable(message),
                )


def _single(
    items: Iterable[TarItem], uri: str, data_uri: str
) -> Iterator[WebDatasetSample | Failure | Skipped | TarNote]:
    """Yields each image as a sample of its own: NeMo Curator names members by ids with dots too."""
    for item in items:
        if isinstance(item, TarFault):
            yield broken_tar(item, uri)
        elif isinstance(item, TarNote):
            yield item
        else:
            stem, suffix = split(item.name)
            path = stored(f"{uri}#{item.name}")
            if suffix not in IMAGE_SUFFIXES:
                yield Skipped(f".{suffix}" if isinstance(item, TarMember) else f"({item.kind})")
            elif isinstance(item, TarOther):
                reason = f"it is a {item.kind}"
                yield Failure(
                    image_id=stored(item.name),
                    original_path=path,
                    stage="list",
                    error=item.error,
                    message=reason,
                )
            else:
                image = Member(suffix, data_uri or uri, item.offset, item.size)
                yield WebDatasetSample(key=stem, name=item.name, image=image, fields=())


class Spill:
    """Writes the members of a compressed tar to one file, and keeps the small JSON at hand."""

    def __init__(self, target: BinaryIO | None) -> None:
        """Begins an empty file; with None, members are only measured."""
        self._target = target
        self._offset = 0
        self._small: dict[int, bytes] = {}

    def members(self, items: Iterable[StreamedMember | TarItem]) -> Iterator[TarItem]:
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
        # An empty one lies where the next begins, which may have taken its place in the dict.
        return self._small[member.offset] if member.size else b""
