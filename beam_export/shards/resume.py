"""Finds shards that are finished already, which a run keeps (`--resume`)."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import itertools
import pickle
from collections.abc import Iterable
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from beam_export.naming import ShardNames, parse
from beam_export.samples import SOURCE_CHANGED, SampleRef
from beam_export.shards.manifest import SealError, unseal
from beam_export.shards.output import Output, Standing
from beam_export.shards.parquet import check_pages, read_encodings, read_facts
from beam_export.shards.writer import REMARKS, ShardResult, failures_from_json, remarks_from_json
from beam_export.storage.registry import CONCURRENT_REQUESTS, storage_of
from beam_export.storage.uris import is_local

__all__ = ["Stock", "find_finished", "take_stock"]

#: What damaged bytes make of their readers: such a file is written again.
_DAMAGED = (
    *(pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError),
    *(RecursionError, MemoryError),
)


class _Pair(NamedTuple):
    """The files of a shard that has both."""

    tar: Standing
    parquet: Standing


@dataclasses.dataclass(frozen=True)
class Stock:
    """What stood in the output when the plan was made, by one listing.

    Attributes:
        pairs: the shards that have both their files, by number.
        sha256: of the shards' Parquet files, as a complete export's table tells.
    """

    pairs: dict[int, _Pair]
    sha256: dict[int, str]

    def knows(self, number: int) -> bool:
        """Tells whether a shard stood there, or should have."""
        return number in self.pairs or number in self.sha256

    def pack(self) -> bytes:
        """Returns the stock as one value, for a side input."""
        return pickle.dumps((self.pairs, self.sha256), protocol=5)

    @classmethod
    def unpack(cls, packed: bytes) -> Stock:
        """Returns the stock that `pack` packed."""
        return cls(*pickle.loads(packed))


def take_stock(output: Output, names: ShardNames) -> Stock:
    """Lists the output once, and returns what stands there of a dataset."""
    standing = output.standing()
    pairs = {}
    for name, file in standing.items():
        parsed = parse(name)
        if parsed is not None and parsed.kind == "parquet" and parsed.hash == names.hash:
            number = parsed.number or 0
            if names.tar(number) in standing:
                pairs[number] = _Pair(standing[names.tar(number)], file)
    return Stock(pairs, _known(output, names) if names.shards in standing else {})


def _known(output: Output, names: ShardNames) -> dict[int, str]:
    """Returns the hashes of the Parquet files as the table of shards tells; none if it is damaged.

    The manifest tells whether the table is what was written. Where the manifest itself is damaged
    or gone, the table is believed: a shard that it tells wrong of is written again, and no worse
    for it.
    """
    try:
        with output.read(names.shards) as source:
            data = source.read()
        stated = _stated(output, names)
        if stated is not None and stated != hashlib.sha256(data).hexdigest():
            return {}
        table = pq.read_table(
            pa.BufferReader(data),
            columns=["shard", "parquet_sha256"],
            page_checksum_verification=True,
        )
        return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))
    except _DAMAGED:
        return {}


def _stated(output: Output, names: ShardNames) -> str | None:
    """Returns the hash of the table of shards as the manifest has it; None if it is damaged."""
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
    stock: Stock,
) -> ShardResult | None:
    """Returns the result of a shard that an earlier attempt, of this run or another, has finished.

    Args:
        output: where to look.
        names: names of the export's files.
        number: the shard's number.
        plan: digest of what the shard is to hold; a shard of another plan is not kept.
        count: samples that it is to hold, or to list as failures.
        refs: the shard's samples; a shard is not kept if the file of one is newer.
        stock: what was there when the plan was made.
    """
    files = stock.pairs.get(number) or _look(output, names, number)
    if files is None:
        return None
    try:
        with output.read(names.parquet(number)) as source:
            data = source.read()
        known = stock.sha256.get(number)
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
    # What changed while that run lasted is listed anew by this one, and may be read now.
    if any(failure.error == SOURCE_CHANGED for failure in result.failures):
        return None
    return None if _changed_since(files.parquet.updated, refs, output.workspace) else result


def _look(output: Output, names: ShardNames, number: int) -> _Pair | None:
    """Returns a shard's files as they are now: a bundle that is tried again finds its own."""
    parquet = output.look(names.parquet(number))
    tar = None if parquet is None else output.look(names.tar(number))
    return None if parquet is None or tar is None else _Pair(tar, parquet)


def _read_result(number: int, data: bytes, *, whole: bool) -> ShardResult:
    """Returns what a shard's Parquet says of it.

    Args:
        number: the shard's number.
        data: the file.
        whole: whether all of its pages are held against their checksums, as no digest was.

    Raises:
        ValueError: if it is damaged; others of `_DAMAGED` too.
    """
    facts = read_facts(pa.BufferReader(data))
    if whole:
        check_pages(pa.BufferReader(data))
    encodings = collections.Counter(read_encodings(pa.BufferReader(data)))
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
    )


def _changed_since(moment: float, refs: Iterable[SampleRef], workspace: str) -> bool:
    """Tells whether a file of the samples is newer: its size, in the plan, may be the same.

    What was spilled is always newer. Of samples that a pipeline has spilled the plan knows the
    content; those of a compressed tar are as old as the tar.
    """
    uris, tars = _sources(refs, f"{workspace}/")
    if any(map(_is_newer_tar, tars, itertools.repeat(moment))):
        return True
    if all(map(is_local, uris)):
        return any(_last_updated(uri) > moment for uri in uris)
    # A request each, which waits for an answer more than it works.
    with concurrent.futures.ThreadPoolExecutor(CONCURRENT_REQUESTS, "look") as lanes:
        return any(updated > moment for updated in lanes.map(_last_updated, uris))


def _sources(refs: Iterable[SampleRef], spilled: str) -> tuple[set[str], set[str]]:
    """Returns (the files of samples, what may be the tar that others were spilled from)."""
    uris: set[str] = set()
    tars: set[str] = set()
    for ref in refs:
        members = {member.uri for member in (ref.image, *ref.fields)}
        read = {uri for uri in members if not uri.startswith(spilled)}
        uris |= read
        if read != members:
            # Both the path of a tar and the name in it may hold the sign that joins them.
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
    # Gone, or hidden: writing the shard again tells what has become of it.
    with contextlib.suppress(OSError):
        found = storage_of(uri).stat(uri)
        return float("inf") if found is None else found.updated
    return float("inf")
