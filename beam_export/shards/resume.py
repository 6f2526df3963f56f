"""Finds shards that are finished already, which a run keeps (`--resume`)."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import itertools
import pickle
from collections.abc import Collection, Iterable
from typing import NamedTuple

import pyarrow as pa

from beam_export.images import codecs
from beam_export.naming import ShardNames, parse
from beam_export.samples import MISSING_CODEC, SOURCE_CHANGED, SampleRef
from beam_export.shards.index_files import find_kinds, known_indexes
from beam_export.shards.indexes.shard import ShardIndexes
from beam_export.shards.manifest import SealError, unseal
from beam_export.shards.output import Output
from beam_export.shards.ownership import FileInfo
from beam_export.shards.parquet import check_pages, read_facts, read_images, whole_table
from beam_export.shards.writer import REMARKS, ShardResult, failures_from_json, remarks_from_json
from beam_export.storage.base import CONCURRENT_REQUESTS
from beam_export.storage.registry import storage_of
from beam_export.storage.uris import is_local

__all__ = ["FinishedShards", "find_finished", "list_finished"]

#: What damaged bytes make of their readers: such a file is written again.
_DAMAGED = (
    *(pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError),
    *(RecursionError, MemoryError),
)


class _ShardFiles(NamedTuple):
    """The files of a shard that has both."""

    tar: FileInfo
    parquet: FileInfo


@dataclasses.dataclass(frozen=True)
class FinishedShards:
    """Shards that the output held when the plan was made, by one listing.

    Attributes:
        pairs: the shards that have both their files, by number.
        sha256: of the shards' Parquet files, by the table of a complete export.
        kinds: of the indexes that the dataset has, or gets.
        indexes: what the table of indexes says of each shard (`table.read_indexes`).
    """

    pairs: dict[int, _ShardFiles]
    sha256: dict[int, str]
    kinds: tuple[str, ...] = ()
    indexes: dict[int, tuple[str, ShardIndexes]] = dataclasses.field(default_factory=dict)

    def includes(self, number: int) -> bool:
        """Returns whether a shard was there, or should have been."""
        return number in self.pairs or number in self.sha256

    def pack(self) -> bytes:
        """Returns all of it as one value, for a side input."""
        packed = self.pairs, self.sha256, self.kinds, self.indexes
        return pickle.dumps(packed, protocol=5)

    @classmethod
    def unpack(cls, packed: bytes) -> FinishedShards:
        """Returns what `pack` packed."""
        return cls(*pickle.loads(packed))


def list_finished(
    output: Output, names: ShardNames, indexes: Collection[str] = ()
) -> FinishedShards:
    """Returns the shards of a dataset that the output holds, by one listing.

    Args:
        output: the output directory.
        names: names of the dataset's files.
        indexes: kinds of those that are asked for.
    """
    standing = output.list_files()
    pairs = {}
    for name, file in standing.items():
        parsed = parse(name)
        if parsed is not None and parsed.kind == "parquet" and parsed.hash == names.hash:
            number = parsed.number or 0
            if names.tar(number) in standing:
                pairs[number] = _ShardFiles(standing[names.tar(number)], file)
    sha256 = _known_digests(output, names) if names.shards in standing else {}
    return FinishedShards(
        pairs=pairs,
        sha256=sha256,
        kinds=find_kinds(output, names, indexes),
        indexes=known_indexes(output, names)[1],
    )


def _known_digests(output: Output, names: ShardNames) -> dict[int, str]:
    """Returns the SHA-256 of the Parquet files by the table of shards; none if it is damaged.

    The manifest has the digest of the table. If the manifest is damaged or gone, the table is
    trusted: a wrong entry only has its shard written again.
    """
    try:
        with output.read(names.shards) as source:
            data = source.read()
        stated = _stated(output, names)
        if stated is not None and stated != hashlib.sha256(data).hexdigest():
            return {}
        table = whole_table(pa.BufferReader(data), ["shard", "parquet_sha256"])
        return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))
    except _DAMAGED:
        return {}


def _stated(output: Output, names: ShardNames) -> str | None:
    """Returns the SHA-256 of the table of shards by the manifest; None if that is damaged."""
    try:
        with output.read(names.manifest) as source:
            manifest = unseal(source.read())
        return str({one["name"]: one["sha256"] for one in manifest["tables"]}[names.shards])
    except (*_DAMAGED, SealError):
        return None


def find_finished(
    output: Output,
    names: ShardNames,
    number: int,
    plan: str,
    count: int,
    refs: Iterable[SampleRef],
    finished: FinishedShards,
) -> ShardResult | None:
    """Returns the result of a shard that is finished already; None if it is to be written.

    An earlier attempt, of this run or another, may have written it.

    Args:
        output: the output directory.
        names: names of the export's files.
        number: the shard's number.
        plan: digest of what the shard is to hold; a shard of another plan is not kept.
        count: samples that it is to hold, or to list as failures.
        refs: the shard's samples; a shard is not kept if the source of one is newer.
        finished: what the output held when the plan was made.
    """
    files = finished.pairs.get(number) or _info_of(output, names, number)
    if files is None:
        return None
    try:
        with output.read(names.parquet(number)) as source:
            data = source.read()
        known = finished.sha256.get(number)
        if known is not None and known != hashlib.sha256(data).hexdigest():
            return None
        result = _read_result(number, data, whole=known is None)
    except _DAMAGED:
        # Damaged, or being replaced by another attempt: it is written again.
        return None
    if result.plan != plan or result.bytes != files.tar.size:
        return None
    if result.samples + len(result.failures) != count:
        return None
    # What changed while that run lasted is listed anew by this one, and may be read now; so may
    # what it had no codec for.
    if any(failure.error in (SOURCE_CHANGED, MISSING_CODEC) for failure in result.failures):
        return None
    if codecs.are_other(remark for remark, _ in result.remarks):
        return None
    return None if _changed_since(files.parquet.updated, refs, output.workspace) else result


def _info_of(output: Output, names: ShardNames, number: int) -> _ShardFiles | None:
    """Returns a shard's files as they are now; a bundle that is retried finds its own."""
    parquet = output.info(names.parquet(number))
    tar = None if parquet is None else output.info(names.tar(number))
    return None if parquet is None or tar is None else _ShardFiles(tar, parquet)


