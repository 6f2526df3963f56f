"""Checks shards made by other tools: WebDataset tars, img2dataset, NeMo Curator.

Nothing in such an export says what its bytes should be. What can be checked is whether each tar is
readable to its end, whether its members make samples, and whether the Parquet file beside it
names the same ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from beam_export.samples import Failure
from beam_export.shards.parquet import PARQUET_ERRORS
from beam_export.sources.tar.walk import (
    StreamedMember,
    TarFault,
    TarMember,
    TarNote,
    TarOther,
    stream_members,
    walk_members,
)
from beam_export.sources.tar.webdataset import WebDatasetSample, group_members
from beam_export.text import quantity
from beam_export.verify.findings import Fault, Faults, Findings, in_order
from beam_export.verify.members import ImageCheck
from beam_export.verify.unique_names import NameUse

__all__ = ["CheckedForeign", "ForeignShard", "check_foreign", "find_foreign", "foreign_findings"]

#: What can never be checked of shards made by other tools.
_UNCHECKED = (
    "hashes and offsets: nothing in it says what they should be",
    "whether all shards are there: there is no manifest",
)
_MEND = "make this file anew with the tool that made it"
_TAR = re.compile(r"(?P<stem>.+?)\.(?:tar|tar\.gz|tgz|tar\.bz2|tar\.xz)", re.IGNORECASE)
#: Bytes held of one member of a compressed tar: as many as `--max_image_bytes` by default.
_LARGEST = 1 << 28
_ROWS = 100


class ForeignShard(NamedTuple):
    """Files of one stem; empty where there is none."""

    stem: str
    tar: str
    parquet: str
    stats: str


class CheckedForeign(NamedTuple):
    """The result of checking a shard made by another tool.

    Attributes:
        samples: in its tar, or rows of its Parquet if there is no tar.
        faults: what is wrong.
        name_uses: ids that must be unique over the export.
        unchecked: what could not be checked of it.
    """

    samples: int
    faults: list[Fault]
    name_uses: list[NameUse]
    unchecked: list[str]


def find_foreign(files: Collection[str]) -> list[ForeignShard]:
    """Returns the shards that a directory holds, by stem."""
    tars = {found["stem"]: name for name in files if (found := _TAR.fullmatch(name))}
    tables = {name[: -len(".parquet")]: name for name in files if name.endswith(".parquet")}
    stems = {stem for stem in tars.keys() | tables.keys() if not stem.startswith("_")}
    return [
        ForeignShard(
            stem=stem,
            tar=tars.get(stem, ""),
            parquet=tables.get(stem, ""),
            stats=f"{stem}_stats.json" if f"{stem}_stats.json" in files else "",
        )
        for stem in sorted(stems)
    ]


def foreign_findings(shards: Sequence[tuple[int, list[str]]], faults: Iterable[Fault]) -> Findings:
    """Returns all findings, of (samples, what could not be checked) per shard and the faults."""
    unchecked = {words for _, found in shards for words in found}
    return Findings(
        shards=len(shards),
        samples=sum(samples for samples, _ in shards),
        bytes=None,
        faults=in_order(faults),
        unchecked=[*_UNCHECKED, *sorted(unchecked)],
    )


class _Row(NamedTuple):
    """What a row says of its sample; empty where it says nothing."""

    ident: str
    member: str
    key: str
    failed: bool


def check_foreign(
    shard: ForeignShard,
    tar: BinaryIO | None,
    table: bytes | None,
    stats: bytes | None,
    images: ImageCheck | None = None,
) -> CheckedForeign:
    """Checks one shard.

    Args:
        shard: names of its files.
        tar: its tar, which can seek, if it has one.
        table, stats: its Parquet and its `_stats.json`, if it has them.
        images: decodes images; None without `--decode`.

    Raises:
        OSError: if the tar cannot be read at present.
    """
    faults = Faults(_MEND)
    samples = (
        list(_read_tar(file=shard.tar, tar=tar, faults=faults, images=images))
        if tar is not None
        else None
    )
    rows = _read_rows(shard.parquet, table, faults) if table is not None else None
    count = len(samples) if samples is not None else len(rows or ())
    unchecked = []
    if samples is not None and rows is not None:
        _check_rows(shard=shard, samples=samples, rows=rows, faults=faults)
    elif samples is not None:
        unchecked.append("samples against rows: a tar has no Parquet beside it")
    if stats is not None:
        _check_stats(file=shard.stats, data=stats, count=count, rows=rows, faults=faults)
    idents = [row.ident for row in rows or () if row.ident]
    uses = [NameUse("id", ident, shard.parquet) for ident in idents]
    if not uses:
        unchecked.append("ids over the whole dataset: a shard has no column image_id or key")
    return CheckedForeign(samples=count, faults=faults.all(), name_uses=uses, unchecked=unchecked)


def _read_tar(
    file: str, tar: BinaryIO, faults: Faults, images: ImageCheck | None
) -> Iterator[WebDatasetSample]:
    """Yields a tar's samples; all else in it is added as a fault, or does no harm."""
    plain = file.lower().endswith(".tar")
    items = _with_faults(
        walk_members(tar) if plain else _positions(stream_members(tar, _LARGEST)), file, faults
    )
    for item in group_members(items, file):
        if isinstance(item, WebDatasetSample):
            # In a compressed tar an offset is no place in the file that could be read again.
            if images is not None and plain and images.wants(item.name, item.image.size):
                tar.seek(item.image.offset)
                problem = images.fault(tar.read(item.image.size))
                if problem is not None:
                    faults.add(file, f"it cannot be decoded ({problem})", item.name)
            yield item
        # That a tar breaks off was reported already, with the place.
        elif isinstance(item, Failure) and item.error != "BrokenSource":
            faults.add(file, f"it is no sample ({item.message})", item.image_id)