def _read_result(number: int, data: bytes, *, whole: bool) -> ShardResult:
    """Returns the result of a shard as its Parquet describes it.

    Args:
        number: the shard's number.
        data: the file.
        whole: whether the checksums of all its pages are checked, as its digest is unknown.

    Raises:
        ValueError: if it is damaged; others of `_DAMAGED` too.
    """
    facts = read_facts(pa.BufferReader(data))
    if whole:
        check_pages(pa.BufferReader(data))
    members, ways = read_images(pa.BufferReader(data))
    encodings = collections.Counter(ways)
    return ShardResult(
        number=number,
        samples=encodings["copied"] + encodings["encoded"],
        copied=encodings["copied"],
        encoded=encodings["encoded"],
        bytes=int(facts["beam_export.tar_bytes"]),
        parquet_bytes=len(data),
        tar_sha256=facts["beam_export.tar_sha256"],
        parquet_sha256=hashlib.sha256(data).hexdigest(),
        plan=facts["beam_export.plan"],
        failures=failures_from_json(facts["beam_export.failures"]),
        kept=True,
        remarks=remarks_from_json(facts.get(REMARKS, "{}")),
        image_exts=tuple(sorted({name.partition(".")[2] for name in members})),
    )


def _changed_since(moment: float, refs: Iterable[SampleRef], workspace: str) -> bool:
    """Returns whether a source of the samples is newer; the plan knows sizes, which may be equal.

    Spilled files are always newer, and left out: samples that a pipeline has spilled are in the
    plan by their content, and those of a compressed tar are as old as the tar.
    """
    uris, tars = _sources(refs, f"{workspace}/")
    if any(map(_is_newer_tar, tars, itertools.repeat(moment))):
        return True
    if all(map(is_local, uris)):
        return any(_last_updated(uri) > moment for uri in uris)
    # One request per source, which mostly waits.
    with concurrent.futures.ThreadPoolExecutor(CONCURRENT_REQUESTS, "look") as lanes:
        return any(updated > moment for updated in lanes.map(_last_updated, uris))


def _sources(refs: Iterable[SampleRef], spilled: str) -> tuple[set[str], set[str]]:
    """Returns (files of samples, paths that may be the tars of spilled samples)."""
    uris: set[str] = set()
    tars: set[str] = set()
    for ref in refs:
        # What is in no file, such as the number of a class, is in the plan by its content.
        members = {one.uri for one in (ref.image, *ref.fields) if one.data is None}
        read = {uri for uri in members if not uri.startswith(spilled)}
        uris |= read
        if read != members:
            # Both the path of a tar and the name in it may contain the `#` that joins them.
            parts = ref.path.split("#")
            tars.update("#".join(parts[:count]) for count in range(1, len(parts)))
    return uris, tars


def _is_newer_tar(uri: str, moment: float) -> bool:
    # What is no file is not that tar, which was read just now.
    with contextlib.suppress(OSError, ValueError):
        found = storage_of(uri).stat(uri)
        return found is not None and found.updated > moment
    return False


def _last_updated(uri: str) -> float:
    # Gone, or hidden: writing the shard again shows what has become of it.
    with contextlib.suppress(OSError):
        found = storage_of(uri).stat(uri)
        return float("inf") if found is None else found.updated
    return float("inf")