def _positions(
    items: Iterable[StreamedMember | TarOther | TarNote | TarFault],
) -> Iterator[TarMember | TarOther | TarNote | TarFault]:
    for item in items:
        yield item.member if isinstance(item, StreamedMember) else item


def _with_faults(
    items: Iterable[TarMember | TarOther | TarNote | TarFault], file: str, faults: Faults
) -> list[TarMember | TarOther | TarNote | TarFault]:
    """Returns all items of a walk, whose faults are added; it ends before any image is read."""
    found = list(items)
    for item in found:
        if isinstance(item, (TarFault, TarNote)):
            faults.add(file, f"at byte {item.offset}: {item.reason}")
        elif isinstance(item, TarOther) and item.error != "NotAFile":
            faults.add(file, f"its data cannot be had: it is a {item.kind}", item.name)
    return found


def _read_rows(file: str, data: bytes, faults: Faults) -> list[_Row] | None:
    """Reads a Parquet to its end; returns its rows, or None if that cannot be done."""
    rows: list[_Row] = []
    try:
        opened = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        # All columns, though few are used: damage in the others has to be found too. A hundred
        # rows at a time, as nothing says how large foreign rows are.
        for batch in opened.iter_batches(_ROWS, use_threads=False):
            columns = {
                name: batch.column(name).to_pylist()
                for name in ("image_id", "member_name", "key", "status")
                if name in batch.schema.names
            }
            rows.extend(_row(columns, place) for place in range(batch.num_rows))
    except PARQUET_ERRORS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        faults.add(file, f"it cannot be read to its end ({reason})")
        return None
    return rows


def _row(columns: dict[str, list[Any]], place: int) -> _Row:
    def text(name: str) -> str:
        value = columns[name][place] if name in columns else None
        return "" if value is None else str(value)

    return _Row(
        text("image_id") or text("key"),
        text("member_name"),
        text("key"),
        # img2dataset keeps a row for each download that failed.
        text("status") not in ("", "success"),
    )


def _check_rows(
    shard: ForeignShard, samples: list[WebDatasetSample], rows: list[_Row], faults: Faults
) -> None:
    written = [row for row in rows if not row.failed]
    if len(written) != len(samples):
        held = f"{quantity(len(written), 'row')}, and its tar {quantity(len(samples), 'sample')}"
        faults.add(shard.parquet, f"it has {held}")
    names, keys = {sample.name for sample in samples}, {sample.key for sample in samples}
    for row in written:
        if row.member and row.member not in names:
            faults.add(shard.parquet, "its tar has no such member", row.member)
        elif row.key and row.key not in keys:
            faults.add(shard.parquet, "its tar has no such key", row.key)
    # Only if every row has one: a row without may be that of the member in question.
    if all(row.key for row in written) and written:
        for key in sorted(keys - {row.key for row in written}):
            faults.add(shard.tar, "its Parquet has no such key", key)
    if all(row.member for row in written) and written:
        for name in sorted(names - {row.member for row in written}):
            faults.add(shard.tar, "its Parquet has no such member", name)


def _check_stats(
    file: str, data: bytes, count: int, rows: list[_Row] | None, faults: Faults
) -> None:
    """Compares img2dataset's own counts with what is there."""
    try:
        stats = json.loads(data)
        successes, tried = stats["successes"], stats["count"]
    except (ValueError, KeyError, TypeError, RecursionError):
        faults.add(file, "it is not what img2dataset writes")
        return
    written = count if rows is None else sum(not row.failed for row in rows)
    if successes != written:
        faults.add(file, f"it says {successes} successes, and there are {written}")
    if rows is not None and tried != len(rows):
        faults.add(file, f"it says {tried} rows, and there are {len(rows)}")
